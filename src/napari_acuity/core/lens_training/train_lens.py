"""Train a lens: its networks one after the other or side by side, each resumable, and its scores."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..device import choose_device
from ..errors import TrainingError
from ..jobs import Event, Steps, altered, run, within
from ..lens import Lens
from ..training.run_folder import MODEL
from .scores import score_lens_steps
from .side_by_side import side_by_side_steps
from .spec import LensSpec
from .stages import LABELLING, SHADOWING, stages
from .train_stage import FAILURES, check_stage, opened, stage_steps

if TYPE_CHECKING:
    import os

    from .lens_run import LensRun
    from .stages import Stage

__all__ = ["train_lens", "train_lens_steps"]

_TRAINING = 0.96


def train_lens(
    spec: LensSpec | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    device: str = "auto",
    workers: int = 1,
) -> Lens:
    """Train the networks of a lens, build it, and score it on images that none of them has seen.

    Called again with the same folder it goes on where it was stopped or killed: what is done stays, what is
    half done goes on from its last checkpoint.

    Parameters
    ----------
    spec : LensSpec or path of a ``lens.toml``
    out : path
        The folder of the lens, see `LensRun`; made where it is missing.
    device : str
        "auto" or torch's name of a device.
    workers : int
        How many networks are trained at once, each in a process of its own; 1: one after the other in
        this one.

    Returns
    -------
    Lens
        Also written as ``NAME.lens`` into the folder, beside ``scores.json`` and ``scores.csv``.

    Raises
    ------
    TrainingError
        When the spec is impossible, the folder is that of another lens, or a stage failed; the others are
        then trained all the same.
    PairError, ImageError, FileError
        When the data cannot be read or used, or a kind has no training images; nothing is trained then.
    """
    return run(train_lens_steps(spec, out, device=device, workers=workers))


def train_lens_steps(
    spec: LensSpec | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    device: str = "auto",
    workers: int = 1,
) -> Steps[Lens]:
    """Do what `train_lens` does, yielding events.

    Yields
    ------
    Event
        Its stage begins with the name of the network ("labelling: epoch 3, 21.40 dB ..."). With one worker
        `new` is an `Epoch` after every epoch. Closing the generator ends the training; processes are asked
        to stop. Either way it can be gone on with.
    """
    if workers < 1:
        raise TrainingError(f"{workers} networks at once train nothing.", "Give 1 or more workers.")
    choose_device(device)  # else a wrong name would be told once a stage
    spec = spec if isinstance(spec, LensSpec) else LensSpec.load(spec)
    yield Event("reading the images", 0.0)
    lens = opened(spec, out)
    yield Event(lens.words, 0.0)
    for stage in stages(spec):
        check_stage(stage, lens)  # says now what would end a stage after hours of others
    steps = _one_by_one(lens, device) if workers == 1 else side_by_side_steps(lens, device, workers)
    failed = yield from within(steps, 0.0, _TRAINING)
    if failed:
        raise _failure(failed, lens)
    made = _built(lens)
    made.save(lens.folder / f"{spec.name}.lens")
    if lens.test:
        steps_left = score_lens_steps(made, lens.test, colour_from=lens.train, device=device)
        scores = yield from within(steps_left, _TRAINING, 1.0)
        scores.save(lens.folder)
    yield Event("done", 1.0)
    return made


def _one_by_one(lens: LensRun, device: str) -> Steps[dict[str, str]]:
    """Train all stages in this process; return the name of each that failed, and why."""
    all_stages, failed = stages(lens.spec), dict[str, str]()
    for at, stage in enumerate(all_stages):
        first, last = at / len(all_stages), (at + 1) / len(all_stages)
        try:
            yield from within(_told(lens, stage, device), first, last)
        except FAILURES as error:
            failed[stage.name] = str(error) or type(error).__name__
            yield Event(f"{stage.name}: {failed[stage.name]}", last)
    return failed


def _told(lens: LensRun, stage: Stage, device: str) -> Steps[object]:
    return altered(
        stage_steps(lens, stage, device),
        lambda event: replace(event, stage=f"{stage.name}: {event.stage}"),
    )


def _built(lens: LensRun) -> Lens:
    best = {stage: lens.run_of(stage).path / MODEL for stage in stages(lens.spec)}
    named = {stage.name: path for stage, path in best.items()}
    return Lens.of_kinds(
        lens.spec.colours,
        labelling=named[LABELLING],
        magnifying={stage.of: path for stage, path in best.items() if stage.of},
        shadowing=named.get(SHADOWING),
        name=lens.spec.name,
    )


def _failure(failed: dict[str, str], lens: LensRun) -> TrainingError:
    count = len(stages(lens.spec))
    told = " ".join(f"{name}: {words}" for name, words in failed.items())
    return TrainingError(
        f"{len(failed)} of {count} stages failed. {told}",
        f"The others are kept: cure this, and train again with the same folder, {lens.folder}.",
    )

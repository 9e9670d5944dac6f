"""One network of a lens, trained in its run's folder: begun, gone on with, or done already."""

from __future__ import annotations

from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING

from ..errors import AcuityError, PairError
from ..jobs import Event, Steps, run
from ..model import Model, load
from ..pairs.division import divide_pairs
from ..training.run_folder import CHECKPOINT, MODEL
from ..training.train import resume_steps, train_steps
from .data import read_triples
from .lens_run import cleared, is_over, note_failure, prepare
from .spec import LensSpec
from .stages import pairs_for, stage_by_name

if TYPE_CHECKING:
    import os

    from .lens_run import LensRun
    from .stages import Stage

__all__ = ["FAILURES", "check_stage", "opened", "stage_steps", "train_stage", "train_stage_steps"]

FAILURES = (AcuityError, MemoryError, RuntimeError)
"""What may end a stage and leaves the others be; a device's errors are RuntimeErrors."""

_LOOK_S = 0.5


def train_stage(
    spec: LensSpec | str | os.PathLike[str],
    out: str | os.PathLike[str],
    stage: str,
    *,
    device: str = "auto",
) -> Model:
    """Train one network of a lens, or go on with it; `train_lens` does so for each.

    Parameters
    ----------
    spec : LensSpec or path of a ``lens.toml``
    out : path
        The folder of the lens.
    stage : str
        "labelling", "magnifying KIND" or "shadowing".
    device : str
        "auto" or torch's name of a device.

    Returns
    -------
    Model
        The one with the lowest validation loss.

    Raises
    ------
    TrainingError
        When there is no such stage, the folder is that of another lens, or the run cannot go on.
    PairError, ImageError, FileError
        When the data cannot be read or used.
    """
    return run(train_stage_steps(spec, out, stage, device=device))


def train_stage_steps(
    spec: LensSpec | str | os.PathLike[str],
    out: str | os.PathLike[str],
    stage: str,
    *,
    device: str = "auto",
) -> Steps[Model]:
    """Do what `train_stage` does, yielding the events of `train_steps`."""
    spec = spec if isinstance(spec, LensSpec) else LensSpec.load(spec)
    chosen = stage_by_name(spec, stage)
    yield Event("reading the images", 0.0)
    return (yield from stage_steps(opened(spec, out), chosen, device))


def opened(spec: LensSpec, out: str | os.PathLike[str]) -> LensRun:
    """Read the images of a lens and open the folder it is trained in."""
    return prepare(spec, Path(out), read_triples(spec.data, spec.kinds, spec.groups))


def check_stage(stage: Stage, lens: LensRun) -> None:
    """Raise PairError where the images of a stage cannot be divided into some to train and validate on."""
    pairs, recipe = (
        pairs_for(stage, lens.train, lens.spec),
        lens.spec.chosen_recipe(shaded=stage.shaded),
    )
    try:
        divide_pairs(pairs, guard=recipe.patch // 2, seed=recipe.seed, test=0.0)
    except PairError as error:
        what = f"that shows the kind '{stage.of}'" if stage.of else "to train on"
        raise PairError(
            f"{stage.name} has {len(pairs)} image{'s' * (len(pairs) != 1)}: {error.cause}",
            f"Add an image {what}, so that one can be kept whole to validate on.",
        ) from error


def stage_steps(lens: LensRun, stage: Stage, device: str) -> Steps[Model]:
    """Train one stage of an open lens, yielding events; why it failed is kept in its folder."""
    try:
        return (yield from _stage_steps(lens, stage, device))
    except FAILURES as error:
        note_failure(lens.run_of(stage), error)
        raise


def _stage_steps(lens: LensRun, stage: Stage, device: str) -> Steps[Model]:
    folder, spec = lens.run_of(stage), lens.spec
    # A process that outlived whoever started it.
    while folder.path.is_dir() and folder.running:
        yield Event("trained by another process", 0.0)
        sleep(_LOOK_S)
    if is_over(folder):
        return load(folder.path / MODEL)
    pairs = pairs_for(stage, lens.train, spec)
    if left := len(lens.train) - len(pairs):
        yield Event(f"{left} of {len(lens.train)} images show nothing for it", 0.0)
    if (folder.path / CHECKPOINT).exists():
        return (yield from resume_steps(folder.path, pairs=pairs, device=device))
    cleared(folder)
    return (
        yield from train_steps(
            pairs,
            spec.chosen_recipe(shaded=stage.shaded),
            folder.path,
            epochs=spec.epochs,
            minutes=spec.minutes,
            device=device,
            test=0.0,
        )
    )

"""The folder of a lens in training: which images are held out, and how far each network is."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import AcuityError, FileError, PairError, TrainingError
from ..io import make_folder, replacing
from ..pairs.split import split
from ..training.process import Watch
from ..training.run_folder import MODEL, OUTPUT, RECIPE, RunFolder, check_free, discard_run
from .spec import FACTS, PROCESS, SPEC, LensSpec
from .stages import stages

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from .data import Triple
    from .stages import Stage

__all__ = [
    "LensRun",
    "StageState",
    "cleared",
    "is_over",
    "note_failure",
    "prepare",
    "stage_states",
]

_FORMAT = 1
_ENDS = ("done", "stopped", "failed")
# What whoever starts a lens as a process may put there before.
_BEFORE = {SPEC, RECIPE, OUTPUT, PROCESS}


@dataclass(frozen=True, eq=False)
class LensRun:
    """A lens in training.

    Parameters
    ----------
    folder : Path
        Holds ``lens.toml``; ``lens-run.json``: the images to train on and those held out; a run's folder
        for each stage, see `RunFolder`; at the end the lens, ``scores.json`` and ``scores.csv``.
    spec : LensSpec
    train, test : list of Triple
        The images that networks are trained on, and those that none of them sees.
    words : str
        What the user should know of them.
    """

    folder: Path
    spec: LensSpec
    train: list[Triple]
    test: list[Triple]
    words: str

    def run_of(self, stage: Stage) -> RunFolder:
        """Return the run of a stage."""
        return RunFolder(self.folder / stage.folder)


class StageState(NamedTuple):
    """How far a stage is.

    Parameters
    ----------
    stage : Stage
    state : str
        "waiting", "training", "done", "stopped" or "failed".
    fraction : float
        Of its training, 0 to 1.
    psnr : float or None
        Of the last epoch, on its validation images, dB.
    """

    stage: Stage
    state: str
    fraction: float
    psnr: float | None


def prepare(spec: LensSpec, out: str | os.PathLike[str], triples: Sequence[Triple]) -> LensRun:
    """Hold out images, or those again that an earlier call held out.

    Raises
    ------
    TrainingError
        When the folder is that of another lens, or of none and holds something.
    PairError
        When there are too few groups, or images of the earlier call are gone.
    FileError
        When the folder may not be written.
    """
    folder = make_folder(out)
    named = {triple.name: triple for triple in triples}
    earlier = _facts(folder)
    if earlier is None:
        _check_free(folder, spec)
        groups = {triple.name: triple.group for triple in triples}
        parts = split(groups, 0.0, spec.test, seed=spec.seed)
        facts: dict[str, Any] = {
            "format": _FORMAT,
            "spec": spec.settled(),
            "train": parts["train"],
            "test": parts["test"],
        }
        # Last, so that what it tells of is there.
        _keep_spec(folder, spec)
        with replacing(folder / FACTS) as temporary:
            temporary.write_text(json.dumps(facts, indent=1), encoding="utf-8")
    else:
        facts = earlier
        _check_same(facts, spec, folder)
        _check_there(facts, named, spec)
        _keep_spec(folder, spec)
    train, test = ([named[name] for name in facts[part]] for part in ("train", "test"))
    new = len(named) - len(train) - len(test)
    words = f"{len(train)} images to train on, {len(test) or 'none'} held out to score on"
    if new:
        words += f"; {new} new since training began and not used"
    return LensRun(folder, spec, train, test, words)


def stage_states(out: str | os.PathLike[str], spec: LensSpec) -> list[StageState]:
    """Say how far each stage of a lens is, from the folder it is trained in.

    Parameters
    ----------
    out : path
        There need not be anything yet.
    spec : LensSpec

    Returns
    -------
    list of StageState
        In the order of `stages`. "stopped": it was stopped or killed, and goes on when the lens is trained
        again.
    """
    return [_state(stage, RunFolder(Path(out) / stage.folder)) for stage in stages(spec)]


def is_over(run: RunFolder) -> bool:
    """Tell whether a run came to its end; one that was asked to stop goes on from there."""
    return (
        _last_kind(Watch(run.path).events()) == "done"
        and run.command() != "stop"
        and (run.path / MODEL).exists()
    )


def cleared(run: RunFolder) -> None:
    """Remove what a run left that has no checkpoint to go on from; other files are none of ours."""
    if not run.path.is_dir():
        return
    with suppress(TrainingError):
        check_free(run.path)
        return
    discard_run(run.path)


def _state(stage: Stage, run: RunFolder) -> StageState:
    events = Watch(run.path).events()
    if not events:
        return StageState(stage, "waiting", 0.0, None)
    fraction = next((e["fraction"] for e in reversed(events) if "fraction" in e), 0.0)
    psnr = next((e["psnr"] for e in reversed(events) if "psnr" in e), None)
    last = _last_kind(events)
    # The lock is looked at only where it is held or free for good: a look holds it for a moment.
    if not last:
        state = "training" if run.running else "stopped"
    elif is_over(run):
        state, fraction = "done", 1.0
    else:
        state = "failed" if last == "failed" and run.command() != "stop" else "stopped"
    return StageState(stage, state, float(fraction), psnr)


def _last_kind(events: list[dict[str, Any]]) -> str:
    """Return how a run ended; "" where it has begun since, or never ended."""
    kind = next((e["kind"] for e in reversed(events) if e["kind"] in (*_ENDS, "begun")), "")
    return kind if kind in _ENDS else ""


def _facts(folder: Path) -> dict[str, Any] | None:
    path = folder / FACTS
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(facts["spec"], dict):
            raise TypeError("spec is no table")
        if facts["format"] > _FORMAT:
            raise TrainingError(
                f"{path} was written by a newer version (format {facts['format']}, here {_FORMAT}).",
                "Update napari-acuity.",
            )
        return facts | {part: list(map(str, facts[part])) for part in ("train", "test")}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(
            f"{path} cannot be read: {type(error).__name__}, {error}.", "Choose a new folder."
        ) from error


def _check_free(folder: Path, spec: LensSpec) -> None:
    """Raise TrainingError where the folder holds what is none of this lens's."""
    try:
        found = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    except OSError as error:
        raise FileError(f"{folder} cannot be used: {error.strerror}.", "Choose another.") from error
    if not found <= _BEFORE or (SPEC in found and not _says(folder / SPEC, spec)):
        raise TrainingError(f"{folder} holds something already.", "Give each lens a new folder.")


def _keep_spec(folder: Path, spec: LensSpec) -> None:
    """Write what is trained, but not over a file of the user's that says so already."""
    if not _says(folder / SPEC, spec):
        spec.save(folder / SPEC)


def _says(path: Path, spec: LensSpec) -> bool:
    try:
        return _whole(LensSpec.load(path)) == _whole(spec)
    except TrainingError:
        return False


def _whole(spec: LensSpec) -> dict[str, Any]:
    return spec.as_dict() | {"data": spec.data.resolve()}


def _check_same(facts: dict[str, Any], spec: LensSpec, folder: Path) -> None:
    then, now = facts["spec"], spec.settled()
    # A later version may know more of a recipe than the one that began.
    now["recipe"] = {key: now["recipe"].get(key) for key in then.get("recipe", {})}
    for key in sorted(then.keys() | now.keys()):
        if (was := then.get(key)) != (is_now := now.get(key)):
            plain = not isinstance(was or is_now, dict | list)
            values = f": it was {was}, and now it is {is_now}" if plain else ""
            raise TrainingError(
                f"The lens in {folder} was begun with another value of '{key}'{values}.",
                "Change that back, or choose a new folder.",
            )


def _check_there(facts: dict[str, Any], named: dict[str, Triple], spec: LensSpec) -> None:
    if missing := [name for part in ("train", "test") for name in facts[part] if name not in named]:
        raise PairError(
            f"Training began with '{missing[0]}', which {spec.data} no longer holds.",
            "Put it back under the same name, or choose a new folder.",
        )


def note_failure(run: RunFolder, error: Exception) -> None:
    """Say in a stage's folder why it failed, where its run has not."""
    if _last_kind(Watch(run.path).events()) == "failed":
        return
    with suppress(AcuityError):
        make_folder(run.path)
        run.say("failed", words=str(error) or type(error).__name__)

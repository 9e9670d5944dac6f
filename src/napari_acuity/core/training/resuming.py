"""What a run that was stopped left in its folder, looked through before it goes on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ModelError, TrainingError
from ..model import Model, load
from .checkpoint import load_state
from .run_folder import CHECKPOINT, FACTS, FORMAT, MODEL, RECIPE, START

if TYPE_CHECKING:
    from pathlib import Path

    from ..recipe import Recipe
    from .run_folder import RunFolder

__all__ = ["Stopped"]

_ANEW = "Begin another run; with start, from this one's best model."
_KINDS: dict[str, tuple[type, ...]] = {
    "pairs": (str, type(None)),
    "epochs": (int, float, type(None)),
    "minutes": (int, float, type(None)),
    "frozen": (int,),
    "division": (dict,),
    "data": (dict,),
}


@dataclass(frozen=True, eq=False)
class Stopped:
    """A run that was stopped or killed.

    Parameters
    ----------
    facts : dict
        What ``run.json`` says.
    recipe : Recipe
    state : dict
        Of its last checkpoint.
    start, best : Model or None
        The model it began with, where there was one, and the best one so far.
    words : tuple of str
        What the user should know of it.
    """

    facts: dict[str, Any]
    recipe: Recipe
    state: dict[str, Any]
    start: Model | None
    best: Model | None
    words: tuple[str, ...] = ()

    @classmethod
    def of(cls, folder: RunFolder) -> Stopped:
        """Read what a run left.

        Raises
        ------
        TrainingError
            When something is missing or damaged, or the recipe is not the one it was trained with.
        """
        facts, recipe = folder.facts, folder.recipe
        _check_format(facts, folder.path / FACTS)
        for name, kinds in _KINDS.items():
            if name not in facts or not isinstance(facts[name], kinds):
                raise TrainingError(
                    f"{folder.path / FACTS} is damaged: it does not tell '{name}'.", _ANEW
                )
        if facts["epochs"] is None and facts["minutes"] is None:
            raise TrainingError(
                f"{folder.path / FACTS} is damaged: it does not tell how long to train.", _ANEW
            )
        state = load_state(folder.path / CHECKPOINT)
        _check_format(state, folder.path / CHECKPOINT)
        if not isinstance(state.get("recipe"), dict):
            raise TrainingError(
                f"The checkpoint {folder.path / CHECKPOINT} is damaged: it does not tell its recipe.",
                _ANEW,
            )
        _check_same(recipe, state["recipe"], folder.path / RECIPE)
        start = _model(folder.path / START, "Copy it again from the model that the run began with.")
        best = _model(
            folder.path / MODEL,
            "Remove that file: the run goes on from its checkpoint, and the best of the epochs to come is "
            "kept.",
        )
        # The run may have been killed in between the two, or the file have been replaced or removed.
        if state.get("best", "") not in ("", best.digest() if best is not None else None):
            what = "missing" if best is None else "not the model that the checkpoint tells of"
            words = (
                f"{MODEL} is {what}: the run goes on from the checkpoint, and the best of the epochs to come "
                "is kept"
            )
            return cls(facts, recipe, state, start, None, (words,))
        return cls(facts, recipe, state, start, best)


def _check_format(written: dict[str, Any], path: Path) -> None:
    """Raise TrainingError where a later version wrote what this one may not understand."""
    found = written.get("format", FORMAT)
    if not isinstance(found, int):
        raise TrainingError(f"{path} is damaged: its format is {found!r}.", _ANEW)
    if found > FORMAT:
        raise TrainingError(
            f"{path} was written by a newer version (format {found}, here {FORMAT}).",
            "Update napari-acuity.",
        )


def _check_same(recipe: Recipe, trained: dict[str, Any], path: Path) -> None:
    """Raise TrainingError where a recipe was changed after the run had begun."""
    # As text, since a file knows lists only where Python has tuples.
    now = {name: json.dumps(value, sort_keys=True) for name, value in recipe.as_table().items()}
    then = {name: json.dumps(value, sort_keys=True) for name, value in trained.items()}
    if changed := [name for name, value in then.items() if now.get(name) != value]:
        words = ", ".join(f"{name} was {then[name]} and is {now.get(name)}" for name in changed)
        raise TrainingError(
            f"{path} was changed since the run began: {words}.",
            "Put back what it was, or begin another run with it; with start, from this one's best model.",
        )


def _model(path: Path, cure: str) -> Model | None:
    try:
        return load(path) if path.exists() else None
    except ModelError as error:
        raise TrainingError(error.cause, cure) from error

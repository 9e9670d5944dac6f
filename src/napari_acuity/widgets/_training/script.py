"""What Train model is set to, as Python and as a command."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import AcuityError
from ...core.training.run_folder import RunFolder
from .._value_range import script_begin
from .pair_source import FolderSource, LayerSource

if TYPE_CHECKING:
    from ...core.recipe import Recipe
    from .pair_source import Source

__all__ = ["Plan", "command_of", "python_of", "resume_command"]


@dataclass(frozen=True)
class Plan:
    """A run that could begin.

    Parameters
    ----------
    source : FolderSource or LayerSource
    recipe : str or Recipe
        A name or a file; a Recipe where Options change something.
    out : str
    how : dict
        "epochs" or "minutes", "start", "frozen", "device".
    """

    source: Source
    recipe: str | Recipe
    out: str
    how: dict[str, Any]

    @property
    def options(self) -> dict[str, Any]:
        """The keywords that say something."""
        how = {name: str(v) if isinstance(v, Path) else v for name, v in self.how.items()}
        return {name: value for name, value in how.items() if value not in (None, 0)}


def python_of(plan: Plan) -> str:
    """Return the Python that trains as planned."""
    recipe = repr(plan.recipe) if isinstance(plan.recipe, str) else f"acuity.{plan.recipe!r}"
    options = "".join(f"    {name}={value!r},\n" for name, value in plan.options.items())
    ranges = plan.source.ranges if isinstance(plan.source, LayerSource) else ()
    return (
        f"{script_begin(ranges)}\n"
        f"model = acuity.train(\n    {plan.source.python},\n    {recipe},\n    {plan.out!r},\n{options})"
    )


def command_of(plan: Plan, shown: Path | None) -> str:
    """Return the command that trains as planned; "" where none can say it.

    Options that change a recipe are in a file only once a run has begun with them; `shown` is the
    run in the panel.
    """
    recipe = plan.recipe
    if not isinstance(recipe, str):
        recipe = _recipe_in(shown, recipe)
    if not isinstance(plan.source, FolderSource) or not recipe:
        return ""
    words = ["acuity", "train", str(plan.source.folder), "--recipe", recipe, "--out", plan.out]
    for name, value in plan.options.items():
        words += [f"--{name}", f"{value:g}" if isinstance(value, float) else str(value)]
    return shlex.join(words)


def resume_command(folder: Path) -> str:
    """Return the command that goes on with a run."""
    return shlex.join(["acuity", "resume", str(folder)])


def _recipe_in(folder: Path | None, recipe: Recipe) -> str:
    if folder is None:
        return ""
    try:
        same = RunFolder(folder).recipe == recipe
    except AcuityError:
        return ""
    return str(folder / "recipe.toml") if same else ""

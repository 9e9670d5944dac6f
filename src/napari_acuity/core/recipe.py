"""Recipes: everything that decides how a model is trained, in one table."""

from __future__ import annotations

import math
import tomllib
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import TrainingError
from .io import replacing

if TYPE_CHECKING:
    import os

__all__ = ["RECIPES", "Recipe", "recipe_by_name"]


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Parameters
    ----------
    name : str
        What models and tables call it.
    network : str
        A name in `NETWORKS`.
    network_arguments : dict
        Its arguments, but for scale and channels, which the pairs decide.
    patch : int
        Side of the square training patches, in px of the low-resolution image.
    batch : int
        Patches a step.
    learning_rate : float
        Of Adam, at the start.
    schedule : {"constant", "cosine"}
        "cosine": rises over the first 2 % of the run, then falls to a hundredth along a cosine.
    gradient_weight : float
        lambda in MSE + lambda * mean squared gradient of the output.
    averaging : float
        Decay of the running mean of the weights that is validated and kept; 0 keeps the weights as is.
    epochs : int
        Passes over the training fields, when no other bound is given.
    seed : int
        Of weights, patches and split.
    """

    name: str = "brightfield"
    network: str = "pyramid_resnet"
    network_arguments: dict[str, Any] = field(default_factory=lambda: {"init": "interpolation"})
    patch: int = 48
    batch: int = 8
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    gradient_weight: float = 0.0
    averaging: float = 0.998
    epochs: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        if wrong := self._of_wrong_kind() or self._impossible():
            values = ", ".join(f"{name} = {getattr(self, name)!r}" for name in wrong)
            raise TrainingError(
                f"The recipe '{self.name}' cannot be used: {values}.",
                "Counts must be whole numbers and, like rates, above 0, averaging below 1, schedule "
                "'constant' or 'cosine'.",
            )

    def _of_wrong_kind(self) -> list[str]:
        kinds: dict[str, Any] = {
            "int": int,
            "float": (int, float),
            "str": str,
            "dict[str, Any]": dict,
        }
        return [
            entry.name
            for entry in fields(self)
            if not isinstance(getattr(self, entry.name), kinds[str(entry.type)])
        ]

    def _impossible(self) -> list[str]:
        positive = ("patch", "batch", "learning_rate", "epochs")
        wrong = [name for name in positive if not 0 < getattr(self, name) < math.inf]
        wrong += ["averaging"] * (not 0 <= self.averaging < 1)
        wrong += ["gradient_weight"] * (not 0 <= self.gradient_weight < math.inf)
        wrong += ["schedule"] * (self.schedule not in ("constant", "cosine"))
        wrong += ["seed"] * (self.seed < 0)
        return wrong

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Recipe:
        """Read a recipe from a TOML file; keys left out have their default.

        Raises
        ------
        TrainingError
            When the file cannot be read, or has an unknown key or an impossible value.
        """
        try:
            table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
            known = {entry.name for entry in fields(cls)}
            if unknown := sorted(set(table) - known):
                raise TrainingError(
                    f"{path} has the unknown key '{unknown[0]}'.",
                    "Known are: " + ", ".join(sorted(known)) + ".",
                )
            return cls(**table)
        except FileNotFoundError as error:
            raise TrainingError(
                f"There is no recipe {path}.", "Check its name and folder."
            ) from error
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise TrainingError(
                f"{path} is no recipe that can be read: {error}.",
                "Check it against the docs page Train.",
            ) from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the recipe as TOML."""
        import tomli_w

        with replacing(path) as temporary:
            temporary.write_text(tomli_w.dumps(asdict(self)), encoding="utf-8")


RECIPES = {
    "brightfield": Recipe(),
    # Rivenson et al. 2017, Optica 4:1437 and its supplement.
    "brightfield-2017": Recipe(
        name="brightfield-2017",
        network_arguments={"init": "published"},
        patch=60,
        batch=64,
        learning_rate=1e-4,
        schedule="constant",
        gradient_weight=1e-3,
        averaging=0.0,
    ),
}


def recipe_by_name(recipe: str | Recipe) -> Recipe:
    """Return a recipe: itself, a built-in one by name, or one from a TOML file.

    Raises
    ------
    TrainingError
        When there is none.
    """
    if isinstance(recipe, Recipe):
        return recipe
    if recipe in RECIPES:
        return RECIPES[recipe]
    if str(recipe).endswith(".toml"):
        return Recipe.load(recipe)
    raise TrainingError(
        f"There is no recipe '{recipe}'.",
        "Use one of: " + ", ".join(RECIPES) + ", or a .toml file.",
    )

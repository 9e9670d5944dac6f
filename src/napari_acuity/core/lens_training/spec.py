"""What decides a lens: its data, its kinds and how it is trained, in one ``lens.toml`` that people write."""

from __future__ import annotations

import json
import math
import tomllib
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import TrainingError
from ..io import replacing
from ..recipe import recipe_by_name
from .kinds import Kind, check_kinds

if TYPE_CHECKING:
    import os

    from ..recipe import Recipe

__all__ = ["FACTS", "PROCESS", "SCORES", "SPEC", "LensSpec"]

SPEC, FACTS, SCORES, PROCESS = "lens.toml", "lens-run.json", "scores.csv", "process.json"
"""In the folder of a lens: how it is trained, on which images, what it scored, and by which process."""

_DOCS = "See the docs page Train a lens."


@dataclass(frozen=True)
class LensSpec:
    """How to train a lens.

    Parameters
    ----------
    name : str
        Of the lens and its file.
    data : Path
        The folder of its data, see `read_triples`.
    kinds : tuple of Kind
        The first has label 1.
    recipe : str
        The name of a built-in one, or a ``.toml`` file: how every network is trained.
    shadowing : bool
        Whether a last network draws background and shadows.
    minutes, epochs : float and int, optional
        How long each network is trained, to whichever comes first; by default the recipe's epochs.
    test : float
        Share of the groups that no network sees, to score the lens on; 0 to below 1.
    seed : int
        Of the draw of these, of weights and patches.
    groups : dict
        Name of a field -> its group; those left out are a group of their own.

    Raises
    ------
    TrainingError
        When a value is impossible, there are no kinds or two alike, or there is no such recipe.
    """

    name: str
    data: Path
    kinds: tuple[Kind, ...]
    recipe: str = "lens"
    shadowing: bool = True
    minutes: float | None = None
    epochs: int | None = None
    test: float = 0.2
    seed: int = 0
    groups: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", Path(self.data))
        object.__setattr__(self, "kinds", tuple(self.kinds))
        if wrong := [name for name, fits in self._fits().items() if not fits]:
            told = ", ".join(f"{name} = {getattr(self, name)!r}" for name in wrong)
            raise TrainingError(
                f"The lens cannot be trained so: {told}.",
                "The name is that of a file; minutes and epochs are above 0, test is at least 0 and below 1, "
                "seed a whole number of at least 0, shadowing true or false, groups names by names.",
            )
        check_kinds(self.kinds)
        channels = recipe_by_name(self.recipe).arguments.get("channels", 3)
        if channels != 3:
            raise TrainingError(
                f"The recipe '{self.recipe}' is for images of {channels} channel{'s' * (channels != 1)}, and "
                "the networks of a lens are from RGB to RGB.",
                "Use the recipe lens or pix2pix-2017, or one of your own for RGB.",
            )

    def _fits(self) -> dict[str, bool]:
        return {
            "name": _is_file_name(self.name),
            "recipe": isinstance(self.recipe, str),
            "shadowing": isinstance(self.shadowing, bool),
            "minutes": self.minutes is None
            or (_is_number(self.minutes) and 0 < self.minutes < math.inf),
            "epochs": self.epochs is None or (type(self.epochs) is int and self.epochs > 0),
            "test": _is_number(self.test) and 0 <= self.test < 1,
            "seed": type(self.seed) is int and self.seed >= 0,
            "groups": isinstance(self.groups, dict)
            and all(
                isinstance(each, str) and each for each in (*self.groups, *self.groups.values())
            ),
        }

    @property
    def colours(self) -> dict[str, str]:
        """The kinds' colours by name, in the order of their labels."""
        return {kind.name: kind.colour for kind in self.kinds}

    def number(self, kind: str) -> int:
        """Return the label of a kind."""
        return 1 + [each.name for each in self.kinds].index(kind)

    def chosen_recipe(self, *, shaded: bool) -> Recipe:
        """Return the recipe for a network, with the seed of the lens.

        Parameters
        ----------
        shaded : bool
            Whether its truth is lit from one side, so that fields must not be flipped and turned, where the
            recipe does not decide that. Label maps are not.
        """
        recipe = replace(recipe_by_name(self.recipe), seed=self.seed)
        return replace(recipe, augmentation={"turns": not shaded, **recipe.augmentation})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> LensSpec:
        """Read a ``lens.toml``; `data` and a recipe's file are relative to it.

        Raises
        ------
        TrainingError
            When it cannot be read, has an unknown key, lacks one, or has an impossible value.
        """
        path = Path(path)
        table = _read(path)
        _check_keys(
            table, {entry.name for entry in fields(cls)}, ("name", "data", "kinds"), str(path)
        )
        if not isinstance(table["data"], str):
            raise TrainingError(f"In {path} the data are no folder's name.", _DOCS)
        table["data"] = path.parent.resolve() / table["data"]
        table["kinds"] = _kinds(table["kinds"], path)
        recipe = table.get("recipe", cls.recipe)
        if isinstance(recipe, str) and recipe.endswith(".toml"):
            table["recipe"] = str(path.parent.resolve() / recipe)
        return cls(**table)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a ``lens.toml``, in which files are told relative to it where they lie below it.

        Raises
        ------
        FileError
            When the folder is missing or may not be written, or the disk is full.
        """
        import tomli_w

        folder = Path(path).parent.resolve()
        table = self.as_dict() | {"data": _told(self.data, folder)}
        if self.recipe.endswith(".toml"):
            table["recipe"] = _told(Path(self.recipe), folder)
        with replacing(path) as temporary:
            temporary.write_text(tomli_w.dumps(table), encoding="utf-8")

    def settled(self) -> dict[str, Any]:
        """Return what must stay as it is while the lens is trained, as JSON has it; data may move."""
        table = self.as_dict() | {"recipe": asdict(recipe_by_name(self.recipe))}
        del table["name"], table["data"]
        found: dict[str, Any] = json.loads(json.dumps(table))
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return its values as plain numbers, text and tables; what is None is left out."""
        table = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        table |= {
            "data": str(self.data),
            "kinds": [{"name": kind.name, "colour": kind.colour} for kind in self.kinds],
            "groups": dict(self.groups),
        }
        return {name: value for name, value in table.items() if value is not None}


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TrainingError(f"There is no file {path}.", "Check its name and folder.") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TrainingError(f"{path} is no lens.toml that can be read: {error}.", _DOCS) from error


def _check_keys(
    table: dict[str, Any], known: set[str], needed: tuple[str, ...], title: str
) -> None:
    if unknown := sorted(set(table) - known):
        raise TrainingError(
            f"{title} has the unknown key '{unknown[0]}'.",
            "Known are: " + ", ".join(sorted(known)) + ".",
        )
    if missing := [key for key in needed if key not in table]:
        raise TrainingError(f"{title} has no '{missing[0]}'.", _DOCS)


def _kinds(listed: Any, path: Path) -> tuple[Kind, ...]:
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise TrainingError(
            f"The kinds in {path} are no list of tables.", "Write [[kinds]] above each."
        )
    for number, table in enumerate(listed, start=1):
        title = f"Kind {number} in {path}"
        _check_keys(table, {"name", "colour"}, ("name", "colour"), title)
    return tuple(Kind(**table) for table in listed)


def _told(path: Path, folder: Path) -> str:
    whole = path.resolve()
    return (whole.relative_to(folder) if whole.is_relative_to(folder) else whole).as_posix()


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_file_name(name: Any) -> bool:
    if not isinstance(name, str) or not 0 < len(name) <= 100:
        return False
    return name == name.strip(" .") and all(c.isalnum() or c in " -_.+" for c in name)

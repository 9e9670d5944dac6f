"""What is in a folder of data for a lens, counted in a thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from ...core.errors import AcuityError, PairError
from .._training.network_check import cost_note, network_of, patch_side
from .._training.run_words import counted

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from ...core.lens_training.kinds import Kind
    from ...core.recipe import Recipe

__all__ = ["DataLook", "Known", "Wanted", "look_at_data"]

_CHOOSE = "Choose a folder for the data. Add images, below, fills it."


class Wanted(NamedTuple):
    """What the data are to train: the folder, the kinds, how some fields are held out, and the networks."""

    folder: Path | None
    kinds: tuple[Kind, ...]
    groups: dict[str, str]
    test: float
    seed: int
    recipe: Recipe
    device: str


class Field(NamedTuple):
    """What was seen of a field: the numbers of its kinds, and its rows and columns."""

    present: tuple[int, ...]
    size: tuple[int, int]


Known: TypeAlias = dict[tuple[Any, ...], Field]


@dataclass(frozen=True)
class DataLook:
    """What was seen.

    Parameters
    ----------
    words : str
        What is in the folder, in a line.
    problem : str or None
        Why no lens can be trained on it.
    notes : tuple of str
        What the user should know before that.
    number : int
        Of the look.
    """

    words: str = ""
    problem: str | None = None
    notes: tuple[str, ...] = ()
    number: int = 0


def look_at_data(wanted: Wanted, known: Known, number: int) -> Generator[DataLook, None, DataLook]:
    """Read every field of a folder once, one at a time.

    Parameters
    ----------
    wanted : Wanted
    known : dict
        The fields read before, which are not read again; added to.
    number : int
        Of the look.

    Yields
    ------
    DataLook
        How far it is.
    """
    if wanted.folder is None:
        return DataLook("", _CHOOSE, number=number)
    try:
        fields = yield from _fields(wanted.folder, wanted.kinds, known, number)
    except AcuityError as error:
        return DataLook("", str(error), number=number)
    present = {name: field.present for name, field in fields.items()}
    words = _count(list(present.values()), wanted.kinds)
    try:
        words_on_parts, cut = _divided(present, wanted)
        cost = _checked(wanted, [field.size for field in fields.values()])
    except AcuityError as error:
        return DataLook(f"{words}.", str(error), number=number)
    return DataLook(f"{words}. {words_on_parts}.", None, tuple(filter(None, (cut, cost))), number)


def _checked(wanted: Wanted, sizes: list[tuple[int, int]]) -> str | None:
    """Return a caution about the networks; raise TrainingError where they do not go with the fields."""
    from ...core.device import choose_device
    from ...core.training.fit import check_patch

    network = network_of(wanted.recipe, 1.0, 3)
    check_patch(patch_side(wanted.recipe, sizes), 1.0, wanted.recipe, network)
    return cost_note(network, choose_device(wanted.device), lighter="lens")


def _fields(
    folder: Path, kinds: tuple[Kind, ...], known: Known, look: int
) -> Generator[DataLook, None, dict[str, Field]]:
    """Return what each field is, by name."""
    from ...core.lens_training.data import fields_in, read_field

    fields, found = fields_in(folder), {}
    for number, (name, paths) in enumerate(fields.items(), start=1):
        key = (*map(_stamp, paths.values()), tuple(kind.colour for kind in kinds))
        if key not in known:
            yield DataLook(f"Reading image {number} of {len(fields)}.", number=look)
            triple = read_field(name, paths, kinds)
            known[key] = Field(triple.present, triple.input.shape)
        found[name] = known[key]
    return found


def _stamp(path: Path) -> tuple[str, int, int]:
    try:
        facts = path.stat()
    except OSError:
        return str(path), 0, 0
    return str(path), facts.st_mtime_ns, facts.st_size


def _count(present: list[tuple[int, ...]], kinds: tuple[Kind, ...]) -> str:
    parts = []
    for number, kind in enumerate(kinds, start=1):
        if alone := sum(numbers == (number,) for numbers in present):
            parts.append(f"{alone} of {kind.name} only")
    if mixed := sum(len(numbers) > 1 for numbers in present):
        parts.append(f"{mixed} mixed")
    if empty := sum(not numbers for numbers in present):
        parts.append(f"{empty} without labels")
    return f"{counted(len(present), 'image')}: {', '.join(parts)}"


def _divided(present: dict[str, tuple[int, ...]], wanted: Wanted) -> tuple[str, str | None]:
    """Say how many images are held out, and which kinds have one; raise PairError where one has none."""
    from ...core.pairs.split import split

    for number, kind in enumerate(wanted.kinds, start=1):
        if not any(number in numbers for numbers in present.values()):
            raise PairError(
                f"No image shows the kind '{kind.name}'.", "Add some, or remove the kind."
            )
    groups = {name: wanted.groups.get(name) or name for name in present}
    if wanted.test and len(set(groups.values())) < 2:
        raise PairError(
            "One image, or one group of them, is too few: one is held out to score on.",
            "Add others, or set Held out to 0 in Options.",
        )
    parts = split(groups, 0.0, wanted.test, seed=wanted.seed)
    seen_once = []
    for number, kind in enumerate(wanted.kinds, start=1):
        count = sum(number in present[name] for name in parts["train"])
        if not count:
            raise PairError(
                f"All images that show the kind '{kind.name}' are held out to score on.",
                "Add others that show it, hold fewer out, or change the seed, in Options.",
            )
        seen_once += [f"'{kind.name}'"] * (count == 1)
    words = (
        f"{len(parts['train'])} to train on, {len(parts['test']) or 'none'} held out to score on"
    )
    if not seen_once:
        return words, None
    kinds = " and ".join(seen_once)
    return (
        words,
        f"{kinds}: one image to train on, whose right part is kept to validate on. Add others.",
    )

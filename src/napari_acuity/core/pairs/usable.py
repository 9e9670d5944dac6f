"""The pairs of a run: a folder that holds some, and those that can be used together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..errors import AcuityError, PairError
from .described import like_most
from .pair import Pair
from .pair_set import PairSet

if TYPE_CHECKING:
    import os

__all__ = ["pairs_in", "readable"]


def pairs_in(folder: str | os.PathLike[str]) -> PairSet:
    """Open a folder that holds pairs.

    Raises
    ------
    PairError
        When it is missing or holds none.
    FileError
        When it may not be read.
    """
    pairs = PairSet.open(folder)
    if not pairs.folder.exists():
        raise PairError(
            f"There is no folder {folder}.", "Check its name, or make pairs in Register pair."
        )
    if not len(pairs):
        raise PairError(
            f"{folder} holds no pairs.",
            "Choose a folder that Register pair or acuity pairs has filled: it has a .json file for each "
            "pair, and the images in low and high.",
        )
    return pairs


def readable(pairs: PairSet | Iterable[Pair]) -> tuple[list[Pair], dict[str, AcuityError]]:
    """Read the pairs that can be used together, and say what is wrong with the others.

    Parameters
    ----------
    pairs : PairSet or iterable of Pair

    Returns
    -------
    list of Pair
        All of one scale and one kind of image, that of most.
    dict
        Name of each other pair -> why it cannot be used.

    Raises
    ------
    PairError
        When something else is given.
    """
    if not isinstance(pairs, PairSet):
        found = [*pairs] if isinstance(pairs, Iterable) else [pairs]
        return like_most(_checked(found, pairs), {}, _kind)
    found = []
    errors: dict[str, AcuityError] = {}
    for name in pairs.names:
        try:
            found.append(pairs[name])
        except AcuityError as error:
            errors[name] = error
    return like_most(found, errors, _kind)


def _checked(found: list[Pair], given: object) -> list[Pair]:
    if isinstance(given, Iterable) and all(isinstance(pair, Pair) for pair in found):
        return found
    raise PairError(
        "What was given to train on are no pairs.", "Give a PairSet, a folder, or a list of Pair."
    )


def _kind(pair: Pair) -> tuple[float, str]:
    return pair.scale, pair.kind

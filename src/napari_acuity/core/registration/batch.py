"""Register many pairs: a bad one is told of, and the rest is done."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from ..errors import AcuityError
from ..io import read
from ..jobs import Event, Steps, altered, run, within
from ..micrograph import ImageLike, Micrograph, as_micrograph
from .register import Start, register_steps

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .registration import Registration

__all__ = ["RegisteredPair", "register_all", "register_all_steps"]


@dataclass(frozen=True, eq=False)
class RegisteredPair:
    """What became of one pair.

    Parameters
    ----------
    number : int
        Its place among the pairs given, from 1.
    registration : Registration or None
        None where it failed.
    error : AcuityError or None
        Why it failed.
    """

    number: int
    registration: Registration | None
    error: AcuityError | None = None


def register_all(
    pairs: Iterable[tuple[ImageLike, ImageLike]], *, start: Start = "auto", elastic: bool = True
) -> list[RegisteredPair]:
    """Register many pairs, one after the other; a pair that fails does not stop the others.

    Parameters
    ----------
    pairs : iterable of (moving, fixed)
        Each a Micrograph, an array, a napari Image layer, or the path of an image, which is read when
        its turn comes: a folder of any length takes the memory of one pair and the maps found.
    start, elastic
        As in `register`, for every pair.

    Returns
    -------
    list of RegisteredPair
        One for each pair, in their order, with the map or the error.
    """
    return run(register_all_steps(pairs, start=start, elastic=elastic))


def register_all_steps(
    pairs: Iterable[tuple[ImageLike, ImageLike]], *, start: Start = "auto", elastic: bool = True
) -> Steps[list[RegisteredPair]]:
    """Do what `register_all` does, yielding events.

    Yields
    ------
    Event
        Those of `register_steps` for each pair, "pair 2 of 5, " before their stage; then one whose
        `new` is its `RegisteredPair`.
    """
    given, done = list(pairs), list[RegisteredPair]()
    for number, (moving, fixed) in enumerate(given, start=1):
        title = f"pair {number} of {len(given)}"
        one = altered(_one(number, moving, fixed, start, elastic), partial(_titled, title))
        pair = yield from within(one, (number - 1) / len(given), number / len(given))
        done.append(pair)
        words = "failed" if pair.error else "registered"
        yield Event(f"{title}, {words}", number / len(given), pair)
    return done


def _one(
    number: int, moving: ImageLike, fixed: ImageLike, start: Start, elastic: bool
) -> Steps[RegisteredPair]:
    try:
        images = _image(moving), _image(fixed)
        found = yield from register_steps(*images, start=start, elastic=elastic)
    except AcuityError as error:
        return RegisteredPair(number, None, error)
    return RegisteredPair(number, found)


def _titled(title: str, event: Event) -> Event:
    return replace(event, stage=f"{title}, {event.stage}")


def _image(image: ImageLike) -> Micrograph:
    return read(image) if isinstance(image, str | os.PathLike) else as_micrograph(image)

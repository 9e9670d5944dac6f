"""Register many pairs: a bad one is told of, and the rest is done."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import AcuityError, RegistrationError
from ..io import read
from ..jobs import Event, Steps, altered, run, within
from ..memory import memory_errors
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
    pairs: Iterable[tuple[ImageLike, ImageLike]],
    *,
    start: Start = "auto",
    elastic: bool = True,
    device: str = "auto",
) -> list[RegisteredPair]:
    """Register many pairs, one after the other; a pair that fails does not stop the others.

    Parameters
    ----------
    pairs : iterable of (moving, fixed)
        Each a Micrograph, an array, a napari Image layer, or the path of an image, which is read when
        its turn comes: a folder of any length takes the memory of one pair and the maps found.
    start, elastic, device
        As in `register`, for every pair.

    Returns
    -------
    list of RegisteredPair
        One for each pair, in their order, with the map or the error.

    Raises
    ------
    RegistrationError
        When `pairs` is a single path.
    """
    return run(register_all_steps(pairs, start=start, elastic=elastic, device=device))


def register_all_steps(
    pairs: Iterable[tuple[ImageLike, ImageLike]],
    *,
    start: Start = "auto",
    elastic: bool = True,
    device: str = "auto",
) -> Steps[list[RegisteredPair]]:
    """Do what `register_all` does, yielding events.

    Yields
    ------
    Event
        Those of `register_steps` for each pair, "pair 2 of 5, " before their stage; then one whose
        `new` is its `RegisteredPair`.
    """
    if isinstance(pairs, str | os.PathLike):
        raise RegistrationError(
            f"'{os.fspath(pairs)}' is one path, not a list of pairs.",
            "Give [(moving, fixed), ...]; the command 'acuity pairs' takes two folders.",
        )
    given, done = list(pairs), list[RegisteredPair]()
    how = {"start": start, "elastic": elastic, "device": device}
    for number, images in enumerate(given, start=1):
        title = f"pair {number} of {len(given)}"
        one = altered(_one(number, images, how), partial(_titled, title))
        pair = yield from within(one, (number - 1) / len(given), number / len(given))
        done.append(pair)
        words = "failed" if pair.error else "registered"
        yield Event(f"{title}, {words}", number / len(given), pair)
    return done


def _one(
    number: int, images: tuple[ImageLike, ImageLike], how: dict[str, Any]
) -> Steps[RegisteredPair]:
    try:
        with memory_errors():
            found = yield from register_steps(*_couple(number, images), **how)
    except AcuityError as error:
        return RegisteredPair(number, None, error)
    except MemoryError:
        cause = f"The memory is too small for pair {number}."
        too_large = RegistrationError(cause, "Crop its images, or use register_large.")
        return RegisteredPair(number, None, too_large)
    return RegisteredPair(number, found)


def _titled(title: str, event: Event) -> Event:
    return replace(event, stage=f"{title}, {event.stage}")


def _couple(number: int, images: tuple[ImageLike, ImageLike]) -> tuple[Micrograph, Micrograph]:
    try:
        moving, fixed = images
    except (TypeError, ValueError) as error:
        raise RegistrationError(
            f"Pair {number} is not two images.", "Give (moving, fixed) for each pair."
        ) from error
    return _image(moving), _image(fixed)


def _image(image: ImageLike) -> Micrograph:
    return read(image) if isinstance(image, str | os.PathLike) else as_micrograph(image)

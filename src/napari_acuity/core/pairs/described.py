"""What is known of a pair without reading its images, and which pairs go together."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from ..errors import AcuityError, FileError, PairError
from ..io.tiff import plane_shape

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

__all__ = ["KINDS", "Described", "like_most", "size_of"]

KINDS = {True: "RGB", False: "grey"}


@dataclass(frozen=True)
class Described:
    """A pair as its JSON file and the first bytes of its images tell it.

    Parameters
    ----------
    name, group : str
    scale : float
    rgb : bool
    size : (int, int) or None
        Rows and columns of the low image; None where only reading it would tell.
    similarity : float or None
        Of its registration.
    """

    name: str
    group: str
    scale: float
    rgb: bool
    size: tuple[int, int] | None = None
    similarity: float | None = None


class _Named(Protocol):
    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=_Named)


def like_most(
    pairs: Sequence[T],
    errors: Mapping[str, AcuityError],
    kind: Callable[[T], tuple[float, bool]],
) -> tuple[list[T], dict[str, AcuityError]]:
    """Return the pairs that have the scale and the kind of most, and beside what is wrong with the others.

    Parameters
    ----------
    pairs : sequence
        With a `name` each.
    errors : mapping
        What is wrong with yet others, by name.
    kind : callable
        Returns the scale of a pair, and whether it is RGB.
    """
    if not pairs:
        return [], dict(errors)
    most = Counter(map(kind, pairs)).most_common(1)[0][0]
    unlike: dict[str, AcuityError] = {}
    for pair in pairs:
        if kind(pair) != most:
            scale, rgb = kind(pair)
            unlike[pair.name] = PairError(
                f"Pair '{pair.name}' (scale {scale:g}, {KINDS[rgb]}) is not like most of the pairs "
                f"(scale {most[0]:g}, {KINDS[most[1]]}).",
                "Keep one folder for each scale and kind of image.",
            )
    return [pair for pair in pairs if kind(pair) == most], {**errors, **unlike}


def size_of(path: Path) -> tuple[int, int] | None:
    """Return rows and columns of a TIFF file, as its header tells them; None of another file."""
    try:
        return plane_shape(path)
    except FileError:
        return None

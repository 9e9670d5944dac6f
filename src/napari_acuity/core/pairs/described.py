"""What is known of a pair without reading its images, and which pairs go together."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from ..errors import AcuityError, FileError, PairError
from ..io.tiff import plane_shape
from ..micrograph import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

__all__ = ["Described", "like_most", "size_of"]


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
    channels : int
        How many channels its images have; 0: 3 for RGB, else 1.
    """

    name: str
    group: str
    scale: float
    rgb: bool
    size: tuple[int, int] | None = None
    similarity: float | None = None
    channels: int = 0

    def __post_init__(self) -> None:
        if not self.channels:
            object.__setattr__(self, "channels", 3 if self.rgb else 1)

    @property
    def kind(self) -> str:
        """Its kind of image, see `kind_of`."""
        return kind_of(self.channels, rgb=self.rgb)


class _Named(Protocol):
    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=_Named)


def like_most(
    pairs: Sequence[T],
    errors: Mapping[str, AcuityError],
    kind: Callable[[T], tuple[float, str]],
) -> tuple[list[T], dict[str, AcuityError]]:
    """Return the pairs that have the scale and the kind of most, and beside what is wrong with the others.

    Parameters
    ----------
    pairs : sequence
        With a `name` each.
    errors : mapping
        What is wrong with yet others, by name.
    kind : callable
        Returns the scale of a pair, and its kind of image.
    """
    if not pairs:
        return [], dict(errors)
    most = Counter(map(kind, pairs)).most_common(1)[0][0]
    unlike: dict[str, AcuityError] = {}
    for pair in pairs:
        if kind(pair) != most:
            scale, image = kind(pair)
            unlike[pair.name] = PairError(
                f"Pair '{pair.name}' (scale {scale:g}, {image}) is not like most of the pairs "
                f"(scale {most[0]:g}, {most[1]}).",
                "Keep one folder for each scale and kind of image.",
            )
    return [pair for pair in pairs if kind(pair) == most], {**errors, **unlike}


def size_of(path: Path) -> tuple[int, int] | None:
    """Return rows and columns of a TIFF file, as its header tells them; None of another file."""
    try:
        return plane_shape(path)
    except FileError:
        return None

"""One field seen by two instruments."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ImageError, PairError
from ..micrograph import Micrograph, as_micrograph, check_content, kind_of
from ..scales import ratio
from .similarity_map import over_cells

if TYPE_CHECKING:
    from fractions import Fraction

    from numpy.typing import NDArray

__all__ = ["Pair", "exact_scale", "part_of"]


@dataclass(frozen=True, eq=False)
class Pair:
    """One field seen by two instruments.

    Parameters
    ----------
    low, high : Micrograph, array or napari layer
        The modest and the better image, registered: (h, w[, 3]) and
        (ceil(scale * h), ceil(scale * w)[, 3]). Both RGB or both grey, or with as many `channels` both,
        (C, h, w) and (C, ceil(scale * h), ceil(scale * w)); their dtypes and value ranges may differ, as
        those of a phone and a 16-bit camera do.
    scale : float
        How many high pixels span one low pixel.
    name : str
        Its name in tables and its file name on disk; that of `low` if empty.
    group : str
        The slide or patient it comes from: fields of one group are never split between training and
        validation. Its own name if empty.
    similarity : float, optional
        How well the registration's blocks correlate, -1 to 1.
    similarity_map : (ny, nx) float64 array, optional
        The same over the field: Pearson correlation at the centres of ny x nx equal cells that cover it.
    registration : dict, optional
        What the registration found, to be kept with the pair: plain numbers, strings, lists and tables.
    channels : int
        How many channels images (C, h, w) have: it must be told, as a stack of planes looks like them.
        0: RGB or grey, which tell it themselves; the pair then has 3 or 1.

    Raises
    ------
    PairError
        When sizes, channels or similarity map do not fit.
    ImageError
        When an image is empty, constant or NaN.
    """

    low: Micrograph
    high: Micrograph
    scale: float
    name: str = ""
    group: str = ""
    similarity: float | None = None
    similarity_map: NDArray[np.float64] | None = None
    registration: dict[str, Any] | None = None
    channels: int = 0

    def __post_init__(self) -> None:
        low, high = as_micrograph(self.low), as_micrograph(self.high)
        name = self.name or low.name or high.name or "pair"
        for field, value in (
            ("low", check_content(as_micrograph(low, name=f"{name}, low"))),
            ("high", check_content(as_micrograph(high, name=f"{name}, high"))),
            ("name", name),
            ("group", self.group or name),
        ):
            object.__setattr__(self, field, value)
        if self.similarity_map is not None:
            blocks = np.asarray(self.similarity_map, dtype=np.float64)
            object.__setattr__(self, "similarity_map", blocks)
        self._check()
        self._check_evidence()

    @property
    def kind(self) -> str:
        """Its kind of image, see `kind_of`."""
        return kind_of(self.channels, rgb=self.low.rgb)

    def channel_pairs(self) -> list[tuple[str, Micrograph, Micrograph]]:
        """Return name, low and high of each channel (C, h, w), named in turn; RGB and grey as they are."""
        if self.low.rgb or self.low.pixels.ndim == 2:
            return [(self.name, self.low, self.high)]
        # Black and white are those of all channels, which one alone may not tell.
        limits = self.low.range(), self.high.range()
        return [
            (
                f"{self.name}, channel {number}",
                self.low.with_pixels(low, value_range=limits[0]),
                self.high.with_pixels(high, value_range=limits[1]),
            )
            for number, (low, high) in enumerate(
                zip(self.low.pixels, self.high.pixels, strict=True), start=1
            )
        ]

    def crop(self, rows: tuple[int, int], cols: tuple[int, int]) -> Pair:
        """Cut out a part of both images and of the similarity map.

        Parameters
        ----------
        rows, cols : (int, int)
            As for `parts`.

        Raises
        ------
        PairError
            As `parts` does.
        ImageError
            When there is nothing to see in the part.
        """
        low, high = self.parts(rows, cols)
        return replace(self, low=low, high=high, similarity_map=self.similarity_over(rows, cols))

    def parts(self, rows: tuple[int, int], cols: tuple[int, int]) -> tuple[Micrograph, Micrograph]:
        """Cut out a part of both images, which keep the black and white of the whole.

        Parameters
        ----------
        rows, cols : (int, int)
            First row or column and the one after the last, in low px; multiples of the scale's
            denominator but at the far border, so that both grids are cut in one place.

        Raises
        ------
        PairError
            When they are not, or lie outside the image.
        """
        p, q = ratio(self.scale).as_integer_ratio()
        low, high = [], []
        for (start, end), length in zip((rows, cols), self.low.shape, strict=True):
            if not 0 <= start < end <= length or start % q or (end % q and end != length):
                raise PairError(
                    f"Pair '{self.name}', {length} pixels long, cannot be cut from {start} to {end}.",
                    f"Cut inside it, at multiples of {q} pixels.",
                )
            low.append(slice(start, end))
            high.append(slice(start * p // q, math.ceil(end * p / q)))
        return part_of(self.low, *low), part_of(self.high, *high)

    def middle(self, most_px: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return the rows and columns of the middle, at most so many low px long, as `parts` takes them."""
        q = ratio(self.scale).denominator
        sides = [min(length, most_px) // q * q for length in self.low.shape]
        starts = [(n - side) // 2 // q * q for n, side in zip(self.low.shape, sides, strict=True)]
        rows, cols = ((start, start + side) for start, side in zip(starts, sides, strict=True))
        return rows, cols

    def similarity_over(
        self, rows: tuple[int, int], cols: tuple[int, int]
    ) -> NDArray[np.float64] | None:
        """Return the similarity map of a part, which may reach beyond the field; None where there is none.

        Parameters
        ----------
        rows, cols : (int, int)
            First row or column and the one after the last, in low px.
        """
        blocks = self.similarity_map
        if blocks is None:
            return None
        down, across = (
            (np.arange(count) + 0.5) * length / count
            for count, length in zip(blocks.shape, self.low.shape, strict=True)
        )
        return over_cells(blocks, down, across, rows, cols)

    def _check(self) -> None:
        low, high = self.low, self.high
        if low.rgb != high.rgb:
            colour, other = ("low", "high") if low.rgb else ("high", "low")
            raise PairError(
                f"In pair '{self.name}' the {colour} image has colour and the {other} one has none.",
                "Convert both to RGB or both to grey.",
            )
        self._check_channels()
        exact = exact_scale(self.scale, of=f"pair '{self.name}'")
        object.__setattr__(self, "scale", float(exact))
        wanted = tuple(math.ceil(exact * n) for n in low.shape)
        if high.shape != wanted:
            raise PairError(
                f"In pair '{self.name}' the low image is {low.shape[0]} x {low.shape[1]} pixels and the high "
                f"one {high.shape[0]} x {high.shape[1]}; at scale {self.scale:g} it should be "
                f"{wanted[0]} x {wanted[1]}.",
                "Give the scale that belongs to the images, or register them and let the pair be made then: "
                "Make pair... in Register pair, acuity pairs, or Registration.pair.",
            )

    def _check_channels(self) -> None:
        """See that both images have the channels that were told; set those that the images tell."""
        stated, found = self.channels, [_channels_of(image) for image in (self.low, self.high)]
        if 0 in found and not stated:
            shape = (self.low, self.high)[found.index(0)].pixels.shape
            raise PairError(
                f"In pair '{self.name}' an image is a stack of shape {shape}.",
                "Make one pair of every plane; or say that they are channels: acuity pairs --channels, "
                "Pair(..., channels=...), or the axes CYX in the file.",
            )
        if 0 not in found and stated in (0, 1, 3):
            object.__setattr__(self, "channels", found[0])
            return
        for part, image in (("low", self.low), ("high", self.high)):
            if image.rgb or image.pixels.ndim != 3 or len(image.pixels) != stated:
                raise PairError(
                    f"In pair '{self.name}' the {part} image has the shape {image.pixels.shape}: these are "
                    f"not {stated} channels.",
                    "Both images need the same number of channels, before rows and columns.",
                )

    def _check_evidence(self) -> None:
        blocks, facts = self.similarity_map, self.registration
        if blocks is not None and (
            blocks.ndim != 2 or blocks.size == 0 or not np.isfinite(blocks).all()
        ):
            raise PairError(
                f"The similarity map of pair '{self.name}' is no table of numbers: its shape is "
                f"{blocks.shape}.",
                "Give rows and columns of correlations from -1 to 1, or None.",
            )
        if facts is not None and not isinstance(facts, dict):
            raise PairError(
                f"What pair '{self.name}' says of its registration is no table.",
                "Give a dict, or None.",
            )


def part_of(image: Micrograph, rows: slice, cols: slice) -> Micrograph:
    """Return a part of an image, whatever axes lie before rows and columns.

    It keeps the black and white of the whole where they are known: a dark part may look like fewer bits.
    """
    part: Any = (..., rows, cols, slice(None)) if image.rgb else (..., rows, cols)
    value_range = image.value_range
    with suppress(ImageError):
        value_range = image.range()
    return image.with_pixels(image.pixels[part], value_range=value_range)


def _channels_of(image: Micrograph) -> int:
    """Return how many channels an image tells of itself; 0 of a stack."""
    return image.channels if image.pixels.ndim == 2 + image.rgb else 0


def exact_scale(scale: float, *, of: str = "the pair") -> Fraction:
    """Return the scale of a pair as the ratio of small numbers that it must be.

    Raises
    ------
    PairError
        When it is none, or no number at all.
    """
    try:
        value = float(scale)
    except (TypeError, ValueError):
        value = math.nan
    exact = ratio(value) if 0 < value < math.inf else None
    if not exact or abs(float(exact) - value) > 1e-6:
        raise PairError(
            f"The scale of {of} is {scale}.",
            "Use a ratio of small numbers, such as 1, 1.5, 2, 2.5 or 4.",
        )
    return exact

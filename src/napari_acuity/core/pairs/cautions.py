"""What a user should know of pairs before a network learns from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..micrograph import to_unit
from ..scales import ratio

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from ..micrograph import Micrograph
    from .pair import Pair

__all__ = ["cautions"]

# More pixels at the last value than a few hot ones.
_SATURATED = 1e-3
_ANTICORRELATED = -0.2
# Instruments state their pixels as they are said to be; a scale that is not theirs is further off.
_OFF = 0.1
# Means over so many pixels: neither blur nor a shift by a pixel counts in them.
_COARSE_PX = 8


def cautions(pairs: Sequence[Pair]) -> list[str]:
    """Return what may spoil training, a sentence each: pixel sizes that do not go with the scale.

    Of grey pairs also saturation and opposite intensities; of several channels each is looked at.
    """
    found = list[str]()
    for pair in pairs:
        found += _of_sizes(pair)
        for channel in pair.channel_pairs() if not pair.low.rgb else ():
            found += _of(pair.scale, *channel)
    return found


def _of_sizes(pair: Pair) -> Iterator[str]:
    low, high = pair.low.pixel_size, pair.high.pixel_size
    if low and high and not np.allclose(low, pair.scale * np.array(high), rtol=_OFF):
        sizes = " and ".join(f"{y:g} x {x:g} um" for y, x in (low, high))
        yield (
            f"the pixels of '{pair.name}' are said to be of {sizes}, but at scale {pair.scale:g} those of "
            f"the low image are {pair.scale:g} times as large: one of the two is wrong in its file"
        )


def _of(scale: float, name: str, low: Micrograph, high: Micrograph) -> Iterator[str]:
    share = _saturated(high)
    if share > _SATURATED:
        yield (
            f"{share:.1%} of the target of '{name}' is saturated: what is brighter there cannot be "
            "learnt. Take it again with less light or a shorter exposure"
        )
    if (likeness := _likeness(low, high, scale)) < _ANTICORRELATED:
        yield (
            f"the images of '{name}' are opposite, correlated by {likeness:.2f}: one is inverted, or "
            "they show different fields"
        )


def _saturated(image: Micrograph) -> float:
    """Return the share of pixels at the top of an image's range."""
    return float(np.mean(np.asarray(image.pixels) >= image.range()[1]))


def _likeness(low: Micrograph, high: Micrograph, scale: float) -> float:
    """Return Pearson's correlation of the two images, seen coarsely."""
    p, q = ratio(scale).as_integer_ratio()
    first, second = _coarse(to_unit(low), _COARSE_PX * q), _coarse(to_unit(high), _COARSE_PX * p)
    rows, cols = (min(lengths) for lengths in zip(first.shape, second.shape, strict=True))
    first, second = first[:rows, :cols], second[:rows, :cols]
    if first.size < 2 or not (np.ptp(first) and np.ptp(second)):
        return 0.0
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


def _coarse(values: NDArray[np.float32], side: int) -> NDArray[np.float64]:
    rows, cols = (n // side for n in values.shape)
    blocks = values[: rows * side, : cols * side].reshape(rows, side, cols, side)
    return np.asarray(blocks.mean((1, 3), dtype=np.float64))

"""Black and white of an instrument, over all its training images: never of one, still less of a tile."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..errors import PairError
from ..micrograph import Micrograph, to_unit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .pair import Pair

    Levels = tuple[tuple[float, float], tuple[float, float]]

__all__ = ["levelled", "percentile_levels"]

_BLACK, _WHITE = 0.1, 99.9
# Of all images together; percentiles of ten million pixels are as good as those of a billion.
_MOST_PX = 10_000_000


def percentile_levels(pairs: Sequence[Pair]) -> Levels:
    """Return the 0.1 and 99.9 percentiles of all low and of all high images, in units of their ranges.

    Raises
    ------
    PairError
        When all but a few pixels of an instrument's images have one value.
    ImageError
        When the values of black and white of an image are not known.
    """
    low, high = (
        _percentiles([pair.low for pair in pairs]),
        _percentiles([pair.high for pair in pairs]),
    )
    return low, high


def levelled(pair: Pair, levels: Levels | None) -> Pair:
    """Return a pair whose images have the levels as black and white; the pair itself for None."""
    if levels is None:
        return pair
    low, high = (
        image.with_pixels(to_unit(image), value_range=wanted)
        for image, wanted in zip((pair.low, pair.high), levels, strict=True)
    )
    return replace(pair, low=low, high=high)


def _percentiles(images: Sequence[Micrograph]) -> tuple[float, float]:
    step = max(1, sum(image.pixels.size for image in images) // _MOST_PX)
    values = np.concatenate([to_unit(image).ravel()[::step] for image in images])
    black, white = (float(value) for value in np.percentile(values, [_BLACK, _WHITE]))
    if not white > black:
        raise PairError(
            f"{_BLACK} and {_WHITE} percentile of the {len(images)} images like '{images[0].name}' are both "
            f"{black:g} of their range: there is hardly anything to see.",
            'Leave out empty fields, or use a recipe with levels = "range".',
        )
    return black, white

"""Fields with room around them, so that patches may lie half outside."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..scales import ratio

if TYPE_CHECKING:
    from ..micrograph import Micrograph
    from .pair import Pair

__all__ = ["extended"]


def extended(pair: Pair, margin_px: int) -> Pair:
    """Return a pair with its outermost pixels repeated around it.

    Patches from anywhere in it are the field moved about at random, as the neural lens makes 2500 training
    images of 50 (Grant-Jacob et al. 2019, doi:10.1088/2399-6528/ab267d).

    Parameters
    ----------
    pair : Pair
    margin_px : int
        How far, px of the low image; rounded up to the grid that both images share. 0: the pair itself.
    """
    if not margin_px:
        return pair
    p, q = ratio(pair.scale).as_integer_ratio()
    margin = -(-margin_px // q) * q
    rows, cols = ((-margin, length + margin) for length in pair.low.shape)
    return replace(
        pair,
        low=_extended(pair.low, margin),
        high=_extended(pair.high, margin * p // q),
        similarity_map=pair.similarity_over(rows, cols),
    )


def _extended(image: Micrograph, margin: int) -> Micrograph:
    leading = image.pixels.ndim - 2 - image.rgb
    sides = [(0, 0)] * leading + [(margin, margin)] * 2 + [(0, 0)] * image.rgb
    return image.with_pixels(np.pad(image.pixels, sides, mode="edge"))

"""Maps of large images, strip by strip: on all cores, and with no copy of the whole in double precision."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from .matching import unit_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ..micrograph import Micrograph

    Array = NDArray[np.float64]

__all__ = ["over_strips"]

# Strips that fit the processor's cache are computed fastest.
_STRIP_PX = 2**17


def over_strips(
    function: Callable[[Array, Array], Array],
    first: Micrograph,
    second: Micrograph,
    *,
    margin_px: int = 0,
) -> Array:
    """Apply a function of two images strip by strip.

    Parameters
    ----------
    function : callable
        Takes two strips on unit range, (h, X) or (h, X, 3), and returns (h - 2 margin_px, ...).
    first, second : Micrograph
        (Y, X) or (Y, X, 3), of one shape, their ranges known.
    margin_px : int
        Rows that the function needs above and below each row of its result.

    Returns
    -------
    (Y - 2 margin_px, ...) float64
    """
    rows, columns = first.shape
    height = max(1, _STRIP_PX // columns)
    starts = range(0, rows - 2 * margin_px, height)

    def strip(start: int) -> Array:
        part = slice(start, start + height + 2 * margin_px)
        low, high = (unit_of(each.pixels[part], each.range()) for each in (first, second))
        return function(low, high)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.concatenate(list(pool.map(strip, starts)))

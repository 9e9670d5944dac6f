"""Large images strip by strip: on all cores, and with no copy of the whole in double precision."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from .matching import unit_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ..micrograph import Micrograph

    Array = NDArray[np.float64]

__all__ = ["in_strips", "over_strips"]

T = TypeVar("T")

# Strips that fit the processor's cache are computed fastest.
_STRIP_PX = 2**17


def in_strips(
    function: Callable[[slice], T], shape: tuple[int, ...], *, margin_px: int = 0
) -> list[T]:
    """Call a function for the rows of each strip of an image, in threads.

    Parameters
    ----------
    function : callable
        Takes the rows to read, `margin_px` above and below those that it answers for.
    shape : (int, int, ...)
        Rows and columns of the image.
    margin_px : int
        Rows that the function needs beside each row of its result.

    Returns
    -------
    list
        What it returned, from the top down.
    """
    height = max(1, _STRIP_PX // shape[1])
    starts = range(0, shape[0] - 2 * margin_px, height)
    parts = [slice(start, start + height + 2 * margin_px) for start in starts]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(function, parts))


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

    def strip(part: slice) -> Array:
        low, high = (unit_of(each.pixels[part], each.range()) for each in (first, second))
        return function(low, high)

    return np.concatenate(in_strips(strip, first.shape, margin_px=margin_px))

"""One field from placed tiles: resampled to their fraction of a pixel, and blended across the seams."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from ...geometry import as_type, within_range
from ...micrograph import wide_enough

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["BAND_ROWS", "bands", "field_shape", "fused", "in_band", "shifted"]

BAND_ROWS = 1024
"""Rows that are fused at once: as many as a chunk of an OME-Zarr has, so that each is written once."""


def field_shape(positions: NDArray[np.float64], shape: tuple[int, int]) -> tuple[int, int]:
    """Return rows and columns of the field that tiles cover.

    Parameters
    ----------
    positions : (n, 2) float64
        (row, col) of each tile's first pixel; none is negative.
    shape : (int, int)
        Rows and columns of a tile.
    """
    rows, cols = (round(last) + n for last, n in zip(positions.max(0), shape, strict=True))
    return rows, cols


def bands(rows: int) -> Iterator[tuple[int, int]]:
    """Yield first row and end of each band of a field."""
    for start in range(0, rows, BAND_ROWS):
        yield start, min(start + BAND_ROWS, rows)


def in_band(
    positions: NDArray[np.float64], shape: tuple[int, int], band: tuple[int, int]
) -> NDArray[np.int64]:
    """Return the tiles that reach into a band."""
    top = positions[:, 0]
    return np.flatnonzero((top < band[1] + 1) & (top + shape[0] > band[0] - 1))


def fused(
    tiles: dict[int, NDArray[Any]],
    positions: NDArray[np.float64],
    band: tuple[int, int],
    cols: int,
    dtype: np.dtype[Any],
) -> NDArray[Any]:
    """Blend the tiles that reach into a band of the field.

    Parameters
    ----------
    tiles : dict of (h, w) or (h, w, 3) arrays
        By number.
    positions : (n, 2) float64
        (row, col) of each tile's first pixel in the field.
    band : (int, int)
        First row and end.
    cols : int
        Columns of the field.
    dtype : dtype
        Of the result; integers are rounded and clipped; floats from 0 to 1, and 12-bit values, stay so.

    Returns
    -------
    (band rows, cols) or (band rows, cols, 3) array
        A tile's weight grows linearly from its border to its centre; 0 where no tile lies.
    """
    depth = next(iter(tiles.values())).shape[2:] if tiles else ()
    total = np.zeros((band[1] - band[0], cols, *depth), wide_enough(dtype))
    weight = np.zeros((band[1] - band[0], cols), total.dtype)
    for number, tile in tiles.items():
        rows_in = _covered(positions[number, 0], tile.shape[0], band)
        cols_in = _covered(positions[number, 1], tile.shape[1], (0, cols))
        if rows_in.size == 0 or cols_in.size == 0:
            continue
        y, x = rows_in - positions[number, 0], cols_in - positions[number, 1]
        share = np.outer(_ramp(y, tile.shape[0]), _ramp(x, tile.shape[1]))
        moved = within_range(shifted(tile, float(y[0]), float(x[0]), share.shape), tile)
        here = np.s_[rows_in[0] - band[0] : rows_in[-1] - band[0] + 1, cols_in[0] : cols_in[-1] + 1]
        weight[here] += share
        total[here] += moved * share.reshape(*share.shape, *(1 for _ in depth))
    weight = np.maximum(weight, np.finfo(np.float32).tiny)
    return as_type(total / weight.reshape(*weight.shape, *(1 for _ in depth)), dtype)


def shifted(image: NDArray[Any], y: float, x: float, shape: tuple[int, ...]) -> NDArray[Any]:
    """Resample an image on a grid of another shape that begins at (y, x) of it, by bicubic interpolation."""
    values: NDArray[Any] = image.astype(wide_enough(image.dtype))
    # OpenCV's weights are float32 whatever they weigh: small steps far from zero would drown in their sum.
    level = values.min() if values.dtype == np.float64 else np.float32(0)
    moved: NDArray[Any] = cv2.warpAffine(
        values - level,
        np.array([[1.0, 0.0, x], [0.0, 1.0, y]]),
        (shape[1], shape[0]),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return moved + level


def _covered(start: float, length: int, span: tuple[int, int]) -> NDArray[np.int64]:
    """Return the whole positions in a span that lie on a tile, its pixels half a pixel wide each way."""
    first = max(span[0], math.ceil(start - 0.5))
    return np.arange(first, min(span[1], math.floor(start + length - 0.5) + 1))


def _ramp(place: NDArray[np.float64], length: int) -> NDArray[np.float32]:
    return np.minimum(place + 1, length - place).astype(np.float32)

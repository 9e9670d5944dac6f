"""What a shift map does to the plane around each of its pixels, and its inverse at points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from ..geometry import as_points

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["jacobian", "unshift"]

_TOLERANCE_PX = 1e-4
_MOST_ITERATIONS = 50


def jacobian(shift_map: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how much the map p -> p + shift(p) enlarges the area round each pixel.

    Parameters
    ----------
    shift_map : (2, H, W)
        (dy, dx) in px.

    Returns
    -------
    (H, W) float32
        The Jacobian determinant by central differences: 1 where nothing is stretched, 0 or less where
        the map folds.
    """
    return _determinant(_slopes(shift_map)).astype(np.float32)


def unshift(points_rc: NDArray[Any], shift_map: NDArray[np.float32]) -> NDArray[np.float64]:
    """Find the points p that p + shift(p) brings to the given ones, by Newton's method.

    Parameters
    ----------
    points_rc : (n, 2)
        (row, col) in px; NaN is passed on.
    shift_map : (2, H, W)
        (dy, dx) in px, interpolated bilinearly; outside, the shift of the nearest border pixel holds.

    Returns
    -------
    (n, 2) float64
        NaN where the iteration does not end or ends where the map is inside out: it folds there.
    """
    target = as_points(points_rc)
    found, slopes = target.copy(), _slopes(shift_map)
    ended = np.zeros(len(target), dtype=bool)
    left = np.flatnonzero(np.isfinite(target).all(axis=1))
    for _ in range(_MOST_ITERATIONS):
        miss = found[left] + _at(found[left], shift_map) - target[left]
        slope = np.moveaxis(_at(found[left], slopes), 0, -1)
        area = _determinant(slope)
        close = np.linalg.norm(miss, axis=1) < _TOLERANCE_PX
        ended[left[close]] = area[close] > 0
        left, miss, slope, area = left[~close], miss[~close], slope[..., ~close], area[~close]
        if not left.size:
            break
        found[left] -= _newton_step(miss.T, slope, area)
    found[~ended] = np.nan
    return found


def _newton_step(
    miss: NDArray[np.float64], slope: NDArray[np.float64], area: NDArray[np.float64]
) -> NDArray[np.float64]:
    (yy, yx), (xy, xx) = slope
    dy, dx = miss
    step = np.stack([(1 + xx) * dy - yx * dx, (1 + yy) * dx - xy * dy])
    # Where the map all but folds Newton's step is wild; the plain fixed-point step is not.
    steep = area < 0.1
    return np.where(steep, miss, step / np.where(steep, 1, area)).T


def _slopes(shift_map: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the change of (dy, dx) along (rows, columns): (2, 2, H, W)."""
    return np.stack(
        [
            np.gradient(shift_map, axis=axis)
            if shift_map.shape[axis] > 1
            else np.zeros_like(shift_map)
            for axis in (1, 2)
        ],
        axis=1,
    )


def _determinant(slopes: NDArray[Any]) -> NDArray[Any]:
    (yy, yx), (xy, xx) = slopes
    return (1 + yy) * (1 + xx) - yx * xy


def _at(points: NDArray[np.float64], planes: NDArray[np.float32]) -> NDArray[np.float64]:
    """Interpolate (..., H, W) planes bilinearly at (n, 2) points -> (n, ...)."""
    flat = planes.reshape(-1, *planes.shape[-2:])
    values = [ndimage.map_coordinates(p, points.T, np.float64, 1, "nearest") for p in flat]
    return np.stack(values, axis=-1).reshape(len(points), *planes.shape[:-2])

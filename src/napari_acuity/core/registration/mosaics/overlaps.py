"""The shifts between neighbouring tiles, measured where they overlap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from scipy import fft
from skimage.registration import phase_cross_correlation

from .fusion import shifted
from .links import Link

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Overlap", "detail", "measured", "overlaps"]

# Noise is averaged over sigma 1. What is wider than sigma 3 is left out: shading differs between the two
# edges of a field, and wide kernels see beyond the overlap, differently in the two tiles.
_NOISE_PX, _SHADING_PX = 1.0, 3.0
_LEAST_CORRELATION = 0.2
_LEAST_SIGNIFICANCE = 7.0
_LEAST_OVERLAP_PX = 8
# Passes of the sub-pixel search, and the step that ends it: the fineness of its grid.
_PASSES, _STEP_PX = 5, 0.03
# Overlaps wider than this are first searched at a lower resolution.
_SEARCH_SIDE_PX = 768


@dataclass(frozen=True, eq=False)
class Overlap:
    """Two tiles that overlap nominally.

    Parameters
    ----------
    first, second : int
        The two tiles, counted from 0.
    nominal : (2,) int64
        (row, col) from the first pixel of `first` to that of `second`, px.
    search : int
        How far the true shift may lie from it along each axis, px.
    shape : (int, int)
        Rows and columns of a tile.
    """

    first: int
    second: int
    nominal: NDArray[np.int64]
    search: int
    shape: tuple[int, int]

    def part(self, tile: int) -> tuple[slice, slice]:
        """Return rows and columns of one of the two that can overlap the other."""
        away = self.nominal if tile == self.first else -self.nominal
        rows, cols = (
            slice(max(0, int(d) - self.search), min(n, int(d) + n + self.search))
            for d, n in zip(away, self.shape, strict=True)
        )
        return rows, cols


def overlaps(
    nominal: NDArray[np.float64], shape: tuple[int, int], search: int
) -> tuple[Overlap, ...]:
    """Return the pairs of tiles that share at least half an edge, at their nominal places.

    Parameters
    ----------
    nominal : (n, 2) float64
        (row, col) of each tile's first pixel.
    shape : (int, int)
        Rows and columns of a tile.
    search : int
        How far a pair's shift may lie from the nominal one along each axis, px.
    """
    found = []
    for first in range(len(nominal)):
        away = nominal[first + 1 :] - nominal[first]
        common = np.array(shape) - np.abs(away)
        near = (common.min(1) >= _LEAST_OVERLAP_PX) & (common >= np.array(shape) / 2).any(1)
        for second in first + 1 + np.flatnonzero(near):
            shift = np.rint(nominal[second] - nominal[first]).astype(np.int64)
            found.append(Overlap(first, int(second), shift, search, shape))
    return tuple(found)


def detail(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what a grey image shows between the widths of noise and shading."""
    fine, coarse = (
        cv2.GaussianBlur(grey, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
        for sigma in (_NOISE_PX, _SHADING_PX)
    )
    return np.asarray(fine - coarse, dtype=np.float32)


def measured(overlap: Overlap, first: NDArray[np.float32], second: NDArray[np.float32]) -> Link:
    """Measure the shift of two overlapping tiles.

    The whole pixel is the most significant normalised correlation over all shifts searched, each over
    the part that overlaps at it (Padfield 2012, doi:10.1109/TIP.2011.2181402); the fraction is that of
    the Hann-windowed correlation there (Guizar-Sicairos 2008, doi:10.1364/OL.33.000156).

    Parameters
    ----------
    overlap : Overlap
    first, second : (h, w) float32
        The `detail` of each tile in its `part`.

    Returns
    -------
    Link
        Not `used` where the correlation is no more than chance.
    """
    rows, cols = overlap.part(overlap.first)
    here = np.array([rows.start, cols.start])
    rows, cols = overlap.part(overlap.second)
    # Where the second part begins, seen from the beginning of the first.
    start = overlap.nominal - here + np.array([rows.start, cols.start])
    factor = 1 + max(min(first.shape), min(second.shape)) // _SEARCH_SIDE_PX
    lag, significance = _coarse_lag(first, second, start, overlap.search, factor)
    found, correlation = lag.astype(np.float64), 0.0
    if significance > 0:
        found, correlation = _fine_lag(first, second, lag)
    shift = overlap.nominal + found - start
    # Where the fine search leaves the coarse peak, there was none.
    stayed = bool((np.abs(found - lag) <= 1 + factor).all())
    good = significance >= _LEAST_SIGNIFICANCE and correlation >= _LEAST_CORRELATION and stayed
    return Link(
        *(overlap.first, overlap.second),
        *((float(shift[0]), float(shift[1])), correlation),
        used=good,
    )


def _coarse_lag(
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    start: NDArray[np.int64],
    search: int,
    factor: int,
) -> tuple[NDArray[np.int64], float]:
    """Return the most significant lag of `second` in `first`, at most `search` from `start`, px."""
    a, b = (_shrunk(part, factor) for part in (first, second))
    reach, near = -(-search // factor), np.rint(start / factor).astype(np.int64)
    rows, cols = (
        np.arange(max(c - reach, 1 - m), min(c + reach, n - 1) + 1)
        for c, n, m in zip(near, a.shape, b.shape, strict=True)
    )
    if not (len(rows) and len(cols)):
        return start, 0.0
    pearson, count = _normalised_correlation(a, b, rows, cols)
    # Of blurred pixels only about one in 4 pi sigma^2 is independent (Fisher's z has unit spread).
    independent = count * factor**2 / (4 * np.pi * max(_NOISE_PX, factor / 2) ** 2)
    high, broad = (
        np.minimum(n, lag + m) - np.maximum(0, lag) >= _LEAST_OVERLAP_PX / factor
        for lag, n, m in zip((rows, cols), a.shape, b.shape, strict=True)
    )
    allowed = high[:, None] & broad
    score = np.where(allowed, np.arctanh(pearson) * np.sqrt(independent), -np.inf)
    y, x = np.unravel_index(int(score.argmax()), score.shape)
    return np.array([rows[y], cols[x]]) * factor, float(score[y, x])


def _normalised_correlation(
    a: NDArray[np.float32], b: NDArray[np.float32], rows: NDArray[np.int64], cols: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return Pearson's r of the part that overlaps at each lag of b in a, and its number of pixels."""
    size = [fft.next_fast_len(n + m - 1, real=True) for n, m in zip(a.shape, b.shape, strict=True)]
    left = [fft.rfft2(v, size) for v in (np.ones_like(a), a, a * a)]
    right = [fft.rfft2(v, size).conj() for v in (np.ones_like(b), b, b * b)]

    def summed(i: int, j: int) -> NDArray[np.float64]:
        whole = fft.irfft2(left[i] * right[j], size)
        return np.asarray(whole[np.ix_(rows % size[0], cols % size[1])], dtype=np.float64)

    count = np.maximum(np.rint(summed(0, 0)), 1)
    sum_a, sum_b = summed(1, 0), summed(0, 1)
    spread_a = summed(2, 0) - sum_a**2 / count
    spread_b = summed(0, 2) - sum_b**2 / count
    # An empty part correlates with nothing; without the floor, rounding would decide.
    floor = 1e-4 * count * max(float(a.var()), float(b.var()), 1e-12)
    spread = np.sqrt(np.maximum(spread_a, floor) * np.maximum(spread_b, floor))
    pearson = (summed(1, 1) - sum_a * sum_b / count) / spread
    return np.clip(pearson, -0.99, 0.99), count


def _shrunk(image: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Average blocks of `factor` x `factor` px; what is left over at the end is dropped."""
    rows, cols = (n // factor * factor for n in image.shape)
    blocks = image[:rows, :cols].reshape(rows // factor, factor, cols // factor, factor)
    return np.asarray(blocks.mean((1, 3)), dtype=np.float32)


def _fine_lag(
    first: NDArray[np.float32], second: NDArray[np.float32], lag: NDArray[np.int64]
) -> tuple[NDArray[np.float64], float]:
    """Return the lag to a fraction of a pixel, and the correlation at it.

    The second image is moved by what was found and compared again: in a narrow overlap the window alone
    would pull the peak to zero.
    """
    found = lag.astype(np.float64)
    for _ in range(_PASSES):
        whole = np.rint(found).astype(np.int64)
        y, x = whole - found
        a, b = _common(first, shifted(second, float(y), float(x), second.shape), whole)
        if min(a.shape) < _LEAST_OVERLAP_PX:
            return found, 0.0
        window = np.outer(*(np.hanning(n + 2)[1:-1] for n in a.shape)).astype(np.float32)
        a, b = (((v - np.average(v, weights=window)) * window).astype(np.float32) for v in (a, b))
        correlation = float((a * b).sum() / max(np.sqrt((a * a).sum() * (b * b).sum()), 1e-12))
        if correlation <= 0:
            break
        step, _, _ = phase_cross_correlation(  # type: ignore[no-untyped-call]
            a, b, normalization=None, upsample_factor=50
        )
        if np.abs(step).max() < _STEP_PX:
            break
        found = found + step
    return found, correlation


def _common(
    first: NDArray[np.float32], second: NDArray[np.float32], lag: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cut two images to what they share when `second` begins at `lag` in `first`."""
    start = np.maximum(0, lag)
    stop = np.maximum(start, np.minimum(first.shape, lag + np.array(second.shape)))
    a, b = (
        tuple(slice(int(s), int(e)) for s, e in zip(start - o, stop - o, strict=True))
        for o in (0, lag)
    )
    return first[a], second[b]

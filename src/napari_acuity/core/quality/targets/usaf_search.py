"""Three-bar patterns of a USAF-1951 target, found in an image at any turn and size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["Patterns", "find_patterns"]

THRESHOLDS = 7
"""Grey levels at which bars are looked for: uneven light and blur move the level that parts them."""
NARROWEST_PX = 1.5
SMALLEST_LEVEL_PX = 48
"""The image is halved no further than this: there is no room for a target."""


@dataclass(frozen=True, eq=False)
class Patterns:
    """Three-bar patterns found in an image.

    Parameters
    ----------
    centre : ndarray, (n,) complex
        Centre of the middle bar, col + 1j * row, px.
    width : ndarray, (n,)
        Width of a bar, px: a quarter of the distance between the outer bars' centres, which blur and
        threshold leave as it is.
    angle : ndarray, (n,)
        Which way the modulation runs, radians from the columns' axis towards the rows' axis, modulo pi.
    """

    centre: NDArray[np.complex128]
    width: NDArray[np.float64]
    angle: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.width)

    def __getitem__(self, which: NDArray) -> Patterns:
        return Patterns(self.centre[which], self.width[which], self.angle[which])


def find_patterns(pixels: NDArray[np.float32], polarity: str) -> Patterns:
    """Find groups of three parallel bars with bar : space : length = 1 : 1 : 5.

    Bars are connected components at several grey levels, in the image and in smaller copies of it
    (where noise averages out), that have the moments of a rectangle. Two of equal size and
    direction at the ends of a step of four bar widths, with a third in the middle, are a pattern.

    Parameters
    ----------
    pixels : ndarray, (Y, X)
        Grey values.
    polarity : "dark" or "bright"
        Whether the bars are darker or brighter than the ground.

    Returns
    -------
    Patterns
        Each pattern once.
    """
    signed = pixels if polarity == "bright" else -pixels
    found = [
        _triplets(_bars(mask)) * [size, size, 1] + [(size - 1) / 2 * (1 + 1j), 0, 0]
        for size, level in _levels(signed)
        for mask in _masks(level)
    ]
    return _merged(np.concatenate(found))


def _levels(pixels: NDArray[np.float32]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield the image, slightly smoothed, and copies of half the size each, with their pixel's side."""
    size, level = 1, np.asarray(cv2.GaussianBlur(pixels, (0, 0), 0.7), dtype=np.float32)
    while True:
        yield size, level
        if min(level.shape) < 2 * SMALLEST_LEVEL_PX:
            return
        # Averaging four pixels puts centres where find_patterns expects them; pyrDown would not.
        size, level = 2 * size, _halved(level)


def _halved(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    rows, cols = (n // 2 for n in pixels.shape)
    return pixels[: 2 * rows, : 2 * cols].reshape(rows, 2, cols, 2).mean((1, 3))


def _masks(level: NDArray[np.float32]) -> Iterator[NDArray[np.uint8]]:
    low, high = np.percentile(level, (0.5, 99.5))
    for step in np.arange(1, THRESHOLDS + 1) / (THRESHOLDS + 1):
        yield (level > low + step * (high - low)).astype(np.uint8)


def _bars(mask: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return centre x, y, length, width and direction of components that could be bars: (n, 5)."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    left, top, wide, high, area = stats.T
    inside = (left > 0) & (top > 0)
    inside &= (left + wide < mask.shape[1]) & (top + high < mask.shape[0])
    # A bar fills at least a fifth of its bounding box, at 45 degrees.
    plausible = inside & (area >= 5 * NARROWEST_PX**2) & (area > 0.2 * wide * high)
    plausible[0] = False
    where = np.flatnonzero(plausible[labels])
    if not len(where):
        return np.empty((0, 5))
    label = np.cumsum(plausible)[labels.reshape(-1)[where]] - 1
    y, x = np.divmod(where, mask.shape[1]) + np.zeros((2, 1))
    n = np.bincount(label)
    cx, cy = np.bincount(label, x) / n, np.bincount(label, y) / n
    dx, dy = x - cx[label], y - cy[label]
    # A pixel is an area, not a point: it adds 1/12 to the moments.
    xx = np.bincount(label, dx * dx) / n + 1 / 12
    yy = np.bincount(label, dy * dy) / n + 1 / 12
    xy = np.bincount(label, dx * dy) / n
    mean, spread = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    length = np.sqrt(12 * (mean + spread))
    width = np.sqrt(12 * np.maximum(mean - spread, 1e-9))
    aspect, fill = length / width, n / (length * width)
    bars = (aspect > 2.2) & (aspect < 12) & (fill > 0.8) & (fill < 1.15)
    direction = np.arctan2(2 * xy, xx - yy) / 2
    return np.column_stack([cx, cy, length, width, direction])[bars]


def _triplets(bars: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Return complex centre, bar width and angle of modulation for every three that fit: (n, 3)."""
    if len(bars) < 3:
        return np.empty((0, 3), dtype=np.complex128)
    centre, length, direction = bars[:, 0] + 1j * bars[:, 1], bars[:, 2], bars[:, 4]
    tree = cKDTree(bars[:, :2])
    near = tree.query(bars[:, :2], k=min(9, len(bars)))[1]
    found = []
    for middle, others in enumerate(near):
        others = others[others != middle]
        # Steps to the others, along and across the middle bar.
        steps = (centre[others] - centre[middle]) * np.exp(-1j * direction[middle])
        alike = np.abs(np.log(length[others] / length[middle])) < 0.25
        alike &= np.abs(np.sin(direction[others] - direction[middle])) < 0.12
        alike &= np.abs(steps.real) < 0.1 * np.abs(steps.imag)
        before, after = (others[alike & (np.sign(steps.imag) == s)] for s in (-1, 1))
        if not (len(before) and len(after)):
            continue
        # `others` are in order of distance.
        first, last = centre[before[0]], centre[after[0]]
        width = abs(last - first) / 4
        even = abs((first + last) / 2 - centre[middle]) < 0.25 * width
        if even and 3.8 < np.mean(length[[before[0], middle, after[0]]]) / width < 6.2:
            found.append([(first + last + centre[middle]) / 3, width, np.angle(last - first)])
    return np.array(found, dtype=np.complex128).reshape(-1, 3)


def _merged(rows: NDArray[np.complex128]) -> Patterns:
    """Make one of what is the same pattern seen at several grey levels and sizes."""
    centre, width, angle = rows[:, 0], rows[:, 1].real, rows[:, 2].real
    left = np.ones(len(rows), dtype=bool)
    kept = []
    for at in range(len(rows)):
        if not left[at]:
            continue
        same = left & (np.abs(centre - centre[at]) < 0.5 * width[at])
        same &= np.abs(np.log(width / width[at])) < 0.08
        same &= np.abs(np.sin(angle - angle[at])) < 0.2
        left &= ~same
        turn = np.angle(np.mean(np.exp(2j * angle[same]))) / 2
        middle = np.median(centre[same].real) + 1j * np.median(centre[same].imag)
        kept.append((middle, np.median(width[same]), turn))
    table = np.array(kept, dtype=np.complex128).reshape(-1, 3)
    return Patterns(table[:, 0], table[:, 1].real, table[:, 2].real)

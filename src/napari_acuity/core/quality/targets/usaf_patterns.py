"""One three-bar pattern of a USAF-1951 target, measured where it is expected."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from scipy.ndimage import map_coordinates

from .bars import cross_section, modulation

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MeasuredPattern", "measure_pattern"]

GRID = 6
"""Samples a bar width while a pattern's place is refined."""
SEARCH = 1.0
"""How far from its expected place a pattern is sought, in bar widths; the next one is 7 away."""
PRESENT = 0.15
"""How much a pattern must stand out from its ground on average, as a part of the image's range of
grey values: bars that are there cover 3/5 of it, however blurred."""


class MeasuredPattern(NamedTuple):
    """Contrast, NaN where there is no whole pattern, and corners (4, 2) (row, col) px."""

    contrast: float
    outline: NDArray[np.float64]


def measure_pattern(
    pixels: NDArray[np.float64],
    centre: complex,
    angle: float,
    width: float,
    polarity: str,
    span: float,
) -> MeasuredPattern:
    """Refine a pattern's place and measure its contrast.

    Parameters
    ----------
    pixels : ndarray, (Y, X)
        Grey values, 0 for black.
    centre, angle, width : complex, float, float
        As for `cross_section`.
    polarity : "dark" or "bright"
        Whether the bars are darker or brighter than the ground.
    span : float
        The image's range of grey values.

    Returns
    -------
    MeasuredPattern
    """
    expected = _outline(centre, angle, width)
    if not _inside(expected, pixels.shape):
        return MeasuredPattern(np.nan, expected)
    around = _sampled(pixels, centre, angle, width) * (1 if polarity == "bright" else -1)
    centre += _offset(around) * width * np.exp(1j * angle)
    outline = _outline(centre, angle, width)
    if not _inside(outline, pixels.shape) or _prominence(around) < PRESENT * span:
        return MeasuredPattern(np.nan, outline)
    section = cross_section(pixels, centre, angle, width)
    return MeasuredPattern(modulation(section, polarity), outline)


def _outline(centre: complex, angle: float, width: float) -> NDArray[np.float64]:
    corners = np.array([-1 - 1j, 1 - 1j, 1 + 1j, -1 + 1j])
    at = centre + corners * 2.5 * width * np.exp(1j * angle)
    return np.column_stack([at.imag, at.real])


def _inside(outline: NDArray[np.float64], shape: tuple[int, ...]) -> bool:
    return bool((outline >= -0.5).all() and (outline <= np.array(shape) - 0.5).all())


def _sampled(
    pixels: NDArray[np.float64], centre: complex, angle: float, width: float
) -> NDArray[np.float32]:
    """Sample a pattern and its surroundings, the modulation along the second axis."""
    n = round(GRID * (3.5 + SEARCH))
    steps = np.arange(-n, n + 1) / GRID
    at = centre + (steps + 1j * steps[:, None]) * width * np.exp(1j * angle)
    values = map_coordinates(pixels, (at.imag, at.real), order=1, mode="nearest")
    return values.astype(np.float32)


def _offset(around: NDArray[np.float32]) -> complex:
    """Return where bright bars correlate best, in bar widths from the middle."""
    n = round(GRID * 3.5)
    steps = np.abs(np.arange(-n, n + 1) / GRID)
    bars = np.clip((0.5 - np.abs(steps[:, None] - [0, 2])) * GRID + 0.5, 0, 1).sum(1)
    template = np.outer(np.clip((2.5 - steps) * GRID + 0.5, 0, 1), bars).astype(np.float32)
    score = cv2.matchTemplate(around, template, cv2.TM_CCOEFF_NORMED)
    row, col = np.unravel_index(int(score.argmax()), score.shape)
    middle = (len(score) - 1) / 2
    return complex(col - middle, row - middle) / GRID


def _prominence(around: NDArray[np.float32]) -> float:
    """Return how much brighter the pattern is than its surroundings."""
    steps = np.abs(np.arange(len(around)) - (len(around) - 1) / 2) / GRID
    out = np.maximum(steps, steps[:, None])
    return float(around[out < 2.5].mean() - np.median(around[(out > 3) & (out < 3.8)]))

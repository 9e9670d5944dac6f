"""Magnifications as fractions of small numbers."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

__all__ = ["LARGEST_SCALE", "MOST_PARTS", "finer_by", "is_scale", "ratio", "scale_between"]

LARGEST_SCALE = 100
"""The largest magnification of a network."""

MOST_PARTS = 16
"""The largest denominator of a magnification: into so many parts a pixel may be divided."""


def ratio(scale: float) -> Fraction:
    """Return a magnification as the fraction p/q of small numbers that it stands for (2.5 -> 5/2)."""
    return Fraction(scale).limit_denominator(MOST_PARTS)


def is_scale(scale: float) -> bool:
    """Return whether a network can magnify so: by 1 to `LARGEST_SCALE`, a ratio of small numbers."""
    return 1 <= scale <= LARGEST_SCALE and abs(float(ratio(scale)) - scale) < 1e-6


def finer_by(scale: float, *, iterations: int = 1, grid: str = "finer", **_others: Any) -> float:
    """Return how many pixels of a result span one of its image; the options are those of `enhance`."""
    return float(scale) ** (1 if grid == "same" else iterations)


def scale_between(low: tuple[int, int], high: tuple[int, int]) -> Fraction | None:
    """Return the simplest magnification at which an image of one size becomes one of another.

    Parameters
    ----------
    low, high : (int, int)
        Rows and columns; high = ceil(scale * low) along both.

    Returns
    -------
    Fraction or None
        Of the smallest denominator; None where there is none.
    """
    # ceil(s * n) = m holds for (m - 1) / n < s <= m / n.
    sides = list(zip(low, high, strict=True))
    above = max(Fraction(m - 1, n) for n, m in sides)
    most = min(Fraction(m, n) for n, m in sides)
    for q in range(1, MOST_PARTS + 1):
        p = math.floor(most * q)
        if p > above * q:
            return Fraction(p, q)
    return None

"""The arrangement of a USAF-1951 target, fitted to three-bar patterns found in an image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...errors import ImageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .usaf_search import Patterns

__all__ = ["Layout", "count_widths", "fit_layout"]

FEWEST = 4
"""Patterns that must agree on a layout."""
VOTE_TOLERANCE, FIT_TOLERANCE = 2.5, 0.5
"""How far a pattern may lie from its place, in its own bar widths: while seeking, once fitted."""


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the elements of a target are in an image.

    Elements are counted by `index` = 6 group + element - 1. Directions are 0 for upright bars and 1
    for lying bars of the upright target. Places are col + 1j * row, px.

    Parameters
    ----------
    centre : complex
        What the target's layers shrink towards.
    places : ndarray, (12, 2) complex
        Places of groups 0 and 1 relative to the centre; every two groups on, they are a quarter.
    bar_px : float
        Width of the bars of element 1 of group 0, px.
    angle : float
        Turn of the target, radians from the columns' axis towards the rows' axis.
    """

    centre: complex
    places: NDArray[np.complex128]
    bar_px: float
    angle: float

    def width(self, index: int) -> float:
        """Return the width of an element's bars, px."""
        return float(self.bar_px * 2.0 ** (-index / 6))

    def place(self, index: int, direction: int) -> complex:
        """Return the centre of a pattern."""
        return complex(self.centre + 0.25 ** (index // 12) * self.places[index % 12, direction])

    def scaled(self, factor: float) -> Layout:
        """Return the layout on a grid of the same field with `factor` times as many pixels a side."""
        half = 0.5 + 0.5j
        return replace(
            self,
            centre=(self.centre + half) * factor - half,
            places=self.places * factor,
            bar_px=self.bar_px * factor,
        )


class _Arrangement(NamedTuple):
    """A maker's arrangement of two groups, in bar widths of the first element."""

    outer: float  # left edge of elements 2 to 6 of the even group, left of the centre
    inner: float  # right edge of the odd group and of element 1, right of the centre
    top: float  # of both columns
    first_top: float  # of element 1
    lying_outside: bool  # whether the lying bars are the outer ones on the right, too


ARRANGEMENTS = (
    _Arrangement(14, 14, -12, 7, False),  # as core.simulate.usaf_elements draws it
    _Arrangement(17.8, 8.1, -12.55, 6.4, True),  # as common on chrome-on-glass targets
)


def count_widths(width: NDArray[np.float64]) -> tuple[NDArray[np.int64], float]:
    """Count bar widths in steps of 2 ** (1/6), downwards.

    Returns
    -------
    steps : ndarray of int
        The width nearest to each is `bar_px` * 2 ** (-steps / 6).
    bar_px : float
        What the widths have in common.
    """
    exact = -6 * np.log2(width)
    weights = width / (width + 3)
    offset = np.angle(np.sum(weights * np.exp(2j * np.pi * exact))) / (2 * np.pi)
    return np.rint(exact - offset).astype(np.int64), float(2 ** (-offset / 6))


def fit_layout(patterns: Patterns, index: NDArray[np.int64], bar_px: float) -> Layout:
    """Fit a layout to patterns whose numbers are known.

    Every pattern says where the target's centre would be, for each arrangement known, its mirror
    image and the four quarter turns; most votes win. Then the arrangement is adjusted: each column of
    each direction may be moved and stretched, as makers leave different gaps, but stays as it is
    where no pattern tells.

    Raises
    ------
    ImageError
        When fewer than four patterns, or less than half of them, agree on one layout.
    """
    turn = np.angle(np.mean(np.exp(4j * patterns.angle))) / 4 if len(patterns) else 0.0
    best, layout = -1.0, Layout(0j, np.zeros((12, 2), dtype=np.complex128), bar_px, turn)
    for arrangement in ARRANGEMENTS:
        for mirrored in (False, True):
            table = _table(arrangement, mirrored)
            for quarter in range(4):
                angle = turn + quarter * np.pi / 2
                places = table * bar_px * np.exp(1j * angle)
                votes = patterns.centre - _expected(places, patterns, index, angle)
                score, centre = _most_voted(votes, patterns.width)
                if score > best:
                    best, layout = score, Layout(centre, places, bar_px, angle)
    start = layout
    for tolerance in (VOTE_TOLERANCE, FIT_TOLERANCE, FIT_TOLERANCE):
        agree = _distance(layout, patterns, index) < tolerance
        if agree.sum() < max(FEWEST, len(patterns) / 2):
            raise ImageError(
                f"{len(patterns)} three-bar patterns were found, but only {agree.sum()} of them lie "
                "as on a USAF-1951 target.",
                "Check the pixel size or the element named; measure single elements with bar_contrast.",
            )
        layout = _adjusted(start, patterns[agree], index[agree])
    # Wide bars are measured best.
    widths = np.log2(patterns.width[agree]) + index[agree] / 6
    return replace(
        layout, bar_px=float(2 ** np.average(widths, weights=patterns.width[agree] ** 2))
    )


def _table(arrangement: _Arrangement, mirrored: bool) -> NDArray[np.complex128]:
    """Return the places of groups 0 and 1, upright, in widths of the first bar: (12, 2)."""
    outer, inner, top, first_top, lying_outside = arrangement
    width = 2.0 ** (-np.arange(12) / 6)
    right = np.array([True] + 5 * [False] + 6 * [True])
    edge = np.where(right, inner, -outer)
    near, far = edge + np.where(right, -2.5, 2.5) * width, edge + np.where(right, -9.5, 9.5) * width
    lying_near = ~right | lying_outside
    x = np.column_stack([np.where(lying_near, far, near), np.where(lying_near, near, far)])
    y = np.empty(12)
    y[0] = first_top + 2.5
    for column in (slice(1, 6), slice(6, 12)):
        steps = 7 * width[column]
        y[column] = top + np.cumsum(steps) - steps + 2.5 * width[column]
    return np.where(mirrored, -x, x) + 1j * y[:, None]


def _directions(patterns: Patterns, angle: float) -> NDArray[np.int64]:
    return (np.abs(np.sin(patterns.angle - angle)) > np.sqrt(0.5)).astype(np.int64)


def _expected(
    places: NDArray[np.complex128], patterns: Patterns, index: NDArray[np.int64], angle: float
) -> NDArray[np.complex128]:
    """Return where patterns lie, relative to the centre."""
    return 0.25 ** (index // 12) * places[index % 12, _directions(patterns, angle)]


def _distance(layout: Layout, patterns: Patterns, index: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return how far patterns lie from their places, in bar widths."""
    expected = layout.centre + _expected(layout.places, patterns, index, layout.angle)
    return np.abs(patterns.centre - expected) / patterns.width


def _most_voted(votes: NDArray[np.complex128], width: NDArray[np.float64]) -> tuple[float, complex]:
    """Return how well the best of the votes for a centre suits all, and that vote."""
    if not len(votes):
        return 0.0, 0j
    distance = np.abs(votes[:, None] - votes) / (VOTE_TOLERANCE * width[:, None])
    scores = np.maximum(1 - distance, 0).sum(0)
    best = int(scores.argmax())
    return float(scores[best]), complex(votes[best])


def _adjusted(layout: Layout, patterns: Patterns, index: NDArray[np.int64]) -> Layout:
    """Adjust centre, scale, turn and each column's place and stretch, by ridge regression.

    A column's places are linear in its bars' widths, for any gaps that shrink with them.
    """
    terms = _terms(layout.places)
    slot, direction = index % 12, _directions(patterns, layout.angle)
    shrink = 0.25 ** (index // 12)[:, None]
    design = np.column_stack([np.ones(len(index)), shrink * terms[slot, direction]])
    expected = layout.centre + shrink[:, 0] * layout.places[slot, direction]
    # A place is measured to a fraction of a pixel, and made to a fraction of a bar.
    weight = 1 / (0.3 + 0.03 * patterns.width)
    # Of the centre, of scale and turn, of columns: how much they may change without a cost.
    loose = 2 * layout.bar_px
    prior = 1 / np.array([1e9, 0.02] + [loose] * (terms.shape[-1] - 1))
    left = np.vstack([design * weight[:, None], np.diag(prior)])
    right = np.concatenate([(patterns.centre - expected) * weight, np.zeros(len(prior))])
    change = np.linalg.lstsq(left, right, rcond=None)[0]
    return replace(
        layout,
        centre=complex(layout.centre + change[0]),
        places=layout.places + terms @ change[1:],
        angle=float(layout.angle + change[1].imag),
    )


def _terms(places: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Return what may change the places: (12, 2, 11), scale and turn, then each column."""
    width = 2.0 ** (-np.arange(12) / 6)
    terms = np.zeros((12, 2, 11), dtype=np.complex128)
    terms[..., 0] = places
    for direction in (0, 1):
        terms[0, direction, 1 + direction] = 1
        for k, column in enumerate((slice(1, 6), slice(6, 12))):
            term = 3 + 4 * direction + 2 * k
            terms[column, direction, term] = 1
            terms[column, direction, term + 1] = width[column]
    return terms

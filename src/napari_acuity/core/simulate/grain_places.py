"""Where grains lie in a field: at random, side by side and partly on each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import AcuityError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .grain_shapes import Solid

    Array = NDArray[np.float64]

__all__ = ["resting", "scattered"]

TRIES, RESTARTS = 200, 20
MARGIN_PX = 2.0

PRESSED = 0.3
"""How far a grain rises over another, as a share of what hard spheres in contact would."""


def scattered(
    shape: tuple[int, int],
    solids: Sequence[Solid],
    areas: Array,
    overlap: float,
    rng: np.random.Generator,
) -> Array:
    """Draw centres of grains in a field, so that others hide no more than a given share of any.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns.
    solids : sequence of Solid
    areas : ndarray, (n,)
        Of their outlines, px^2.
    overlap : float
        The share.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray, (n, 2)
        (row, col), px; all outlines lie within the field.

    Raises
    ------
    AcuityError
        When so many do not fit.
    """
    radii = np.array([solid.radius for solid in solids])
    room = np.subtract(shape, 1) - 2 * (radii[:, None] + MARGIN_PX)
    if (room < 0).any():
        raise AcuityError(
            f"A grain of {2 * radii.max():.0f} px does not fit into {shape[0]} x {shape[1]} pixels.",
            "Enlarge the field, or lower diameter_px.",
        )
    most: list[Array] = []
    for _ in range(RESTARTS):
        centres = _thrown(radii, room, areas, overlap, rng)
        if len(centres) == len(solids):
            return np.array(centres)
        most = max(most, centres, key=len)
    raise AcuityError(
        f"Only {len(most)} of {len(solids)} grains fit into {shape[0]} x {shape[1]} pixels.",
        "Ask for fewer or smaller ones, enlarge the field, or allow more overlap.",
    )


def resting(centres: Array, radii: Array) -> Array:
    """Return the heights of the centres of grains that lie on the ground and on the earlier of them, px.

    Parameters
    ----------
    centres : ndarray, (n, 2)
    radii : ndarray, (n,)
        They rest as spheres of these would; under the cover glass they press into each other, so that
        they rise less.
    """
    heights = radii.copy()
    for n in range(1, len(centres)):
        apart = np.hypot(*(centres[:n] - centres[n]).T)
        rise = np.sqrt(np.maximum((radii[:n] + radii[n]) ** 2 - apart**2, 0))
        heights[n] = max(heights[n], *np.where(rise > 0, heights[:n] + PRESSED * rise, 0))
    return heights


def _thrown(
    radii: Array, room: Array, areas: Array, overlap: float, rng: np.random.Generator
) -> list[Array]:
    """Draw centres one after the other, until one finds no place."""
    centres: list[Array] = []
    hidden = np.zeros(len(radii))
    while (n := len(centres)) < len(radii):
        for _ in range(TRIES):
            draw = radii[n] + MARGIN_PX + room[n] * rng.random(2)
            apart = np.hypot(*(np.reshape(centres, (n, 2)) - draw).T)
            # The circles around two outlines have at least as much in common as the outlines.
            common = _common_area(apart, radii[:n], radii[n])
            now = hidden[: n + 1] + np.append(common, common.sum()) / areas[: n + 1]
            if (now <= overlap).all():
                break
        else:
            return centres
        hidden[: n + 1] = now
        centres.append(draw)
    return centres


def _common_area(distance: Array, first: Array, second: float) -> Array:
    """Return the area that circles of two radii have in common."""
    small, large = np.minimum(first, second), np.maximum(first, second)
    # Clipped to where the circles cross; inside each other they have the smaller one in common.
    d = np.clip(distance, np.maximum(large - small, 1e-9), large + small)
    area = sum(
        r**2 * np.arccos(np.clip(x / r, -1, 1)) - x * np.sqrt(np.maximum(r**2 - x**2, 0))
        for r, x in (
            (small, (d**2 + small**2 - large**2) / (2 * d)),
            (large, (d**2 + large**2 - small**2) / (2 * d)),
        )
    )
    return np.where(distance < small + large, area, 0)

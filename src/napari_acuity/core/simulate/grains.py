"""Fields of two kinds of pollen-like grains, seen by transmitted light and shaded, with their truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import AcuityError
from ..micrograph import Micrograph
from .grain_light import transmission
from .grain_places import resting, scattered
from .grain_shapes import smooth_grain, spiny_grain
from .grain_views import FINE, objects_on_top, shaded, view

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .grain_shapes import Solid
    from .grain_views import View

    Array = NDArray[np.float64]

__all__ = ["KINDS", "Grain", "GrainScene", "grain_scene"]

KINDS = {"spiny": "#ff0000", "smooth": "#00ff00"}
"""The kinds of grains, each with the colour of its label; labels count from 1 in this order."""

SHAPES = {"spiny": spiny_grain, "smooth": smooth_grain}
FOCUS_SCATTER_UM = 1.0

YELLOW, BROWN = np.array([0.020, 0.035, 0.085]), np.array([0.035, 0.060, 0.080])
"""Absorption coefficients for red, green and blue, 1/um, between which grains of both kinds vary."""

STRENGTH, NEUTRAL = (0.6, 1.1), 0.015
"""How strongly, in the values above; and how much they absorb of all colours alike at most, 1/um."""

PALENESS_UM, ALBEDO = 3.0, 0.92
"""Depth of the layer whose colour the surface shows; the largest albedo."""


@dataclass(frozen=True, eq=False)
class Grain:
    """A grain and where it lies.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    centre : (float, float)
        (row, col) of the centre of its body, px.
    diameter_px : float
        Of the circle that has the area of its outline.
    """

    kind: str
    centre: tuple[float, float]
    diameter_px: float


@dataclass(frozen=True, eq=False)
class GrainScene:
    """One field of simulated grains seen twice, and what is true of it.

    Parameters
    ----------
    low : Micrograph
        (H, W, 3) uint8: in transmitted light, NA 0.4, on a bright ground.
    high : Micrograph
        (H, W, 3) uint8, on the same grid: the surfaces, lit from the upper left, with their shadows.
    labels : ndarray, (H, W), uint8
        The kind on top at each pixel's centre: 0 background, then in the order of `KINDS`.
    objects : ndarray, (H, W), uint16
        The grain on top at each pixel's centre: 0 background, then in the order of `grains`.
    grains : tuple of Grain
    """

    low: Micrograph
    high: Micrograph
    labels: NDArray[np.uint8]
    objects: NDArray[np.uint16]
    grains: tuple[Grain, ...]


def grain_scene(
    shape: tuple[int, int] = (256, 256),
    *,
    spiny: int = 3,
    smooth: int = 3,
    diameter_px: tuple[float, float] = (48.0, 64.0),
    overlap: float = 0.4,
    pixel_size: float = 0.3,
    seed: int = 0,
) -> GrainScene:
    """Simulate a field of grains in transmitted light, 20x NA 0.4, and shaded at high magnification.

    Grains lie on the ground at random places, turned at random; where two overlap, the later one rests on
    the earlier. All are whole within the field. Their colours tell nothing of their kind, as both draw
    from the same range. The relief seen from above is exact; it has no underside, so that overhangs cast
    the shadow of a solid column.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns.
    spiny, smooth : int
        How many of each kind; one of them may be 0.
    diameter_px : (float, float)
        Smallest and largest diameter of a grain, px. A spiny grain's outline may differ by 2 percent.
    overlap : float
        Largest share of a grain that others may hide, 0 to less than 1; 0 for grains apart.
    pixel_size : float
        Side of a pixel of both images in um. A grain of 56 px of 0.3 um has 17 um, several times the
        depth of field.
    seed : int
        The same seed gives the same scene.

    Returns
    -------
    GrainScene

    Raises
    ------
    AcuityError
        When so many grains do not fit, or for a value that is not possible.
    """
    _check(shape, (spiny, smooth), diameter_px, overlap, pixel_size)
    kinds = ["spiny"] * spiny + ["smooth"] * smooth
    form, place, look, noise, ground = (np.random.default_rng([seed, k]) for k in range(5))
    kinds = [str(kind) for kind in form.permutation(kinds)]
    solids = [SHAPES[kind](form.uniform(*diameter_px), form) for kind in kinds]
    areas = np.array([_outline_area(solid) for solid in solids])
    centres = scattered(shape, solids, areas, overlap, place)
    diameters = 2 * np.sqrt(areas / np.pi)
    heights = resting(centres, diameters / 2)
    views = [
        _viewed(solid.moved((*centre, height)), pixel_size, look)
        for solid, centre, height in zip(solids, centres, heights, strict=True)
    ]
    relief, on_top = objects_on_top(shape, views)
    objects = on_top[::FINE, ::FINE].copy()
    focus = float(np.median(heights)) + look.normal(scale=FOCUS_SCATTER_UM) / pixel_size
    low = transmission(shape, views, pixel_size=pixel_size, focus=focus, rng=noise)
    high = shaded(relief, on_top, views, ground)
    size = (pixel_size, pixel_size)
    numbers = np.array([0, *(1 + list(KINDS).index(kind) for kind in kinds)], dtype=np.uint8)
    return GrainScene(
        low=Micrograph(low, pixel_size=size, rgb=True, name="transmission"),
        high=Micrograph(high, pixel_size=size, rgb=True, name="shaded"),
        labels=numbers[objects],
        objects=objects,
        grains=tuple(
            Grain(kind, (float(row), float(col)), float(diameter))
            for kind, (row, col), diameter in zip(kinds, centres, diameters, strict=True)
        ),
    )


def _check(
    shape: tuple[int, int],
    counts: tuple[int, int],
    diameter_px: tuple[float, float],
    overlap: float,
    pixel_size: float,
) -> None:
    if len(shape) != 2 or not all(isinstance(n, int | np.integer) and n > 0 for n in shape):
        raise AcuityError(
            f"A field cannot have the shape {shape}.", "Give rows and columns: (256, 256), say."
        )
    if not all(isinstance(n, int | np.integer) and n >= 0 for n in counts):
        raise AcuityError(
            f"There cannot be {counts[0]} spiny and {counts[1]} smooth grains.",
            "Give whole numbers of 0 or more.",
        )
    if sum(counts) == 0:
        raise AcuityError("The field holds no grain.", "Ask for one or more, spiny or smooth.")
    if np.shape(diameter_px) != (2,) or not 8 <= diameter_px[0] <= diameter_px[1] < np.inf:
        raise AcuityError(
            f"Grains cannot have diameters of {diameter_px} px.",
            "Give the smallest first, at least 8 px: diameter_px=(48, 64), say.",
        )
    if not 0 <= overlap < 1:
        raise AcuityError(
            f"Grains cannot hide a share of {overlap} of another.", "Give 0 to less than 1."
        )
    if not (np.isfinite(pixel_size) and pixel_size > 0):
        raise AcuityError(
            f"A pixel cannot have a side of {pixel_size} um.", "Give a length above 0: 0.3, say."
        )


def _outline_area(solid: Solid) -> float:
    """Return the area of a solid's outline, px^2."""
    nothing = np.zeros(3)
    return float(np.count_nonzero(view(solid, nothing, nothing).surface.seen)) / FINE**2


def _viewed(solid: Solid, pixel_size: float, rng: np.random.Generator) -> View:
    """Sample a grain, in a colour of its own."""
    absorption = YELLOW + rng.random() * (BROWN - YELLOW)
    absorption = rng.uniform(*STRENGTH) * absorption + rng.uniform(0, NEUTRAL)
    pale = np.exp(-PALENESS_UM * absorption)
    return view(solid, absorption * pixel_size, ALBEDO * pale / pale.max())

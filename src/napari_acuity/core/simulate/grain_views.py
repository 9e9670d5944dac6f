"""Grains sampled from above, which of them lies on top, and how their surfaces look in light and shadow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from .grain_shapes import surface

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .grain_shapes import Solid, Surface

    Array = NDArray[np.float64]

__all__ = ["FINE", "View", "binned", "cast_shadows", "objects_on_top", "shaded", "view"]

FINE = 2
"""Surfaces are sampled in the pixels' centres and halfway between, along rows and columns."""

LIGHT_ELEVATION_DEG = 50.0
AMBIENT, DIFFUSE = 0.34, 0.72
GROUND, STRUCTURE, STRUCTURE_PX = 0.6, 0.012, 3.0
"""Albedo of the ground, standard deviation and size of its structure."""

HOLLOW, DARKENING = 0.08, 0.7
"""Scale of hollows in mean diameters of the grains; how fast ambient light fades per such depth."""


@dataclass(frozen=True, eq=False)
class View:
    """A grain in a field, sampled from above.

    Parameters
    ----------
    first : (int, int)
        (row, col) of the pixel in the upper left corner of its window.
    surface : Surface
        `FINE` samples a pixel along either axis; heights in pixels.
    height, radius : float
        Of its centre above the ground, and of its body, px.
    absorption : ndarray, (3,)
        Coefficients for red, green and blue, 1/px.
    tint : ndarray, (3,)
        Albedo in red, green and blue.
    """

    first: tuple[int, int]
    surface: Surface
    height: float
    radius: float
    absorption: Array
    tint: Array

    @property
    def samples(self) -> tuple[slice, slice]:
        """Where its window lies among the samples of the field."""
        first, last = (
            slice(FINE * start, FINE * start + n)
            for start, n in zip(self.first, self.surface.top.shape, strict=True)
        )
        return first, last


def view(solid: Solid, absorption: Array, tint: Array) -> View:
    """Sample a solid that stands in a field, in a window of whole pixels around it."""
    row, col, height = solid.body.centre
    first = np.floor(np.subtract((row, col), solid.radius)).astype(int)
    last = np.ceil(np.add((row, col), solid.radius)).astype(int) + 1
    rows, cols = (np.arange(FINE * a, FINE * b) / FINE for a, b in zip(first, last, strict=True))
    seen = surface(solid, rows, cols)
    radius = float(solid.body.reach[2])
    return View((int(first[0]), int(first[1])), seen, float(height), radius, absorption, tint)


def objects_on_top(
    shape: tuple[int, int], views: Sequence[View]
) -> tuple[Array, NDArray[np.uint16]]:
    """Return the highest surface at each sample of a field and the grain it belongs to, 0 for the ground.

    Returns
    -------
    height : ndarray, (FINE H, FINE W)
        px above the ground.
    objects : ndarray, (FINE H, FINE W), uint16
        Grains count from 1.
    """
    height = np.zeros((FINE * shape[0], FINE * shape[1]))
    objects = np.zeros(height.shape, dtype=np.uint16)
    for number, grain in enumerate(views, start=1):
        higher = grain.surface.top > height[grain.samples]
        height[grain.samples][higher] = grain.surface.top[higher]
        objects[grain.samples][higher] = number
    return height, objects


def shaded(
    height: Array, objects: NDArray[np.uint16], views: Sequence[View], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Render the surfaces of a field, lit from the upper left, with sharp shadows.

    Surfaces scatter by Lambert's law. There is ambient light, less of it in hollows, which are found as
    what lies below the blurred relief [1]_.

    Parameters
    ----------
    height, objects : ndarray
        From `objects_on_top`.
    views : sequence of View
    rng : numpy.random.Generator
        Of the structure of the ground.

    Returns
    -------
    ndarray, (H, W, 3), uint8

    References
    ----------
    .. [1] T. Luft, C. Colditz and O. Deussen, "Image enhancement by unsharp masking the depth buffer",
       ACM Trans. Graph. 25, 1206-1213 (2006). :doi:`10.1145/1141911.1142016`
    """
    elevation = np.deg2rad(LIGHT_ELEVATION_DEG)
    flat = np.cos(elevation) / np.sqrt(2)
    towards_light = np.array([-flat, -flat, np.sin(elevation)])
    facing = np.full(height.shape, towards_light[2])
    for number, grain in enumerate(views, start=1):
        own = objects[grain.samples] == number
        facing[grain.samples][own] = (grain.surface.normals @ towards_light)[own]
    size = 2 * float(np.mean([grain.radius for grain in views]))
    hidden = cast_shadows(height, rise=np.tan(elevation) * np.sqrt(2) / FINE)
    light = AMBIENT * _openness(height, HOLLOW * size)
    light += DIFFUSE * np.where(hidden, 0, np.maximum(facing, 0))
    noise = cv2.GaussianBlur(rng.normal(size=height.shape), (0, 0), FINE * STRUCTURE_PX)
    ground = GROUND * (1 + STRUCTURE / noise.std() * noise)
    tints = np.array([[0, 0, 0], *(grain.tint for grain in views)])
    found = [
        binned(light * np.where(objects == 0, ground, tints[objects, channel]))
        for channel in range(3)
    ]
    return np.clip(np.rint(255 * np.stack(found, axis=-1)), 0, 255).astype(np.uint8)


def cast_shadows(height: Array, rise: float) -> NDArray[np.bool_]:
    """Return which points of a relief lie in the shadow of others, the light coming from the upper left.

    A relief has no underside: what overhangs casts the shadow of a solid column.

    Parameters
    ----------
    height : ndarray, (rows, cols)
    rise : float
        How far the light's direction rises from a sample to its neighbour one row up and one column left.
    """
    hidden = np.zeros(height.shape, dtype=bool)
    # The shadow's upper edge goes down along each diagonal until a higher surface starts another.
    edge = height[0].copy()
    for row in range(1, len(height)):
        edge[1:], edge[0] = edge[:-1] - rise, -np.inf
        hidden[row] = edge > height[row]
        np.maximum(edge, height[row], out=edge)
    return hidden


def binned(samples: Array) -> Array:
    """Integrate over each pixel by the trapezoid rule, (FINE H, FINE W[, 3]) to (H, W[, 3])."""
    for axis in (0, 1):
        lines = np.moveaxis(samples, axis, 0)
        middle, after = lines[::FINE], lines[1::FINE]
        before = np.concatenate([middle[:1], after[:-1]])
        samples = np.moveaxis(0.5 * middle + 0.25 * (before + after), 0, axis)
    return samples


def _openness(height: Array, scale_px: float) -> Array:
    """Return how much of the ambient light reaches each sample, 1 where nothing is higher nearby."""
    depth = cv2.GaussianBlur(height, (0, 0), FINE * scale_px) - height
    return np.exp(-DARKENING / scale_px * np.maximum(depth, 0))

"""The values of an image along a line, as one draws it to see whether two structures are told apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import map_coordinates

from ..errors import ImageError
from ..micrograph import ImageLike, Micrograph, as_micrograph
from .matching import check_plane

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Point = tuple[float, float]

__all__ = ["LineProfile", "line_profile"]


@dataclass(frozen=True, eq=False)
class LineProfile:
    """Values along a line.

    Parameters
    ----------
    distance : (n,) float64
        From the line's start: um where the pixel size is known, else px.
    values : (n,) or (n, 3) float64
        In the units of the pixels; NaN outside the image.
    unit : "um" or "px"
        Of the distance.
    """

    distance: NDArray[np.float64]
    values: NDArray[np.float64]
    unit: str


def line_profile(
    image: ImageLike, start: Point, stop: Point, *, width_px: float = 1.0
) -> LineProfile:
    """Sample an image along a straight line, about once a pixel, linearly interpolated.

    Parameters
    ----------
    image : Micrograph, array or napari Image layer
        (Y, X) or (Y, X, 3).
    start, stop : (float, float)
        (row, col), px; pixel centres are whole numbers.
    width_px : float
        Values are averaged over so many pixels across the line.

    Returns
    -------
    LineProfile

    Raises
    ------
    ImageError
        For a stack, a line of no length, one wholly outside the image, or a width below 1.
    """
    image = as_micrograph(image)
    check_plane(image)
    ends = np.array([start, stop], dtype=np.float64)
    length = float(np.linalg.norm(ends[1] - ends[0]))
    if not np.isfinite(ends).all() or length == 0 or not 1 <= width_px < np.inf:
        raise ImageError(
            "The line has no length, or its width is below 1 px.",
            "Give two different points (row, col), and a width of 1 px or more.",
        )
    along, across = (
        np.linspace(0, 1, int(np.ceil(length - 1e-6)) + 1),
        (np.arange(round(width_px)) - (round(width_px) - 1) / 2),
    )
    normal = np.array([ends[1, 1] - ends[0, 1], ends[0, 0] - ends[1, 0]]) / length
    places = ends[0] + along[:, None, None] * (ends[1] - ends[0]) + across[:, None] * normal
    if not _inside(places, image.shape).any():
        raise ImageError(
            f"The line lies outside '{image.name}', {image.shape[0]} x {image.shape[1]} px.",
            "Draw it over the image.",
        )
    part, places = _around(image, places)
    planes = np.moveaxis(part, -1, 0) if image.rgb else part[None]
    values = np.stack([_sampled(plane, places) for plane in planes], axis=-1)
    size = image.pixel_size
    step = ends[1] - ends[0]
    full = float(np.hypot(step[0] * size[0], step[1] * size[1])) if size else length
    return LineProfile(along * full, values if image.rgb else values[:, 0], "um" if size else "px")


def _around(
    image: Micrograph, places: NDArray[np.float64]
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return no more of a large image than the line needs, and the places in it."""
    low = np.clip(np.floor(places.min(axis=(0, 1))).astype(int), 0, None)
    high = np.ceil(places.max(axis=(0, 1))).astype(int) + 1
    part = image.pixels[low[0] : max(high[0], low[0] + 1), low[1] : max(high[1], low[1] + 1)]
    return np.asarray(part), places - low


def _sampled(plane: NDArray[np.generic], places: NDArray[np.float64]) -> NDArray[np.float64]:
    rows, columns = places[..., 0], places[..., 1]
    found = map_coordinates(plane.astype(np.float64), [rows, columns], order=1, mode="nearest")
    inside = _inside(places, plane.shape)
    count = inside.sum(axis=1)
    total = np.where(inside, found, 0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _inside(places: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    # A pixel reaches half its width beyond its centre.
    rows, columns = places[..., 0], places[..., 1]
    inside: NDArray[np.bool_] = (rows >= -0.5) & (rows <= shape[0] - 0.5)
    return inside & (columns >= -0.5) & (columns <= shape[1] - 0.5)

"""What of a layer is measured: the plane on show, and the part that shapes outline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Shapes

from .._layers import finest, shape_of, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable

    import napari.viewer
    from napari.layers import Image, Layer

    from ...core.micrograph import Micrograph
    from ...core.quality.reports.page import Box

__all__ = [
    "box_of",
    "cropped",
    "index_shown",
    "is_shapes",
    "plane_shown",
    "region_problem",
    "to_other",
    "world_map",
]


def is_shapes(layer: Layer) -> bool:
    """Whether a layer holds shapes."""
    return isinstance(layer, Shapes)


def index_shown(viewer: napari.viewer.Viewer, layer: Image) -> tuple[int, ...]:
    """Return which plane of a stack the viewer shows: () of a single plane."""
    shape = finest(layer).shape
    count = len(shape) - (3 if layer.rgb else 2)
    at = layer.world_to_data(viewer.dims.point[-layer.ndim :])[:count]
    return tuple(
        int(np.clip(round(float(position)), 0, length - 1))
        for position, length in zip(at, shape, strict=False)
    )


def plane_shown(
    viewer: napari.viewer.Viewer, layer: Image, value_range: tuple[float, float] | None = None
) -> Any:
    """Return the plane of a layer on show, as `snapshot` does of all of it."""
    held, index = snapshot(layer, value_range), index_shown(viewer, layer)
    if index:
        held.data, held.multiscale = finest(layer)[index], False
        held.scale, held.units = layer.scale[-2:], layer.units[-2:]
    return held


def box_of(shapes: Layer | None, layer: Image) -> Box | None:
    """Return the upright box around the selected shapes, or all of them, in px of an image.

    Without a layer of shapes, or where it is empty, it is None; a box outside the image has no rows.
    """
    if shapes is None or not len(shapes.data):
        return None
    chosen = sorted(shapes.selected_data) or range(len(shapes.data))
    corners = np.concatenate([to_other(shapes, layer, shapes.data[number]) for number in chosen])
    low, high = corners.min(axis=0), corners.max(axis=0)
    rows, columns = shape_of(layer)
    # A pixel reaches half its width around its centre.
    top, left = np.clip(np.floor(low + 0.5).astype(int), 0, (rows, columns))
    bottom, right = np.clip(np.ceil(high + 0.5).astype(int), 0, (rows, columns))
    return int(top), int(left), int(bottom), int(right)


def region_problem(shapes: Layer | None, layers: Iterable[Image]) -> str | None:
    """Return why the shapes outline no part of one of these images, with the cure, or None."""
    if shapes is None:
        return None
    if not len(shapes.data):
        return f"'{shapes.name}' holds no shapes: draw the region, or choose the whole image."
    for layer in layers:
        top, left, bottom, right = box_of(shapes, layer) or (0, 0, 0, 0)
        if top >= bottom or left >= right:
            return f"The shapes of '{shapes.name}' lie outside '{layer.name}'."
    return None


def cropped(image: Micrograph, box: Box | None) -> Micrograph:
    """Return the part of a single plane that a box holds; all of it without one."""
    if box is None:
        return image
    top, left, bottom, right = box
    return image.with_pixels(image.pixels[top:bottom, left:right])


def to_other(source: Layer, target: Layer, points: Any) -> np.ndarray:
    """Take (n, D) points of one layer to (n, 2) row and column of another, through the world."""
    points = np.atleast_2d(np.asarray(points, dtype=float))
    world = np.array([source.data_to_world(point) for point in points])
    missing = max(0, target.ndim - world.shape[1])
    world = np.hstack([np.zeros((len(world), missing)), world])[:, -target.ndim :]
    return np.array([target.world_to_data(point)[-2:] for point in world])


def world_map(fixed: Layer, moving: Layer) -> np.ndarray:
    """Return the map (x, y, 1) px of one layer -> (x, y, 1) px of another, by where both lie."""
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    origin, down, right = to_other(fixed, moving, corners)[:, ::-1]
    matrix = np.eye(3)
    matrix[:2, 0], matrix[:2, 1], matrix[:2, 2] = right - origin, down - origin, origin
    return matrix

"""A shift map as arrows: a napari Vectors layer that shows enough of it and no more."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Vectors

from .._layers import grid_of

if TYPE_CHECKING:
    from napari.layers import Layer
    from numpy.typing import NDArray

    from ...core.registration.registration import Registration

__all__ = ["COLOURS", "auto_gain", "colour_by", "sample_shifts", "shift_layer", "update_shifts"]

# More take long to draw without a GPU, and again for each change of gain.
_MOST_ARROWS = 600
_LARGEST_GAIN = 50

COLOURS = ("magnitude", "similarity", "dy", "dx")
"""The features an arrow can be coloured by."""


def sample_shifts(
    shift_map: NDArray[np.float32], *, most: int = _MOST_ARROWS
) -> tuple[NDArray[np.float32], dict[str, NDArray[Any]], float]:
    """Sample a shift map on a square grid, for arrows.

    Parameters
    ----------
    shift_map : (2, H, W) float32
        (dy, dx) in px.
    most : int
        The largest number of arrows.

    Returns
    -------
    vectors : (n, 2, 2) float32
        Start (row, col) and shift (dy, dx) of each arrow, px.
    features : dict
        "dy", "dx" and "magnitude" of each, px.
    spacing : float
        Distance of neighbouring arrows, px.
    """
    height, width = shift_map.shape[1:]
    spacing = max(1.0, math.sqrt(height * width / most))
    rows, cols = (np.arange(spacing / 2, n - 0.5, spacing).round() for n in (height, width))
    grid = np.stack(np.meshgrid(rows, cols, indexing="ij"), axis=-1).reshape(-1, 2)
    shift = shift_map[:, grid[:, 0].astype(int), grid[:, 1].astype(int)].T
    features = {"dy": shift[:, 0], "dx": shift[:, 1], "magnitude": np.linalg.norm(shift, axis=1)}
    return np.stack([grid.astype(np.float32), shift], axis=1), features, spacing


def auto_gain(registration: Registration) -> int:
    """Return the gain at which the longest arrow spans about two of the grid's meshes."""
    vectors, features, spacing = _arrows(registration)
    longest = float(features["magnitude"].max(initial=0.0)) if len(vectors) else 0.0
    return int(np.clip(2 * spacing / longest, 1, _LARGEST_GAIN)) if longest else 1


def shift_layer(
    grid: Layer,
    registration: Registration,
    *,
    name: str,
    gain: float,
    colour: str,
    metadata: dict[str, Any],
) -> Vectors:
    """Return a layer on the grid of the fixed image for `update_shifts` to fill.

    It holds one arrow of no length, in the middle: napari takes long to add a layer, and longer the more
    there is in it.
    """
    _, _, spacing = sample_shifts(registration.shift_map)
    middle = (np.array(registration.fixed_shape) - 1) / 2
    return Vectors(
        np.array([[middle, (0, 0)]], dtype=np.float32),
        name=name,
        features={colour: np.zeros(1)},
        edge_color=colour,
        edge_colormap="turbo",
        edge_contrast_limits=(0, 1),
        edge_width=spacing / 6,
        vector_style="arrow",
        length=gain,
        metadata=metadata,
        **grid_of(grid),
    )


def update_shifts(layer: Vectors, registration: Registration, colour: str) -> None:
    """Show a shift map in a layer of `shift_layer`; `colour` is the feature that it is coloured by.

    An arrow runs from a pixel of the fixed image to where the start's map finds its content.
    """
    vectors, features, _ = _arrows(registration)
    # Arrows stick out of the image: told of that, napari slices every layer again and uploads it.
    with layer.events.data.blocker(), layer.events.set_data.blocker():
        layer.data = vectors
    layer.features = features
    _show_colours(layer, colour)


def colour_by(layer: Vectors, colour: str) -> None:
    """Colour the arrows by one of their features."""
    layer.edge_color = colour
    _show_colours(layer, colour)


def _show_colours(layer: Vectors, colour: str) -> None:
    layer.edge_contrast_limits = _limits(layer.features, colour)
    layer.refresh_colors(update_color_mapping=False)
    # By itself napari draws them with the next data.
    layer.refresh(extent=False, highlight=False)


def _arrows(
    registration: Registration,
) -> tuple[NDArray[np.float32], dict[str, NDArray[Any]], float]:
    """Return arrows, and of each also the nearest block of the last level and its similarity.

    Only where the images overlap: elsewhere nothing is known of the shifts.
    """
    vectors, features, spacing = sample_shifts(registration.shift_map)
    known = registration.within_moving(registration.map_points(vectors[:, 0]))
    vectors, features = vectors[known], {name: each[known] for name, each in features.items()}
    blocks = registration.blocks
    if not blocks.similarity.size:
        similarity = np.full(len(vectors), np.nan)
        return vectors, {**features, "similarity": similarity}, spacing
    row, col = (
        np.abs(vectors[:, 0, axis, None] - centres).argmin(axis=1)
        for axis, centres in enumerate((blocks.rows, blocks.cols))
    )
    of_block = {"similarity": blocks.similarity[row, col], "block_row": row, "block_col": col}
    return vectors, {**features, **of_block}, spacing


def _limits(features: Any, colour: str) -> tuple[float, float]:
    if colour == "similarity":
        return 0.0, 1.0
    longest = max(1e-3, float(np.abs(np.asarray(features[colour])).max(initial=0.0)))
    return (0.0 if colour == "magnitude" else -longest), longest

"""A shift map as arrows: a napari Vectors layer that shows enough of it and no more."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Vectors

from ._layers import grid_of

if TYPE_CHECKING:
    from napari.layers import Layer
    from numpy.typing import NDArray

__all__ = ["auto_gain", "sample_shifts", "shift_layer", "update_shifts"]

# napari takes 0.4 s to draw 16,000 arrows without a GPU, and again for each change of gain.
_MOST_ARROWS = 900
_LARGEST_GAIN = 50


def sample_shifts(
    shift_map: NDArray[np.float32], *, most: int = _MOST_ARROWS
) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float32]], float]:
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


def auto_gain(shift_map: NDArray[np.float32]) -> int:
    """Return the gain at which the longest arrow spans about two of the grid's meshes."""
    vectors, features, spacing = sample_shifts(shift_map)
    longest = float(features["magnitude"].max(initial=0.0)) if len(vectors) else 0.0
    return int(np.clip(2 * spacing / longest, 1, _LARGEST_GAIN)) if longest else 1


def shift_layer(
    grid: Layer, shift_map: NDArray[np.float32], *, name: str, gain: float, metadata: dict[str, Any]
) -> Vectors:
    """Return the arrows of a shift map on the grid of the fixed image, coloured by their length.

    An arrow runs from a pixel of the fixed image to where the start's map finds its content.
    """
    vectors, features, spacing = sample_shifts(shift_map)
    return Vectors(
        vectors,
        name=name,
        features=features,
        edge_color="magnitude",
        edge_colormap="turbo",
        edge_contrast_limits=_limits(features),
        edge_width=spacing / 6,
        vector_style="arrow",
        length=gain,
        metadata=metadata,
        **grid_of(grid),
    )


def update_shifts(layer: Vectors, shift_map: NDArray[np.float32]) -> None:
    """Show another shift map of the same size in the same layer."""
    vectors, features, _ = sample_shifts(shift_map)
    layer.data = vectors
    layer.features = features
    layer.edge_contrast_limits = _limits(features)
    layer.refresh_colors(update_color_mapping=False)


def _limits(features: dict[str, NDArray[np.float32]]) -> tuple[float, float]:
    return 0.0, max(1e-3, float(features["magnitude"].max(initial=0.0)))

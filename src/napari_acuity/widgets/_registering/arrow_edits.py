"""Corrections of a shift map by hand: some of its arrows as lines to move, delete and add."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Shapes

from .._layers import grid_of
from .guides import Guides
from .shifts import sample_shifts

if TYPE_CHECKING:
    import napari.viewer
    from numpy.typing import NDArray

    from .compare_views import Kept

__all__ = ["ArrowEdits"]

_MOST_LINES = 150
# napari draws no line without a length, px.
_SHORTEST = 0.01


class ArrowEdits:
    """A Shapes layer of lines, each from a pixel of the fixed image along its shift.

    Parameters
    ----------
    viewer : napari.Viewer
    kept : Kept
        The registration whose arrows are edited.
    gain : float
        How many times longer than the shifts the lines are drawn.
    """

    def __init__(self, viewer: napari.viewer.Viewer, kept: Kept, gain: float) -> None:
        registration = kept.registration
        vectors, _, self._spacing = sample_shifts(registration.shift_map, most=_MOST_LINES)
        vectors = vectors[registration.within_moving(registration.map_points(vectors[:, 0]))]
        self._viewer, self.kept, self._gain = viewer, kept, gain
        drawn = vectors[:, 1] * gain
        drawn[np.linalg.norm(drawn, axis=1) < _SHORTEST] = (0, _SHORTEST)
        self._drawn = np.stack([vectors[:, 0], vectors[:, 0] + drawn], axis=1)
        self.layer = Shapes(
            list(self._drawn),
            shape_type="line",
            name=f"{kept.moving.name} | edit arrows (x{gain:g})",
            edge_color="orange",
            edge_width=self._spacing / 12,
            metadata={"acuity": kept.evidence},
            **grid_of(kept.fixed),
        )
        viewer.add_layer(self.layer)
        self.edit()

    @property
    def alive(self) -> bool:
        """Whether the layer is still in the viewer; where it is not, nothing is corrected."""
        return self.layer in self._viewer.layers

    def edit(self) -> None:
        """Let the user move the ends of the lines."""
        self._viewer.layers.selection.active = self.layer
        self.layer.mode = "direct"

    def guides(self) -> Guides:
        """Return moved and added arrows as landmarks, and deleted ones as excluded squares.

        An arrow that was dragged as a whole counts as one deleted and one added.
        """
        from ...core.geometry import apply_homography

        new, gone = self._changes()
        at, shift = new[:, 0], (new[:, 1] - new[:, 0]) / self._gain
        plane = self.kept.registration.homography
        landed = at + shift if plane is None else apply_homography(plane, at + shift)
        return Guides(at, landed, tuple(self._square(start) for start in gone))

    def _changes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the lines that were moved or added, (n, 2, 2), and the starts of those deleted."""
        ends = [np.asarray(x)[[0, -1]] for x in self.layer.data]
        now = np.asarray(ends, np.float64).reshape(-1, 2, 2)
        near = np.linalg.norm(now[:, None, 0] - self._drawn[None, :, 0], axis=-1) < 0.05
        same = np.abs(now[:, None] - self._drawn[None]).max(axis=(2, 3), initial=0) < 0.05
        return now[~same.any(axis=1)], self._drawn[~near.any(axis=0), 0]

    def _square(self, centre: NDArray[np.float64]) -> NDArray[np.float64]:
        half = self._spacing / 2
        return np.asarray(centre + half * np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]]))

"""What speaks for a registration, as layers: similarity, length of the shifts, the matches' residuals."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Points
from qtpy.QtGui import QAction  # type: ignore[attr-defined]
from qtpy.QtWidgets import QMenu, QPushButton

from .._layers import grid_of, keep_selection, result_layer
from .._panel import enable

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image, Layer
    from numpy.typing import NDArray

    from ...core.registration.registration import Registration
    from .compare_views import Kept

__all__ = ["EvidenceButton", "magnitude_layer", "matches_layer", "residuals", "similarity_layer"]

_TIPS = {
    "Similarity": "Pearson correlation of each block of the last elastic level, 0 to 1.",
    "Shift magnitude": "Length of the elastic shift where the images overlap, px of the fixed image.",
    "Matches": "Features that agree with the start, coloured by residual: how far the map takes "
    "each from its match, px of the fixed image.",
}


class EvidenceButton(QPushButton):
    """A menu that adds and removes the layers of evidence of the last registration."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__("Evidence")
        self._viewer = viewer
        self._kept: Kept | None = None
        self._added: dict[str, Layer] = {}
        menu = QMenu(self)
        menu.setToolTipsVisible(True)
        self.choices = {name: QAction(name, menu, checkable=True) for name in _TIPS}
        for name, action in self.choices.items():
            menu.addAction(action)
            action.triggered.connect(partial(self._choose, name))
        menu.aboutToShow.connect(self._update)
        self.setMenu(menu)
        self.show_of(None)

    def show_of(self, kept: Kept | None) -> None:
        """Offer the evidence of another registration; layers of the one before stay."""
        self._kept, self._added = kept, {}
        none = None if kept else "Register two images first."
        enable(self, "Show what speaks for the registration, as layers.", none)

    def _update(self) -> None:
        if self._kept is None:
            return
        for name, action in self.choices.items():
            why_not = _lacks(name, self._kept.registration)
            action.setEnabled(why_not is None)
            action.setToolTip(why_not or _TIPS[name])
            action.setChecked(self._shown(name))

    def _shown(self, name: str) -> bool:
        return name in self._added and self._added[name] in self._viewer.layers

    def _choose(self, name: str, _checked: bool = False) -> None:
        if self._kept is None:
            return
        with keep_selection(self._viewer):
            if self._shown(name):
                self._viewer.layers.remove(self._added.pop(name))
            else:
                make = {
                    "Similarity": similarity_layer,
                    "Shift magnitude": magnitude_layer,
                    "Matches": matches_layer,
                }[name]
                self._added[name] = self._viewer.add_layer(make(self._kept))


def similarity_layer(kept: Kept) -> Image:
    """Return the similarity of the last level's blocks, each pixel centred on its block."""
    blocks, shape = kept.registration.blocks, kept.registration.fixed_shape
    side = np.array(
        [_spacing(x, n) for x, n in zip((blocks.rows, blocks.cols), shape, strict=True)]
    )
    centre = np.array([blocks.rows[0], blocks.cols[0]])
    return result_layer(
        kept.moving,
        blocks.similarity.astype(np.float32),
        what="similarity",
        recipe=kept.evidence,
        grid=kept.fixed,
        finer=(1 / side[0], 1 / side[1]),
        offset_px=tuple(centre - (side - 1) / 2),
        colormap="viridis",
        contrast_limits=(0.0, 1.0),
        opacity=0.6,
    )


def magnitude_layer(kept: Kept) -> Image:
    """Return the length of the elastic shifts, px of the fixed image; NaN beside the moving image."""
    registration = kept.registration
    length = np.linalg.norm(registration.shift_map, axis=0)
    length[~registration.overlap] = np.nan
    return result_layer(
        kept.moving,
        length,
        what="shift magnitude",
        recipe=kept.evidence,
        grid=kept.fixed,
        colormap="turbo",
        contrast_limits=(0.0, max(1e-3, registration.largest_shift_px)),
        opacity=0.6,
    )


def matches_layer(kept: Kept) -> Points:
    """Return the start's inlier matches on the fixed image, coloured by their residual."""
    registration = kept.registration
    residual_px = residuals(registration)
    return Points(
        registration.fixed_points,
        name=f"{kept.moving.name} | matches",
        features={"residual_px": residual_px},
        face_color="residual_px",
        face_colormap="turbo",
        face_contrast_limits=(0.0, max(1e-3, float(residual_px.max()))),
        size=max(2.0, max(registration.fixed_shape) / 100),
        border_width=0,
        metadata={"acuity": kept.evidence},
        **grid_of(kept.fixed),
    )


def residuals(registration: Registration) -> NDArray[np.float64]:
    """Return how far the whole map takes each inlier from its match, px of the fixed image."""
    away = registration.map_points(registration.fixed_points) - registration.moving_points
    return np.asarray(np.linalg.norm(away, axis=1) * registration.scale)


def _spacing(centres: NDArray[np.float64], length_px: int) -> float:
    """Return the distance of neighbouring blocks, px of fixed; they are spread evenly."""
    return float(np.ptp(centres)) / (len(centres) - 1) if len(centres) > 1 else float(length_px)


def _lacks(name: str, registration: Registration) -> str | None:
    if name == "Matches":
        none = len(registration.fixed_points) == 0
        return "This start matched no features." if none else None
    none = registration.similarity.size == 0 or not registration.shift_map.any()
    return "There was no elastic part, or it did not raise the correlation." if none else None

"""Landmarks of a pair: two Points layers, one on each image, whose points belong together in order."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Points
from qtpy.QtCore import QObject, QTimer, Signal  # type: ignore[attr-defined]

from .._layers import follow, grid_of

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image, Layer
    from numpy.typing import NDArray

__all__ = ["Landmarks", "in_px_of"]

# Okabe and Ito's colours, which stay apart for eyes that tell red from green badly.
_COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")


class Landmarks(QObject):
    """Makes, takes and reads the Points layers of image layers, known by identity, not by name.

    Parameters
    ----------
    viewer : napari.Viewer
    parent : QObject
    """

    changed = Signal()

    def __init__(self, viewer: napari.viewer.Viewer, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._of: dict[Image, Points] = {}
        self._made: set[Points] = set()
        self._newest: Points | None = None
        # After napari has done with the click.
        self._turn = QTimer(self)
        self._turn.setSingleShot(True)
        self._turn.setInterval(0)
        self._turn.timeout.connect(self._take_turns)

    def points(self, image: Image) -> NDArray[np.float64]:
        """Return the landmarks of an image, (n, 2) px, in the order in which they were set."""
        layer = self.layer(image)
        return np.zeros((0, 2)) if layer is None else in_px_of(image, layer, layer.data)

    def layer(self, image: Image) -> Points | None:
        """Return the layer that holds the landmarks of an image; None where there is none."""
        layer = self._of.get(image)
        return layer if layer in self._viewer.layers else None

    def use(self, image: Image, layer: Points | None) -> None:
        """Take the points of a layer as the landmarks of an image; None for none."""
        if layer is None:
            self._of.pop(image, None)
        elif layer != self.layer(image):
            self._of[image] = layer
            if layer not in self._made:
                follow(self, layer.events, ("data",), partial(self._on_points, layer))

    def problem(self, moving: Image, fixed: Image) -> str | None:
        """Say why the landmarks of two images do not pair up."""
        on_moving, on_fixed = len(self.points(moving)), len(self.points(fixed))
        if on_moving == on_fixed:
            return None
        return (
            f"Landmarks pair up in order, but '{moving.name}' has {on_moving} and '{fixed.name}' "
            f"{on_fixed}. Add the missing ones, or delete those too many (or their layer)."
        )

    def edit(self, moving: Image, fixed: Image) -> None:
        """Make the layers that are missing, and let the next click set a landmark."""
        for image in (fixed, moving):
            if self.layer(image) is None:
                self._add(image, np.zeros((0, 2)))
        self._go_on(moving, fixed)

    def show(self, image: Image, points: NDArray[np.float64]) -> None:
        """Let points (n, 2), px, be the landmarks of an image; a layer that held others stays as it is."""
        if np.array_equal(self.points(image), points):
            return
        self.use(image, None)
        if len(points):
            self._add(image, points)

    def _add(self, image: Image, points: NDArray[np.float64]) -> None:
        size = max(6.0, max(image.data.shape[:2]) / 60)
        layer = Points(
            points,
            ndim=2,
            name=f"{image.name} | landmarks",
            features={"number": np.zeros(len(points), int)},
            text={"string": "{number}", "color": "white", "size": 12, "anchor": "upper_left"},
            size=size,
            symbol="cross",
            **grid_of(image),
        )
        _number(layer)
        self._of[image] = layer
        self._made.add(layer)
        follow(self, layer.events, ("data",), partial(self._on_points, layer))
        self._viewer.add_layer(layer)

    def _on_points(self, layer: Points, event: object) -> None:
        """Number our own points anew; after one was added, the other image's turn comes."""
        if str(getattr(event, "action", "")) in ("adding", "removing", "changing"):
            return
        if layer in self._made:
            _number(layer)
        self.changed.emit()
        if str(getattr(event, "action", "")) == "added" and layer.mode == "add":
            self._newest = layer
            self._turn.start()

    def _take_turns(self) -> None:
        """Let the next click set the partner of the newest landmark."""
        layer = self._newest
        if layer is None or layer not in self._viewer.layers.selection:
            return
        image = next((image for image, points in self._of.items() if points is layer), None)
        others = [x for x in self._of if x is not image and self.layer(x) is not None]
        behind = [x for x in others if len(self.points(x)) < len(layer.data)]
        if behind:
            self._activate(behind[-1])

    def _go_on(self, moving: Image, fixed: Image) -> None:
        fewer = len(self.points(moving)) < len(self.points(fixed))
        self._activate(moving if fewer else fixed)

    def _activate(self, image: Image) -> None:
        layer = self._of[image]
        self._viewer.layers.selection.active = layer
        layer.mode = "add"


def in_px_of(image: Image, layer: Layer, points: Any) -> NDArray[np.float64]:
    """Return points (n, 2) of a layer in px of an image, wherever the two lie in the viewer."""
    at = [image.world_to_data(layer.data_to_world(point)) for point in points]
    return np.round(np.asarray(at, np.float64).reshape(-1, 2), 6)


def _number(layer: Points) -> None:
    count = len(layer.data)
    layer.features = {"number": np.arange(1, count + 1)}
    if count:
        layer.face_color = [_COLOURS[i % len(_COLOURS)] for i in range(count)]

"""Positions: how far the features of one Points layer lie from those of another."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Points
from qtpy.QtWidgets import QDoubleSpinBox, QVBoxLayout, QWidget

from .._jobs import one_step
from .._layers import LayerChooser, pixel_size_of
from .._panel import add_row, form
from .planes import to_other
from .tab import TabFrame

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari.viewer
    from napari.layers import Layer
    from numpy.typing import NDArray

    from ...core.jobs import Steps
    from ...core.quality.reports.parts import Part

__all__ = ["PositionsTab"]

_TIP = (
    "The points that are right: features of the truth; of a stack those of the plane on show, of spots those "
    "that the tab PSF could measure"
)


class PositionsTab(QWidget):
    """Choose two layers of points; those that lie nearest are compared."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self.points = LayerChooser(viewer, fits=_is_points, prefers=_is_points)
        self.reference = LayerChooser(viewer, fits=_is_points, prefers=self._is_another)
        self.distance = QDoubleSpinBox()
        self.distance.setRange(0.1, 10_000)
        self.distance.setValue(10)
        self.distance.setSuffix(" px")
        rows = form()
        add_row(rows, "Reference", self.reference, _TIP)
        add_row(rows, "Points", self.points, "The same features as found in the image")
        add_row(
            rows,
            "Farthest",
            self.distance,
            "Points farther apart than this, px of the reference's grid, are no match: missed or invented",
        )
        self.frame = TabFrame(
            "Compare positions",
            "Match the points one to one, and measure how far they lie apart",
            rows,
            problem=self._problem,
            steps=self._steps,
            show=lambda part: part,
            python=self._python,
            command=lambda: "",
        )
        QVBoxLayout(self).addWidget(self.frame)
        self.points.changed.connect(self.reference.choose_anew)
        self.reference.changed.connect(self.frame.check)
        self.frame.check()

    def _is_another(self, layer: Layer) -> bool:
        return layer != self.points.layer

    def _problem(self) -> str | None:
        first, second = self.reference.layer, self.points.layer
        if first is None or second is None or first == second:
            return (
                "Choose two layers of points: New points, and a click on each feature; or let the tab PSF "
                "find spots in two images."
            )
        return None

    def _steps(self) -> Callable[[], Steps[Part]]:
        first, second = self._layers()
        here = _shown(self._viewer, first)[:, -2:]
        there = _shown(self._viewer, second)
        there = to_other(second, first, there) if len(there) else np.empty((0, 2))
        size = pixel_size_of(first)
        work = partial(_measure, here, there, self.distance.value(), size)
        return partial(one_step, "matching positions", work)

    def _layers(self) -> tuple[Any, Any]:
        return self.reference.layer, self.points.layer

    def _python(self) -> str:
        """Return the script; "" where points of stacks or of unlike grids are brought together first."""
        if self._problem() or not _on_one_grid(*self._layers()):
            return ""
        size = pixel_size_of(self.reference.layer)
        given = ", ".join(_in_script(layer) for layer in self._layers())
        return (
            "import napari_acuity as acuity\n\n"
            f"found = acuity.quality.position_errors({given}, "
            f"max_distance_px={self.distance.value():g}, pixel_size={size})\nprint(found.table())\n"
        )


def _is_points(layer: Layer) -> bool:
    return isinstance(layer, Points)


def _in_script(layer: Points) -> str:
    name = f"viewer.layers[{layer.name!r}]"
    return f"{name}.data[{name}.features['ok']]" if "ok" in layer.features else f"{name}.data"


def _shown(viewer: napari.viewer.Viewer, layer: Points) -> NDArray[Any]:
    """Return the points of the plane on show; of spots those that could be measured."""
    points = np.asarray(layer.data)
    if "ok" in layer.features:
        points = points[layer.features["ok"].to_numpy(bool)]
    at = np.asarray(layer.world_to_data(viewer.dims.point[-layer.ndim :]))[:-2]
    return points[(np.rint(points[:, :-2]) == np.rint(at)).all(axis=1)]


def _on_one_grid(first: Points, second: Points) -> bool:
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    planes = first.ndim == second.ndim == 2
    return planes and np.allclose(to_other(second, first, corners), corners)


def _measure(here: Any, there: Any, distance_px: float, size: tuple[float, float] | None) -> Part:
    from ...core.quality import position_errors
    from ...core.quality.reports.target_parts import positions_part

    found = position_errors(here, there, max_distance_px=distance_px, pixel_size=size)
    return positions_part(found)

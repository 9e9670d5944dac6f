"""A line drawn in the viewer, and the values of the images along it, live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Shapes
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from ...core.quality.reports.charts import Chart, Curve
from .._layers import follow, grid_of, shape_of
from .._plots import CurvePlot
from .planes import plane_shown, to_other

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari.viewer
    from napari.layers import Image

__all__ = ["ProfileBox"]

_NAME = "profile"
_DELAY_MS = 60


class ProfileBox(QWidget):
    """Draws a line over the images and plots what lies under it, again at each change.

    Parameters
    ----------
    viewer : napari.Viewer
    images : callable
        Returns the layers to read, the reference first; those that are None are left out.
    """

    def __init__(
        self, viewer: napari.viewer.Viewer, images: Callable[[], tuple[Image | None, ...]]
    ) -> None:
        super().__init__()
        self._viewer, self._images = viewer, images
        self.line: Shapes | None = None
        self.tip = (
            "Adds a line to the viewer; move its ends, and the values of the images along it follow"
        )
        self.button = QPushButton("Line profile")
        self.button.setToolTip(self.tip)
        self.button.clicked.connect(lambda _checked=False: self.draw())
        self.plot = CurvePlot(Chart("", ""))
        self.plot.hide()
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(_DELAY_MS)
        self._soon.timeout.connect(self.update_plot)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.button)
        layout.addWidget(self.plot)
        follow(self, viewer.layers.events, ("removed",), self._on_removed)
        follow(self, viewer.dims.events, ("point",), self.refresh)

    def draw(self) -> None:
        """Add the line, across the middle of the reference, ready to be moved; or select it again."""
        reference = next((layer for layer in self._images() if layer is not None), None)
        if reference is None:
            return
        if self.line is None:
            rows, columns = shape_of(reference)
            ends = np.array([[rows / 2, columns / 4], [rows / 2, 3 * columns / 4]])
            ends = np.hstack([np.zeros((2, reference.ndim - 2)), ends])
            self.line = Shapes(
                [ends],
                shape_type="line",
                name=_NAME,
                edge_color="yellow",
                edge_width=max(1.0, max(rows, columns) / 250),
                **grid_of(reference),
            )
            self._viewer.add_layer(self.line)
            follow(self, self.line.events, ("data", "set_data"), self.refresh)
        self._viewer.layers.selection.active = self.line
        self.line.mode = "direct"
        self.update_plot()

    def refresh(self, _event: object = None) -> None:
        """Plot soon: while the line is dragged, no more often than the eye follows."""
        if self.line is not None:
            self._soon.start()

    def update_plot(self) -> None:
        """Plot what lies under the line now."""
        chart = self._chart()
        self.plot.setVisible(chart is not None)
        if chart is not None:
            self.plot.show_chart(chart)

    def _chart(self) -> Chart | None:
        from ...core.errors import AcuityError
        from ...core.quality.profile import line_profile

        if self.line is None or not len(self.line.data):
            return None
        curves, unit = list[Curve](), "px"
        for layer in dict.fromkeys(layer for layer in self._images() if layer is not None):
            start, stop = to_other(self.line, layer, self.line.data[-1])[[0, -1]]
            try:
                found = line_profile(plane_shown(self._viewer, layer), tuple(start), tuple(stop))
            except AcuityError:
                # The line lies beside this image, or has no length while it is drawn.
                continue
            unit = unit if curves else found.unit
            values = found.values if found.values.ndim == 1 else found.values.mean(axis=1)
            # All against the distance in the first image, whose pixels others need not have.
            length = curves[0].x[-1] if curves else found.distance[-1]
            distance = found.distance * (length / found.distance[-1])
            curves.append(Curve(layer.name, distance, values))
        rgb = any(layer.rgb for layer in self._images() if layer is not None)
        label = "Mean of RGB" if rgb else "Grey value"
        return Chart(f"Distance ({unit.replace('um', 'µm')})", label, curves) if curves else None

    def _on_removed(self, event: Any) -> None:
        if event.value is self.line:
            self.line = None
            self.plot.hide()

"""The curves of a run, and the buttons that belong to what is seen of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QPushButton, QToolButton, QVBoxLayout, QWidget

from .._panel import drop_down, enable, side_by_side
from .run_adversary import AccuracyPlot, TermsPlot, accuracy_chart
from .run_view import LivePreview, loss_chart, psnr_chart, terms_chart

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import napari.viewer

    from .run_reader import News

__all__ = ["RunCurves"]

_SOON_MS = 100
_TIPS = {
    "curves": "Loss: on the training patches and, as mean squared error, on the validation fields. "
    "Loss terms: what the recipe minimises, term by term, weighted, and its discriminator's own. "
    "PSNR: on the validation fields.",
    "save_plot": "Save the curves as a picture or as numbers",
    "show": "Bring the live preview into view: input, output and truth of a validation field",
}


class RunCurves(QWidget):
    """Curves in the panel, input | output | truth in the viewer; both follow the run."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.preview = LivePreview(viewer)
        self._rows: Sequence[dict[str, float]] = ()
        self._pixel_size: tuple[float, float] | None = None
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(_SOON_MS)
        self._soon.timeout.connect(self._show_preview)
        self._rgb = False
        self._adding = QTimer(self)
        self._adding.setInterval(_SOON_MS)
        self._adding.timeout.connect(self._add_layer)
        charts = {"Loss": loss_chart, "Loss terms": terms_chart, "PSNR": psnr_chart}
        self.curves = drop_down(charts)
        self.curves.setAccessibleName("Curves")
        self.curves.setToolTip(_TIPS["curves"])
        self.curves.currentIndexChanged.connect(self._draw)
        self.plot = TermsPlot(loss_chart([]))
        self.accuracy = AccuracyPlot()
        self.save_plot = QToolButton()
        self.save_plot.setText("Save plot ▾")
        self.save_plot.setStyleSheet("QToolButton::menu-indicator { image: none; }")
        self.save_plot.setToolTip(_TIPS["save_plot"])
        self.save_plot.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.save_plot.setMenu(self.plot.save_menu())
        self.show_preview = QPushButton("Show preview")
        self.show_preview.clicked.connect(self.preview.fit)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(
            side_by_side(self.curves, self.save_plot, self.show_preview, stretch=self.curves)
        )
        layout.addWidget(self.plot)
        layout.addWidget(self.accuracy)
        self.clear()

    def show_run(self, rows: Sequence[dict[str, float]], news: News) -> None:
        """Show the epochs so far and the newest preview."""
        self.accuracy.setVisible(news.adversarial)
        if len(rows) != len(self._rows) or (rows and rows[-1] != self._rows[-1]):
            self._rows = [*rows]
            self._draw()
        self._pixel_size = news.pixel_size
        self._show_preview(news.preview)

    def prepare(self, *, rgb: bool) -> None:
        """Add the preview's layers before a run begins, with time between them to draw and to click."""
        self._rgb = rgb
        self._adding.start()

    def clear(self) -> None:
        """Show nothing."""
        self._adding.stop()
        self._soon.stop()
        self.preview.remove()
        self.accuracy.hide()
        self._rows = ()
        self._draw()
        self._offer_preview()

    def _add_layer(self) -> None:
        if not self.preview.prepare(rgb=self._rgb):
            self._adding.stop()

    def _draw(self, _index: int = 0) -> None:
        self.plot.show_chart(self.curves.currentData()(self._rows))
        self.accuracy.show_chart(accuracy_chart(self._rows))

    def _show_preview(self, preview: Mapping[str, Any] | None = None) -> None:
        if self.preview.show(preview, self._pixel_size):
            self._soon.start()
        self._offer_preview()

    def _offer_preview(self) -> None:
        why_not = None if self.preview.shown else "There is no preview yet."
        enable(self.show_preview, _TIPS["show"], why_not)

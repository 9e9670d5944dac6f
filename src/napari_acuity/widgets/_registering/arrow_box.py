"""How the arrows of a shift map are drawn: their gain and their colour."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QHBoxLayout, QLabel, QSlider, QWidget

from .._panel import drop_down, enable
from .shifts import COLOURS, colour_by

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Vectors

    from .live import Live

__all__ = ["ArrowBox"]

_TIPS = {
    "gain": "How many times longer than the true shifts the arrows are drawn. An arrow runs from a pixel "
    "of the fixed image to where the start left its content; blue is short, red is long.",
    "colour": "What colours the arrows: the length of the shift, the similarity of the nearest block, "
    "or the shift down (dy) or to the right (dx).",
}


class ArrowBox(QWidget):
    """A slider and a drop-down for the arrows of one registration."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._live: Live | None = None
        self.gain = QSlider(Qt.Orientation.Horizontal)
        self.gain.setRange(1, 50)
        self.gain.setAccessibleName("Arrow gain")
        self.gain_text = QLabel("x1")
        self.gain_text.setMinimumWidth(28)
        self.colour = drop_down({name: name for name in COLOURS})
        self.colour.setAccessibleName("Colour of the arrows")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.gain, stretch=1)
        layout.addWidget(self.gain_text)
        layout.addWidget(self.colour)
        # napari draws all arrows again for each length, which takes its time.
        self._delay = QTimer(self)
        self._delay.setSingleShot(True)
        self._delay.setInterval(150)
        self._delay.timeout.connect(self._set_length)
        self.gain.valueChanged.connect(self._on_gain)
        self.colour.currentIndexChanged.connect(self._on_colour)

    def show_of(self, live: Live | None) -> None:
        """Serve the arrows of a registration from here on."""
        self._live = live
        self.update_enabled()
        if live is not None and live.arrows is not None:
            self.gain.setValue(int(live.arrows.length))

    def update_enabled(self) -> None:
        """Enable the controls where there are arrows, which the user may have removed."""
        why_not = "There are no arrows yet." if self.arrows is None else None
        enable(self.gain, _TIPS["gain"], why_not)
        enable(self.colour, _TIPS["colour"], why_not)

    def hide_arrows(self) -> None:
        """Show no arrows beside those that are edited."""
        if self.arrows is not None:
            self.arrows.visible = False

    @property
    def arrows(self) -> Vectors | None:
        """The arrows, where they are in the viewer."""
        arrows = self._live.arrows if self._live else None
        return arrows if arrows in self._viewer.layers else None

    def _on_gain(self, value: int) -> None:
        self.gain_text.setText(f"x{value}")
        self._delay.start()

    def _set_length(self) -> None:
        if self.arrows is not None and self.arrows.length != self.gain.value():
            self.arrows.length = self.gain.value()

    def _on_colour(self) -> None:
        if self._live is not None and self.arrows is not None:
            self._live.colour = self.colour.currentData()
            colour_by(self.arrows, self._live.colour)

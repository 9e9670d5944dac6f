"""Curves in napari's colours, with the numbers and the picture to save."""

from __future__ import annotations

import math
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyqtgraph as pg
from matplotlib.ticker import MaxNLocator
from napari.utils.notifications import show_error
from qtpy.QtCore import QEvent, QPoint, QSize, Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QFileDialog, QMenu, QVBoxLayout, QWidget

from ..core.errors import AcuityError
from ..core.quality.reports.charts import COLOURS, MARKERS, Chart, Curve, marked, save_chart

if TYPE_CHECKING:
    import os

    from qtpy.QtGui import QWheelEvent

__all__ = ["CurvePlot"]

_LINES = {
    "solid": Qt.PenStyle.SolidLine,
    "dashed": Qt.PenStyle.DashLine,
    "dotted": Qt.PenStyle.DotLine,
    "steps": Qt.PenStyle.SolidLine,
    "points": Qt.PenStyle.NoPen,
}
# pyqtgraph's names of matplotlib's markers.
_SYMBOLS = {"o": "o", "s": "s", "d": "d", "^": "t1", "v": "t"}
_SIDES = ("bottom", "left")
_BETWEEN_TICKS_PX = 25
# The part of the plot's width and height that a legend may cover.
_LEGEND = (0.55, 0.5)


class CurvePlot(QWidget):
    """A plot that shows one `Chart`; right-click or the menu key saves it."""

    def __init__(self, chart: Chart, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._view = _Plot(background=None, axisItems={side: _Axis(side) for side in _SIDES})
        self._view.setStyleSheet("background: transparent; border: none")
        self._view.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # the whole is one stop of the Tab key
        item = self._view.getPlotItem()
        item.setMouseEnabled(False, False)
        item.setMenuEnabled(False)
        item.hideButtons()
        item.setContentsMargins(0, 2, 6, 4)
        self._legend = item.addLegend(brush=None, verSpacing=-4)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._view)
        self.setMinimumHeight(130)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.customContextMenuRequested.connect(self._open_menu)
        self.show_chart(chart)

    @property
    def chart(self) -> Chart:
        """What is shown."""
        return self._chart

    def show_chart(self, chart: Chart) -> None:
        """Show a chart in place of the last."""
        self._chart = chart
        self.setAccessibleName(f"{chart.y_label} against {chart.x_label}")
        self._draw(self._ink(), "dark" if self._ink().lightness() > 127 else "light")

    def save_menu(self) -> QMenu:
        """Return a menu that saves the plot as PNG, SVG or CSV."""
        menu = QMenu(self)
        for kind in ("PNG", "SVG", "CSV"):
            menu.addAction(f"Save as {kind}...").triggered.connect(
                lambda _checked=False, kind=kind: self._ask_and_save(kind)
            )
        return menu

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the plot as ``.png`` or ``.svg``, dark on white, or its numbers as ``.csv``.

        Raises
        ------
        FileError
            For another suffix, a folder that is missing or may not be written, or a full disk.
        """
        save_chart(self._chart, path)

    def sizeHint(self) -> QSize:
        """Ask for little: a panel must fit a small screen."""
        return QSize(280, 190)

    def changeEvent(self, event: QEvent) -> None:
        """Follow napari's theme: its style sheet sets the palette of every widget."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.StyleChange, QEvent.Type.PaletteChange):
            self.show_chart(self._chart)

    def _ink(self) -> QColor:
        return self.palette().color(self.foregroundRole())

    def _draw(self, ink: QColor, ground: str) -> None:
        item, chart = self._view.getPlotItem(), self._chart
        item.clear()
        item.setLogMode(x=chart.log_x, y=chart.log_y)
        for side, label in zip(_SIDES, (chart.x_label, chart.y_label), strict=True):
            axis = item.getAxis(side)
            axis.setLabel(label, color=ink.name())
            axis.setTextPen(ink)
            axis.setPen(_faded(ink))
            axis.setStyle(showValues=bool(chart.curves), tickLength=-4 if chart.curves else 0)
        counted = all(float(x).is_integer() for curve in chart.curves for x in curve.x)
        item.getAxis("bottom").whole = counted
        self._legend.setLabelTextColor(ink)
        looks = zip(cycle(COLOURS[ground]), cycle(MARKERS), strict=True)
        for curve, (colour, marker) in zip(chart.curves, looks, strict=False):
            item.addItem(_drawn(curve, colour, marker))
        # Of one curve the axes say all there is.
        self._legend.setVisible(len(chart.curves) > 1)
        self._place_legend()

    def _place_legend(self) -> None:
        """Put the legend into the corner where the fewest points lie."""
        right, bottom = _emptiest_corner(self._chart)
        offset = (-6 if right else 6, -4 if bottom else 4)
        self._legend.anchor((right, bottom), (right, bottom), offset=offset)

    def _open_menu(self, at: QPoint) -> None:
        self.save_menu().exec(self.mapToGlobal(at))

    def _ask_and_save(self, kind: str) -> None:
        suffix = f".{kind.lower()}"
        name, _ = QFileDialog.getSaveFileName(
            self, "Save plot", f"curves{suffix}", f"{kind} (*{suffix})"
        )
        if not name:
            return
        try:
            self.save(Path(name).with_suffix(suffix))
        except AcuityError as error:
            show_error(str(error))


class _Plot(pg.PlotWidget):
    """A plot that leaves the wheel to the panel, which scrolls."""

    def wheelEvent(self, event: QWheelEvent) -> None:
        event.ignore()


class _Axis(pg.AxisItem):
    """An axis whose logarithmic ticks neither overlap nor run out below a decade.

    `whole` axes have ticks at whole numbers only: what is counted.
    """

    whole = False

    def updateAutoSIPrefix(self) -> None:
        """Leave the numbers as they are: labels state their units, and prefixes would not show there."""

    def tickValues(self, minVal: float, maxVal: float, size: float) -> list[Any]:
        levels = super().tickValues(minVal, maxVal, size)
        if self.logMode or not self.whole:
            return levels
        coarse = [(spacing, values) for spacing, values in levels if spacing >= 1]
        return coarse or [(1, list(range(math.ceil(minVal), math.floor(maxVal) + 1)))]

    def logTickValues(
        self, minVal: float, maxVal: float, size: float, stdTicks: list[Any]
    ) -> list[Any]:
        most = max(2, int(size / _BETWEEN_TICKS_PX))
        return [(None, np.log10(_log_ticks(10.0**minVal, 10.0**maxVal, most)).tolist())]

    def logTickStrings(self, values: list[float], scale: float, spacing: float) -> list[str]:
        return [f"{10.0**value:.3g}" for value in values]


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    """Return at most about `most` round values within low..high, evenly spread on a log axis."""
    if high < 4 * low:
        return [
            v
            for v in MaxNLocator(most, steps=[1, 2, 5, 10]).tick_values(low, high)
            if low <= v <= high
        ]
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
    values: list[float] = []
    for digits in ((1, 2, 5), (1, 3), (1,)):
        values = [digit * 10.0**decade for decade in decades for digit in digits]
        values = [value for value in values if low <= value <= high]
        if len(values) <= most:
            return values
    return values[:: math.ceil(len(values) / most)]


def _drawn(curve: Curve, colour: str, marker: str) -> pg.PlotDataItem:
    plain = curve.line in ("solid", "steps")
    return pg.PlotDataItem(
        np.asarray(curve.x, float),
        np.asarray(curve.y, float),
        pen=pg.mkPen(colour, width=2 if plain else 1.5, style=_LINES[curve.line]),
        stepMode="center" if curve.line == "steps" else None,
        name=curve.name,
        antialias=True,
        symbol=marked(curve, _SYMBOLS[marker]),
        symbolSize=5,
        symbolBrush=colour,
        symbolPen=None,
    )


def _emptiest_corner(chart: Chart) -> tuple[int, int]:
    """Return whether the emptiest corner is right, and whether at the bottom; of equals the top right."""
    points = [_on_axes(chart, curve) for curve in chart.curves if len(curve.y)]
    if not points:
        return 1, 0
    x, y = np.concatenate(points, axis=1)
    inside = np.isfinite(x) & np.isfinite(y)
    x, y = (_share(values[inside]) for values in (x, y))

    def crowd(corner: tuple[int, int]) -> int:
        right, bottom = corner
        across = x > 1 - _LEGEND[0] if right else x < _LEGEND[0]
        along = y < _LEGEND[1] if bottom else y > 1 - _LEGEND[1]
        return int((across & along).sum())

    return min(((1, 0), (1, 1), (0, 1), (0, 0)), key=crowd)


def _on_axes(chart: Chart, curve: Curve) -> np.ndarray:
    """Return (2, n) points along a curve, densely enough, as the axes show them."""
    x, y = (np.asarray(values, float) for values in (curve.x[: len(curve.y)], curve.y))
    with np.errstate(divide="ignore", invalid="ignore"):
        x, y = np.log(x) if chart.log_x else x, np.log(y) if chart.log_y else y
    if curve.line == "steps":
        heights = np.linspace(0, 1, 20)[:, None] * y
        return np.stack([np.broadcast_to(x, heights.shape).ravel(), heights.ravel()])
    if len(x) < 2 or curve.line == "points":
        return np.stack([x, y])
    places = np.linspace(0, len(x) - 1, 100)
    return np.stack([np.interp(places, np.arange(len(x)), values) for values in (x, y)])


def _share(values: np.ndarray) -> np.ndarray:
    """Return values as shares of their span."""
    if not values.size:
        return values
    return (values - values.min()) / (np.ptp(values) or 1.0)


def _faded(ink: QColor) -> QColor:
    faded = QColor(ink)
    faded.setAlpha(110)
    return faded

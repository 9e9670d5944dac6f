"""Curves in napari's colours, with the numbers and the picture to save."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyqtgraph as pg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from napari.utils.notifications import show_error
from qtpy.QtCore import QEvent, QPoint, QSize, Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QFileDialog, QMenu, QVBoxLayout, QWidget

from ..core.errors import AcuityError, FileError
from ..core.io import replacing

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from qtpy.QtGui import QWheelEvent

__all__ = ["Chart", "Curve", "CurvePlot"]

# Okabe and Ito's colours, told apart by colour-blind eyes and by their lightness, for a light and a
# dark ground; line style and marker say the same once more.
_COLOURS = {"light": ("#0072B2", "#B34D00", "#505050"), "dark": ("#56B4E9", "#E69F00", "#B8B8B8")}
_MARKERS = ("o", "s", "d")
_LINES = {
    "solid": Qt.PenStyle.SolidLine,
    "dashed": Qt.PenStyle.DashLine,
    "dotted": Qt.PenStyle.DotLine,
}
_SIDES = ("bottom", "left")
_MOST_MARKED = 30
_BETWEEN_TICKS_PX = 25


@dataclass(frozen=True)
class Curve:
    """A curve: its name in the legend, its points, and its line: "solid", "dashed" or "dotted"."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    line: str = "solid"


@dataclass(frozen=True)
class Chart:
    """Up to three curves with the labels of their axes, units included.

    Parameters
    ----------
    x_label, y_label : str
        With their units.
    curves : sequence of Curve
    log_y : bool
        Whether the y axis is logarithmic.
    """

    x_label: str
    y_label: str
    curves: Sequence[Curve] = ()
    log_y: bool = False


class CurvePlot(QWidget):
    """A plot that shows one `Chart`; right-click or the menu key saves it."""

    def __init__(self, chart: Chart, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._view = _Plot(background=None, axisItems={side: _Axis(side) for side in _SIDES})
        self._view.setStyleSheet("background: transparent; border: none")
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
        path = Path(path)
        writers = {".png": _write_figure, ".svg": _write_figure, ".csv": _write_csv}
        if path.suffix.lower() not in writers:
            raise FileError(
                f"A plot cannot be written as '{path.suffix or path.name}'.",
                "Choose a name that ends in .png, .svg or .csv.",
            )
        with replacing(path) as temporary:
            writers[path.suffix.lower()](self._chart, temporary)

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
        item.setLogMode(x=False, y=chart.log_y)
        for side, label in zip(_SIDES, (chart.x_label, chart.y_label), strict=True):
            axis = item.getAxis(side)
            axis.enableAutoSIPrefix(False)
            axis.setLabel(label, color=ink.name())
            axis.setTextPen(ink)
            axis.setPen(_faded(ink))
            axis.setStyle(showValues=bool(chart.curves), tickLength=-4 if chart.curves else 0)
        counted = all(float(x).is_integer() for curve in chart.curves for x in curve.x)
        item.getAxis("bottom").whole = counted
        self._legend.setLabelTextColor(ink)
        for curve, colour, marker in zip(chart.curves, _COLOURS[ground], _MARKERS, strict=False):
            item.addItem(_drawn(curve, colour, marker))
        self._place_legend()

    def _place_legend(self) -> None:
        """Put the legend where falling curves leave room, or rising ones."""
        falls = [curve.y[-1] < curve.y[0] for curve in self._chart.curves if len(curve.y) > 1]
        vertical = 0 if not falls or falls[0] else 1
        offset = (-6, 4 if vertical == 0 else -4)
        self._legend.anchor((1, vertical), (1, vertical), offset=offset)

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


def _marked(curve: Curve, marker: str) -> str | None:
    """Return the marker where points are few, so that one alone is seen; a level has none."""
    return marker if len(curve.x) <= _MOST_MARKED and curve.line != "dashed" else None


def _drawn(curve: Curve, colour: str, marker: str) -> pg.PlotDataItem:
    pen = pg.mkPen(colour, width=2 if curve.line == "solid" else 1.5, style=_LINES[curve.line])
    return pg.PlotDataItem(
        np.asarray(curve.x, float),
        np.asarray(curve.y, float),
        pen=pen,
        name=curve.name,
        antialias=True,
        symbol=_marked(curve, marker),
        symbolSize=5,
        symbolBrush=colour,
        symbolPen=None,
    )


def _faded(ink: QColor) -> QColor:
    faded = QColor(ink)
    faded.setAlpha(110)
    return faded


def _write_figure(chart: Chart, path: Path) -> None:
    """Draw the chart for print: dark on white, of one size however small the panel is."""
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.add_subplot(xlabel=chart.x_label, ylabel=chart.y_label)
    for curve, colour, marker in zip(chart.curves, _COLOURS["light"], _MARKERS, strict=False):
        axes.plot(
            curve.x,
            curve.y,
            color=colour,
            linestyle=curve.line,
            marker=_marked(curve, marker),
            markersize=3,
            label=curve.name,
        )
    if chart.log_y:
        axes.set_yscale("log")
    if chart.curves:
        axes.legend(frameon=False)
    figure.savefig(path, dpi=200)


def _write_csv(chart: Chart, path: Path) -> None:
    """Write a row for every x, empty where a curve has no point."""
    points = [dict(zip(curve.x, curve.y, strict=True)) for curve in chart.curves]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([chart.x_label, *(curve.name for curve in chart.curves)])
        for x in sorted({x for curve in points for x in curve}):
            writer.writerow([x, *(curve.get(x, "") for curve in points)])

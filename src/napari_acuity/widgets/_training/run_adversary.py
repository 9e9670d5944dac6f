"""The plots of a training run, with room for a discriminator: many terms, and its accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.quality.reports.charts import Chart, Curve
from .._plots import CurvePlot

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["AccuracyPlot", "TermsPlot", "accuracy_chart"]

_GUESSING = 0.5
_TIP = (
    "The share of images, made and real, that the discriminator tells right in an epoch. It teaches the "
    "network while it is right more often than by guessing, and not always. The run watches both. "
    "Right-click to save the curve."
)
# More curves than this have their legend above them, in two columns, on so much of the plot's height.
_FEW, _ROOM = 3, 0.32


def accuracy_chart(rows: Sequence[dict[str, float]]) -> Chart:
    """Chart the accuracy over the epochs, and guessing as a level; `rows` as `Epoch.row` gives them."""
    known = [row for row in rows if "discriminator_accuracy" in row]
    if not known:
        return Chart("Epoch", "Accuracy")
    epochs = [row["number"] for row in known]
    curves = [
        Curve("discriminator", epochs, [row["discriminator_accuracy"] for row in known]),
        Curve("guessing", [0, epochs[-1]], [_GUESSING, _GUESSING], line="dashed"),
    ]
    return Chart("Epoch", "Accuracy", curves)


class AccuracyPlot(CurvePlot):
    """The accuracy on an axis from 0 to 1, so that a glance says who wins; hidden at first."""

    def __init__(self) -> None:
        super().__init__(accuracy_chart([]))
        self.setToolTip(_TIP)
        self._view.getPlotItem().getAxis("left").setTickSpacing(levels=[(0.5, 0)])
        self.hide()

    def show_chart(self, chart: Chart) -> None:
        """Show a chart in place of the last."""
        super().show_chart(chart)
        self._view.getPlotItem().setYRange(0, 1, padding=0.05)

    def _place_legend(self) -> None:
        """Keep to where an accuracy hardly ever lies: below guessing."""
        self._legend.anchor((1, 1), (1, 1), offset=(-6, -4))


class TermsPlot(CurvePlot):
    """A plot whose legend lies above the curves where they are many, and covers none of them."""

    def show_chart(self, chart: Chart) -> None:
        """Show a chart in place of the last."""
        many = len(chart.curves) > _FEW
        self._legend.setColumnCount(2 if many else 1)
        item = self._view.getPlotItem()
        item.enableAutoRange(axis="y")
        super().show_chart(chart)
        if many and chart.log_y:
            values = np.log10(
                np.concatenate([np.asarray(curve.y, float) for curve in chart.curves])
            )
            low, high = float(values.min()), float(values.max())
            room = max(high - low, 0.1) * _ROOM / (1 - _ROOM)
            item.setYRange(low, high + room, padding=0.03)

    def _place_legend(self) -> None:
        if len(self._chart.curves) > _FEW:
            self._legend.anchor((1, 0), (1, 0), offset=(-2, -8))
        else:
            super()._place_legend()

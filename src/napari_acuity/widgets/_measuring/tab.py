"""What the tabs of Quality share: a job, a chart, a table, and a part for the report."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QApplication, QFormLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from ...core.quality.reports.charts import Chart
from .._jobs import JobBox
from .._panel import enable, more_button, side_by_side
from .._plots import CurvePlot
from .table import PartTable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari.layers import Image

    from ...core.jobs import Steps
    from ...core.quality.reports.parts import Part

__all__ = ["ADD_TIP", "NOT_YET", "TabFrame", "command_on", "lay_on_plane"]

T = TypeVar("T")

ADD_TIP = "Keep this measurement for the report, which Report... writes"
NOT_YET = "Nothing has been measured here yet."
_COPY_TIP = "Copy the table, to paste into a spreadsheet"


class TabFrame(QWidget, Generic[T]):
    """The lower part of a tab: what is wrong, the button, the figure, the table.

    Parameters
    ----------
    verb : str
        What the button does: "Find spots".
    tip : str
        The same in a sentence, its tooltip.
    rows : QFormLayout
        What is chosen above it.
    problem : callable
        Says why there is nothing to measure yet, with the cure, or None.
    steps : callable
        Called at a click: reads the widgets and the layers, and returns what makes the core's steps.
    show : callable
        Called in the GUI thread with the result: adds layers, and returns the part to show.
    python, command : callable
        Return the same work as Python and as a command, "" where there is none.
    fold : QWidget, optional
        Folded options.
    page : str
        Its docs page.
    """

    added = Signal(object)
    """A `Part` to add to the report."""

    shown = Signal()
    """Emitted when another measurement is shown, or none."""

    def __init__(
        self,
        verb: str,
        tip: str,
        rows: QFormLayout,
        *,
        problem: Callable[[], str | None],
        steps: Callable[[], Callable[[], Steps[T]]],
        show: Callable[[T], Part],
        python: Callable[[], str],
        command: Callable[[], str],
        fold: QWidget | None = None,
        page: str = "resolution",
    ) -> None:
        super().__init__()
        self.part: Part | None = None
        self._problem, self._steps, self._show = problem, steps, show
        self.job = JobBox(verb, self._start)
        self.job.set_tip(tip)
        self.job.row.addWidget(more_button(python=python, command=command, page=page))
        self.reason = QLabel()
        self.reason.setWordWrap(True)
        self.plot = CurvePlot(Chart("", ""))
        self.plot.hide()
        self.table = PartTable()
        self.add = QPushButton("Add to report")
        self.add.clicked.connect(lambda _checked=False: self.added.emit(self.part))
        self.copy = QPushButton("Copy table")
        self.copy.clicked.connect(lambda _checked=False: _copy(self.table.text()))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(rows)
        for widget in (fold, self.reason, self.job, self.plot, self.table):
            if widget is not None:
                layout.addWidget(widget)
        layout.addLayout(side_by_side(self.add, self.copy))
        layout.addStretch(1)
        self._allow(NOT_YET)

    def check(self, _event: object = None) -> None:
        """Say in words why there is nothing to measure yet; to be called when a choice changed."""
        reason = self._problem()
        self.reason.setText(reason or "")
        self.reason.setVisible(bool(reason))
        self.job.disable(reason)

    def _allow(self, why_not: str | None) -> None:
        """Let the measurement be kept and copied, or say why not."""
        enable(self.add, ADD_TIP, why_not)
        enable(self.copy, _COPY_TIP, why_not)

    def clear(self) -> None:
        """Show no measurement: what was shown belongs to another choice."""
        self.part = None
        self.plot.hide()
        self.table.hide()
        self._allow(NOT_YET)
        self.job.say("")
        self.shown.emit()

    def show_part(self, part: Part) -> None:
        """Show a measurement."""
        self.part = part
        self.table.show_table(part.table)
        self.plot.setVisible(part.chart is not None)
        if part.chart is not None:
            self.plot.show_chart(part.chart)
        self._allow(None)
        self.job.say(part.words)
        self.shown.emit()

    def _start(self) -> None:
        if self._problem() is None:
            self.job.run(self._steps(), done=self._done)

    def _done(self, result: T) -> None:
        self.show_part(self._show(result))


def command_on(verb: str, layers: Sequence[Any], *options: object) -> str:
    """Return a command on the files of some layers, "" where one has none or is a stack."""
    paths = [getattr(layer.source, "path", None) for layer in layers]
    if not all(paths) or any(layer.ndim > 2 for layer in layers):
        return ""
    return shlex.join(["acuity", verb, *map(str, paths), *map(str, options)])


def lay_on_plane(layer: Image, plane: tuple[int, ...]) -> None:
    """Move a layer with a map of one plane, laid on a stack's grid, to that plane."""
    place = np.array(layer.translate)
    place[: len(plane)] += np.array(plane) * layer.scale[: len(plane)]
    layer.translate = place


def _copy(text: str) -> None:
    QApplication.clipboard().setText(text)

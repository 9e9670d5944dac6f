"""The networks of a lens in training, a row each, and the curves of the selected one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QLabel,
    QProgressBar,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from ...core.training.run_folder import EVENTS
from .._training.run_curves import RunCurves
from .._training.run_follower import RunFollower

if TYPE_CHECKING:
    from collections.abc import Sequence

    import napari.viewer

    from .._training.run_reader import News
    from .watch import StageNews

__all__ = ["StageList"]

_NAME, _BAR, _WORDS = range(3)
_MOST_SHOWN = 8
_BAR_PX = 70
_TIP = "The networks of the lens; select one to see its curves, or why it failed"


class StageList(QWidget):
    """Name, bar and words of each stage; the one in training is selected until the user selects another."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._stages: tuple[StageNews, ...] = ()
        self._chosen = False  # by the user
        self._filling = False
        self._bars: list[QProgressBar] = []
        self.table = QTableWidget(0, 3)
        self.table.horizontalHeader().hide()
        self.table.verticalHeader().hide()
        self.table.setShowGrid(False)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.table.setToolTip(_TIP)
        self.table.setAccessibleName("Networks of the lens")
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(_NAME, QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(_BAR, QHeaderView.ResizeMode.Fixed)
        header.setSectionResizeMode(_WORDS, QHeaderView.ResizeMode.Stretch)
        header.resizeSection(_BAR, _BAR_PX)
        self.why = QLabel()
        self.why.setWordWrap(True)
        self.why.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        # Made when there is something to show: it would take the preview of the other mode away.
        self.curves: RunCurves | None = None
        self.follower = RunFollower(self)
        self.follower.changed.connect(self._take)
        self.table.itemSelectionChanged.connect(self._on_selected)
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.addWidget(self.table)
        self._layout.addWidget(self.why)
        self.clear()

    def clear(self) -> None:
        """Show nothing."""
        self._stages, self._chosen = (), False
        self._leave()
        self.table.setRowCount(0)
        self.why.hide()
        self.hide()

    def show_stages(self, stages: Sequence[StageNews]) -> None:
        """Show how far they are."""
        before, self._stages = self._stages, tuple(stages)
        if [each.name for each in before] != [each.name for each in stages]:
            self._fill()
        for row, stage in enumerate(self._stages):
            self._bars[row].setValue(round(1000 * stage.fraction))
            words = self.table.item(row, _WORDS)
            if words is not None and words.text() != stage.words:
                words.setText(stage.words)
                words.setToolTip(stage.why or stage.words)
        self.setVisible(bool(self._stages))
        self._follow_training()
        self._show_selected()

    @property
    def selected(self) -> StageNews | None:
        """The stage whose row is selected."""
        row = self.table.currentRow()
        return self._stages[row] if 0 <= row < len(self._stages) else None

    def _fill(self) -> None:
        self._filling = True
        self._bars = []
        self.table.setRowCount(len(self._stages))
        for row, stage in enumerate(self._stages):
            self.table.setItem(row, _NAME, QTableWidgetItem(stage.name))
            self.table.setItem(row, _WORDS, QTableWidgetItem())
            bar = QProgressBar()
            bar.setRange(0, 1000)
            bar.setTextVisible(False)
            bar.setFixedHeight(8)
            bar.setAccessibleName(f"Progress of {stage.name}")
            # A cell would lay the bar along its upper edge.
            middle = QWidget()
            QVBoxLayout(middle).addWidget(bar)
            self.table.setCellWidget(row, _BAR, middle)
            self._bars.append(bar)
        self._filling = False
        heights = [self.table.rowHeight(row) for row in range(len(self._stages))]
        self.table.setFixedHeight(sum(heights[:_MOST_SHOWN]) + 2 * self.table.frameWidth())

    def _follow_training(self) -> None:
        """Select what is in training, else what failed, while the user has not selected anything.

        Of a lens that is done none is: its preview would add layers that nobody asked for.
        """
        selected = self.selected
        for wanted in () if self._chosen else ("training", "failed"):
            rows = [row for row, each in enumerate(self._stages) if each.state == wanted]
            if rows and (selected is None or selected.state != wanted):
                self._filling = True
                self.table.selectRow(rows[0])
                self._filling = False
            if rows:
                return

    def _on_selected(self) -> None:
        if not self._filling:
            self._chosen = True
            self._show_selected()

    def _show_selected(self) -> None:
        stage = self.selected
        why = "" if stage is None or not stage.why else f"{stage.name}: {stage.why}"
        self.why.setText(why)
        self.why.setVisible(bool(why))
        if stage is None or not (stage.folder / EVENTS).exists():
            self._leave()
        elif self.follower.folder != stage.folder:
            self._leave()
            if self.curves is None:
                self.curves = RunCurves(self._viewer)
                self._layout.addWidget(self.curves)
            self.curves.show()
            self.follower.follow(stage.folder)

    def _take(self, news: News) -> None:
        if self.curves is not None:
            self.curves.show_run(self.follower.state.rows, news)

    def _leave(self) -> None:
        if self.follower.folder is not None:
            self.follower.leave()
        if self.curves is not None and self.curves.isVisibleTo(self):
            self.curves.clear()
            self.curves.hide()

"""The table of a tab of Quality: as narrow as its words allow, so that no column is out of sight."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from qtpy.QtCore import QRect, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QFontMetrics, QResizeEvent
from qtpy.QtWidgets import QHeaderView, QTableWidget, QTableWidgetItem

from .._copy_table import CopyTable, text_of

if TYPE_CHECKING:
    from ...core.quality.reports.page import Table

__all__ = ["PartTable"]

_MOST_ROWS_SEEN = 8
_MOST_IN_FULL_SIZE, _SMALLER = 6, 0.85
_BESIDE_PX = 10
_WIDEST_WORD_PX = 70
_MAY_BREAK = "\N{ZERO WIDTH SPACE}"
_BREAKS = re.compile("([-_])")  # names of layers seldom have spaces
_BETWEEN_WORDS = re.compile(f"[ {_MAY_BREAK}](?!to )")  # "0.27 to" and "0.28", in two lines
_WRAPPED = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
_TIGHT = "QHeaderView::section { padding: 2px } QTableView::item { padding: 0 }"


class PartTable(CopyTable):
    """A table of text whose rows can be picked; words are wrapped where the panel is narrow."""

    picked = Signal(int)

    def __init__(self) -> None:
        super().__init__(0, 0)
        self.setWordWrap(True)
        self.setStyleSheet(_TIGHT)
        self.setSelectionBehavior(QTableWidget.SelectionBehavior.SelectRows)
        self.setSelectionMode(QTableWidget.SelectionMode.SingleSelection)
        self.setAccessibleName("Measurements")
        self.verticalHeader().hide()
        header = self.horizontalHeader()
        header.setDefaultAlignment(_WRAPPED)
        header.setMinimumSectionSize(1)
        self.hide()
        self.currentCellChanged.connect(self._on_cell)

    def show_table(self, table: Table) -> None:
        """Show a table in place of the last; short ones without a scroll bar."""
        self.blockSignals(True)
        self.clear()
        self.setColumnCount(len(table.header))
        self.setRowCount(len(table.rows))
        # As in the table of scores: many columns fit a narrow panel in smaller type only.
        smaller = len(table.header) > _MOST_IN_FULL_SIZE
        for column, text in enumerate(table.header):
            title = _BREAKS.sub(f"\\1{_MAY_BREAK}", text)
            self.setHorizontalHeaderItem(column, self._cell(title, smaller=smaller))
        for row, cells in enumerate(table.rows):
            for column, text in enumerate(cells):
                item = self._cell(text, smaller=smaller)
                side = "AlignRight" if table.numeric and column > 0 else "AlignLeft"
                item.setTextAlignment(
                    getattr(Qt.AlignmentFlag, side) | Qt.AlignmentFlag.AlignVCenter
                )
                self.setItem(row, column, item)
        self.setCurrentCell(-1, -1)
        self.blockSignals(False)
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        self.setVisible(bool(table.rows))
        self._fit()

    def text(self) -> str:
        """Return the whole table, its cells parted by tabs."""
        columns = range(self.columnCount())
        rows = [[text_of(self.horizontalHeaderItem(column)) for column in columns]]
        for row in range(self.rowCount()):
            rows.append([text_of(self.item(row, column)) for column in columns])
        return "\n".join("\t".join(row) for row in rows).replace(_MAY_BREAK, "")

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Share the width among the columns anew."""
        super().resizeEvent(event)
        self._fit()

    def _on_cell(self, row: int, *_others: int) -> None:
        if row >= 0:
            self.picked.emit(row)

    def _cell(self, text: str, *, smaller: bool) -> QTableWidgetItem:
        item = QTableWidgetItem(text)
        item.setToolTip(text)
        font = self.font()
        font.setPointSizeF((_SMALLER if smaller else 1) * font.pointSizeF())
        item.setFont(font)
        return item

    def _fit(self) -> None:
        """Give every column the width of its longest word, and what is left to those that wrap."""
        shown = [column for column in range(self.columnCount()) if not self.isColumnHidden(column)]
        least = [self._width(column, words=True) for column in shown]
        lacking = [self._width(c, words=False) - w for c, w in zip(shown, least, strict=True)]
        left, short = max(0, self.viewport().width() - sum(least)), sum(lacking)
        for column, width, lack in zip(shown, least, lacking, strict=True):
            enough = left >= short
            more = lack + (left - short) / len(shown) if enough else left * lack / short
            self.setColumnWidth(column, int(width + more))
        self._fit_height()

    def _width(self, column: int, *, words: bool) -> int:
        """Return the px of a column that is not wrapped, or wrapped wherever it can be."""
        title = self.horizontalHeaderItem(column)
        items = [title, *(self.item(row, column) for row in range(self.rowCount()))]
        widest = 0
        for item in filter(None, items):
            advance = QFontMetrics(item.font()).horizontalAdvance
            if words:
                longest = max(map(advance, _BETWEEN_WORDS.split(item.text())))
                widest = max(widest, min(longest, _WIDEST_WORD_PX))
            else:
                widest = max(widest, advance(item.text()))
        return widest + _BESIDE_PX

    def _fit_height(self) -> None:
        self.resizeRowsToContents()
        seen = min(self.rowCount(), _MOST_ROWS_SEEN)
        rows = sum(self.rowHeight(row) for row in range(seen))
        header = self.horizontalHeader()
        header.setFixedHeight(max(map(self._title_height, range(self.columnCount())), default=0))
        frame = 2 * self.frameWidth() + self.horizontalScrollBar().sizeHint().height()
        self.setFixedHeight(rows + header.height() + frame)

    def _title_height(self, column: int) -> int:
        item = self.horizontalHeaderItem(column)
        if item is None or self.isColumnHidden(column):
            return 0
        room = QRect(0, 0, self.columnWidth(column) - _BESIDE_PX // 2, 0)
        return QFontMetrics(item.font()).boundingRect(room, _WRAPPED, item.text()).height() + 6

"""The table of scores: a row a score, a column an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QHeaderView, QSizePolicy, QTableWidgetItem

from ..core.quality.definitions import DEFINITIONS
from ._copy_table import CopyTable, text_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..core.quality.reports.page import Table

__all__ = ["ScoreTable"]


_NAME_LINES = 3
_MOST_IN_FULL_SIZE, _SMALLER = 2, 0.85
_FLAT = """
QHeaderView::section, QTableCornerButton::section {
    background: transparent; border: none; padding: 2px 4px;
}
"""


class ScoreTable(CopyTable):
    """Shows the scores of a report, the best of each row in bold; what is selected can be copied."""

    def __init__(self) -> None:
        super().__init__(len(DEFINITIONS), 1)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setStyleSheet(_FLAT)
        self.setAccessibleName("Scores")
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap)
        header.setMinimumHeight(_NAME_LINES * self.fontMetrics().lineSpacing() + 6)
        self.setHorizontalHeaderLabels([""])
        self._label_rows(list(DEFINITIONS))

    def show_scores(self, scores: Sequence[str], table: Table) -> None:
        """Show a table.

        Parameters
        ----------
        scores : sequence of str
            The scores measured, as `Report.measured` gives them.
        table : Table
            Of `scores_table`: a row an image, the first cell its name.
        """
        self.setColumnCount(len(table.rows))
        self._label_rows(scores)
        # Three columns and more fit a narrow panel in smaller type only.
        smaller = len(table.rows) > _MOST_IN_FULL_SIZE
        for column, (name, *cells) in enumerate(table.rows):
            title = QTableWidgetItem(name)
            title.setToolTip(name)
            self.setHorizontalHeaderItem(column, title)
            for row, text in enumerate(cells):
                best = (column, row + 1) in table.emphasis
                item = _cell(text, best, _definition(scores[row]))
                if smaller:
                    font = item.font()
                    font.setPointSizeF(_SMALLER * self.font().pointSizeF())
                    item.setFont(font)
                self.setItem(row, column, item)

        # No cell is cut: the panel grows to what the table needs.
        count = self.columnCount()  # all of one width
        needed = count * max((self.sizeHintForColumn(column) for column in range(count)), default=0)
        self.setMinimumWidth(self.verticalHeader().sizeHint().width() + needed + 4)

    def text(self) -> str:
        """Return the whole table, its cells parted by tabs, for a spreadsheet."""
        columns = range(self.columnCount())
        rows = [["", *(text_of(self.horizontalHeaderItem(column)) for column in columns)]]
        for row in range(self.rowCount()):
            cells = (text_of(self.item(row, column)) for column in columns)
            rows.append([text_of(self.verticalHeaderItem(row)).replace("\n", " "), *cells])
        return "\n".join("\t".join(row) for row in rows)

    def changeEvent(self, event: QEvent) -> None:
        """Stay as high as the rows, whatever the size of the font."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.StyleChange, QEvent.Type.FontChange):
            self._fit_height()

    def _label_rows(self, scores: Sequence[str]) -> None:
        self.setRowCount(len(scores))
        for row, score in enumerate(scores):
            title = QTableWidgetItem(DEFINITIONS[score].label.replace(" (% of", "\n(% of"))
            title.setToolTip(_definition(score))
            self.setVerticalHeaderItem(row, title)
        self._fit_height()

    def _fit_height(self) -> None:
        self.resizeRowsToContents()
        rows = sum(self.rowHeight(row) for row in range(self.rowCount()))
        frame = 2 * self.frameWidth()
        header = self.horizontalHeader()
        height = max(header.sizeHint().height(), header.minimumHeight())
        self.setFixedHeight(rows + height + frame + 2)


def _cell(text: str, best: bool, tip: str) -> QTableWidgetItem:
    item = QTableWidgetItem(text)
    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
    font = item.font()
    font.setBold(best)
    item.setFont(font)
    item.setToolTip(tip)
    return item


def _definition(score: str) -> str:
    found = DEFINITIONS[score]
    return f"<p>{found.meaning} {found.better.capitalize()} is better.</p><p>{found.source}</p>"

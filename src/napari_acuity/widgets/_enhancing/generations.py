"""The table of generations: what every iteration changed."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

__all__ = ["GenerationTable"]

_TIP = (
    "How much each iteration differs from its input enlarged bicubically: root mean square, share of "
    "the range"
)


class GenerationTable(QTableWidget):
    """Generation and change, a row for each iteration; hidden until there is one."""

    def __init__(self) -> None:
        super().__init__(0, 2)
        self.setHorizontalHeaderLabels(["Generation", "Change"])
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        self.verticalHeader().hide()
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setToolTip(_TIP)
        self.setAccessibleName("Generations")
        self.hide()

    def begin(self) -> None:
        """Empty it."""
        self.setRowCount(0)
        self.hide()

    def add(self, number: int, change: float) -> None:
        """Add what an iteration changed."""
        row = self.rowCount()
        self.insertRow(row)
        for column, text in enumerate((f"{number}", f"{100 * change:.2f} %")):
            item = QTableWidgetItem(text)
            item.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
            self.setItem(row, column, item)
        heights = sum(self.rowHeight(r) for r in range(self.rowCount()))
        frame = 2 * self.frameWidth()
        self.setFixedHeight(self.horizontalHeader().sizeHint().height() + heights + frame)
        self.show()

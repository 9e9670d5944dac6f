"""A table whose cells can be copied to a spreadsheet."""

from __future__ import annotations

from typing import Any

from qtpy.QtGui import QKeyEvent, QKeySequence
from qtpy.QtWidgets import QApplication, QTableWidget

__all__ = ["CopyTable", "text_of"]


class CopyTable(QTableWidget):
    """A table that is read only; Ctrl+C copies the selected cells."""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__(rows, columns)
        self.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.setWordWrap(False)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Copy the selected cells at Ctrl+C, parted by tabs."""
        if not event.matches(QKeySequence.StandardKey.Copy):
            super().keyPressEvent(event)
            return
        rows: dict[int, list[str]] = {}
        for row, column in sorted((i.row(), i.column()) for i in self.selectedIndexes()):
            rows.setdefault(row, []).append(text_of(self.item(row, column)))
        QApplication.clipboard().setText("\n".join("\t".join(cells) for cells in rows.values()))


def text_of(item: Any) -> str:
    """Return the text of a cell or a header, "" where there is none."""
    return item.text() if item is not None else ""

"""The table of the kinds that a lens tells apart: a name and a colour each."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QColorDialog,
    QHeaderView,
    QLabel,
    QTableWidget,
    QTableWidgetItem,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from ..core.errors import AcuityError
from ..core.lens_training.kinds import MOST_KINDS, Kind, check_kinds
from ._lens_ticks import square
from ._panel import enable, side_by_side

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtGui import QShowEvent

__all__ = ["KindsTable"]

# As far apart as can be, also to most who see red and green alike, after the two customary ones.
_COLOURS = ("#ff0000", "#00ff00", "#0080ff", "#ffff00", "#ff00ff", "#00ffff", "#ff8000", "#ffffff")
_NAME, _COLOUR = range(2)
_MOST_SHOWN = 5
_SWATCH_PX = 16
_TIPS = {
    "table": "What the lens tells apart, in the order of the labels' numbers: 1, 2 ... The selected kind is "
    "the one that Draft labels and the brush paint.",
    "colour": "{}: click to choose another colour",
    "add": "Add a kind",
    "remove": "Remove the selected kind; the numbers of those below it become one less",
}


class KindsTable(QWidget):
    """Names and colours, a row a kind, and what is wrong with them.

    Attributes
    ----------
    problem : str or None
        Why no lens can have these kinds.
    kinds : tuple of Kind
        As they are; as they were last where something is wrong with them.
    """

    changed = Signal()
    selected = Signal()
    """Emitted when another row is selected."""

    def __init__(self) -> None:
        super().__init__()
        self.problem: str | None = None
        self.kinds: tuple[Kind, ...] = ()
        self.table = QTableWidget(0, 2)
        self.table.setHorizontalHeaderLabels(["Kind", "Colour"])
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setToolTip(_TIPS["table"])
        self.table.setAccessibleName("Kinds")
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(_NAME, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(_COLOUR, QHeaderView.ResizeMode.ResizeToContents)
        self.add, self.remove = QToolButton(), QToolButton()
        for button, text, tip in ((self.add, "+", "add"), (self.remove, "−", "remove")):
            button.setText(text)
            button.setToolTip(_TIPS[tip])
            button.setAccessibleName(_TIPS[tip])
        self.wrong = QLabel()
        self.wrong.setWordWrap(True)
        buttons = QVBoxLayout()
        buttons.addWidget(self.add)
        buttons.addWidget(self.remove)
        buttons.addStretch(1)
        row = side_by_side(self.table, stretch=self.table)
        row.addLayout(buttons)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row)
        layout.addWidget(self.wrong)
        self.add.clicked.connect(self._on_add)
        self.remove.clicked.connect(self._on_remove)
        self.table.itemChanged.connect(self._update)
        self.table.itemSelectionChanged.connect(self.selected)
        self.show_kinds([("kind 1", _COLOURS[0]), ("kind 2", _COLOURS[1])])

    @property
    def number(self) -> int:
        """The label of the selected kind."""
        return max(self.table.currentRow(), 0) + 1

    def name(self, number: int) -> str:
        """Return what a kind is called now."""
        item = self.table.item(number - 1, _NAME)
        return item.text().strip() if item is not None else ""

    def show_kinds(self, kinds: Sequence[tuple[str, str]]) -> None:
        """Show other kinds: name and "#rrggbb" of each."""
        self.table.blockSignals(True)
        self.table.setRowCount(0)
        for name, colour in kinds:
            self._append(name, colour)
        self.table.selectRow(0)
        self.table.blockSignals(False)
        self._update()

    def _append(self, name: str, colour: str) -> None:
        row = self.table.rowCount()
        self.table.insertRow(row)
        self.table.setItem(row, _NAME, QTableWidgetItem(name))
        button = QToolButton()
        button.setIconSize(QSize(_SWATCH_PX, _SWATCH_PX))
        button.clicked.connect(partial(self._ask_colour, button))
        _paint(button, colour)
        self.table.setCellWidget(row, _COLOUR, button)

    def _colour(self, row: int) -> str:
        return str(self.table.cellWidget(row, _COLOUR).property("colour"))

    def _ask_colour(self, button: QToolButton, _checked: bool = False) -> None:
        chosen = QColorDialog.getColor(
            QColor(button.property("colour")), self, "Colour of the kind"
        )
        if chosen.isValid():
            _paint(button, chosen.name())
            self._update()

    def _on_add(self) -> None:
        rows = range(self.table.rowCount())
        names = {self.name(row + 1).casefold() for row in rows}
        colours = {self._colour(row) for row in rows}
        number = next(n for n in range(1, len(names) + 2) if f"kind {n}" not in names)
        # With all of the palette in use the user chooses: two alike are told.
        colour = next((c for c in _COLOURS if c not in colours), _COLOURS[0])
        self.table.blockSignals(True)
        self._append(f"kind {number}", colour)
        self.table.blockSignals(False)
        self.table.selectRow(self.table.rowCount() - 1)
        self._update()

    def _on_remove(self) -> None:
        row = max(self.table.currentRow(), 0)
        self.table.removeRow(row)
        self.table.selectRow(min(row, self.table.rowCount() - 1))
        self._update()

    def _update(self, _item: object = None) -> None:
        try:
            rows = range(self.table.rowCount())
            kinds = tuple(Kind(self.name(row + 1), self._colour(row)) for row in rows)
            check_kinds(kinds)
        except AcuityError as error:
            self.problem = str(error)
        else:
            self.problem, self.kinds = None, kinds
        self.wrong.setText(self.problem or "")
        self.wrong.setVisible(self.problem is not None)
        count = self.table.rowCount()
        enable(self.add, _TIPS["add"], None if count < MOST_KINDS else "There are enough.")
        why_not = None if count > 1 else "A lens has one kind at least."
        enable(self.remove, _TIPS["remove"], why_not)
        self._fit()
        self.changed.emit()

    def showEvent(self, event: QShowEvent) -> None:
        """Be as high as the rows are in the style that a shown widget has."""
        super().showEvent(event)
        self._fit()

    def _fit(self) -> None:
        """Be as high as the rows, up to some."""
        off, needed = Qt.ScrollBarPolicy.ScrollBarAlwaysOff, Qt.ScrollBarPolicy.ScrollBarAsNeeded
        few = self.table.rowCount() <= _MOST_SHOWN
        self.table.setVerticalScrollBarPolicy(off if few else needed)
        shown = range(min(self.table.rowCount(), _MOST_SHOWN))
        heights = sum(self.table.rowHeight(row) for row in shown)
        frame = 2 * self.table.frameWidth()
        self.table.setFixedHeight(
            self.table.horizontalHeader().sizeHint().height() + heights + frame
        )


def _paint(button: QToolButton, colour: str) -> None:
    button.setIcon(square(colour, _SWATCH_PX))
    button.setProperty("colour", colour)
    button.setToolTip(_TIPS["colour"].format(colour))
    button.setAccessibleName(f"Colour {colour}")

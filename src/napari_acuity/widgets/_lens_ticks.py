"""Names with check boxes, of kinds or outputs of a lens, in little room however many there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QSize, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QColor, QIcon, QPainter, QPixmap
from qtpy.QtWidgets import QCheckBox, QFrame, QGridLayout, QScrollArea, QVBoxLayout, QWidget

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

__all__ = ["TickList", "square"]

_SQUARE_PX = 10
_GAP_PX = 2
# More rows than these are scrolled; more names than these get a box that ticks them all.
_MOST_ROWS = 4
_MANY = 8
_NARROW_PX, _WIDE_PX = 84, 230


class TickList(QWidget):
    """A check box for each name, in two columns where names are short; it scrolls where there are many.

    Parameters
    ----------
    names : iterable of str
    unticked : collection of str
        Which are not ticked at first.
    colours : dict, optional
        Name to the colour ("#rrggbb") of a small square beside it.

    Attributes
    ----------
    boxes : dict of QCheckBox
        By name.
    all : QCheckBox or None
        Where there are many: ticks or unticks them all.
    """

    changed = Signal()

    def __init__(
        self,
        names: Iterable[str],
        *,
        unticked: Collection[str] = (),
        colours: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.boxes: dict[str, QCheckBox] = {}
        for name in names:
            self.boxes[name] = box = QCheckBox()
            box.setAccessibleName(name)
            box.setChecked(name not in unticked)
            if colours is not None:
                box.setIcon(square(colours[name]))
                box.setIconSize(QSize(_SQUARE_PX, _SQUARE_PX))
            box.toggled.connect(self._on_toggled)
        self.all = QCheckBox("All") if len(self.boxes) > _MANY else None
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(_GAP_PX)
        if self.all is not None:
            self.all.setTristate(True)
            self.all.clicked.connect(self._tick_all)
            layout.addWidget(self.all)
        self._scroll = self._make_scroll()
        layout.addWidget(self._scroll)
        self._fit()
        self._show_all()

    @property
    def unticked(self) -> set[str]:
        """The names that are not ticked."""
        return {name for name, box in self.boxes.items() if not box.isChecked()}

    def changeEvent(self, event: QEvent) -> None:
        """Fit anew where the font has changed: napari's is set after the widget was made."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange) and self.boxes:
            self._fit()

    def _make_scroll(self) -> QScrollArea:
        inner, scroll = QWidget(), QScrollArea()
        self._grid = QGridLayout(inner)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setVerticalSpacing(_GAP_PX)
        scroll.setWidget(inner)
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        return scroll

    def _fit(self) -> None:
        """Lay the boxes out, and make the frame as high as it needs."""
        metrics = self.fontMetrics()
        widest = max(metrics.horizontalAdvance(name) for name in self.boxes)
        columns = 2 if widest <= _NARROW_PX and len(self.boxes) > 1 else 1
        for place, (name, box) in enumerate(self.boxes.items()):
            text = metrics.elidedText(name, Qt.TextElideMode.ElideMiddle, _WIDE_PX)
            box.setText(text.replace("&", "&&"))
            box.setToolTip(name if text != name else "")
            self._grid.addWidget(box, *divmod(place, columns))
        rows = min(_MOST_ROWS, -(-len(self.boxes) // columns))
        height = max(box.sizeHint().height() for box in self.boxes.values())
        self._scroll.setFixedHeight(rows * (height + _GAP_PX))

    def _on_toggled(self, _ticked: bool) -> None:
        self._show_all()
        self.changed.emit()

    def _tick_all(self, _ticked: bool = False) -> None:
        ticked = bool(self.unticked)
        for box in self.boxes.values():
            box.blockSignals(True)
            box.setChecked(ticked)
            box.blockSignals(False)
        self._on_toggled(ticked)

    def _show_all(self) -> None:
        if self.all is not None:
            states = {0: Qt.CheckState.Checked, len(self.boxes): Qt.CheckState.Unchecked}
            state = states.get(len(self.unticked), Qt.CheckState.PartiallyChecked)
            self.all.setCheckState(state)


def square(colour: str, side_px: int = _SQUARE_PX) -> QIcon:
    """Return a square of a colour with a rim, so that it is seen on any ground."""
    pixels = QPixmap(side_px, side_px)
    pixels.fill(QColor(colour))
    painter = QPainter(pixels)
    painter.setPen(QColor("#808080"))
    painter.drawRect(0, 0, side_px - 1, side_px - 1)
    painter.end()
    return QIcon(pixels)

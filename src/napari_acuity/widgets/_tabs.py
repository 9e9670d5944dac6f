"""Tabs that are as high as the page on show; Qt's own are as high as the highest of all."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QTabBar, QVBoxLayout, QWidget

__all__ = ["Tabs"]


_BESIDE_PX = 3


class Tabs(QWidget):
    """Pages of which one is shown, and a bar to choose it."""

    changed = Signal()
    """Emitted when another page is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.bar = QTabBar()
        self.bar.setDrawBase(False)
        self.bar.setExpanding(False)
        # Arrows hide the last tabs; without them the panel is as wide as all of them, which for Quality
        # still fits beside a canvas at 1366 px.
        self.bar.setUsesScrollButtons(False)
        self.bar.setElideMode(Qt.TextElideMode.ElideNone)
        self.bar.setStyleSheet(f"QTabBar::tab {{ padding: 3px {_BESIDE_PX}px }}")
        self.pages: list[QWidget] = []
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.addWidget(self.bar)
        self.bar.currentChanged.connect(self._on_current)

    def add(self, page: QWidget, title: str, tip: str) -> None:
        """Add a page at the end."""
        self.pages.append(page)
        page.setVisible(len(self.pages) == 1)
        self._layout.addWidget(page)
        self.bar.setTabToolTip(self.bar.addTab(title), tip)

    @property
    def page(self) -> QWidget:
        """The page on show."""
        return self.pages[self.bar.currentIndex()]

    def show_page(self, page: QWidget) -> None:
        """Show a page."""
        self.bar.setCurrentIndex(self.pages.index(page))

    def _on_current(self, index: int) -> None:
        for number, page in enumerate(self.pages):
            page.setVisible(number == index)
        self.changed.emit()

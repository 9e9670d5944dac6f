"""Help: the docs pages, read within napari and without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtCore import QSize, Qt, QUrl
from qtpy.QtGui import QColor, QImage, QTextCharFormat, QTextCursor, QTextDocument
from qtpy.QtWidgets import QDialog, QHBoxLayout, QPushButton, QTextBrowser, QVBoxLayout, QWidget

__all__ = ["HelpWindow", "docs_folder"]

_PACKAGE = Path(__file__).resolve().parents[1]
_PICTURE_PX = 680
# Seen on a dark and on a light ground.
_LINK = "#3d8fd9"
# In an installed package, and in a copy of the repository.
_PLACES = (_PACKAGE / "docs", _PACKAGE.parents[1] / "docs")


def docs_folder() -> Path | None:
    """Return where the docs pages are; None where somebody left them out."""
    return next((place for place in _PLACES if (place / "index.md").is_file()), None)


class _Pages(QTextBrowser):
    """Pages whose pictures are as wide as the window at most."""

    def loadResource(self, kind: int, name: Any) -> Any:
        """Return what a page asks for; pictures made smaller."""
        if kind != QTextDocument.ResourceType.ImageResource:
            return super().loadResource(kind, name)
        picture = QImage(self.source().resolved(name).toLocalFile())
        if picture.width() <= _PICTURE_PX:
            return picture
        return picture.scaledToWidth(_PICTURE_PX, Qt.TransformationMode.SmoothTransformation)

    def colour_links(self) -> None:
        """Make links readable: Qt makes them dark blue, on a dark ground too."""
        look = QTextCharFormat()
        look.setForeground(QColor(_LINK))
        block = self.document().begin()
        while block.isValid():
            pieces = block.begin()
            while not pieces.atEnd():
                piece = pieces.fragment()
                if piece.charFormat().isAnchor():
                    cursor = QTextCursor(block)
                    cursor.setPosition(piece.position())
                    end = piece.position() + piece.length()
                    cursor.setPosition(end, QTextCursor.MoveMode.KeepAnchor)
                    cursor.mergeCharFormat(look)
                pieces += 1
            block = block.next()


class HelpWindow(QDialog):
    """Shows a docs page, follows its links, and goes back.

    Parameters
    ----------
    page : Path
    parent : QWidget
    """

    def __init__(self, page: Path, parent: QWidget) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.browser = _Pages()
        self.browser.setOpenExternalLinks(True)
        self.browser.setAccessibleName("Help")
        self.back, contents = QPushButton("Back"), QPushButton("All pages")
        self.back.setEnabled(False)
        self.back.clicked.connect(self.browser.backward)
        self.browser.backwardAvailable.connect(self.back.setEnabled)
        contents.clicked.connect(lambda: self.show_page(page.with_name("index.md")))
        self.browser.sourceChanged.connect(self._tell)
        buttons, layout = QHBoxLayout(), QVBoxLayout(self)
        for button in (self.back, contents):
            buttons.addWidget(button)
        buttons.addStretch(1)
        layout.addLayout(buttons)
        layout.addWidget(self.browser)
        self.show_page(page)

    def show_page(self, page: Path) -> None:
        """Show another page."""
        self.browser.setSource(QUrl.fromLocalFile(str(page)))

    def sizeHint(self) -> QSize:
        """Leave room for the tables."""
        return QSize(760, 640)

    def _tell(self, source: QUrl) -> None:
        self.browser.colour_links()
        self.setWindowTitle(f"napari-acuity: {Path(source.path()).stem}")

"""Asks for what a bioimage.io package must name: its authors and its licence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QComboBox, QDialog, QDialogButtonBox, QLabel, QLineEdit, QVBoxLayout

from .._panel import add_row, form

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

__all__ = ["PackageDialog"]

_LICENCES = (
    "CC-BY-4.0",
    "CC0-1.0",
    "CC-BY-SA-4.0",
    "CC-BY-NC-4.0",
    "MIT",
    "BSD-3-Clause",
    "Apache-2.0",
)
_TIPS = {
    "authors": "Those who made the model; part several names with semicolons",
    "licence": "Under which the model is given away: an identifier of the SPDX list",
}


class PackageDialog(QDialog):
    """Authors and licence; *Export* can be pressed once both are there."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("bioimage.io package")
        words = QLabel("A package names who made the model and how others may use it.")
        words.setWordWrap(True)
        self.author_line = QLineEdit(placeholderText="First Last; First Last")
        self.licence = QComboBox()
        self.licence.setEditable(True)
        self.licence.addItems(_LICENCES)
        rows = form()
        add_row(rows, "Authors", self.author_line, _TIPS["authors"])
        add_row(rows, "Licence", self.licence, _TIPS["licence"])
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self.export = self.buttons.addButton("Export", QDialogButtonBox.ButtonRole.AcceptRole)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.addWidget(words)
        layout.addLayout(rows)
        layout.addWidget(self.buttons)
        self.author_line.textChanged.connect(self._update)
        self.licence.currentTextChanged.connect(self._update)
        self._update()

    @property
    def authors(self) -> list[str]:
        """The names given."""
        return [name.strip() for name in self.author_line.text().split(";") if name.strip()]

    @property
    def license(self) -> str:
        """The SPDX identifier given."""
        return self.licence.currentText().strip()

    def _update(self, _text: str = "") -> None:
        self.export.setEnabled(bool(self.authors and self.license))

"""Ask where to write: a name always has a suffix that says how, and what is there is not lost unasked."""

from __future__ import annotations

import re
from pathlib import Path

from qtpy.QtWidgets import QFileDialog, QMessageBox, QWidget

__all__ = ["ask_name"]


def ask_name(parent: QWidget, title: str, name: str, kinds: str) -> str:
    """Ask for the file to write.

    Parameters
    ----------
    parent : QWidget
    title : str
        Of the dialog.
    name : str
        The name to propose.
    kinds : str
        As Qt takes them: "TIFF (*.tif *.tiff);;PNG (*.png)".

    Returns
    -------
    str
        The name; without one of the suffixes, with that of the kind that was chosen. "" where none was
        chosen, or a file of that name, which the dialog did not see, shall stay.
    """
    path, kind = QFileDialog.getSaveFileName(parent, title, name, kinds)
    if not path or path.lower().endswith(tuple(_suffixes(kinds))):
        return path
    path += _suffixes(kind or kinds)[0]
    return path if not Path(path).exists() or _may_replace(parent, title, path) else ""


def _suffixes(kinds: str) -> list[str]:
    return re.findall(r"\*(\.\w+)", kinds)


def _may_replace(parent: QWidget, title: str, path: str) -> bool:
    words = f"{Path(path).name} is there already. Replace it?"
    yes, no = QMessageBox.StandardButton.Yes, QMessageBox.StandardButton.No
    return bool(QMessageBox.question(parent, title, words, yes | no, no) == yes)

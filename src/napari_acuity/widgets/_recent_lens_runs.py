"""The lens that was trained last, remembered over restarts: its training goes on without napari."""

from __future__ import annotations

import json
from pathlib import Path

from . import _recent_models

__all__ = ["last_lens_run", "remember_lens_run"]

_FILE = "napari-acuity-lens-run.json"


def last_lens_run() -> Path | None:
    """Return the folder, where it is still there."""
    try:
        told = json.loads((_recent_models.settings_folder() / _FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    folder = Path(told) if isinstance(told, str) else None
    return folder if folder is not None and folder.is_dir() else None


def remember_lens_run(folder: Path) -> None:
    """Remember a folder; where nothing can be written, it is not remembered."""
    try:
        place = _recent_models.settings_folder()
        place.mkdir(parents=True, exist_ok=True)
        temporary = place / f".{_FILE}.new"
        temporary.write_text(json.dumps(str(folder)), encoding="utf-8")
        temporary.replace(place / _FILE)
    except OSError:
        return

"""The lens that was trained last, remembered over restarts: its training goes on without napari."""

from __future__ import annotations

from pathlib import Path

from .._recent_models import remember, remembered

__all__ = ["last_lens_run", "remember_lens_run"]

_FILE = "napari-acuity-lens-run.json"


def last_lens_run() -> Path | None:
    """Return the folder, where it is still there."""
    told = remembered(_FILE)
    folder = Path(told) if isinstance(told, str) else None
    return folder if folder is not None and folder.is_dir() else None


def remember_lens_run(folder: Path) -> None:
    """Remember a folder; where nothing can be written, it is not remembered."""
    remember(_FILE, str(folder))

"""The models used last, remembered over restarts: a small JSON file beside napari's settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ._session import SHIPPED

__all__ = ["recent_models", "remember", "remember_used", "remembered", "settings_folder"]

_FILE, _MOST = "napari-acuity-models.json", 8


def recent_models() -> list[str]:
    """Return what `acuity.load` takes of the models used last, newest first, without files that are gone."""
    try:
        texts = [text for text in remembered(_FILE) if isinstance(text, str)]
    except TypeError:
        return []
    return [text for text in texts if text == SHIPPED or Path(text).is_file()][:_MOST]


def remember_used(load_as: str) -> None:
    """Put a model at the top of the list; where nothing can be written, it is not remembered."""
    texts = [load_as, *(text for text in recent_models() if text != load_as)][:_MOST]
    remember(_FILE, texts)


def remembered(file: str) -> Any:
    """Return what `remember` wrote into a file beside napari's settings; None where there is nothing."""
    try:
        return json.loads((settings_folder() / file).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def remember(file: str, value: Any) -> None:
    """Write a value as JSON beside napari's settings; where nothing can be written, it is not remembered."""
    try:
        folder = settings_folder()
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{file}.new"
        temporary.write_text(json.dumps(value, indent=1), encoding="utf-8")
        temporary.replace(folder / file)
    except OSError:
        return


def settings_folder() -> Path:
    """Return where napari keeps its settings, which NAPARI_CONFIG may say."""
    from napari.settings import get_settings

    path = get_settings().config_path
    if path is None:
        raise OSError("napari keeps no settings")
    return Path(path).parent

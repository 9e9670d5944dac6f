"""The button Save result...: it writes the newest result of a panel as a file."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QPushButton

from .._jobs import one_step
from .._layers import snapshot
from .._panel import enable
from .._saving import ask_name

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image

    from .._jobs import JobBox

__all__ = ["SaveResult", "file_stem"]

_TIP = "Write the newest result as TIFF, PNG or JPEG, with its pixel size"
_NONE = "There is no result yet."


class SaveResult(QPushButton):
    """The button; disabled, with the reason, where the newest result is not to be saved here."""

    def __init__(self, viewer: napari.viewer.Viewer, job: JobBox) -> None:
        super().__init__("Save result...")
        self._viewer, self._job = viewer, job
        self._layer: Image | None = None
        self._why_not: str | None = _NONE
        self.clicked.connect(self._save)

    def offer(self, layer: Image) -> None:
        """Save this layer from now on: it is the newest result, or what was kept of it."""
        self._layer, self._why_not = layer, None

    def withhold(self, why_not: str) -> None:
        """Save nothing from now on, and say why."""
        self._layer, self._why_not = None, why_not

    def show_state(self, why_not: str | None = None) -> None:
        """Enable the button, or say why it cannot be pressed."""
        enable(self, _TIP, why_not or self._problem())

    def _problem(self) -> str | None:
        if self._job.running:
            return "Wait until the job has ended."
        if self._layer is not None and self._layer not in self._viewer.layers:
            return "The newest result was removed."
        return self._why_not

    def _save(self) -> None:
        layer = self._layer
        if layer is None or self._problem():
            return
        kinds = "TIFF (*.tif *.tiff);;PNG (*.png);;JPEG (*.jpg)"
        name = f"{file_stem(layer)}.tif"
        path = ask_name(self, "Save the result", name, kinds)
        if path:
            write = partial(_write, snapshot(layer), Path(path))
            steps = partial(one_step, "writing", write)
            self._job.run(steps, done=lambda to: self._job.say(f"Written to {to}."))


def file_stem(layer: Image) -> str:
    """Return a layer's name without what does not belong in the name of a file."""
    return re.sub(r'[\s\\/:*?"<>|]+', "-", layer.name)


def _write(held: Any, path: Path) -> Path:
    from ...core.io import write
    from ...core.micrograph import as_micrograph

    return write(as_micrograph(held), path)

"""What one does with a registration that was found: pairs, further channels, files."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QFileDialog, QLabel, QMenu, QPushButton, QVBoxLayout, QWidget

from .. import _session
from .._jobs import one_step
from .._layers import (
    LayerChooser,
    add_result,
    finest,
    is_plane,
    may_be_channels,
    result_layer,
    snapshot,
)
from .._panel import add_row, drop_down, enable, options, side_by_side
from .._value_range import ValueRange
from .job import add_pair

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image

    from ...core.micrograph import Micrograph
    from .._jobs import JobBox
    from .compare_views import Kept

__all__ = ["MapBox"]

_SCALES = {"Auto": None, "x1": 1.0, "x1.5": 1.5, "x2": 2.0, "x2.5": 2.5, "x3": 3.0, "x4": 4.0}
_TIPS = {
    "pair": "Add the registered images to a folder of training pairs; the folder may be new.",
    "moving_channels": "For a pair of several channels: a layer (channels, rows, columns) on the moving "
    "image's grid, which goes into the pair in its place. Layers of one channel each become such a layer by "
    "right-click, Merge to Stack.",
    "fixed_channels": "The same on the fixed image's grid, of as many channels in the same order.",
    "apply": "Warp another image on the moving image's grid, such as a further channel.",
    "save": "Save the map (homography and shifts) as a .npz file.",
    "load": "Load a map that was saved, and apply it to the chosen images.",
}


class MapBox(QWidget):
    """Buttons to make a pair, warp another image, save and load; `load` is connected by the panel."""

    def __init__(self, viewer: napari.viewer.Viewer, job: JobBox) -> None:
        super().__init__()
        self._viewer, self._job = viewer, job
        self._kept: Kept | None = None
        self.pair, self.apply, self.save, self.load = (
            QPushButton(text) for text in ("Make pair...", "Apply to...", "Save...", "Load...")
        )
        self.pair_scale = drop_down(_SCALES)
        self.pair_scale.setAccessibleName("Scale of the pair")
        self.pair_scale.setToolTip(
            "How many pixels of the fixed image span one pixel of the pair's low-resolution image. "
            "Auto: the nearest to the ratio of the two images' pixels."
        )
        self.apply.setMenu(QMenu(self.apply))
        self.apply.menu().aboutToShow.connect(self._list_targets)
        self.pair.clicked.connect(self._make_pair)
        self.save.clicked.connect(self._save)
        scale = QLabel("Scale")
        scale.setBuddy(self.pair_scale)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        fold, rows = options("Options of the pair")
        self.values = ValueRange(rows)
        self.channels = [
            LayerChooser(viewer, fits=may_be_channels, rank=-1, none_text="none") for _ in range(2)
        ]
        for chooser, role in zip(self.channels, ("moving", "fixed"), strict=True):
            add_row(rows, f"{role.capitalize()} channels", chooser, _TIPS[f"{role}_channels"])
        layout.addLayout(side_by_side(self.pair, scale, self.pair_scale, stretch=self.pair))
        layout.addWidget(fold)
        layout.addLayout(side_by_side(self.apply, self.save, self.load))

    def show_of(self, kept: Kept | None) -> None:
        """Act on another registration."""
        self._kept = kept

    def update_buttons(self, busy: str | None, not_loading: str | None) -> None:
        """Enable what can be done now, and say of the rest why not."""
        none = busy or (None if self._kept else "Register two images first.")
        enable(self.pair, _TIPS["pair"], none or self._channels_problem())
        enable(self.apply, _TIPS["apply"], none)
        enable(self.save, _TIPS["save"], none)
        enable(self.load, _TIPS["load"], busy or not_loading)

    def _channels_problem(self) -> str | None:
        """Say why the layers of all channels make no pair."""
        layers = [chooser.layer for chooser in self.channels]
        if layers == [None, None]:
            return None
        counts = [0 if layer is None else finest(layer).shape[0] for layer in layers]
        if counts[0] == counts[1]:
            return None
        return (
            f"Channels (Options of the pair): {counts[0] or 'none'} of the moving image and "
            f"{counts[1] or 'none'} of the fixed one. Choose layers of as many channels, or none."
        )

    def _make_pair(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of training pairs")
        if not folder or self._kept is None:
            return
        kept, scale, channels = self._kept, self.pair_scale.currentData(), 0
        low, high = (chooser.layer for chooser in self.channels)
        if low is None or high is None:
            low, high = kept.moving, kept.fixed
        else:
            channels = int(finest(low).shape[0])
        of_moving, of_fixed = self.values.of_both(low, high)
        moving, fixed = snapshot(low, of_moving), snapshot(high, of_fixed)
        add = partial(add_pair, kept.registration, moving, fixed, scale, channels, Path(folder))
        self._job.run(partial(one_step, "writing the pair", add), done=self._say_pair)

    def _say_pair(self, added: tuple[Path, str, str, int]) -> None:
        folder, name, kind, count = added
        _session.remember_pairs(folder)
        pairs = "1 pair" if count == 1 else f"{count} pairs"
        self._job.say(f"Added '{name}' ({kind}) to {folder}, which now holds {pairs}.")

    def _list_targets(self) -> None:
        menu = self.apply.menu()
        menu.clear()
        if self._kept is None:
            return
        rows, cols = self._kept.registration.moving_shape
        for layer in reversed(self._viewer.layers):
            if is_plane(layer) and tuple(layer.data.shape[:2]) == (rows, cols):
                menu.addAction(layer.name).triggered.connect(partial(self._apply_to, layer))
        if menu.isEmpty():
            menu.addAction(f"No image of {rows} x {cols} pixels is open").setEnabled(False)

    def _apply_to(self, layer: Image, _checked: bool = False) -> None:
        if self._kept is None:
            return
        kept, recipe = self._kept, {**self._kept.recipe, "applied_to": layer.name}
        warp = partial(kept.registration.warp, snapshot(layer))
        self._job.run(
            partial(one_step, "warping", warp), done=partial(self._add_warped, layer, kept, recipe)
        )

    def _add_warped(
        self, layer: Image, kept: Kept, recipe: dict[str, Any], warped: Micrograph
    ) -> None:
        facts = {**recipe, "homography": kept.registration.homography}
        add_result(
            self._viewer,
            result_layer(layer, warped.pixels, what="registered", recipe=facts, grid=kept.fixed),
        )
        self._job.say(f"Warped '{layer.name}' onto the grid of '{kept.fixed.name}'.")

    def _save(self) -> None:
        if self._kept is None:
            return
        name = f"{self._kept.moving.name} to {self._kept.fixed.name}.npz"
        path, _ = QFileDialog.getSaveFileName(self, "Save map", name, "Registration (*.npz)")
        if path:
            save = partial(self._kept.registration.save, path)
            self._job.run(
                partial(one_step, "saving the map", save),
                done=lambda saved: self._job.say(f"Saved {saved}."),
            )

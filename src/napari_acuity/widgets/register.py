"""The panel Register pair: two layers in, the registered image and its shifts out."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QLabel,
    QMenu,
    QPushButton,
    QScrollArea,
    QSlider,
    QToolButton,
)

from ..core.errors import RegistrationError
from . import _session
from ._compare_views import CompareBox, Kept
from ._evidence import EvidenceButton
from ._jobs import JobBox, one_step
from ._layers import (
    LayerChooser,
    add_result,
    follow,
    is_plane,
    keep_selection,
    made_by,
    result_layer,
    snapshot,
)
from ._panel import (
    add_row,
    drop_down,
    enable,
    form,
    more_button,
    panel_layout,
    side_by_side,
)
from ._shifts import auto_gain, shift_layer, update_shifts

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image, Layer, Vectors

    from ..core.jobs import Event, Steps
    from ..core.micrograph import Micrograph
    from ..core.registration.registration import Registration

__all__ = ["RegisterPanel", "summary"]

_FIGURES = (
    "Correlation: mean local Pearson correlation of the two images, after the start and after the "
    "elastic part; 1 is perfect.\n"
    "Residual: the median shift that the last elastic level still found, in pixels of the fixed image.\n"
    "RMS shift: the root of the mean square of the elastic shifts, in pixels of the fixed image.\n"
    "Largest shift: the longest elastic shift, in pixels of the fixed image.\n"
    "Folding: whether the shift map turns a part of the image inside out; such a map is wrong there."
)
_SCALES = {"Auto": None, "x1": 1.0, "x1.5": 1.5, "x2": 2.0, "x2.5": 2.5, "x3": 3.0, "x4": 4.0}
_TIPS = {
    "pair": "Add the registered images to a folder of training pairs; the folder may be new.",
    "apply": "Warp another image on the moving image's grid, such as a further channel.",
    "save": "Save the map (homography and shifts) as a .npz file.",
    "load": "Load a map that was saved, and apply it to the chosen images.",
    "gain": "How many times longer than the true shifts the arrows are drawn. An arrow runs from a pixel "
    "of the fixed image to where the start left its content; blue is short, red is long.",
}


class RegisterPanel(QScrollArea):
    """Register a moving image onto a fixed one."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._kept: Kept | None = None
        self._arrows: Vectors | None = None
        self.moving, self.fixed = LayerChooser(viewer), LayerChooser(viewer, rank=1)
        self.start = drop_down(
            {"Auto": "auto", "Features": "features", "Structure": "structure", "None": "none"}
        )
        self.elastic = QCheckBox("Elastic")
        self.elastic.setChecked(True)
        self.job = JobBox("Register", self._register)
        self.evidence = EvidenceButton(viewer)
        self.compare = CompareBox(viewer, self.evidence)
        self._make_keepers()
        self._lay_out()
        self._delay = QTimer(self)
        self._delay.setSingleShot(True)
        self._delay.setInterval(150)
        self._delay.timeout.connect(self._set_length)
        self.gain.valueChanged.connect(self._on_gain)
        for chooser in (self.moving, self.fixed):
            chooser.changed.connect(self._update)
        self.job.busy.connect(self._update)
        follow(self, viewer.layers.events, ("removed",), self._update)
        self._update()

    def _make_keepers(self) -> None:
        self.swap = QToolButton()
        self.swap.setText("⇅")
        self.swap.setToolTip("Swap the moving and the fixed image")
        self.swap.setAccessibleName("Swap")
        self.swap.clicked.connect(self._swap)
        self.gain = QSlider(Qt.Orientation.Horizontal)
        self.gain.setRange(1, 50)
        self.gain_text = QLabel("x1")
        self.gain_text.setMinimumWidth(28)
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
        for button, call in (
            (self.pair, self._make_pair),
            (self.save, self._save),
            (self.load, self._load),
        ):
            button.clicked.connect(call)

    def _lay_out(self) -> None:
        layout, rows = panel_layout(self), form()
        tips = {
            "moving": "The image to be warped: the modest instrument's.",
            "fixed": "The image that stays, on whose grid the result lies: the better instrument's.",
            "start": "How the images are first brought together. Features: matching details, for any "
            "shift, rotation and scale. Structure: outlines and layers, for images whose details differ, "
            "such as neighbouring sections in unlike stains. None: the frames lie over each other "
            "already. Auto: the first of these that leads to images that agree.",
            "elastic": "Follow with shifts that vary over the field, such as a lens's distortion.",
        }
        add_row(rows, "Moving image", self.moving, tips["moving"])
        add_row(rows, "Fixed image", self.fixed, tips["fixed"], beside=self.swap)
        add_row(rows, "Start", self.start, tips["start"], beside=self.elastic)
        self.elastic.setToolTip(tips["elastic"])
        layout.addLayout(rows)
        more = more_button(python=self._python, command=self._command)
        self.job.row.addWidget(more)
        self.job.set_tip("Find the map from the fixed image to the moving one")
        self.job.outcome.setToolTip(_FIGURES)
        layout.addWidget(self.job)
        layout.addLayout(side_by_side(QLabel("View"), self.compare, stretch=self.compare))
        keep = form()
        keep.addRow("Arrow gain", side_by_side(self.gain, self.gain_text, stretch=self.gain))
        layout.addLayout(keep)
        scale = QLabel("Scale")
        scale.setBuddy(self.pair_scale)
        layout.addLayout(side_by_side(self.pair, scale, self.pair_scale, stretch=self.pair))
        layout.addLayout(side_by_side(self.apply, self.save, self.load))

    def _update(self, _event: object = None) -> None:
        """Enable what can be done now, and say of the rest why not."""
        self.job.disable(self._problem())
        busy = "Wait for the running job to end." if self.job.running else None
        none = busy or (None if self._kept else "Register two images first.")
        enable(self.pair, _TIPS["pair"], none)
        enable(self.apply, _TIPS["apply"], none)
        enable(self.save, _TIPS["save"], none)
        enable(self.load, _TIPS["load"], busy or self._problem())
        arrows = self._arrows is not None and self._arrows in self._viewer.layers
        enable(self.gain, _TIPS["gain"], None if arrows else "There are no arrows to scale yet.")

    def _problem(self) -> str | None:
        moving, fixed = self.moving.layer, self.fixed.layer
        if moving is None or fixed is None or self.moving.count() < 2:
            return "Open two images of one field first."
        if moving == fixed:
            return "Choose two different images."
        for layer in (moving, fixed):
            if not is_plane(layer):
                return (
                    f"'{layer.name}' is a stack of {layer.ndim} axes. Make single planes of it first: "
                    "right-click the layer, Split Stack."
                )
        return None

    def _swap(self) -> None:
        moving, fixed = self.moving.layer, self.fixed.layer
        self.moving.choose(fixed)
        self.fixed.choose(moving)

    # Register

    def _register(self) -> None:
        moving, fixed = self.moving.layer, self.fixed.layer
        if moving is None or fixed is None:
            return
        for chooser in (self.moving, self.fixed):
            chooser.pin()
        how = {"start": self.start.currentData(), "elastic": self.elastic.isChecked()}
        recipe = made_by("register", self._python(), moving=moving.name, fixed=fixed.name, **how)
        self._forget_preview()
        self.compare.leave()
        self.job.run(
            partial(_register_and_warp, snapshot(moving), snapshot(fixed), how),
            done=partial(self._show, moving, fixed, recipe),
            watch=partial(self._preview, moving, fixed),
            stopped=self._remove_preview,
        )

    def _preview(self, moving: Image, fixed: Image, events: list[Event]) -> None:
        """Show the arrows of the newest level; a preview that the user removed stays away."""
        maps = [event.new.shift_map for event in events if hasattr(event.new, "shift_map")]
        if not maps:
            return
        if self._arrows is None:
            self.gain.setValue(auto_gain(maps[-1]))
            with keep_selection(self._viewer):
                self._arrows = self._add_arrows(moving, fixed, maps[-1], {})
        elif self._arrows in self._viewer.layers:
            update_shifts(self._arrows, maps[-1])

    def _show(
        self,
        moving: Image,
        fixed: Image,
        recipe: dict[str, Any],
        result: tuple[Registration, Micrograph],
    ) -> None:
        registration, registered = result
        self._remove_preview()
        facts = {**recipe, "homography": registration.homography}
        layer = add_result(
            self._viewer,
            result_layer(moving, registered.pixels, what="registered", recipe=facts, grid=fixed),
        )
        self._kept = Kept(registration, moving, fixed, cast("Image", layer), recipe)
        self.compare.compare(self._kept)
        self.evidence.show_of(self._kept)
        if registration.largest_shift_px > 0:
            self.gain.setValue(auto_gain(registration.shift_map))
            with keep_selection(self._viewer):
                self._arrows = self._add_arrows(moving, fixed, registration.shift_map, facts)
        self.job.say(summary(registration))

    def _add_arrows(self, moving: Image, fixed: Image, shift_map: Any, facts: Any) -> Vectors:
        layer = shift_layer(
            fixed,
            shift_map,
            name=f"{moving.name} | shifts",
            gain=self.gain.value(),
            metadata={"acuity": facts},
        )
        return cast("Vectors", add_result(self._viewer, layer))

    def _forget_preview(self) -> None:
        self._arrows = None

    def _remove_preview(self) -> None:
        if self._arrows is not None and self._arrows in self._viewer.layers:
            self._viewer.layers.remove(self._arrows)
        self._arrows = None

    def _on_gain(self, value: int) -> None:
        self.gain_text.setText(f"x{value}")
        self._delay.start()

    def _set_length(self) -> None:
        if self._arrows is not None and self._arrows in self._viewer.layers:
            self._arrows.length = self.gain.value()

    # Keep

    def _make_pair(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of training pairs")
        if not folder or self._kept is None:
            return
        kept, scale = self._kept, self.pair_scale.currentData()
        moving, fixed = snapshot(kept.moving), snapshot(kept.fixed)
        add = partial(_add_pair, kept.registration, moving, fixed, scale, Path(folder))
        self.job.run(partial(one_step, "writing the pair", add), done=self._say_pair)

    def _say_pair(self, added: tuple[Path, str, float, int]) -> None:
        folder, name, scale, count = added
        _session.remember_pairs(folder)
        pairs = "1 pair" if count == 1 else f"{count} pairs"
        self.job.say(f"Added '{name}' (x{scale:g}) to {folder}, which now holds {pairs}.")

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
        self.job.run(
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
        self.job.say(f"Warped '{layer.name}' onto the grid of '{kept.fixed.name}'.")

    def _save(self) -> None:
        if self._kept is None:
            return
        name = f"{self._kept.moving.name} to {self._kept.fixed.name}.npz"
        path, _ = QFileDialog.getSaveFileName(self, "Save map", name, "Registration (*.npz)")
        if path:
            save = partial(self._kept.registration.save, path)
            self.job.run(
                partial(one_step, "saving the map", save),
                done=lambda saved: self.job.say(f"Saved {saved}."),
            )

    def _load(self) -> None:
        moving, fixed = self.moving.layer, self.fixed.layer
        path, _ = QFileDialog.getOpenFileName(self, "Load map", "", "Registration (*.npz)")
        if not path or moving is None or fixed is None:
            return
        self._forget_preview()
        recipe = made_by("register", _python_of_load(path, moving), map=path, moving=moving.name)
        load = partial(_load_and_warp, path, snapshot(moving), snapshot(fixed))
        self.job.run(
            partial(one_step, "loading the map", load),
            done=partial(self._show, moving, fixed, recipe),
        )

    # The same in words

    def _python(self) -> str:
        moving, fixed = self.moving.layer, self.fixed.layer
        if moving is None or fixed is None:
            return ""
        return (
            "import napari_acuity as acuity\n\n"
            f"moving, fixed = viewer.layers[{moving.name!r}], viewer.layers[{fixed.name!r}]\n"
            f"registration = acuity.register(moving, fixed, start={self.start.currentData()!r}, "
            f"elastic={self.elastic.isChecked()})\n"
            "registered = registration.warp(moving)"
        )

    def _command(self) -> str:
        layers = (self.moving.layer, self.fixed.layer)
        paths = [layer.source.path for layer in layers if layer is not None]
        if len(paths) < 2 or not all(paths):
            return ""
        words = ["acuity", "register", *map(str, paths), "--out", "registered"]
        if self.start.currentData() != "auto":
            words += ["--start", self.start.currentData()]
        return shlex.join(words if self.elastic.isChecked() else [*words, "--no-elastic"])


def summary(registration: Registration) -> str:
    """Say in two lines how a registration went."""
    before, after = registration.correlation
    figures = [f"correlation {before:.2f} → {after:.2f}"]
    if not np.isnan(registration.residual_px):
        figures.append(f"residual {registration.residual_px:.2f} px")
    rms = float(np.sqrt(np.square(registration.shift_map).sum(axis=0).mean()))
    figures.append(f"RMS shift {rms:.1f} px, largest shift {registration.largest_shift_px:.1f} px")
    figures.append("the map folds" if registration.folds else "no folding")
    words = f"{registration.start}\n{', '.join(figures)}"
    return words.replace("start", "Start", 1).replace("\nc", "\nC", 1)


def _register_and_warp(
    moving: Any, fixed: Any, how: dict[str, Any]
) -> Steps[tuple[Registration, Micrograph]]:
    from ..core.micrograph import as_micrograph
    from ..core.registration.register import register_steps

    moving, fixed = as_micrograph(moving), as_micrograph(fixed)
    registration = yield from register_steps(moving, fixed, **how)
    return registration, registration.warp(moving)


def _load_and_warp(path: str, moving: Any, fixed: Any) -> tuple[Registration, Micrograph]:
    from ..core.micrograph import as_micrograph
    from ..core.registration.registration import Registration

    registration, target = Registration.load(path), as_micrograph(fixed)
    if target.shape != registration.fixed_shape:
        raise RegistrationError(
            f"'{target.name}' has {target.shape} pixels, the map's fixed image "
            f"{registration.fixed_shape}.",
            "Choose the fixed image that the map was made with.",
        )
    return registration, registration.warp(moving)


def _add_pair(
    registration: Registration, moving: Any, fixed: Any, scale: float | None, folder: Path
) -> tuple[Path, str, float, int]:
    from ..core.pairs.pair import PairSet

    pair, pairs = registration.pair(moving, fixed, scale=scale), PairSet.open(folder)
    name = pairs.add(pair)
    return folder, name, pair.scale, len(pairs)


def _python_of_load(path: str, moving: Layer) -> str:
    return (
        "import napari_acuity as acuity\n\n"
        f"registration = acuity.Registration.load({path!r})\n"
        f"registered = registration.warp(viewer.layers[{moving.name!r}])"
    )

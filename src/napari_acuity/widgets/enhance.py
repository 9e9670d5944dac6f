"""The panel Enhance: one layer and one model in, the finer image out; or layers and a lens."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QLabel,
    QPushButton,
    QScrollArea,
    QToolButton,
    QWidget,
)

from ..core.memory import MOST_BYTES
from . import _session
from ._enhancing.checks import no_guard, no_tiles, not_to_zarr, wrong_kind
from ._enhancing.filling import output_bytes, output_shape
from ._enhancing.folder_dialog import FolderDialog
from ._enhancing.generations import GenerationTable
from ._enhancing.lens_box import LensBox
from ._enhancing.model_chooser import ModelChooser
from ._enhancing.options import EnhanceOptions
from ._enhancing.pixel_size import describe, fits, ratio_of, what_it_is
from ._enhancing.result_saving import SaveResult
from ._enhancing.run import EnhanceRun, Work
from ._enhancing.script import command_of, python_of
from ._enhancing.to_zarr import ask_out, zarr_name
from ._jobs import JobBox, one_step
from ._layer_settings import offer_settings
from ._layers import LayerChooser, is_image, made_by, pixel_size_of, snapshot
from ._lenses import KnownLens, lenses, remember_lens
from ._panel import DeviceChip, add_row, enable, form, more_button, panel_layout, side_by_side
from ._recent_models import remember_used

if TYPE_CHECKING:
    import os

    import napari.viewer
    from napari.layers import Image

    from ..core.lens import Lens
    from ..core.model import Model
    from ._enhancing.script import Settings
    from ._session import KnownModel

__all__ = ["EnhancePanel", "describe", "opened_panel", "super_resolve", "use_model"]

# The name that napari's menus give the dock, so that they find it again.
_DOCK = "Enhance (Acuity)"
_KEY = "Control-Shift-E"
_LENS_LAYERS = "Save the layers of a lens with File > Save Selected Layers."
_NOT_WITH_A_LENS = "A lens is applied once, to layers, and its layers stay in the viewer."
_TIPS = {
    "image": "The image to make finer: grey or RGB, 2-D or a stack (done plane by plane, the one shown "
    "first).",
    "model": "The model that came with the plugin, and those trained, opened or used before; ... opens a "
    "file. A lens joins several models.",
    "job": "Apply the model; the result is a new layer that lies over the image and fills in tile by "
    "tile (Ctrl+Shift+E)",
    "lens": "Apply the lens; each output to add is a new layer that lies over the image (Ctrl+Shift+E)",
    "resample": "The model knows structures at the pixel size it was trained on. Bicubic resampling "
    "brings the image to that size before the model sees it; the result still lies over the image.",
    "folder": "Enhance every image of a folder with what is chosen here",
}


class EnhancePanel(QScrollArea):
    """Apply a model to an image."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._waiting = False  # to start, until the model has been read
        self.folder_dialog: FolderDialog | None = None
        self.image = LayerChooser(viewer, selected=True)
        self.model = ModelChooser()
        self.channels = LensBox(viewer, self.image, self._settings_of)
        self.options = EnhanceOptions()
        self.options.setParent(self)
        self.job = JobBox("Super-resolve", self._enhance)
        self.device = DeviceChip()
        self._make_parts()
        self._lay_out()
        for changed in (
            self.image.changed,
            self.model.changed,
            self.channels.changed,
            self.options.changed,
            self.resample.toggled,
            self.job.busy,
        ):
            changed.connect(self._update)
        self._update()
        viewer.bind_key(_KEY, super_resolve, overwrite=True)

    def _make_parts(self) -> None:
        self.browse, self.folder = QToolButton(), QPushButton("Folder...")
        self.browse.setText("...")
        self.browse.setToolTip("Open a model (.safetensors) or a lens (.lens)")
        self.browse.setAccessibleName("Open a model file")
        self.browse.clicked.connect(self._browse)
        self.folder.setToolTip(_TIPS["folder"])
        self.folder.clicked.connect(self._open_folder)
        self.save = SaveResult(self._viewer, self.job)
        self.facts, self.problem = QLabel(), QLabel()
        for label in (self.facts, self.problem):
            label.setWordWrap(True)
        self.problem.hide()
        self.resample = QCheckBox("Resample the image to the model's pixel size")
        self.resample.setToolTip(_TIPS["resample"])
        self.resample.hide()
        self.generations = GenerationTable()
        self._run = EnhanceRun(self._viewer, self.job, self.save, self.generations)

    def _lay_out(self) -> None:
        layout = panel_layout(self)
        rows = self._rows = form()
        add_row(rows, "Image", self.image, _TIPS["image"])
        add_row(rows, "Model", self.model, _TIPS["model"], beside=self.browse)
        rows.addRow(self.channels)
        rows.addRow("Iterations", self.options.iterations_row)
        layout.addLayout(rows)
        layout.addWidget(self.options.above)
        layout.addWidget(self.facts)
        layout.addWidget(self.resample)
        layout.addWidget(self.options.folded)
        self.job.row.addWidget(self.device)
        more = more_button(
            python=self._python, command=self._command, page="enhance", why_not=self._not_copied
        )
        offer_settings(more, self._viewer, "enhance", self._show_told)
        self.job.row.addWidget(more)
        self.job.set_tip(_TIPS["job"])
        layout.addWidget(self.problem)
        layout.addWidget(self.job)
        layout.addWidget(self.generations)
        layout.addLayout(side_by_side(self.save, self.folder))

    # Models

    @property
    def known(self) -> KnownModel | None:
        """The chosen model, with its file."""
        return self.model.known

    def choose_model(self, known: KnownModel) -> None:
        """Choose a model of this session."""
        self.model.choose(known)

    def open_model(self, path: str | os.PathLike[str]) -> None:
        """Load a model file and choose it."""
        load = partial(_load, Path(path))
        self.job.run(partial(one_step, "loading the model", load), done=self._keep_model)

    def _keep_model(self, loaded: tuple[Model | Lens, Path]) -> None:
        from ..core.model import Model

        found, path = loaded
        if isinstance(found, Model):
            self.choose_model(_session.remember_model(found, path))
        else:
            self.model.choose(remember_lens(found, path))
        remember_used(str(path))

    def _show_told(self, told: dict[str, Any]) -> None:
        """Set the panel as it was when it made a layer."""
        image, model = told.get("image"), told.get("model")
        self.options.show_told(told)
        self.resample.setChecked(told.get("resample", 1.0) != 1.0)
        if model and not self.model.choose_named(model):
            self.open_model(model)
        channels = image if isinstance(image, dict) else {}
        for name, chooser in {"": self.image, **self.channels.choosers}.items():
            chooser.choose_named(channels.get(name, image))

    def _browse(self) -> None:
        kinds = "Model or lens (*.safetensors *.lens)"
        path, _ = QFileDialog.getOpenFileName(self, "Open model", "", kinds)
        if path:
            self.open_model(path)

    # What is true of the inputs

    def _settings(self) -> Settings:
        layer = self.image.layer
        return self.options.settings(layer, self.device.device, self._resample_by())

    def _settings_of(self, layer: Image) -> Settings:
        """Return the settings for a layer of a lens."""
        return self.options.settings(layer, self.device.device, 1.0)

    def _resample_by(self) -> float:
        ratio = self._ratio()
        if ratio is None or fits(ratio) or not self.resample.isChecked():
            return 1.0
        return ratio

    def _ratio(self) -> float | None:
        known, layer = self.known, self.image.layer
        if known is None or layer is None or wrong_kind(layer, known.model):
            return None
        return ratio_of(known.model.header, pixel_size_of(layer))

    def _update(self, _event: object = None) -> None:
        self.browse.setEnabled(not self.job.running)
        known, lens, layer = self.known, self.model.lens, self.image.layer
        self.save.show_state(None if lens is None else _LENS_LAYERS)
        self._show_lens(lens)
        self.resample.setVisible(not fits(self._ratio()))
        self._show_problem(layer is not None and known is None and lens is None)
        if lens is not None:
            self.facts.setText(self.channels.facts())
        elif known is None:
            self.facts.setText(self.model.problem or "Choose a model.")
            if self._waiting and not self.model.reading:
                self._waiting = False
                self.job.say(self.facts.text())
            return
        else:
            self.facts.setText(self._words(known, layer))
        if self._waiting:
            self._waiting = False
            self._start()

    def _show_problem(self, told_before: bool) -> None:
        """Let the button be pressed, or say why not; why there is no model stands in its own line."""
        problem = self._problem()
        self.job.disable(problem)
        self.problem.setText(problem or "")
        self.problem.setVisible(bool(problem) and not told_before)

    def _words(self, known: KnownModel, layer: Image | None) -> str:
        header = known.model.header
        if layer is None or wrong_kind(layer, known.model):
            return f"{what_it_is(header)}."
        words = describe(header, pixel_size_of(layer), resampled=self.resample.isChecked())
        shape = output_shape(layer, known.model.scale, self._settings())
        rows, cols = shape[-3:-1] if layer.rgb else shape[-2:]
        return f"{words}\nThe result will have {rows} x {cols} pixels."

    def _show_lens(self, lens: KnownLens | None) -> None:
        """Show what a lens, or a model, is told."""
        why_not = None if lens is None else _NOT_WITH_A_LENS
        self.channels.show_lens(lens)
        self._rows.setRowVisible(self.image, lens is None or not lens.several)
        self.options.allow_for_lens(why_not)
        self.options.allow_tiles(no_tiles(self._models()))
        self.options.allow_guard(why_not or no_guard(self.known))
        enable(self.folder, _TIPS["folder"], why_not)
        self.job.set_tip(_TIPS["job" if lens is None else "lens"])

    def _models(self) -> list[Model]:
        """Return the models that a click applies."""
        lens, known = self.model.lens, self.known
        if lens is not None:
            return list(lens.lens.models.values())
        return [] if known is None else [known.model]

    def _problem(self) -> str | None:
        known, layer = self.known, self.image.layer
        if self.model.lens is not None:
            return self.channels.problem()
        if layer is None:
            return "Open an image first."
        if known is None:
            return self.model.problem or "Choose a model first."
        if (kind := wrong_kind(layer, known.model)) is not None:
            return kind
        settings = self._settings()
        if self.options.to_zarr:
            return not_to_zarr(layer, settings)
        if (size := output_bytes(layer, known.model.scale, settings)) > MOST_BYTES:
            in_parts = self.options.zarr.isEnabled()
            cure = "Switch on Options > Write to OME-Zarr, or crop" if in_parts else "Crop"
            return f"The result would take {size / 1e9:.1f} GB of memory. {cure} the image."
        return None

    # Enhance

    def super_resolve(self, layer: Any) -> None:
        """Enhance a layer with the chosen model, once it has been read; say why where that cannot be."""
        if self.job.running:
            return
        if layer is not None:
            if not is_image(layer):
                self.job.say(f"'{layer.name}' is no image. Select the image to enhance.")
                return
            self.image.choose(layer)
        self._start()

    def _start(self) -> None:
        problem = self._problem()
        if problem is None:
            self._enhance()
        elif self.model.reading and self.image.layer is not None:
            self._waiting = True
        else:
            self.job.say(problem)

    def _enhance(self) -> None:
        if self.model.lens is not None:
            self._enhance_by(self.model.lens)
            return
        layer, known = self.image.layer, self.known
        if layer is None or known is None:
            return
        settings, zarr = self._settings(), self.options.to_zarr
        out = ask_out(self, layer, settings.finer(known.model.scale)) if zarr else None
        if out == "":
            return
        self.image.pin()
        self._remember(known)
        recipe = made_by(
            "enhance",
            self._python(out or ""),
            image=layer.name,
            model=known.load_as or known.title,
            **_told(settings),
            zarr=zarr,
        )
        if settings.value_range:
            recipe["value_range"] = settings.value_range
        self.generations.begin()
        work = Work(layer, snapshot(layer, settings.value_range), known, settings, recipe)
        if out is None:
            self._run.fill(work)
        else:
            self._run.write_zarr(work, out)

    def _enhance_by(self, known: KnownLens) -> None:
        run = self.channels.begin()
        if run is not None:
            self.image.pin()
            self._remember(known)
            self.generations.begin()
            self.job.run(run.steps(), done=lambda made: self._show_outputs(run.show(made)))

    def _show_outputs(self, words: str) -> None:
        self.save.withhold(_LENS_LAYERS)
        self.job.say(words)

    def _remember(self, known: KnownModel | KnownLens) -> None:
        if isinstance(known, KnownLens):
            if known not in lenses:
                lenses.insert(0, known)
        elif known.path is not None and known not in _session.models:
            _session.models.insert(0, known)
        if known.load_as:
            remember_used(known.load_as)

    # A folder

    def _open_folder(self) -> None:
        if self.folder_dialog is None:
            self.folder_dialog = FolderDialog(self._for_folder, self)
            for changed in (self.model.changed, self.options.changed, self.resample.toggled):
                changed.connect(self.folder_dialog.update_facts)
        self.folder_dialog.show()
        self.folder_dialog.raise_()

    def _for_folder(self) -> tuple[Model, Settings, bool] | None:
        known = self.known
        if known is None:
            return None
        return known.model, self._settings(), self.resample.isChecked()

    # The same in words

    def _python(self, out: str = "") -> str:
        if (run := self.channels.run()) is not None:
            return run.python()
        layer, known = self.image.layer, self.known
        if layer is None or known is None or not known.load_as:
            return ""
        if self.options.to_zarr:
            out = out or zarr_name(layer, known.model.scale)
        return python_of(layer.name, known.load_as, self._settings(), out)

    def _not_copied(self) -> str | None:
        """Say why no script does what the panel is set to."""
        layer = self.image.layer
        if layer is None or not self.options.to_zarr:
            return None
        return not_to_zarr(layer, self._settings())

    def _command(self) -> str:
        layer, known = self.image.layer, self.known
        if (run := self.channels.run()) is not None:
            return run.command()
        if layer is None or known is None or not (known.load_as and layer.source.path):
            return ""
        settings = self._settings()
        finer = settings.finer(known.model.scale)
        zarr = self.options.to_zarr
        return command_of(Path(layer.source.path), known.load_as, settings, finer, zarr=zarr)


def super_resolve(viewer: napari.viewer.Viewer) -> None:
    """Enhance the selected layer with the model used last, in the panel, so that it can be watched.

    Parameters
    ----------
    viewer : napari.Viewer
    """
    panel = opened_panel(viewer)
    panel.super_resolve(viewer.layers.selection.active)


def use_model(
    viewer: napari.viewer.Viewer, model: Model, path: str | os.PathLike[str] | None = None
) -> None:
    """Open Enhance with a model chosen, as Train model does when it is done.

    Parameters
    ----------
    viewer : napari.Viewer
    model : Model
    path : path, optional
        Its file, so that what Enhance makes can name it.
    """
    known = _session.remember_model(model, None if path is None else Path(path))
    opened_panel(viewer).choose_model(known)


def opened_panel(viewer: napari.viewer.Viewer) -> EnhancePanel:
    """Return the panel of a viewer, in front; a new one where there is none."""
    open_panels = viewer.window.dock_widgets.values()
    panel = next((found for found in open_panels if isinstance(found, EnhancePanel)), None)
    if panel is None:
        panel = EnhancePanel(viewer)
        viewer.window.add_dock_widget(panel, name=_DOCK, tabify=True)
    dock: QWidget | None = panel.parentWidget()
    if dock is not None:
        dock.show()
        dock.raise_()
    return panel


def _told(settings: Settings) -> dict[str, Any]:
    names = ("resample", "value_range", "keep_generations", "keep_part", "guard")
    return {**settings.how, **{name: getattr(settings, name) for name in names}}


def _load(path: Path) -> tuple[Model | Lens, Path]:
    from ..core.lens import load

    return load(path), path

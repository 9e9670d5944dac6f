"""The panel Enhance: one layer and one model in, the finer image out."""

from __future__ import annotations

import math
import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QLabel,
    QScrollArea,
    QSpinBox,
    QToolButton,
    QWidget,
)

from . import _session
from ._jobs import JobBox, one_step
from ._layers import (
    LayerChooser,
    add_result,
    follow,
    made_by,
    pixel_size_of,
    result_layer,
    snapshot,
)
from ._panel import (
    DeviceChip,
    add_option,
    add_row,
    form,
    let_shrink,
    more_button,
    options,
    panel_layout,
)
from ._value_range import ValueRange

if TYPE_CHECKING:
    import os

    import napari.viewer
    from napari.layers import Image

    from ..core.jobs import Steps
    from ..core.micrograph import Micrograph
    from ..core.model import Header, Model
    from ._session import KnownModel

__all__ = ["EnhancePanel", "describe", "use_model"]

_NO_MODEL = (
    "No model yet. Train one (Plugins > Acuity > Train model), or browse for a .safetensors file."
)
# A network enlarges what it was trained on; other pixel sizes than these shares off mean other structures.
_PIXEL_SIZE_TOLERANCE = 0.2
# The name that napari's menus give the dock, so that they find it again.
_DOCK = "Enhance (Acuity)"
_TIPS = {
    "image": "The image to make finer: grey or RGB, 2-D or a stack (done plane by plane).",
    "model": "Models trained or opened since napari started; ... opens a file.",
    "iterations": "How often the model is applied, from the second time on to its own output. "
    "Each time the image grows by the model's scale; 1 is the usual.",
    "tile": "Side of a tile in input px. Auto fits the free memory; make it smaller when memory runs "
    "out. The result is the same.",
}


class EnhancePanel(QScrollArea):
    """Apply a model to an image."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self.image = LayerChooser(viewer)
        self.model = QComboBox()
        self.model.setPlaceholderText("none yet")
        let_shrink(self.model)
        self.browse = QToolButton()
        self.browse.setText("...")
        self.browse.setToolTip("Open a model file (.safetensors)")
        self.browse.setAccessibleName("Open a model file")
        self.browse.clicked.connect(self._browse)
        self.facts = QLabel()
        self.facts.setWordWrap(True)
        self.iterations = QSpinBox()
        self.iterations.setRange(1, 4)
        self.job = JobBox("Super-resolve", self._enhance)
        self.device = DeviceChip()
        self._lay_out()
        for changed in (
            self.image.changed,
            self.model.currentIndexChanged,
            self.iterations.valueChanged,
            self.job.busy,
        ):
            changed.connect(self._update)
        follow(self, _session.models.events, ("inserted", "removed"), self._list_models)
        self._list_models()

    def _lay_out(self) -> None:
        layout, rows = panel_layout(self), form()
        add_row(rows, "Image", self.image, _TIPS["image"])
        add_row(rows, "Model", self.model, _TIPS["model"], beside=self.browse)
        add_row(rows, "Iterations", self.iterations, _TIPS["iterations"])
        layout.addLayout(rows)
        layout.addWidget(self.facts)
        layout.addWidget(self._make_options())
        self.job.row.addWidget(self.device)
        self.job.row.addWidget(more_button(python=self._python, command=self._command))
        self.job.set_tip("Apply the model; the result is a new layer that lies over the image")
        layout.addWidget(self.job)

    def _make_options(self) -> QWidget:
        section, rows = options()
        self.tile = QSpinBox()
        self.tile.setRange(0, 4096)
        self.tile.setSingleStep(64)
        self.tile.setSuffix(" px")
        self.tile.setSpecialValueText("Auto")
        add_option(rows, "Tile", self.tile, _TIPS["tile"])
        self.values = ValueRange(rows)
        return section

    # Models

    def choose_model(self, known: KnownModel) -> None:
        """Choose a model of this session."""
        self.model.setCurrentIndex(_session.models.index(known))

    def open_model(self, path: str | os.PathLike[str]) -> None:
        """Load a model file and choose it."""
        load = partial(_load, Path(path))
        self.job.run(partial(one_step, "loading the model", load), done=self._keep_model)

    def _keep_model(self, loaded: tuple[Model, Path]) -> None:
        self.choose_model(_session.remember_model(*loaded))

    def _browse(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Open model", "", "Model (*.safetensors)")
        if path:
            self.open_model(path)

    def _list_models(self, _event: object = None) -> None:
        chosen = self.known
        self.model.blockSignals(True)
        self.model.clear()
        for known in _session.models:
            self.model.addItem(known.title, known)
        if chosen in _session.models:
            self.model.setCurrentIndex(_session.models.index(chosen))
        self.model.blockSignals(False)
        self._update()

    @property
    def known(self) -> KnownModel | None:
        """The chosen model, with its file."""
        chosen: KnownModel | None = self.model.currentData()
        return chosen

    # What is true of the inputs

    def _update(self, _event: object = None) -> None:
        self.job.disable(self._problem())
        known, layer = self.known, self.image.layer
        self.browse.setEnabled(not self.job.running)
        if known is None:
            self.facts.setText(_NO_MODEL)
            return
        words = describe(known.model.header, None if layer is None else pixel_size_of(layer))
        if layer is not None:
            rows, cols = self._output_shape(layer, known.model)
            words += f"\nThe result will have {rows} x {cols} pixels."
        self.facts.setText(words)

    def _problem(self) -> str | None:
        known, layer = self.known, self.image.layer
        if layer is None:
            return "Open an image first."
        if known is None:
            return "Choose a model first: train one, or open a file."
        wanted, given = ("RGB" if rgb else "grey" for rgb in (known.model.channels == 3, layer.rgb))
        if wanted != given:
            return (
                f"The model takes {wanted} images, and '{layer.name}' is {given}. Choose a {given} "
                "model, or convert the image."
            )
        return None

    def _output_shape(self, layer: Image, model: Model) -> tuple[int, int]:
        data = layer.data[0] if layer.multiscale else layer.data
        rows, cols = data.shape[-3:-1] if layer.rgb else data.shape[-2:]
        for _ in range(self.iterations.value()):
            rows, cols = math.ceil(rows * model.scale), math.ceil(cols * model.scale)
        return rows, cols

    # Enhance

    def _enhance(self) -> None:
        layer, known = self.image.layer, self.known
        if layer is None or known is None:
            return
        self.image.pin()
        iterations, value_range = self.iterations.value(), self.values.of(layer)
        recipe = made_by(
            "enhance",
            self._python(),
            image=layer.name,
            model=str(known.path or known.title),
            iterations=iterations,
        )
        held = snapshot(layer)
        if value_range:
            recipe["value_range"] = value_range
            held.metadata["acuity"] = {"value_range": value_range}
        how = {
            "iterations": iterations,
            "tile": self.tile.value() or "auto",
            "device": self.device.device,
        }
        self.job.run(
            partial(_enhance_steps, held, known.model, how),
            done=partial(self._show, layer, known, iterations, recipe),
        )

    def _show(
        self,
        layer: Image,
        known: KnownModel,
        iterations: int,
        recipe: dict[str, Any],
        result: Micrograph,
    ) -> None:
        finer = known.model.scale**iterations
        what = f"x{finer:g} {known.title}"
        add_result(
            self._viewer, result_layer(layer, result.pixels, what=what, recipe=recipe, finer=finer)
        )
        rows, cols = result.shape
        self.job.say(f"Made '{layer.name} | {what}', {rows} x {cols} pixels.")

    # The same in words

    def _python(self) -> str:
        layer, known = self.image.layer, self.known
        if layer is None or known is None or known.path is None:
            return ""
        lines = ["import napari_acuity as acuity", "", f"image = viewer.layers[{layer.name!r}]"]
        if value_range := self.values.of(layer):
            lines.append(f'image.metadata["acuity"] = {{"value_range": {value_range}}}')
        lines.append(f"model = acuity.load({str(known.path)!r})")
        lines.append(
            f"result = acuity.enhance(image, model, iterations={self.iterations.value()}, "
            f"tile={self.tile.value() or 'auto'!r}, device={self.device.device!r})"
        )
        return "\n".join(lines)

    def _command(self) -> str:
        layer, known = self.image.layer, self.known
        if layer is None or known is None or not (known.path and layer.source.path):
            return ""
        words = ["acuity", "enhance", str(layer.source.path), "--model", str(known.path)]
        words += ["--out", f"{Path(layer.source.path).stem}-enhanced.tif"]
        words += ["--iterations", str(self.iterations.value()), "--tile", str(self.tile.value())]
        if value_range := self.values.of(layer):
            words += ["--range", *(f"{value:g}" for value in value_range)]
        return shlex.join([*words, "--device", self.device.device])


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
    open_panels = viewer.window.dock_widgets.values()
    panel = next((found for found in open_panels if isinstance(found, EnhancePanel)), None)
    if panel is None:
        panel = EnhancePanel(viewer)
        viewer.window.add_dock_widget(panel, name=_DOCK, tabify=True)
    panel.choose_model(known)
    if (dock := panel.parentWidget()) is not None:
        dock.show()
        dock.raise_()


def describe(header: Header, pixel_size: tuple[float, float] | None) -> str:
    """Say what a model is, and whether an image's pixels are of the size it was trained on.

    Parameters
    ----------
    header : Header
        The model's.
    pixel_size : (float, float), optional
        The image's (y, x) in um; None when unknown.
    """
    kind = {1: "grey", 3: "RGB"}.get(header.channels, f"{header.channels} channels")
    recipe = header.recipe.get("name", header.network)
    words = f"x{header.scale:g}, {kind}, {recipe}"
    if header.pixel_size is None:
        return f"{words}; the pixel size it was trained on is unknown."
    trained = math.sqrt(header.pixel_size[0] * header.pixel_size[1])
    words = f"{words}; trained on pixels of {trained:.3g} µm"
    if pixel_size is None:
        return f"{words}. The pixel size of this image is unknown: set the layer's scale and units."
    here = math.sqrt(pixel_size[0] * pixel_size[1])
    if max(here / trained, trained / here) <= 1 + _PIXEL_SIZE_TOLERANCE:
        return f"{words}; this image's are {here:.3g} µm."
    return (
        f"{words}.\nCaution: this image's pixels are {here:.3g} µm, {here / trained:.2g} times those. "
        "What the model adds may be wrong; resample the image first."
    )


def _enhance_steps(held: Any, model: Model, how: dict[str, Any]) -> Steps[Micrograph]:
    from ..core.inference.enhance import enhance_steps
    from ..core.micrograph import as_micrograph

    return enhance_steps(as_micrograph(held), model, **how)


def _load(path: Path) -> tuple[Model, Path]:
    from ..core.model import load

    return load(path), path

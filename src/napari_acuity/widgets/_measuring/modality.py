"""Modality: what networks made of a modest instrument's image, against the better instrument's."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

from qtpy.QtWidgets import (
    QCheckBox,
    QDoubleSpinBox,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ...core.quality.baselines import enlargement
from .._layers import (
    LayerChooser,
    add_result,
    is_image,
    is_plane,
    is_result,
    recipe_of,
    shape_of,
)
from .._panel import add_option, add_row, enable, form, options
from .modality_boxes import OpticsBox, RegionBox
from .modality_job import (
    Task,
    comparing,
    problem_of_images,
    problem_of_optics,
    problem_of_repeats,
    size,
)
from .modality_look import keep_names, map_layers
from .modality_outputs import OutputsBox, made_of, repeat_of, spread_of
from .tab import TabFrame

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari.viewer
    from napari.layers import Layer

    from ...core.jobs import Steps
    from .modality_part import ModalityPart

__all__ = ["ModalityTab"]

_TIPS = {
    "truth": "The better instrument's image: SIM, STED",
    "low": "The modest instrument's image of the same field, registered: what the outputs were made of",
    "outputs": "What was made of it, on the grid of the truth. Ticked are those that Enhance made of it.",
    "spots": "Measure the widths of single spots, and how far close ones lie apart: for beads",
    "pixel": "Side of a pixel of the truth; needed only where no layer says it, or says it wrongly",
    "again": "A second acquisition of the same field: its Fourier ring correlation with the first is the "
    "resolution",
    "maps": "Lay over the low-resolution image where each output, blurred back, contradicts it",
}

_NO_MAPS = "Compare first."


class ModalityTab(QWidget):
    """Choose truth, low-resolution image and outputs, state the optics, compare."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._begun: Task | None = None
        self._shown: Task | None = None
        self._settled: Layer | None = None
        self._make_choices()
        self._make_results()
        self._lay_out()
        self.low.changed.connect(self.truth.choose_anew)
        self.truth.changed.connect(self._list_outputs)
        for chooser in (self.truth_again, self.low_again):
            chooser.changed.connect(self.frame.check)
        for box in (self.outputs, self.optics, self.region):
            box.changed.connect(self.frame.check)
        self.pixel_nm.valueChanged.connect(self.frame.check)
        self._list_outputs()

    def _make_choices(self) -> None:
        viewer = self._viewer
        self.low = LayerChooser(viewer, prefers=self._is_low)
        self.truth = LayerChooser(viewer, rank=1, prefers=self._is_truth)
        self.outputs, self.optics = OutputsBox(viewer), OpticsBox()
        self.region = RegionBox(viewer)
        self.truth_again, self.low_again = (
            LayerChooser(viewer, fits=is_plane, rank=-1, none_text="none") for _ in range(2)
        )
        self.pixel_nm = QDoubleSpinBox()
        self.pixel_nm.setRange(0, 100_000)
        self.pixel_nm.setDecimals(1)
        self.pixel_nm.setSuffix(" nm")
        self.pixel_nm.setSpecialValueText("as the layers say")
        self.spots = QCheckBox("Measure spots (beads)")
        self.spots.setToolTip(_TIPS["spots"])

    def _make_results(self) -> None:
        self.warning = QLabel()
        self.warning.setWordWrap(True)
        self.warning.hide()
        self.maps = QPushButton("Add error maps")
        enable(self.maps, _TIPS["maps"], _NO_MAPS)
        self.maps.clicked.connect(lambda _checked=False: self._add_maps())

    def _lay_out(self) -> None:
        rows = form()
        add_row(rows, "Truth", self.truth, _TIPS["truth"])
        add_row(rows, "Low resolution", self.low, _TIPS["low"])
        add_row(rows, "Outputs", self.outputs, _TIPS["outputs"])
        add_row(rows, "NA, emission", self.optics, "Of the low-resolution image")
        add_row(rows, "Region", self.region, "What the network was not trained on")
        rows.addRow(self.spots)
        fold, more = options()
        add_option(more, "Pixel size", self.pixel_nm, _TIPS["pixel"])
        add_row(more, "Truth again", self.truth_again, _TIPS["again"])
        add_row(more, "Low again", self.low_again, _TIPS["again"])
        self.frame = TabFrame(
            "Compare modalities",
            "Score the image made, its input and Richardson-Lucy against the truth",
            rows,
            problem=self._problem,
            steps=self._steps,
            show=self._show,
            python=self._python,
            command=self._command,
            fold=fold,
            page="crossmodality",
        )
        self.frame.shown.connect(self._after_showing)
        inner: Any = self.frame.layout()
        inner.insertWidget(inner.indexOf(self.frame.plot), self.warning)
        inner.insertWidget(inner.count() - 1, self.maps)
        QVBoxLayout(self).addWidget(self.frame)

    # What is chosen

    def _is_low(self, layer: Layer) -> bool:
        """Whether Enhance has made something of a layer, which it did not make itself.

        Where it has made nothing of any, the present choice stays: what is opened beside a pair is an output.
        """
        layers = self._viewer.layers
        sources = [x for x in layers if any(made_of(other, x) for other in layers)]
        found = [x for x in sources if is_image(x) and recipe_of(x).get("verb") != "enhance"]
        return layer in (found or [self._settled])

    def _is_truth(self, layer: Layer) -> bool:
        """Whether a layer was probably taken together with the low-resolution image."""
        low, layers = self.low.layer, self._viewer.layers
        if low is None or low not in layers:
            return False
        fitting = [x for x in layers if _goes_with(low, x)]
        place = layers.index(low)
        return bool(fitting) and layer is min(fitting, key=lambda x: abs(layers.index(x) - place))

    def _list_outputs(self) -> None:
        truth, low = self.truth.layer, self.low.layer
        self._settled = low if problem_of_images(truth, low) is None else None
        self.outputs.list_for(truth, low)
        self.frame.check()

    def _chosen(self) -> Task:
        """Return what is chosen, where the two images fit together."""
        truth, low, outputs = self.truth.layer, self.low.layer, self.outputs.layers
        layers = self._viewer.layers
        again: dict[Any, Any] = {truth: self.truth_again.layer, low: self.low_again.layer}
        again |= {x: repeat_of(x, self.low_again.layer, low, layers) for x in outputs}
        return Task(
            truth,
            low,
            outputs,
            na=round(self.optics.na.value(), 2),
            wavelength_um=self.optics.wavelength.value() / 1000,
            pixel_size=round(self.pixel_nm.value() / 1000, 4) or None,
            region=self.region.of(truth, low),
            spots=self.spots.isChecked(),
            spreads={
                x.name: spread for x in outputs if (spread := spread_of(x, layers)) is not None
            },
            repeats={x.name: other for x, other in again.items() if other is not None},
        )

    # What is wrong with it

    def _problem(self) -> str | None:
        truth, low = self.truth.layer, self.low.layer
        if (wrong := problem_of_images(truth, low)) is not None:
            return wrong
        if not self.outputs.layers:
            return self._problem_of_outputs(truth, low)
        task = self._chosen()
        return (
            problem_of_optics(task) or self.region.problem(truth, low) or problem_of_repeats(task)
        )

    def _problem_of_outputs(self, truth: Any, low: Any) -> str:
        if self.outputs.fitting:
            return f"Tick what was made of '{low.name}'."
        return (
            f"No other grey image has the {size(truth)} px of '{truth.name}': open what a network made of "
            f"'{low.name}', or make it in Enhance."
        )

    # At a click

    def _steps(self) -> Callable[[], Steps[ModalityPart]]:
        for chooser in (self.low, self.truth):
            chooser.pin()
        self._begun = self._chosen()
        return partial(comparing, self._begun.held())

    def _show(self, part: ModalityPart) -> ModalityPart:
        self._shown = self._begun
        self.warning.setText("\n".join(f"Caution: {text}" for text in part.report.warnings))
        return part

    def _after_showing(self) -> None:
        """Offer the maps of the comparison on show, and keep its names in sight."""
        part: Any = self.frame.part
        self.warning.setVisible(part is not None and bool(part.report.warnings))
        enable(self.maps, _TIPS["maps"], None if part is not None else _NO_MAPS)
        if part is not None:
            keep_names(self.frame.table, part.short)

    def _add_maps(self) -> None:
        """Lay the error map of each output over the low-resolution image; the first is shown."""
        task, part = self._shown, cast("ModalityPart | None", self.frame.part)
        if task is not None and part is not None:
            enable(self.maps, _TIPS["maps"], "They are in the viewer.")
            for layer in reversed(map_layers(task, part.report)):
                layer.colorbar.visible = True
                add_result(self._viewer, layer)

    def _python(self) -> str:
        return "" if self._problem() else self._chosen().python()

    def _command(self) -> str:
        return "" if self._problem() else self._chosen().command()


def _goes_with(low: Any, layer: Any) -> bool:
    """Whether a layer may be the truth of a low-resolution image: registered with it, or no result."""
    if layer is low or not is_image(layer) or layer.rgb != low.rgb:
        return False
    if (fixed := _registered_to(low)) is not None:
        return bool(layer.name == fixed)
    if is_result(layer) and _registered_to(layer) != low.name:
        return False
    return enlargement(shape_of(low), shape_of(layer)) is not None


def _registered_to(layer: Layer) -> str | None:
    """Return the name of the image that a layer was registered to."""
    recipe = recipe_of(layer)
    return recipe["parameters"].get("fixed") if recipe.get("verb") == "register" else None

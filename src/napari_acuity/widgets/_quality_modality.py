"""Modality: what networks made of a modest instrument's image, against the better instrument's."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

from qtpy.QtWidgets import (
    QCheckBox,
    QDoubleSpinBox,
    QLabel,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from ..core.quality.baselines import enlargement
from ._layers import (
    LayerChooser,
    add_result,
    is_image,
    is_plane,
    is_result,
    shape_of,
)
from ._panel import add_option, add_row, form, options, side_by_side
from ._planes import box_of, is_shapes, region_problem
from ._quality_modality_job import (
    Task,
    comparing,
    problem_of_images,
    problem_of_optics,
    size,
    whole_pixels,
)
from ._quality_modality_look import keep_names, map_layers
from ._quality_modality_outputs import OutputsBox, made_of, recipe_of, repeat_of, spread_of
from ._quality_tab import TabFrame

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari.viewer
    from napari.layers import Layer

    from ..core.jobs import Steps
    from ..core.quality.reports.page import Box
    from ._quality_modality_part import ModalityPart

__all__ = ["ModalityTab"]

_LEAST_REGION_PX = 32
_TIPS = {
    "truth": "The better instrument's image: SIM, STED",
    "low": "The modest instrument's image of the same field, registered: what the outputs were made of",
    "outputs": "What was made of it, on the grid of the truth. Ticked are those that Enhance made of it.",
    "na": "Numerical aperture of the objective that took the low-resolution image",
    "wavelength": "Wavelength of the light that it saw, not of the light that excited it",
    "region": "What the network was not trained on: a layer of shapes, of which the box around those "
    "selected, or all, is measured; or columns",
    "columns": "First column, and the last + 1; a network that was trained on one field has usually not "
    "seen its right side",
    "spots": "Measure the widths of single spots, and how far close ones lie apart: for beads",
    "pixel": "Side of a pixel of the truth; needed only where no layer says it, or says it wrongly",
    "again": "A second acquisition of the same field: its Fourier ring correlation with the first is the "
    "resolution",
    "maps": "Lay over the low-resolution image where each output, blurred back, contradicts it",
}


class ModalityTab(QWidget):
    """Choose truth, low-resolution image and outputs, state the optics, compare."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._task: Task | None = None
        self._make_choosers()
        self._make_numbers()
        self._make_results()
        self._lay_out()
        self.low.changed.connect(self.truth.choose_anew)
        self.truth.changed.connect(self._list_outputs)
        for chooser in (self.region, self.truth_again, self.low_again, self.outputs):
            chooser.changed.connect(self.frame.check)
        for box in (self.na, self.wavelength, self.first, self.end, self.pixel_nm):
            box.valueChanged.connect(self.frame.check)
        self._list_outputs()

    def _make_choosers(self) -> None:
        viewer = self._viewer
        self.low = LayerChooser(viewer, prefers=self._is_low)
        self.truth = LayerChooser(viewer, rank=1, prefers=self._is_truth)
        self.outputs = OutputsBox(viewer)
        self.region = LayerChooser(
            viewer, fits=is_shapes, rank=-1, none_text="whole image, or columns"
        )
        self.truth_again, self.low_again = (
            LayerChooser(viewer, fits=is_plane, rank=-1, none_text="none") for _ in range(2)
        )

    def _make_numbers(self) -> None:
        self.na, self.wavelength = QDoubleSpinBox(), QSpinBox()
        self.na.setRange(0, 1.7)
        self.na.setSingleStep(0.05)
        self.na.setSpecialValueText("not stated")
        self.na.setAccessibleName("NA")
        self.na.setToolTip(_TIPS["na"])
        self.wavelength.setRange(0, 2000)
        self.wavelength.setSingleStep(5)
        self.wavelength.setSuffix(" nm")
        self.wavelength.setSpecialValueText("not stated")
        self.wavelength.setAccessibleName("Emission wavelength")
        self.wavelength.setToolTip(_TIPS["wavelength"])
        self.first, self.end = QSpinBox(), QSpinBox()
        for box, name in ((self.first, "First column"), (self.end, "Last column + 1")):
            box.setRange(0, 999_999)
            box.setMinimumWidth(70)
            box.setAccessibleName(name)
        self.first.setPrefix("from ")
        self.end.setPrefix("to ")
        self.end.setSpecialValueText("to the last")
        self.pixel_nm = QDoubleSpinBox()
        self.pixel_nm.setRange(0, 100_000)
        self.pixel_nm.setDecimals(1)
        self.pixel_nm.setSuffix(" nm")
        self.pixel_nm.setSpecialValueText("as the layers say")
        self.spots = QCheckBox("Spots")
        self.spots.setToolTip(_TIPS["spots"])

    def _make_results(self) -> None:
        self.warning = QLabel()
        self.warning.setWordWrap(True)
        self.warning.hide()
        self.maps = QPushButton("Add error maps")
        self.maps.setToolTip(_TIPS["maps"])
        self.maps.setEnabled(False)
        self.maps.clicked.connect(lambda _checked=False: self._add_maps())

    def _lay_out(self) -> None:
        rows = form()
        add_row(rows, "Truth", self.truth, _TIPS["truth"])
        add_row(rows, "Low resolution", self.low, _TIPS["low"])
        add_row(rows, "Outputs", self.outputs, _TIPS["outputs"])
        optics = QWidget()
        optics.setLayout(side_by_side(self.na, self.wavelength))
        add_row(rows, "NA, emission", optics, "Of the low-resolution image")
        add_row(rows, "Region", self.region, _TIPS["region"])
        self.columns = QWidget()
        self.columns.setLayout(side_by_side(self.first, self.end))
        add_row(rows, "Columns", self.columns, _TIPS["columns"])
        rows.addRow(self.spots)
        fold, more = options()
        add_option(more, "Pixel size", self.pixel_nm, _TIPS["pixel"])
        add_row(more, "Truth again", self.truth_again, _TIPS["again"])
        add_row(more, "Low again", self.low_again, _TIPS["again"])
        self.frame = TabFrame(
            "Compare modalities",
            rows,
            problem=self._problem,
            steps=self._steps,
            show=self._show,
            python=self._python,
            command=self._command,
            fold=fold,
        )
        self.frame.shown.connect(self._after_showing)
        inner: Any = self.frame.layout()
        inner.insertWidget(inner.indexOf(self.frame.plot), self.warning)
        inner.insertWidget(inner.count() - 1, self.maps)
        QVBoxLayout(self).addWidget(self.frame)

    # What is chosen

    def _is_low(self, layer: Layer) -> bool:
        """Whether Enhance has made something of a layer."""
        return is_image(layer) and any(made_of(other, layer) for other in self._viewer.layers)

    def _is_truth(self, layer: Layer) -> bool:
        """Whether a layer fits the low-resolution image: what it is registered to, or no result at all."""
        low = self.low.layer
        if low is None or layer is low or layer.rgb != low.rgb:
            return False
        if (fixed := _registered_to(low)) is not None:
            return layer.name == fixed
        if is_result(layer) and _registered_to(layer) != low.name:
            return False
        return enlargement(shape_of(low), shape_of(layer)) is not None

    def _list_outputs(self) -> None:
        self.outputs.list_for(self.truth.layer, self.low.layer)
        self.frame.check()

    def _region(self) -> Box | None:
        """Return the box of the shapes, or the columns, in whole pixels of both images."""
        truth, low = self.truth.layer, self.low.layer
        rows, columns = shape_of(truth)
        box = box_of(self.region.layer, truth)
        if box is None and (self.first.value() or self.end.value()):
            box = (0, self.first.value(), rows, min(self.end.value() or columns, columns))
        return None if box is None else whole_pixels(box, truth, low)

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
            na=round(self.na.value(), 2),
            wavelength_um=self.wavelength.value() / 1000,
            pixel_size=round(self.pixel_nm.value() / 1000, 4) or None,
            region=self._region(),
            spots=self.spots.isChecked(),
            spreads={
                x.name: spread for x in outputs if (spread := spread_of(x, layers)) is not None
            },
            repeats={x.name: other for x, other in again.items() if other is not None},
        )

    # What is wrong with it

    def _problem(self) -> str | None:
        truth, low = self.truth.layer, self.low.layer
        self.columns.setEnabled(self.region.layer is None)
        if (wrong := problem_of_images(truth, low)) is not None:
            return wrong
        if not self.outputs.layers:
            return self._problem_of_outputs(truth, low)
        if (wrong := region_problem(self.region.layer, [truth])) is not None:
            return wrong
        task = self._chosen()
        return problem_of_optics(task) or self._problem_of_region(task) or _problem_of_repeats(task)

    def _problem_of_outputs(self, truth: Any, low: Any) -> str:
        if self.outputs.fitting:
            return f"Tick what was made of '{low.name}'."
        return (
            f"No other grey image has the {size(truth)} px of '{truth.name}': open what a network made of "
            f"'{low.name}', or make it in Enhance."
        )

    def _problem_of_region(self, task: Task) -> str | None:
        if task.region is None:
            return None
        top, left, bottom, right = task.region
        if min(bottom - top, right - left) >= _LEAST_REGION_PX:
            return None
        return (
            f"The region holds {max(0, bottom - top)} x {max(0, right - left)} px of '{task.truth.name}': "
            f"choose one of {_LEAST_REGION_PX} px or more a side."
        )

    # At a click

    def _steps(self) -> Callable[[], Steps[ModalityPart]]:
        for chooser in (self.low, self.truth):
            chooser.pin()
        self._task = self._chosen()
        return partial(comparing, self._task.held())

    def _show(self, part: ModalityPart) -> ModalityPart:
        self.warning.setText("\n".join(f"Caution: {text}" for text in part.warnings))
        return part

    def _after_showing(self) -> None:
        """Offer the maps of the comparison on show, and keep its names in sight."""
        part: Any = self.frame.part
        self.warning.setVisible(part is not None and bool(part.warnings))
        self.maps.setEnabled(part is not None)
        if part is not None:
            keep_names(self.frame.table, part.short)

    def _add_maps(self) -> None:
        """Lay the error map of each output over the low-resolution image; the first is shown."""
        task, part = self._task, cast("ModalityPart | None", self.frame.part)
        if task is not None and part is not None:
            self.maps.setEnabled(False)
            for layer in reversed(map_layers(task, part.report)):
                layer.colorbar.visible = True
                add_result(self._viewer, layer)

    def _python(self) -> str:
        return "" if self._problem() else self._chosen().python()

    def _command(self) -> str:
        return "" if self._problem() else self._chosen().command()


def _registered_to(layer: Layer) -> str | None:
    """Return the name of the image that a layer was registered to."""
    recipe = recipe_of(layer)
    return recipe["parameters"].get("fixed") if recipe.get("verb") == "register" else None


def _problem_of_repeats(task: Task) -> str | None:
    """Return why a second acquisition is none of the first, or None."""
    for first in (task.truth, task.low):
        again = task.repeats.get(first.name)
        if again is None:
            continue
        if again in (task.truth, task.low):
            return f"'{again.name}' is no second acquisition: choose another image of the field, or none."
        if again.rgb or shape_of(again) != shape_of(first):
            return (
                f"'{again.name}' does not repeat '{first.name}', {size(first)} px in grey: choose a second "
                "acquisition of it, or none."
            )
    return None

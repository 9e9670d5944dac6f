"""Compare: an image, and what its input reaches without it, measured against a reference."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from napari.utils.colormaps import Colormap, ensure_colormap
from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QApplication,
    QCheckBox,
    QFormLayout,
    QLabel,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from ...core.quality.baselines import enlargement
from ...core.quality.definitions import DEFINITIONS
from ...core.quality.reports.charts import upper_limit
from .._jobs import JobBox
from .._layers import (
    LayerChooser,
    add_result,
    is_map,
    is_result,
    made_by,
    recipe_of,
    result_layer,
    shape_of,
    snapshot,
)
from .._panel import (
    add_option,
    add_row,
    drop_down,
    enable,
    form,
    more_button,
    options,
    side_by_side,
)
from .._score_table import ScoreTable
from .._value_range import ValueRange
from .compare_job import (
    Task,
    command,
    laying,
    measuring,
    outcome,
    problem,
    python,
    warnings_of,
)
from .planes import box_of, index_shown, is_shapes, plane_shown, world_map
from .profile import ProfileBox
from .tab import ADD_TIP, NOT_YET, lay_on_plane

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image, Layer

    from ...core.micrograph import Micrograph
    from ...core.quality.many import SetReport
    from ...core.quality.measure import Report
    from ...core.quality.reports.page import Table

    Found = tuple[Report | SetReport, list[str], Table]

__all__ = ["CompareTab"]

_MAP_NAMES = {"ssim": "SSIM map", "cie94": "CIE-94 map", "difference": "difference map"}
_FITS = {"None": "none", "Brightness: gain and offset": "intensity", "Colour: affine map": "colour"}

_BESIDE_TIP = "Adds input, image and reference as one picture, in a row, below the images"
_COPY_TIP = "Copy the scores, to paste into a spreadsheet"


class CompareTab(QWidget):
    """Choose a reference and an image, measure, read the table and the maps; draw a line, see the values."""

    added = Signal(object)
    """A `Report` or `SetReport` to add to the report."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self.report: Report | SetReport | None = None
        self._make_choices()
        self._make_results()
        self._lay_out()
        self.image.changed.connect(self.reference.choose_anew)
        self.reference.changed.connect(self.low.choose_anew)
        for chooser in (self.low, self.region):
            chooser.changed.connect(self._check)
        self._check()

    def _make_choices(self) -> None:
        viewer = self._viewer
        self.image = LayerChooser(viewer, prefers=_is_outcome)
        self.reference = LayerChooser(viewer, rank=1, prefers=self._is_truth)
        self.low = LayerChooser(viewer, rank=-1, none_text="none", prefers=self._is_input)
        self.region = LayerChooser(viewer, fits=is_shapes, rank=-1, none_text="whole image")
        self.maps = QCheckBox("Maps as layers")
        self.maps.setChecked(True)
        self.maps.setToolTip("Lay the maps of SSIM, CIE-94 and difference over the image")
        self.fit = drop_down(_FITS)
        self.planes = QCheckBox()
        self.border = QSpinBox()
        self.border.setRange(0, 9999)
        self.border.setSuffix(" px")

    def _make_results(self) -> None:
        self.job = JobBox("Measure", self._measure)
        self.job.set_tip("Score the image, and what its input reaches, against the reference")
        more = more_button(python=self._python, command=self._command, page="measure")
        self.job.row.addWidget(more)
        self.problem = QLabel()
        self.problem.setWordWrap(True)
        self.warning = QLabel()
        self.warning.setWordWrap(True)
        self.warning.hide()
        self.table = ScoreTable()
        self.table.hide()
        self.profile = ProfileBox(self._viewer, self._layers)
        self.beside = QPushButton("Side by side")
        self.beside.clicked.connect(lambda _checked=False: self._lay_beside())
        self.add = QPushButton("Add to report")
        self.add.clicked.connect(lambda _checked=False: self.added.emit(self.report))
        self.copy_button = QPushButton("Copy table")
        self.copy_button.clicked.connect(self._copy)
        self._allow(NOT_YET)

    def _lay_out(self) -> None:
        choices = form()
        add_row(choices, "Reference", self.reference, "The better image, taken as the truth")
        add_row(choices, "Image", self.image, "The image to measure, registered to the reference")
        add_row(
            choices,
            "Input",
            self.low,
            "What the image was made of. Enlarged by bicubic interpolation, and where colours differ "
            "also fitted to the reference, it is measured beside the image: scores without a baseline "
            "do not tell what was gained.",
        )
        fold, rows = options()
        self._add_options(rows)
        layout = QVBoxLayout(self)
        layout.addLayout(choices)
        for widget in (self.maps, fold, self.problem, self.job, self.warning, self.table):
            layout.addWidget(widget)
        layout.addLayout(side_by_side(self.add, self.copy_button))
        layout.addWidget(self.beside)
        layout.addWidget(self.profile)
        layout.addStretch(1)

    def _add_options(self, rows: QFormLayout) -> None:
        add_row(
            rows,
            "Region",
            self.region,
            "A layer of shapes: only the box around those selected, or all",
        )
        add_option(
            rows,
            "Fit",
            self.fit,
            "Fitted to the reference before scoring, by least squares: for images whose brightness or "
            "colours mean something else than the reference's.",
        )
        add_option(
            rows,
            "Border",
            self.border,
            "Pixels to leave out along every side: more than 0 where the edges of an image are "
            "padded or not registered.",
        )
        add_option(
            rows,
            "All planes",
            self.planes,
            "Of stacks, measure every plane and give mean and standard deviation; else the plane on "
            "show.",
        )
        self.value_range = ValueRange(rows)

    def _is_truth(self, layer: Layer) -> bool:
        """Whether a layer is what the image should be measured against: as many pixels, not ours."""
        image = self.image.layer
        if image is None or layer == image or is_result(layer):
            return False
        return shape_of(layer) == shape_of(image)

    def _is_input(self, layer: Layer) -> bool:
        """Whether a layer is what the image was probably made of: the reference's field, coarser."""
        reference = self.reference.layer
        if reference is None or layer == self.image.layer or layer.rgb != reference.rgb:
            return False
        scale = enlargement(shape_of(layer), shape_of(reference))
        return scale is not None and scale > 1

    def _layers(self) -> tuple[Any, Any, Any]:
        return self.reference.layer, self.image.layer, self.low.layer

    def _task(self) -> Task | None:
        reference, image, low = self._layers()
        if self._problem():
            return None
        same = shape_of(reference) == shape_of(image)
        return Task(
            reference,
            image,
            low,
            self.fit.currentData(),
            self.border.value(),
            box_of(self.region.layer, reference),
            self.value_range.of(reference),
            None if same else world_map(reference, image),
            self.planes.isChecked() and reference.ndim > 2,
        )

    def _held(self, task: Task) -> Task:
        """Return the task with layers that another thread may read."""
        hold = snapshot if task.all_planes else partial(plane_shown, self._viewer)
        layers = [layer and hold(layer) for layer in (task.reference, task.image, task.low)]
        return replace(task, reference=layers[0], image=layers[1], low=layers[2])

    def _problem(self) -> str | None:
        return problem(*self._layers(), self.region.layer)

    def _check(self) -> None:
        """Say in words why there is nothing to measure yet."""
        reason = self._problem()
        self.problem.setText(reason or "")
        self.problem.setVisible(bool(reason))
        self.job.disable(reason)
        enable(self.beside, _BESIDE_TIP, reason)
        none = (
            None if any(layer is not None for layer in self._layers()) else "Open an image first."
        )
        enable(self.profile.button, self.profile.tip, none)

    def _measure(self) -> None:
        task = self._task()
        if task is None:
            return
        held, code = self._held(task), python(self._viewer, task)
        plane = () if task.all_planes else index_shown(self._viewer, task.image)

        def done(found: Found) -> None:
            self._show(*found, resampled=task.world is not None)
            if self.maps.isChecked() and not task.all_planes:
                _add_maps(self._viewer, task, cast("Report", found[0]), code, plane)

        self.job.run(partial(measuring, held), done=done)

    def _show(
        self, report: Report | SetReport, scores: list[str], table: Table, *, resampled: bool
    ) -> None:
        self.report = report
        self.table.show()
        self.table.show_scores(scores, table)
        warnings = warnings_of(report, resampled=resampled)
        self.warning.setText("\n".join(warnings))
        self.warning.setVisible(bool(warnings))
        self._allow(None)
        self.job.say(outcome(report))

    def _allow(self, why_not: str | None) -> None:
        """Let the scores be kept and copied, or say why not."""
        enable(self.add, ADD_TIP, why_not)
        enable(self.copy_button, _COPY_TIP, why_not)

    def _lay_beside(self) -> None:
        """Show input, image and reference in one view."""
        task = self._task()
        if task is None:
            return
        layers = [layer for layer in (task.low, task.image, task.reference) if layer is not None]
        stated = [task.data_range if x.dtype == task.reference.dtype else None for x in layers]
        held = [
            plane_shown(self._viewer, layer, values)
            for layer, values in zip(layers, stated, strict=True)
        ]
        self.job.run(partial(laying, held), done=partial(self._show_beside, task, layers))

    def _show_beside(self, task: Task, layers: list[Image], picture: Micrograph) -> None:
        rows, _ = shape_of(task.reference)
        plane = index_shown(self._viewer, task.reference)
        layer = result_layer(
            task.reference,
            picture.pixels[(np.newaxis,) * len(plane)],
            what="side by side",
            recipe=made_by("compare", "", images=[each.name for each in layers]),
            offset_px=(1.05 * rows, 0.0),
        )
        add_result(self._viewer, layer)
        self._viewer.reset_view()
        self.job.say(f"Below the images, from the left: {', '.join(each.name for each in layers)}.")

    def _copy(self) -> None:
        QApplication.clipboard().setText(self.table.text())

    def _python(self) -> str:
        task = self._task()
        return python(self._viewer, task) if task else ""

    def _command(self) -> str:
        task = self._task()
        return command(task) if task else ""


def _is_outcome(layer: Layer) -> bool:
    """Whether a layer is what one measures: an enhanced or a registered image."""
    return recipe_of(layer).get("verb") in ("enhance", "register") and not is_map(layer)


def _add_maps(
    viewer: napari.viewer.Viewer,
    task: Task,
    report: Report,
    python: str,
    plane: tuple[int, ...],
) -> None:
    """Lay the maps over the reference's grid; the first is shown, the others wait in the layer list."""
    from ...core.quality.similarity import SSIM_MARGIN_PX

    top, left = report.region[:2] if report.region else (0, 0)
    recipe = made_by("measure", python, reference=report.reference.name, border_px=report.border_px)
    on_reference = task.world is not None
    for score, values in reversed(report.maps.items()):
        inside = report.border_px + (SSIM_MARGIN_PX if score == "ssim" else 0)
        layer = result_layer(
            task.image,
            values[(np.newaxis,) * len(plane)],
            what=_MAP_NAMES[score],
            recipe=recipe,
            grid=task.reference if on_reference else None,
            offset_px=(top + inside, left + inside),
            visible=score == next(iter(report.maps)),
            blending="translucent",
            **_map_look(score, values),
        )
        lay_on_plane(layer, plane)
        layer.colorbar.visible = True
        add_result(viewer, layer)


def _map_look(score: str, values: np.ndarray) -> dict[str, Any]:
    """Return colours and limits: dark is good in all maps, as in the report."""
    magma = ensure_colormap("magma")
    if DEFINITIONS[score].better == "higher":
        reverse = Colormap(magma.colors[::-1], name="magma reversed")
        return {"colormap": reverse, "contrast_limits": (0.0, 1.0)}
    return {"colormap": magma, "contrast_limits": (0.0, upper_limit(values))}

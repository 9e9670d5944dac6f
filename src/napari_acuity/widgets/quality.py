"""The Quality panel: an image, and a baseline beside it, measured against a reference."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.colormaps import Colormap, ensure_colormap
from qtpy.QtWidgets import (
    QApplication,
    QCheckBox,
    QFileDialog,
    QFormLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QSpinBox,
)

from ..core.quality.definitions import DEFINITIONS
from ._jobs import JobBox, one_step
from ._layers import (
    LayerChooser,
    add_result,
    is_plane,
    is_result,
    made_by,
    result_layer,
    shape_of,
    snapshot,
)
from ._panel import (
    add_option,
    add_row,
    form,
    more_button,
    options,
    panel_layout,
    side_by_side,
)
from ._score_table import ScoreTable
from ._value_range import ValueRange

if TYPE_CHECKING:
    from pathlib import Path

    import napari.viewer
    from napari.layers import Image, Layer

    from ..core.jobs import Steps
    from ..core.quality.measure import Report
    from ..core.quality.report import Table

__all__ = ["QualityPanel"]

_MAP_NAMES = {"ssim": "SSIM map", "cie94": "CIE-94 map", "difference": "difference map"}
_CHOOSE = "Open a reference and an image of the same field."


@dataclass(frozen=True)
class _Task:
    """What is to be measured; the layers may be snapshots."""

    reference: Any
    image: Any
    baseline: Any
    border_px: int
    data_range: tuple[float, float] | None

    @property
    def scale(self) -> float:
        """How many times the baseline must be enlarged."""
        sizes = shape_of(self.baseline), shape_of(self.reference)
        return float(_enlargement(*sizes) or 1)

    @property
    def baseline_name(self) -> str:
        name = str(self.baseline.name)
        return name if self.scale == 1 else f"{name}, bicubic"

    def held(self) -> _Task:
        """Return the task with layers that another thread may read."""
        layers = (self.reference, self.image, self.baseline)
        reference, image, baseline = (layer and snapshot(layer) for layer in layers)
        return replace(self, reference=reference, image=image, baseline=baseline)


class QualityPanel(QScrollArea):
    """Choose a reference and an image, measure, read the table and the maps, write the report."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._report: Report | None = None
        self._make_choices()
        self._make_results()
        self._lay_out()
        self.image.changed.connect(self.reference.choose_anew)
        self.reference.changed.connect(self.baseline.choose_anew)
        self.baseline.changed.connect(self._check)
        self._check()

    def _make_choices(self) -> None:
        viewer = self._viewer
        self.image = LayerChooser(viewer, fits=is_plane, prefers=_is_outcome)
        self.reference = LayerChooser(viewer, fits=is_plane, rank=1, prefers=self._is_truth)
        self.baseline = LayerChooser(
            viewer, fits=is_plane, rank=-1, none_text="none", prefers=self._is_input
        )
        self.maps = QCheckBox("Maps as layers")
        self.maps.setChecked(True)
        self.maps.setToolTip("Lay the maps of SSIM, CIE-94 and difference over the image")
        self.border = QSpinBox()
        self.border.setRange(0, 9999)
        self.border.setSuffix(" px")

    def _make_results(self) -> None:
        self.job = JobBox("Measure", self._measure)
        self.job.row.addWidget(more_button(python=self._python, command=self._command))
        self.problem = QLabel()
        self.problem.setWordWrap(True)
        self.table = ScoreTable()
        self.report_button = QPushButton("Report...")
        self.report_button.setToolTip("Write images, maps, scores and definitions as HTML, or CSV")
        self.report_button.clicked.connect(self._ask_and_save)
        self.copy_button = QPushButton("Copy table")
        self.copy_button.setToolTip("Copy the scores, to paste into a spreadsheet")
        self.copy_button.clicked.connect(self._copy)
        for button in (self.report_button, self.copy_button):
            button.setEnabled(False)

    def _lay_out(self) -> None:
        choices = form()
        add_row(choices, "Reference", self.reference, "The better image, taken as the truth")
        add_row(choices, "Image", self.image, "The image to measure, on the grid of the reference")
        add_row(
            choices,
            "Baseline",
            self.baseline,
            "An image to measure beside it, usually the input of the network; enlarged by bicubic "
            "interpolation where it has fewer pixels. Scores without a baseline do not tell what "
            "was gained.",
        )
        fold, rows = options()
        self._add_options(rows)
        layout = panel_layout(self)
        layout.addLayout(choices)
        for widget in (self.maps, fold, self.problem, self.job, self.table):
            layout.addWidget(widget)
        layout.addLayout(side_by_side(self.report_button, self.copy_button))

    def _add_options(self, rows: QFormLayout) -> None:
        add_option(
            rows,
            "Border",
            self.border,
            "Pixels to leave out along every side: more than 0 where the edges of an image are "
            "padded or not registered.",
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
        scale = _enlargement(shape_of(layer), shape_of(reference))
        return scale is not None and scale > 1

    def _layers(self) -> tuple[Any, Any, Any]:
        return self.reference.layer, self.image.layer, self.baseline.layer

    def _task(self) -> _Task | None:
        reference, image, baseline = self._layers()
        if _problem(reference, image, baseline):
            return None
        values = self.value_range.of(reference)
        return _Task(reference, image, baseline, self.border.value(), values)

    def _check(self) -> None:
        """Say in words why there is nothing to measure yet."""
        reason = _problem(*self._layers())
        self.problem.setText(reason or "")
        self.problem.setVisible(bool(reason))
        self.job.disable(reason)

    def _measure(self) -> None:
        task = self._task()
        if task is None:
            return
        held, python, maps = task.held(), _python(task), self.maps.isChecked()

        def done(found: tuple[Report, Table]) -> None:
            self._show(*found)
            if maps:
                _add_maps(self._viewer, task.image, found[0], python)

        self.job.run(partial(_measuring, held), done=done)

    def _show(self, report: Report, table: Table) -> None:
        self._report = report
        self.table.show_scores(report.measured, table)
        for button in (self.report_button, self.copy_button):
            button.setEnabled(True)
        self.job.say(_outcome(report))

    def _copy(self) -> None:
        QApplication.clipboard().setText(self.table.text())

    def _ask_and_save(self) -> None:
        name, _ = QFileDialog.getSaveFileName(
            self, "Write the report", "report.html", "Web page (*.html);;Table (*.csv)"
        )
        if name:
            self.save_report(name)

    def save_report(self, path: str | Path) -> None:
        """Write the report of the last measurement; drawing its pictures takes a moment."""
        if self._report is None:
            return
        save = partial(self._report.save, path)
        self.job.run(
            partial(one_step, "writing the report", save),
            done=lambda _: self.job.say(f"Wrote the report {path}."),
        )

    def _python(self) -> str:
        task = self._task()
        return _python(task) if task else ""

    def _command(self) -> str:
        task = self._task()
        return _command(task) if task else ""


def _is_outcome(layer: Layer) -> bool:
    """Whether a layer is what one measures: an enhanced or a registered image."""
    return layer.metadata.get("acuity", {}).get("verb") in ("enhance", "register")


def _problem(reference: Image | None, image: Image | None, baseline: Image | None) -> str | None:
    """Return why these layers cannot be measured, with the cure, or None."""
    if reference is None or image is None:
        return _CHOOSE
    if reference == image:
        return f"Reference and image are the same layer. {_CHOOSE}"
    if baseline == image:
        return "The baseline is the image itself: choose the input of the network, or none."
    for layer in (image, baseline):
        if layer is not None and layer.rgb != reference.rgb:
            kinds = ["RGB" if each.rgb else "grey" for each in (reference, layer)]
            return (
                f"'{reference.name}' is {kinds[0]} and '{layer.name}' is {kinds[1]}: "
                "compare like with like."
            )
    if shape_of(reference) != shape_of(image):
        return (
            f"'{reference.name}' has {_size(reference)} px and '{image.name}' {_size(image)} px. "
            "Bring both onto one grid: register them, or enhance the smaller one."
        )
    if baseline and not _enlargement(shape_of(baseline), shape_of(reference)):
        return (
            f"'{baseline.name}' has {_size(baseline)} px, which no plain enlargement brings to "
            f"{_size(reference)} px: choose the input that belongs to this reference."
        )
    return None


def _size(layer: Image) -> str:
    return "{} x {}".format(*shape_of(layer))


def _enlargement(low: tuple[int, int], high: tuple[int, int]) -> Fraction | None:
    """Return the scale, a ratio of small numbers, at which high has ceil(scale * low) pixels."""
    scale = Fraction(high[0], low[0]).limit_denominator(16)
    fits = all(ceil(scale * a) == b for a, b in zip(low, high, strict=True))
    return scale if fits and scale >= 1 else None


def _measuring(task: _Task) -> Steps[tuple[Report, Table]]:
    """Measure, and lay out the table; what takes time to import is imported here, in the thread."""
    from ..core.micrograph import as_micrograph
    from ..core.quality.baselines import bicubic
    from ..core.quality.measure import measure_steps
    from ..core.quality.saving import scores_table

    truth, baselines = as_micrograph(task.reference), {}
    if task.baseline is not None:
        low = as_micrograph(task.baseline)
        low = replace(low, value_range=task.data_range or low.value_range)
        baselines[task.baseline_name] = bicubic(low, task.scale, truth.shape)
    report = yield from measure_steps(
        truth,
        task.image,
        baselines=baselines,
        border_px=task.border_px,
        data_range=task.data_range,
    )
    return report, scores_table(report)


def _outcome(report: Report) -> str:
    """Say what was measured, and what was gained over the baseline."""
    rows, columns = report.reference.shape
    text = f"Measured {rows} x {columns} px against '{report.reference.name}'."
    if len(report.scores) == 1:
        return f"{text} Without a baseline the scores do not tell what was gained."
    first, here = next(iter(report.scores.values())), report.scores[report.name]
    return (
        f"{text} Over the baseline: SSIM {here.ssim - first.ssim:+.3f}, "
        f"PSNR {here.psnr - first.psnr:+.2f} dB."
    )


def _add_maps(viewer: napari.viewer.Viewer, image: Image, report: Report, python: str) -> None:
    """Lay the maps over the image; the first is shown, the others wait in the layer list."""
    from ..core.quality.similarity import SSIM_MARGIN_PX

    recipe = made_by("measure", python, reference=report.reference.name, border_px=report.border_px)
    for score, values in reversed(report.maps.items()):
        inside = report.border_px + (SSIM_MARGIN_PX if score == "ssim" else 0)
        layer = result_layer(
            image,
            values,
            what=_MAP_NAMES[score],
            recipe=recipe,
            offset_px=(inside, inside),
            visible=score == next(iter(report.maps)),
            blending="translucent",
            **_map_look(score, values),
        )
        layer.colorbar.visible = True
        add_result(viewer, layer)


def _map_look(score: str, values: np.ndarray) -> dict[str, Any]:
    """Return colours and limits: dark is good in all maps, as in the report."""
    magma = ensure_colormap("magma")
    if DEFINITIONS[score].better == "higher":
        reverse = Colormap(magma.colors[::-1], name="magma reversed")
        return {"colormap": reverse, "contrast_limits": (0.0, 1.0)}
    limit = float(np.percentile(values, 99.5)) or 1.0
    return {"colormap": magma, "contrast_limits": (0.0, limit)}


def _python(task: _Task) -> str:
    layers = [f"viewer.layers[{layer.name!r}]" for layer in (task.reference, task.image)]
    arguments = list(layers)
    if task.baseline is not None:
        low, shape = f"viewer.layers[{task.baseline.name!r}]", shape_of(task.reference)
        made = f"acuity.quality.bicubic({low}, {task.scale:g}, {shape})"
        arguments.append(f"baselines={{{task.baseline_name!r}: {made}}}")
    if task.border_px:
        arguments.append(f"border_px={task.border_px}")
    if task.data_range:
        arguments.append(f"data_range={task.data_range}")
    lines = "".join(f"    {argument},\n" for argument in arguments)
    return (
        f"import napari_acuity as acuity\n\nreport = acuity.measure(\n{lines})\n"
        "print(report.table())\n"
    )


def _command(task: _Task) -> str:
    paths = [layer.source.path for layer in (task.reference, task.image)]
    # The command takes its baselines from files on the grid of the reference.
    if None in paths or (task.baseline is not None and task.scale != 1):
        return ""
    words = ["acuity", "measure", *map(str, paths)]
    if task.baseline is not None:
        if task.baseline.source.path is None:
            return ""
        words += ["--baseline", f"{task.baseline_name}={task.baseline.source.path}"]
    if task.border_px:
        words += ["--border", str(task.border_px)]
    if task.data_range:
        words += ["--range", *(f"{value:g}" for value in task.data_range)]
    return shlex.join(words)

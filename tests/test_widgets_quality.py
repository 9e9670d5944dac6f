"""Quality, driven as a user would: choose, measure, read the table, look at the maps."""

from __future__ import annotations

import csv
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QFileDialog
from scipy import ndimage
from skimage.measure import block_reduce

import napari_acuity as acuity
from gui import click, names, opened
from napari_acuity.widgets._layers import made_by, result_layer
from napari_acuity.widgets.quality import QualityPanel, _enlargement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from pytestqt.qtbot import QtBot

HERE: dict[str, Any] = {
    "scale": (0.5, 0.5),
    "translate": (30, -20),
    "rotate": 20,
    "units": ("um", "um"),
    "axis_labels": ("y", "x"),
}


@pytest.fixture
def pixels(tissue: NDArray[np.uint8]) -> dict[str, NDArray[np.uint8]]:
    """A field, its half, and something between the two."""
    bench = tissue[100:196, 200:320]
    phone = np.rint(block_reduce(bench, (2, 2, 1), np.mean)).astype(np.uint8)
    output = np.rint(ndimage.gaussian_filter(bench.astype(float), (0.7, 0.7, 0))).astype(np.uint8)
    return {"bench": bench, "phone": phone, "output": output}


@pytest.fixture
def viewer(
    make_napari_viewer_proxy: Callable[..., Any], pixels: dict[str, NDArray[np.uint8]]
) -> Any:
    """The layers as Register pair and Enhance leave them."""
    viewer = make_napari_viewer_proxy()
    viewer.add_image(pixels["bench"], name="bench", **HERE)
    phone = viewer.add_image(pixels["phone"], name="phone", **{**HERE, "scale": (1.0, 1.0)})
    recipe = made_by("enhance", "")
    viewer.add_layer(result_layer(phone, pixels["output"], what="x2 model", recipe=recipe, finer=2))
    return viewer


@pytest.fixture
def panel(viewer: Any, qtbot: QtBot) -> Iterator[QualityPanel]:
    with opened(qtbot, QualityPanel(viewer)) as panel:
        yield panel


def measure(qtbot: QtBot, panel: QualityPanel) -> None:
    click(qtbot, panel.job.button)
    qtbot.waitUntil(lambda: not panel.job.running, timeout=30_000)


def shown(panel: QualityPanel) -> list[list[str]]:
    """The table as pasted, a list a row."""
    return [line.split("\t") for line in panel.table.text().splitlines()]


def test_the_obvious_layers_are_chosen(panel: QualityPanel) -> None:
    chosen = (panel.reference, panel.image, panel.baseline)
    assert [box.currentText() for box in chosen] == ["bench", "phone | x2 model", "phone"]
    assert panel.job.button.isEnabled()


def test_the_table_shows_what_measure_says(
    panel: QualityPanel, qtbot: QtBot, pixels: dict[str, NDArray[np.uint8]]
) -> None:
    measure(qtbot, panel)
    low = acuity.quality.bicubic(pixels["phone"], 2, pixels["bench"].shape[:2])
    report = acuity.measure(
        acuity.Micrograph(pixels["bench"], rgb=True, name="bench"),
        acuity.Micrograph(pixels["output"], rgb=True, name="phone | x2 model"),
        baselines={"phone, bicubic": low},
    )
    header, *rows = (list(row) for row in zip(*report.rows(), strict=True))
    assert shown(panel) == [["", *header[1:]], *rows]
    assert "Over the baseline: SSIM +" in panel.job.outcome.text()
    bold = [[panel.table.item(row, column).font().bold() for column in (0, 1)] for row in range(4)]
    better = report.scores["phone | x2 model"].psnr > report.scores["phone, bicubic"].psnr
    assert bold[0] == [not better, better]


def test_definitions_are_tooltips(panel: QualityPanel, qtbot: QtBot) -> None:
    measure(qtbot, panel)
    assert "Gaussian window of 11 x 11 px" in panel.table.verticalHeaderItem(1).toolTip()
    assert "Lower is better" in panel.table.item(2, 0).toolTip()


@pytest.mark.parametrize("border", [0, 7])
def test_maps_lie_exactly_on_the_image(
    viewer: Any,
    panel: QualityPanel,
    qtbot: QtBot,
    pixels: dict[str, NDArray[np.uint8]],
    border: int,
) -> None:
    panel.border.setValue(border)
    measure(qtbot, panel)
    image = viewer.layers["phone | x2 model"]
    margins = {"SSIM map": border + 5, "CIE-94 map": border, "difference map": border}
    for name, margin in margins.items():
        layer = viewer.layers[f"phone | x2 model | {name}"]
        assert layer.data.shape == tuple(n - 2 * margin for n in pixels["output"].shape[:2])
        for corner in ((0, 0), (3, 60), (layer.data.shape[0] - 1, 0)):
            there = np.add(corner, margin)
            np.testing.assert_allclose(layer.data_to_world(corner), image.data_to_world(there))
        assert [str(unit) for unit in layer.units] == ["micrometer", "micrometer"]
        assert layer.axis_labels == ("y", "x")
    difference = viewer.layers["phone | x2 model | difference map"]
    inner = tuple(slice(border, n - border) for n in pixels["bench"].shape[:2])
    truth, output = (pixels[name][inner].astype(float) for name in ("bench", "output"))
    expected = 100 * np.abs(truth - output).mean(axis=-1) / 255
    np.testing.assert_allclose(difference.data, expected)


def test_maps_have_fixed_or_robust_limits_and_carry_their_recipe(
    viewer: Any, panel: QualityPanel, qtbot: QtBot
) -> None:
    measure(qtbot, panel)
    ssim, cie = (viewer.layers[f"phone | x2 model | {name} map"] for name in ("SSIM", "CIE-94"))
    assert list(ssim.contrast_limits) == [0, 1]
    assert cie.contrast_limits[1] == pytest.approx(np.percentile(cie.data, 99.5))
    # Dark is good in both: a high SSIM, a low difference in colour.
    assert ssim.colormap.map([1.0])[0].sum() < ssim.colormap.map([0.0])[0].sum()
    assert cie.colormap.map([0.0])[0].sum() < cie.colormap.map([1.0])[0].sum()
    assert [ssim.visible, cie.visible] == [True, False]
    code = ssim.metadata["acuity"]["python"]
    scope = {"viewer": viewer}
    exec(code, scope)
    assert scope["report"].ssim == pytest.approx(float(ssim.data.mean()))


def test_without_maps_no_layer_is_added(viewer: Any, panel: QualityPanel, qtbot: QtBot) -> None:
    before = names(viewer)
    panel.maps.click()
    measure(qtbot, panel)
    assert names(viewer) == before
    assert panel.table.columnCount() == 2


def test_unequal_shapes_are_explained(viewer: Any, panel: QualityPanel) -> None:
    panel.image.choose(viewer.layers["phone"])
    assert not panel.job.button.isEnabled()
    for text in (panel.problem.text(), panel.job.button.toolTip()):
        assert "'bench' has 96 x 120 px and 'phone' 48 x 60 px" in text
        assert "register them, or enhance the smaller" in text
    assert panel.baseline.currentText() == "none"


def test_what_cannot_be_compared_is_explained(viewer: Any, panel: QualityPanel) -> None:
    grey = viewer.add_image(np.zeros((96, 120), np.uint8), name="grey")
    odd = viewer.add_image(np.zeros((50, 50, 3), np.uint8), name="odd")
    panel.image.choose(grey)
    assert "'bench' is RGB and 'grey' is grey" in panel.problem.text()
    panel.reference.choose(viewer.layers["bench"])
    panel.image.choose(viewer.layers["bench"])
    assert "same layer" in panel.problem.text()
    panel.image.choose(viewer.layers["phone | x2 model"])
    panel.baseline.choose(odd)
    assert "no plain enlargement brings to 96 x 120 px" in panel.problem.text()
    panel.baseline.choose(viewer.layers["phone | x2 model"])
    assert "The baseline is the image itself" in panel.problem.text()


def test_an_error_of_the_engine_names_cause_and_cure(
    viewer: Any, panel: QualityPanel, qtbot: QtBot, notes: list[str]
) -> None:
    for name in ("a", "b"):
        viewer.add_image(np.random.default_rng(0).random((40, 40)) * 7, name=name)
    panel.reference.choose(viewer.layers["a"])
    panel.image.choose(viewer.layers["b"])
    measure(qtbot, panel)
    assert "black and white are unknown" in panel.job.outcome.text()
    assert "Options > Value range" in notes[-1]
    panel.value_range.box.setCurrentText("Custom")
    panel.value_range.white.setValue(7)
    measure(qtbot, panel)
    assert "Measured 40 x 40 px" in panel.job.outcome.text()
    assert shown(panel)[1] == ["PSNR (dB)", "inf"]


def test_grey_images_have_no_colour_difference(
    viewer: Any, panel: QualityPanel, qtbot: QtBot, pixels: dict[str, NDArray[np.uint8]]
) -> None:
    for name in ("bench", "output"):
        viewer.add_image(pixels[name][..., 1], name=f"grey {name}")
    panel.reference.choose(viewer.layers["grey bench"])
    panel.image.choose(viewer.layers["grey output"])
    measure(qtbot, panel)
    assert [row[0] for row in shown(panel)] == ["", "PSNR (dB)", "SSIM", "Difference (% of range)"]
    assert "Without a baseline" in panel.job.outcome.text()
    assert "grey output | CIE-94 map" not in names(viewer)


@pytest.mark.parametrize("suffix", [".html", ".csv"])
def test_the_report_is_written(
    panel: QualityPanel,
    qtbot: QtBot,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
) -> None:
    assert not panel.report_button.isEnabled()
    measure(qtbot, panel)
    path = tmp_path / f"report{suffix}"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    click(qtbot, panel.report_button)
    qtbot.waitUntil(lambda: not panel.job.running, timeout=30_000)
    assert str(path) in panel.job.outcome.text()
    text = path.read_text(encoding="utf-8")
    assert "phone | x2 model" in text
    if suffix == ".csv":
        rows = list(csv.DictReader(text.splitlines()))
        assert [row["image"] for row in rows] == ["phone, bicubic", "phone | x2 model"]


def test_a_report_that_cannot_be_written_says_why(
    panel: QualityPanel, qtbot: QtBot, tmp_path: Path, notes: list[str]
) -> None:
    measure(qtbot, panel)
    panel.save_report(tmp_path / "missing" / "report.html")
    qtbot.waitUntil(lambda: not panel.job.running, timeout=30_000)
    assert "There is no folder" in panel.job.outcome.text()
    assert panel.report_button.isEnabled()


def test_the_table_and_its_cells_are_copied(panel: QualityPanel, qtbot: QtBot) -> None:
    measure(qtbot, panel)
    click(qtbot, panel.copy_button)
    assert QApplication.clipboard().text() == panel.table.text()
    panel.table.selectColumn(1)
    qtbot.keyClick(panel.table, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    column = [row[2] for row in shown(panel)[1:]]
    assert QApplication.clipboard().text().splitlines() == column


def test_a_layer_removed_meanwhile_does_no_harm(
    viewer: Any, panel: QualityPanel, qtbot: QtBot
) -> None:
    click(qtbot, panel.job.button)
    viewer.layers.remove("bench")
    qtbot.waitUntil(lambda: not panel.job.running, timeout=30_000)
    assert "Measured 96 x 120 px" in panel.job.outcome.text()


def test_the_command_takes_files(
    make_napari_viewer_proxy: Callable[..., Any],
    qtbot: QtBot,
    tmp_path: Path,
    pixels: dict[str, NDArray[np.uint8]],
) -> None:
    viewer = make_napari_viewer_proxy()
    for name in ("bench", "output"):
        acuity.write(pixels[name], tmp_path / f"{name}.png")
        viewer.open(os.fspath(tmp_path / f"{name}.png"), plugin="napari")
    panel = QualityPanel(viewer)
    qtbot.addWidget(panel)
    panel.border.setValue(3)
    paths = f"{tmp_path / 'bench.png'} {tmp_path / 'output.png'}"
    assert panel._command() == f"acuity measure {paths} --border 3"


@pytest.mark.parametrize(
    ("low", "high", "scale"),
    [
        ((48, 60), (96, 120), 2),
        ((101, 77), (253, 193), 2.5),
        ((96, 120), (96, 120), 1),
        ((50, 50), (96, 120), None),
        ((192, 240), (96, 120), None),
    ],
)
def test_the_scale_is_told_from_the_sizes(
    low: tuple[int, int], high: tuple[int, int], scale: float | None
) -> None:
    found = _enlargement(low, high)
    assert (None if found is None else float(found)) == scale

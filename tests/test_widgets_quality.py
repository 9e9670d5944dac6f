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
from napari_acuity.core.quality.baselines import enlargement
from napari_acuity.widgets._layers import made_by, result_layer
from napari_acuity.widgets.quality import QualityPanel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from pytestqt.qtbot import QtBot

    from napari_acuity.widgets._measuring.compare import CompareTab

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
def whole(viewer: Any, qtbot: QtBot) -> Iterator[QualityPanel]:
    with opened(qtbot, QualityPanel(viewer)) as panel:
        yield panel


@pytest.fixture
def panel(whole: QualityPanel) -> CompareTab:
    """The first tab."""
    return whole.compare


def measure(qtbot: QtBot, panel: CompareTab) -> None:
    click(qtbot, panel.job.button)
    qtbot.waitUntil(lambda: not panel.job.running, timeout=30_000)


def shown(panel: CompareTab) -> list[list[str]]:
    """The table as pasted, a list a row."""
    return [line.split("\t") for line in panel.table.text().splitlines()]


def test_the_obvious_layers_are_chosen(panel: CompareTab) -> None:
    chosen = (panel.reference, panel.image, panel.low)
    assert [box.currentText() for box in chosen] == ["bench", "phone | x2 model", "phone"]
    assert panel.job.button.isEnabled()


def test_the_table_shows_what_measure_says(
    panel: CompareTab, qtbot: QtBot, pixels: dict[str, NDArray[np.uint8]]
) -> None:
    measure(qtbot, panel)
    report = acuity.measure(
        acuity.Micrograph(pixels["bench"], rgb=True, name="bench"),
        acuity.Micrograph(pixels["output"], rgb=True, name="phone | x2 model"),
        low=acuity.Micrograph(pixels["phone"], rgb=True, name="phone"),
    )
    header, *rows = (list(row) for row in zip(*report.rows(), strict=True))
    assert shown(panel) == [["", *header[1:]], *rows]
    assert "Over the better baseline: SSIM +" in panel.job.outcome.text()
    bold = [[panel.table.item(row, column).font().bold() for column in (0, 1)] for row in range(7)]
    better = report.scores["phone | x2 model"].psnr > report.scores["phone, bicubic"].psnr
    assert bold[0] == [not better, better]


def test_definitions_are_tooltips(panel: CompareTab, qtbot: QtBot) -> None:
    measure(qtbot, panel)
    assert "Gaussian window of 11 x 11 px" in panel.table.verticalHeaderItem(1).toolTip()
    assert "Lower is better" in panel.table.item(2, 0).toolTip()  # NRMSE: no room for MS-SSIM


@pytest.mark.parametrize("border", [0, 7])
def test_maps_lie_exactly_on_the_image(
    viewer: Any,
    panel: CompareTab,
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
    viewer: Any, panel: CompareTab, qtbot: QtBot
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


def test_without_maps_no_layer_is_added(viewer: Any, panel: CompareTab, qtbot: QtBot) -> None:
    before = names(viewer)
    panel.maps.click()
    measure(qtbot, panel)
    assert names(viewer) == before
    assert panel.table.columnCount() == 2


def test_unequal_shapes_are_explained(viewer: Any, panel: CompareTab) -> None:
    panel.reference.pin()
    viewer.layers["phone"].units = ("pixel", "pixel")
    panel.image.choose(viewer.layers["phone"])
    assert not panel.job.button.isEnabled()
    for text in (panel.problem.text(), panel.job.button.toolTip()):
        assert "'bench' has 96 x 120 px and 'phone' 48 x 60 px" in text
        assert "register them, or enhance the smaller" in text
    assert panel.low.currentText() == "none"


def test_images_of_known_pixel_sizes_are_resampled_and_it_is_said(
    viewer: Any, panel: CompareTab, qtbot: QtBot, pixels: dict[str, NDArray[np.uint8]]
) -> None:
    panel.reference.choose(viewer.layers["bench"])
    phone = viewer.layers["phone"]
    phone.translate = viewer.layers["bench"].data_to_world((0.5, 0.5))  # corner on corner
    panel.image.choose(phone)
    panel.low.choose(None)
    measure(qtbot, panel)
    assert "resampled onto the grid of the reference" in panel.warning.text()
    assert panel.warning.isVisible()
    bicubic = acuity.quality.bicubic(pixels["phone"], 2, pixels["bench"].shape[:2])
    expected = acuity.quality.psnr(pixels["bench"], bicubic)
    assert panel.report.psnr == pytest.approx(expected, abs=0.4)
    layer = viewer.layers["phone | SSIM map"]
    bench = viewer.layers["bench"]
    np.testing.assert_allclose(layer.data_to_world((0, 0)), bench.data_to_world((5, 5)))


def test_images_beside_each_other_are_refused(
    viewer: Any, panel: CompareTab, qtbot: QtBot, notes: list[str]
) -> None:
    panel.reference.choose(viewer.layers["bench"])
    viewer.layers["phone"].translate = (500, 500)
    panel.image.choose(viewer.layers["phone"])
    measure(qtbot, panel)
    assert "'phone' covers 0% of 'bench'" in notes[-1]


def test_a_shifted_image_is_warned_of(
    viewer: Any, panel: CompareTab, qtbot: QtBot, pixels: dict[str, NDArray[np.uint8]]
) -> None:
    measure(qtbot, panel)
    assert not panel.warning.isVisible()
    viewer.layers["phone | x2 model"].data = np.roll(pixels["output"], 3, axis=1)
    panel.border.setValue(4)
    measure(qtbot, panel)
    assert "phone | x2 model is shifted by" in panel.warning.text() and panel.warning.isVisible()


def test_a_region_is_measured_alone(
    viewer: Any, panel: CompareTab, qtbot: QtBot, pixels: dict[str, NDArray[np.uint8]]
) -> None:
    shapes = viewer.add_shapes(name="field", **HERE)
    panel.region.choose(shapes)
    assert "'field' holds no shapes" in panel.problem.text()
    shapes.add_rectangles([[10, 20], [10, 79], [49, 79], [49, 20]])
    panel.region.choose_anew()
    assert not panel.problem.isVisible()
    measure(qtbot, panel)
    assert "Measured 40 x 60 px" in panel.job.outcome.text()
    inner = (slice(10, 50), slice(20, 80))
    expected = acuity.measure(pixels["bench"][inner], pixels["output"][inner])
    assert panel.report.ssim == pytest.approx(expected.ssim)
    layer = viewer.layers["phone | x2 model | difference map"]
    image = viewer.layers["phone | x2 model"]
    np.testing.assert_allclose(layer.data_to_world((0, 0)), image.data_to_world((10, 20)))


def test_of_a_stack_the_plane_on_show_or_all_are_measured(
    make_napari_viewer_proxy: Callable[..., Any], qtbot: QtBot, pixels: dict[str, NDArray[np.uint8]]
) -> None:
    viewer = make_napari_viewer_proxy()
    truth, output = (np.stack([pixels[name], 255 - pixels[name]]) for name in ("bench", "output"))
    output[1] = 255 - pixels["phone"].repeat(2, 0).repeat(2, 1)
    for name, stack in (("bench", truth), ("output", output)):
        viewer.add_image(stack, name=name, rgb=True)
    with opened(qtbot, QualityPanel(viewer)) as whole:
        panel = whole.compare
        panel.image.choose(viewer.layers["output"])
        panel.reference.choose(viewer.layers["bench"])
        viewer.dims.set_point(0, 1)
        measure(qtbot, panel)
        second = acuity.measure(truth[1], output[1])
        assert panel.report.ssim == pytest.approx(second.ssim)
        layer = viewer.layers["output | SSIM map"]
        assert layer.data.shape[0] == 1 and layer.translate[0] == 1
        panel.planes.click()
        measure(qtbot, panel)
        both = np.mean([second.ssim, acuity.measure(truth[0], output[0]).ssim])
        assert "2 of 2 planes scored" in panel.job.outcome.text()
        row = next(row for row in shown(panel) if row[0] == "SSIM")
        assert row[1].startswith(f"{both:.3f} ± ")


def test_a_line_shows_what_lies_under_it(
    viewer: Any, panel: CompareTab, qtbot: QtBot, pixels: dict[str, NDArray[np.uint8]]
) -> None:
    click(qtbot, panel.profile.button)
    line = viewer.layers["profile"]
    assert viewer.layers.selection.active.name == "profile" and panel.profile.plot.isVisible()
    curves = panel.profile.plot.chart.curves
    assert [curve.name for curve in curves] == ["bench", "phone | x2 model", "phone"]
    row = pixels["bench"][48, 30:91].mean(axis=-1)
    np.testing.assert_allclose(curves[0].y, row, atol=1e-6)
    assert curves[0].x[-1] == pytest.approx(curves[2].x[-1]) == pytest.approx(30.0)  # um
    line.data = [np.array([[10.0, 5.0], [10.0, 25.0]])]
    expected = pixels["bench"][10, 5:26].mean(axis=-1)
    qtbot.waitUntil(lambda: len(panel.profile.plot.chart.curves[0].y) == 21)
    np.testing.assert_allclose(panel.profile.plot.chart.curves[0].y, expected, atol=1e-6)
    viewer.layers.remove(line)
    assert not panel.profile.plot.isVisible()


def test_what_cannot_be_compared_is_explained(viewer: Any, panel: CompareTab) -> None:
    panel.reference.pin()
    grey = viewer.add_image(np.zeros((96, 120), np.uint8), name="grey")
    odd = viewer.add_image(np.zeros((50, 50, 3), np.uint8), name="odd")
    panel.image.choose(grey)
    assert "'bench' is RGB and 'grey' is grey" in panel.problem.text()
    panel.reference.choose(viewer.layers["bench"])
    panel.image.choose(viewer.layers["bench"])
    assert "same layer" in panel.problem.text()
    panel.image.choose(viewer.layers["phone | x2 model"])
    panel.low.choose(odd)
    assert "no plain enlargement brings to 96 x 120 px" in panel.problem.text()
    panel.low.choose(viewer.layers["phone | x2 model"])
    assert "The input is the image itself" in panel.problem.text()


def test_an_error_of_the_engine_names_cause_and_cure(
    viewer: Any, panel: CompareTab, qtbot: QtBot, notes: list[str]
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
    viewer: Any, panel: CompareTab, qtbot: QtBot, pixels: dict[str, NDArray[np.uint8]]
) -> None:
    for name in ("bench", "output"):
        viewer.add_image(pixels[name][..., 1], name=f"grey {name}")
    panel.reference.choose(viewer.layers["grey bench"])
    panel.image.choose(viewer.layers["grey output"])
    measure(qtbot, panel)
    assert [row[0] for row in shown(panel)] == [
        "",
        "PSNR (dB)",
        "SSIM",
        "NRMSE",
        "Pearson",
        "Difference (% of range)",
    ]
    assert "Without a baseline" in panel.job.outcome.text()
    assert "grey output | CIE-94 map" not in names(viewer)


@pytest.mark.parametrize("suffix", [".html", ".csv", ".pdf"])
def test_the_report_is_written(
    whole: QualityPanel,
    qtbot: QtBot,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
) -> None:
    assert not whole.report_button.isEnabled()
    measure(qtbot, whole.compare)
    path = tmp_path / f"report{suffix}"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    click(qtbot, whole.report_button)
    qtbot.waitUntil(lambda: not whole.writing.running, timeout=30_000)
    assert str(path) in whole.writing.outcome.text()
    if suffix == ".pdf":
        assert path.read_bytes().startswith(b"%PDF-")
        return
    text = path.read_text(encoding="utf-8")
    assert "phone | x2 model" in text
    if suffix == ".csv":
        rows = list(csv.DictReader(text.splitlines()))
        assert [row["image"] for row in rows] == ["phone, bicubic", "phone | x2 model"]


def test_a_report_that_cannot_be_written_says_why(
    whole: QualityPanel, qtbot: QtBot, tmp_path: Path, notes: list[str]
) -> None:
    measure(qtbot, whole.compare)
    whole.save_report(tmp_path / "missing" / "report.html")
    qtbot.waitUntil(lambda: not whole.writing.running, timeout=30_000)
    assert "There is no folder" in whole.writing.outcome.text()
    assert whole.report_button.isEnabled()


def test_the_table_and_its_cells_are_copied(panel: CompareTab, qtbot: QtBot) -> None:
    measure(qtbot, panel)
    click(qtbot, panel.copy_button)
    assert QApplication.clipboard().text() == panel.table.text()
    panel.table.selectColumn(1)
    qtbot.keyClick(panel.table, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    column = [row[2] for row in shown(panel)[1:]]
    assert QApplication.clipboard().text().splitlines() == column


def test_a_layer_removed_meanwhile_does_no_harm(
    viewer: Any, panel: CompareTab, qtbot: QtBot
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
    panel.compare.border.setValue(3)
    paths = f"{tmp_path / 'bench.png'} {tmp_path / 'output.png'}"
    assert panel.compare._command() == f"acuity measure {paths} --border 3"


@pytest.mark.parametrize(
    ("low", "high", "scale"),
    [
        ((48, 60), (96, 120), 2),
        ((101, 77), (253, 193), 2.5),
        ((96, 120), (96, 120), 1),
        ((21, 200), (53, 500), 2.5),
        ((13, 26), (33, 65), 2.5),
        ((39, 20), (69, 35), 1.75),
        ((50, 50), (96, 120), None),
        ((192, 240), (96, 120), None),
    ],
)
def test_the_scale_is_told_from_the_sizes(
    low: tuple[int, int], high: tuple[int, int], scale: float | None
) -> None:
    found = enlargement(low, high)
    assert (None if found is None else float(found)) == scale


def test_before_after_and_truth_in_one_view(
    viewer: Any, panel: CompareTab, qtbot: QtBot, pixels: dict[str, NDArray[np.uint8]]
) -> None:
    click(qtbot, panel.beside)
    qtbot.waitUntil(lambda: not panel.job.running, timeout=30_000)
    layer = viewer.layers["bench | side by side"]
    assert layer.data.shape == (96, 3 * 120 + 2 * 3, 3) and layer.data.dtype == np.uint8
    np.testing.assert_array_equal(layer.data[:, -120:], pixels["bench"])
    np.testing.assert_array_equal(layer.data[:, 123:243], pixels["output"])
    assert (layer.data[:, 120:123] == 255).all()
    low = acuity.quality.bicubic(pixels["phone"], 2)
    np.testing.assert_allclose(layer.data[:, :120].astype(int), low.pixels, atol=1)
    told = "from the left: phone, phone | x2 model, bench"
    assert told in panel.job.outcome.text()
    # Below the images, not over them.
    bench = viewer.layers["bench"]
    np.testing.assert_allclose(layer.data_to_world((0, 0)), bench.data_to_world((1.05 * 96, 0)))


@pytest.mark.parametrize("all_planes", [False, True])
def test_the_python_measures_what_the_panel_does(
    make_napari_viewer_proxy: Callable[..., Any],
    qtbot: QtBot,
    pixels: dict[str, NDArray[np.uint8]],
    capsys: pytest.CaptureFixture[str],
    all_planes: bool,
) -> None:
    viewer = make_napari_viewer_proxy()
    for name in ("bench", "output"):
        viewer.add_image(np.stack([pixels[name][::-1], pixels[name]]), name=name)
    viewer.dims.set_point(0, 1)
    panel = QualityPanel(viewer)
    qtbot.addWidget(panel)
    tab = panel.compare
    tab.reference.choose(viewer.layers["bench"])
    tab.image.choose(viewer.layers["output"])
    tab.planes.setChecked(all_planes)
    tab._measure()
    qtbot.waitUntil(lambda: not tab.job.running, timeout=30_000)
    capsys.readouterr()

    exec(tab._python(), {"viewer": viewer})

    assert capsys.readouterr().out.strip() == tab.report.table()
    fine = viewer.add_image(pixels["bench"], name="fine", scale=(0.5, 0.5), units=("um", "um"))
    half = pixels["bench"][::2, ::2]
    coarse = viewer.add_image(half, name="coarse", scale=(1, 1), units=("um", "um"))
    tab.reference.choose(fine)
    tab.image.choose(coarse)
    assert tab._problem() is None and tab._python() == ""


def test_in_one_view_black_and_white_are_as_stated(
    viewer: Any, panel: CompareTab, qtbot: QtBot, pixels: dict[str, NDArray[np.uint8]]
) -> None:
    for name in ("output", "bench"):
        viewer.add_image(pixels[name][..., 0].astype(np.uint16) * 16, name=f"{name} 12 bit")
    panel.image.choose(viewer.layers["output 12 bit"])
    panel.reference.choose(viewer.layers["bench 12 bit"])
    panel.low.choose(None)
    panel.value_range.box.setCurrentText("12 bit, 0 to 4095")
    click(qtbot, panel.beside)
    qtbot.waitUntil(lambda: not panel.job.running, timeout=30_000)
    layer = viewer.layers["bench 12 bit | side by side"]
    np.testing.assert_array_equal(layer.data[:, -120:], viewer.layers["bench 12 bit"].data)

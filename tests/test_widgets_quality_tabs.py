"""The other tabs of Quality: targets, spots, resolution, error map, positions, and the report of all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QFontMetrics
from qtpy.QtWidgets import QFileDialog
from scipy.ndimage import gaussian_filter
from skimage.measure import block_reduce

import napari_acuity as acuity
from gui import click, names, opened
from napari_acuity.core.quality.reports.page import Table
from napari_acuity.core.simulate.targets import beads, slanted_edge, usaf_elements, usaf_target
from napari_acuity.widgets._measuring.table import PartTable
from napari_acuity.widgets.quality import QualityPanel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytestqt.qtbot import QtBot

UM: dict[str, Any] = {"units": ("um", "um")}
GROUPS, PIXEL_UM = (6, 7), 0.35
RNG = np.random.default_rng(4)


@pytest.fixture
def panel(viewer: Any, qtbot: QtBot) -> Iterator[QualityPanel]:
    with opened(qtbot, QualityPanel(viewer)) as panel:
        yield panel


def go_to(panel: QualityPanel, title: str) -> Any:
    """Open a tab."""
    bar = panel.tabs.bar
    titles = [bar.tabText(index) for index in range(bar.count())]
    bar.setCurrentIndex(titles.index(title))
    return panel.tabs.page


def measure(qtbot: QtBot, panel: QualityPanel) -> None:
    click(qtbot, panel.job.button)
    qtbot.waitUntil(lambda: not panel.job.running, timeout=60_000)
    assert panel.job.error is None


def cells(tab: Any) -> list[list[str]]:
    return [line.split("\t") for line in tab.frame.table.text().splitlines()]


def target(sigma_px: float) -> np.ndarray:
    sharp = usaf_target(GROUPS, pixel_size=PIXEL_UM).pixels
    return (255 * (0.1 + 0.8 * gaussian_filter(sharp, sigma_px))).astype(np.uint8)


# MTF


def test_a_target_is_found_and_two_images_are_compared(
    viewer: Any, panel: QualityPanel, qtbot: QtBot
) -> None:
    output = viewer.add_image(target(1.0), name="output", scale=(PIXEL_UM,) * 2, **UM)
    viewer.add_image(target(3.0), name="input", scale=(PIXEL_UM,) * 2, **UM)
    tab = go_to(panel, "MTF")
    tab.image.choose(output)
    tab.other.choose(viewer.layers["input"])
    tab.na.setValue(0.3)
    measure(qtbot, panel)
    header, *rows = cells(tab)
    assert header == [
        "Group", "Element", "lp/mm", "Period (µm)",
        "output, x", "output, y", "input, x", "input, y",
    ]  # fmt: skip
    assert [(row[0], row[1]) for row in rows] == [
        (str(g), str(e)) for g in GROUPS for e in range(1, 7)
    ]
    assert float(rows[-1][4]) > 0.5 > float(rows[-1][6]) and float(rows[0][6]) > 0.6
    assert "Finest elements with a contrast of 10%" in tab.frame.job.outcome.text()
    assert [curve.line for curve in tab.frame.plot.chart.curves][-1] == "dashed"
    outlines = viewer.layers["output | elements"]
    assert len(outlines.data) == 24

    table = tab.frame.table
    place = table.visualItemRect(table.item(11, 1)).center()
    table.scrollToItem(table.item(11, 1))
    place = table.visualItemRect(table.item(11, 1)).center()
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(place.x(), place.y()))
    element = next(e for e in usaf_elements(GROUPS) if (e.group, e.element) == (7, 6))
    camera = viewer.scene.camera.center[-2:]
    assert np.hypot(*np.subtract(camera, element.centre_um)) < 7 * element.bar_width_um * 1.5
    yellow = np.abs(outlines.edge_color[:, :3] - (1.0, 0.84, 0.04)).max(axis=1) < 0.02
    assert yellow.sum() == 2 and (outlines.features["element"][yellow] == 6).all()

    measure(qtbot, panel)
    assert names(viewer).count("output | elements") == 1


def test_a_row_shows_its_own_element_also_where_the_other_image_shows_more(
    viewer: Any, panel: QualityPanel, qtbot: QtBot
) -> None:
    """Coarse pixels end the target earlier: rows of the other image alone outline nothing."""
    fine = target(1.0)
    fine = fine[: fine.shape[0] // 6 * 6, : fine.shape[1] // 6 * 6]
    low = block_reduce(fine, (6, 6), np.mean).astype(np.uint8)
    viewer.add_image(low, name="coarse", scale=(6 * PIXEL_UM,) * 2, **UM)
    viewer.add_image(fine, name="fine", scale=(PIXEL_UM,) * 2, **UM)
    tab = go_to(panel, "MTF")
    tab.image.choose(viewer.layers["coarse"])
    tab.other.choose(viewer.layers["fine"])
    measure(qtbot, panel)
    rows = cells(tab)[1:]
    outlines = viewer.layers["coarse | elements"]
    seen = set(zip(outlines.features["group"], outlines.features["element"], strict=True))
    for number, row in enumerate(rows):
        tab.frame.table.setCurrentCell(number, 0)
        yellow = np.abs(outlines.edge_color[:, :3] - (1.0, 0.84, 0.04)).max(axis=1) < 0.02
        if (int(row[0]), int(row[1])) in seen:
            picked = outlines.features[yellow]
            assert set(picked["group"]) == {int(row[0])} and set(picked["element"]) == {int(row[1])}
    assert len(seen) < len(rows)


def test_without_a_pixel_size_an_element_is_picked(
    viewer: Any, panel: QualityPanel, qtbot: QtBot
) -> None:
    viewer.add_image(target(1.0), name="photo")
    tab = go_to(panel, "MTF")
    assert "The pixel size is unknown" in tab.frame.reason.text()
    assert not panel.job.button.isEnabled()
    element = next(e for e in usaf_elements(GROUPS) if (e.group, e.element) == (6, 3))
    tab.group.setValue(6)
    tab.element.setValue(3)
    click(qtbot, tab.pick)
    event = type("Click", (), {"position": tuple(np.array(element.centre_um) / PIXEL_UM - 0.5)})()
    for callback in list(viewer.mouse_drag_callbacks):
        callback(viewer, event)
    assert not tab.pick.isChecked() and panel.job.button.isEnabled()
    measure(qtbot, panel)
    assert cells(tab)[1][:2] == ["6", "1"]
    assert float(cells(tab)[1][4]) > 0.7


def test_bars_of_a_twelve_bit_camera(
    viewer: Any, panel: QualityPanel, qtbot: QtBot, capsys: pytest.CaptureFixture[str]
) -> None:
    tab = go_to(panel, "MTF")
    viewer.add_image(target(1.0).astype(np.uint16) * 16, name="camera", scale=(PIXEL_UM,) * 2, **UM)
    click(qtbot, panel.job.button)
    qtbot.waitUntil(lambda: not panel.job.running, timeout=60_000)
    assert "Options > Value range" in panel.job.outcome.text()
    tab.value_range.box.setCurrentText("12 bit, 0 to 4095")
    measure(qtbot, panel)
    resolved = [row[:3] for row in cells(tab)[1:] if row[0] == "6"]
    assert len(resolved) == 6
    capsys.readouterr()
    exec(tab._python(), {"viewer": viewer})
    assert panel.job.outcome.text() in capsys.readouterr().out


def test_closing_the_panel_while_a_place_is_to_be_picked(
    viewer: Any, qtbot: QtBot, notes: list[str]
) -> None:
    viewer.add_image(target(1.0), name="target")
    panel = QualityPanel(viewer)
    dock = viewer.window.add_dock_widget(panel)
    before = len(viewer.mouse_drag_callbacks)
    go_to(panel, "MTF").pick.click()
    assert len(viewer.mouse_drag_callbacks) == before + 1
    viewer.window.remove_dock_widget(dock)
    qtbot.waitUntil(lambda: len(viewer.mouse_drag_callbacks) == before)


def test_an_edge_in_a_region(viewer: Any, panel: QualityPanel, qtbot: QtBot) -> None:
    edge = slanted_edge((80, 80), angle_deg=5, blur_px=1.5).pixels
    image = np.hstack([RNG.random((80, 60)), edge])
    viewer.add_image(image, name="edge", scale=(0.5, 0.5), **UM)
    tab = go_to(panel, "MTF")
    tab.target.setCurrentIndex(1)
    box = np.array([[0, 60], [0, 139], [79, 139], [79, 60]])
    tab.region.choose(viewer.add_shapes([box], scale=(0.5, 0.5), name="region", **UM))
    measure(qtbot, panel)
    expected = acuity.quality.slanted_edge(edge, 0.5).mtf50
    assert float(cells(tab)[1][1]) == pytest.approx(expected, rel=1e-3)


def test_another_target_shows_nothing_of_the_last(
    viewer: Any, panel: QualityPanel, qtbot: QtBot
) -> None:
    viewer.add_image(target(1.0), name="output", scale=(PIXEL_UM,) * 2, **UM)
    tab = go_to(panel, "MTF")
    measure(qtbot, panel)
    assert tab.frame.table.isVisible() and tab.frame.add.isEnabled()
    tab.target.setCurrentIndex(1)
    assert not tab.frame.table.isVisible() and not tab.frame.plot.isVisible()
    assert not tab.frame.add.isEnabled() and not panel.report_button.isEnabled()


def test_the_panel_is_no_higher_than_the_tab_on_show(viewer: Any, panel: QualityPanel) -> None:
    go_to(panel, "Compare")
    high = panel.tabs.sizeHint().height()
    go_to(panel, "Positions")
    assert panel.tabs.sizeHint().height() < high
    assert not panel.compare.profile.button.isEnabled()
    viewer.add_image(np.zeros((20, 20)), name="image")
    assert panel.compare.profile.button.isEnabled()


# PSF


def test_spots_before_after_and_of_the_truth(
    viewer: Any, panel: QualityPanel, qtbot: QtBot
) -> None:
    truth, positions = beads(
        (200, 200), count=25, fwhm_um=0.2, pixel_size=0.05, min_distance_um=1.4, seed=2
    )
    scale = {"scale": (0.05, 0.05), **UM}
    for name, blur in (("truth", 0.0), ("before", 2.5), ("after", 1.0)):
        image = gaussian_filter(truth.pixels, blur)
        viewer.add_image(
            image / image.max() + RNG.normal(0, 0.004, image.shape), name=name, **scale
        )
    tab = go_to(panel, "PSF")
    for role, name in (("Image", "after"), ("Before", "before"), ("Truth", "truth")):
        tab.choosers[role].choose(viewer.layers[name])
    measure(qtbot, panel)
    header, *rows = cells(tab)
    assert [row[0] for row in rows] == ["before", "after", "truth"] and header[3] == "FWHM (µm)"
    widths = [float(row[3]) for row in rows]
    expected = [np.hypot(0.2, 2.355 * blur * 0.05) for blur in (2.5, 1.0, 0.0)]
    assert widths == pytest.approx(expected, rel=0.03)
    assert [curve.line for curve in tab.frame.plot.chart.curves] == ["steps"] * 3
    assert [viewer.layers[f"{name} | spots"].visible for name in ("after", "truth")] == [
        True,
        False,
    ]
    spots = viewer.layers["after | spots"]
    found = np.array([spots.data_to_world(point) for point in spots.data])
    away = np.hypot(*(found[:, None] - positions * 0.05).transpose(2, 0, 1)).min(axis=1)
    assert away.max() < 0.02 and {"fwhm_major", "ok", "why"} <= set(spots.features)

    tab = go_to(panel, "Positions")
    chosen = (tab.reference.currentText(), tab.points.currentText())
    assert chosen == ("truth | spots", "after | spots")
    measure(qtbot, panel)
    assert "25 features matched, 0 missed, 0 invented" in tab.frame.job.outcome.text()
    assert cells(tab)[0] == ["", "Mean (px)", "SD (px)", "Mean (µm)", "SD (µm)"]
    assert float(cells(tab)[1][2]) < 0.2


@pytest.mark.parametrize("title", ["PSF", "MTF"])
def test_what_was_measured_is_told_though_another_image_is_chosen_meanwhile(
    viewer: Any, panel: QualityPanel, qtbot: QtBot, title: str
) -> None:
    tab = go_to(panel, title)
    grains, _ = beads((99, 99), count=6, fwhm_um=2, pixel_size=PIXEL_UM, min_distance_um=8, seed=2)
    pixels = target(1.0) if title == "MTF" else gaussian_filter(grains.pixels, 1)
    first = viewer.add_image(pixels, name="first", scale=(PIXEL_UM,) * 2, **UM)
    chooser = tab.image if title == "MTF" else tab.choosers["Image"]
    chooser.choose(first)
    click(qtbot, panel.job.button)
    chooser.choose(viewer.add_image(pixels[::-1], name="second", **UM))
    qtbot.waitUntil(lambda: not panel.job.running, timeout=60_000)
    (made,) = (layer for layer in viewer.layers if layer.name.startswith("first | "))
    python = made.metadata["acuity"]["python"]
    assert made.visible and "layers['first']" in python and "second" not in python


def test_no_spots_and_no_second_layer_are_told(
    viewer: Any, panel: QualityPanel, qtbot: QtBot, notes: list[str]
) -> None:
    tab = go_to(panel, "PSF")
    assert "Open an image of spots" in tab.frame.reason.text()
    viewer.add_image(np.zeros((60, 60), np.uint8), name="black")
    click(qtbot, panel.job.button)
    qtbot.waitUntil(lambda: not panel.job.running, timeout=60_000)
    assert "nothing to see" in notes[-1] and panel.job.error is not None
    viewer.add_image(np.random.default_rng(0).random((100, 100)), name="noise")
    measure(qtbot, panel)
    assert "noise: no spots found; a lower threshold" in tab.frame.job.outcome.text()
    assert len(viewer.layers["noise | spots"].data) == 0
    tab = go_to(panel, "Positions")
    assert "Choose two layers of points" in tab.frame.reason.text()


# Resolution, error map


def pair() -> tuple[np.ndarray, np.ndarray]:
    clean = gaussian_filter(RNG.random((160, 160)), 2.5)
    clean = (clean - clean.min()) / np.ptp(clean) * 200
    first, second = (RNG.poisson(clean).astype(np.uint16) for _ in range(2))
    return first, second


def test_resolution_of_two_acquisitions_and_of_one(
    viewer: Any, panel: QualityPanel, qtbot: QtBot
) -> None:
    first, second = pair()
    tab = go_to(panel, "Resolution")
    viewer.add_image(first, name="first", scale=(0.1, 0.1), **UM)
    assert "Choose two acquisitions" in tab.frame.reason.text()
    viewer.add_image(second, name="second", scale=(0.1, 0.1), **UM)
    # Any two images give a figure: which two are exposures of one instrument, only the user knows.
    assert tab.second.layer is None and not panel.job.button.isEnabled()
    tab.second.choose(viewer.layers["first"])
    measure(qtbot, panel)
    expected = acuity.quality.frc(second, first, 0.1).resolution
    assert cells(tab)[1][1] == f"{expected:.3g} µm"
    assert tab.frame.plot.chart.x_label == "Spatial frequency (cycles/µm)"
    tab.method.setCurrentIndex(2)
    measure(qtbot, panel)
    assert "decorrelation" in cells(tab)[1][2] and not tab.second.isEnabled()
    viewer.add_image(first[:100], name="cut")
    tab.method.setCurrentIndex(0)
    assert "100 x 160" in tab.frame.reason.text()


def test_an_invention_shows_in_the_error_map(
    viewer: Any, panel: QualityPanel, qtbot: QtBot, tissue: np.ndarray
) -> None:
    fine = tissue[:200, :200, 1].astype(np.float32) / 255
    low = gaussian_filter(fine, 2)[::2, ::2]
    made = fine.copy()
    made[80:120, 40:80] += 0.4
    here = {"scale": (0.5, 0.5), "translate": (3.0, 4.0), **UM}
    viewer.add_image(low, name="low", **{**here, "scale": (1.0, 1.0)})
    viewer.add_image(np.clip(made, 0, 1), name="made", **here)
    tab = go_to(panel, "Error map")
    assert (tab.image.currentText(), tab.low.currentText()) == ("made", "low")
    measure(qtbot, panel)
    layer = viewer.layers["made | error map"]
    assert layer.data.shape == (100, 100)
    np.testing.assert_allclose(
        layer.data_to_world((0, 0)), viewer.layers["low"].data_to_world((0, 0))
    )
    inside = layer.data[42:58, 22:38].mean()
    assert inside > 4 * np.median(layer.data)
    click(qtbot, tab.frame.copy)
    tab.image.choose(viewer.layers["low"])
    tab.low.choose(viewer.layers["made"])
    assert "fewer pixels" in tab.frame.reason.text()


@pytest.mark.parametrize("first", ["fine", "coarse"])
def test_the_coarser_of_two_is_the_low_resolution_image(
    viewer: Any, panel: QualityPanel, tissue: np.ndarray, first: str
) -> None:
    images = {"fine": tissue[:80, :80, 1], "coarse": tissue[:80:2, :80:2, 1]}
    for name in sorted(images, key=lambda name: name != first):
        viewer.add_image(images[name], name=name)
    tab = go_to(panel, "Error map")
    assert (tab.image.currentText(), tab.low.currentText()) == ("fine", "coarse")


def test_an_image_that_is_no_finer_is_told(
    viewer: Any, panel: QualityPanel, qtbot: QtBot, tissue: np.ndarray
) -> None:
    fine = tissue[:120, :120, 1].astype(np.float32) / 255
    viewer.add_image(fine, name="fine")
    viewer.add_image(gaussian_filter(fine, 2), name="blurred")
    tab = go_to(panel, "Error map")
    assert (tab.image.currentText(), tab.low.currentText()) == ("fine", "blurred")
    measure(qtbot, panel)
    assert "swapped" not in tab.frame.job.outcome.text()
    tab.image.choose(viewer.layers["blurred"])
    tab.low.choose(viewer.layers["fine"])
    measure(qtbot, panel)
    assert (
        "blurred needed hardly any blur, so it is no finer than fine"
        in tab.frame.job.outcome.text()
    )


def test_the_same_on_the_command_line(
    viewer: Any, panel: QualityPanel, qtbot: QtBot, tmp_path: Path
) -> None:
    paths = [tmp_path / f"{name}.tif" for name in ("a", "b")]
    for path in paths:
        acuity.write(RNG.integers(0, 255, (64, 64), dtype=np.uint8), path)
        viewer.open(str(path), plugin="napari")
    first, second = (next(x for x in viewer.layers if x.source.path == str(p)) for p in paths)
    tab = go_to(panel, "Resolution")
    tab.image.choose(first)
    tab.second.choose(second)
    assert tab._command() == f"acuity resolution {paths[0]} {paths[1]}"
    tab.method.setCurrentIndex(1)
    assert tab._command() == f"acuity resolution {paths[0]} --method frc"
    tab = go_to(panel, "Error map")
    tab.image.choose(second)
    tab.low.choose(first)
    assert tab._command() == f"acuity error-map {paths[0]} {paths[1]}"
    tab = go_to(panel, "PSF")
    tab.choosers["Image"].choose(second)
    tab.choosers["Before"].choose(first)
    assert tab._command() == f"acuity spots {paths[0]} {paths[1]} --threshold 6"
    tab = go_to(panel, "MTF")
    tab.target.setCurrentIndex(1)
    tab.image.choose(first)
    tab.other.choose(second)
    assert tab._command() == f"acuity mtf {paths[0]} --edge --compare {paths[1]}"
    viewer.add_image(np.zeros((9, 9)), name="unsaved")
    tab.other.choose(viewer.layers["unsaved"])
    assert tab._command() == ""


# How it looks


def test_no_tab_is_out_of_sight(panel: QualityPanel) -> None:
    panel.resize(320, 600)
    bar = panel.tabs.bar
    assert bar.count() == 7 and bar.width() >= bar.sizeHint().width()
    assert panel.minimumWidth() <= 420


def test_no_column_is_out_of_sight(qtbot: QtBot) -> None:
    table = PartTable()
    qtbot.addWidget(table)
    images = ("USAF-1951 capture", "slide_x2.5_of_my_network")
    contrasts = [f"{name}, {axis}" for name in images for axis in "xy"]
    header = ["Group", "Element", "lp/mm", "Period (µm)", *contrasts]
    rows = [["7", str(number), "143.7", "15.625", *4 * ["0.887"]] for number in range(12)]
    table.show_table(Table(header, rows))
    for width in (410, 900, 410):
        table.resize(width, table.height())
        assert table.horizontalHeader().length() <= table.viewport().width()
        metrics = QFontMetrics(table.item(0, 3).font())
        assert table.columnWidth(3) > metrics.horizontalAdvance("15.625")
    assert table.text().splitlines()[0].split("\t") == header


# The report


@pytest.mark.parametrize("suffix", [".html", ".pdf", ".csv"])
def test_measurements_of_several_tabs_make_one_report(
    viewer: Any,
    panel: QualityPanel,
    qtbot: QtBot,
    tissue: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
) -> None:
    truth = tissue[:100, :100, 0]
    viewer.add_image(truth, name="truth")
    viewer.add_image(gaussian_filter(truth, 1), name="image")
    measure(qtbot, panel)
    click(qtbot, panel.compare.add)
    tab = go_to(panel, "Resolution")
    tab.method.setCurrentIndex(1)
    measure(qtbot, panel)
    click(qtbot, tab.frame.add)
    assert panel.report_button.text() == "Report of 2..."
    path = tmp_path / f"all{suffix}"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    click(qtbot, panel.report_button)
    qtbot.waitUntil(lambda: not panel.writing.running, timeout=60_000)
    assert path.stat().st_size > 200
    if suffix != ".pdf":
        text = path.read_text(encoding="utf-8")
        assert "checkerboard" in text and "PSNR" in text
    if suffix == ".html":
        assert "sharp structures that a network invents raise it" in text
        assert "Fingerprint of image" in text
    click(qtbot, panel.clear_button)
    assert panel.report_button.text() == "Report..." and not panel.clear_button.isVisible()


def test_close_pairs_are_told_on_request(viewer: Any, panel: QualityPanel, qtbot: QtBot) -> None:
    rows, columns = np.mgrid[:120, :120]
    image = np.zeros((120, 120))
    for y, x in ((30, 30), (30, 40), (80, 60), (90, 60), (60, 100)):
        image += np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * 1.8**2))
    viewer.add_image(
        image + RNG.normal(0, 0.003, image.shape), name="spots", scale=(0.1, 0.1), **UM
    )
    tab = go_to(panel, "PSF")
    tab.pairs.click()
    measure(qtbot, panel)
    header, row = cells(tab)
    assert header[-2:] == ["Pairs", "Peak to peak (µm)"]
    assert row[-2] == "2" and float(row[-1]) == pytest.approx(1.0, rel=0.01)


# The same as Python


def printed(viewer: Any, tab: Any, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    exec(tab._python(), {"viewer": viewer})
    return capsys.readouterr().out.strip()


def test_the_python_of_psf_measures_plane_region_and_pairs(
    viewer: Any, panel: QualityPanel, qtbot: QtBot, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, columns = np.mgrid[:120, :120]
    stack = RNG.normal(0, 0.003, (2, 120, 120))
    for y, x in ((30, 30), (30, 40), (80, 60), (60, 100)):
        stack[1] += np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * 1.8**2))
    viewer.add_image(stack, name="spots")
    viewer.dims.set_point(0, 1)
    box = np.array([[1, 10, 10], [1, 10, 90], [1, 100, 90], [1, 100, 10]])
    tab = go_to(panel, "PSF")
    tab.region.choose(viewer.add_shapes([box], name="region"))
    tab.pairs.click()
    measure(qtbot, panel)
    assert cells(tab)[1][1] == "3"
    assert printed(viewer, tab, capsys) == tab.frame.part.text()


def test_the_python_of_mtf_measures_both_images(
    viewer: Any, panel: QualityPanel, qtbot: QtBot, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, blur in (("output", 1.0), ("input", 3.0)):
        viewer.add_image(target(blur), name=name, scale=(PIXEL_UM,) * 2, **UM)
    tab = go_to(panel, "MTF")
    tab.image.choose(viewer.layers["output"])
    tab.other.choose(viewer.layers["input"])
    tab.contrast.setValue(40)
    measure(qtbot, panel)
    assert "a contrast of 40%" in tab.frame.job.outcome.text()
    assert printed(viewer, tab, capsys) == tab.frame.part.text()

    edge = slanted_edge((80, 80), angle_deg=5, blur_px=1.5).pixels
    tab.image.choose(viewer.add_image(np.hstack([RNG.random((80, 60)), edge]), name="edge"))
    tab.other.setCurrentIndex(0)
    tab.target.setCurrentIndex(1)
    box = np.array([[0, 60], [0, 139], [79, 139], [79, 60]])
    tab.region.choose(viewer.add_shapes([box], name="region"))
    measure(qtbot, panel)
    assert printed(viewer, tab, capsys) == tab.frame.part.text()


def test_a_picked_place_is_taken_back(viewer: Any, panel: QualityPanel, qtbot: QtBot) -> None:
    viewer.add_image(target(1.0), name="photo")
    tab = go_to(panel, "MTF")
    assert not tab.forget.isEnabled()
    click(qtbot, tab.pick)
    tab._on_click(viewer, type("Click", (), {"position": (5.0, 5.0)})())
    assert panel.job.button.isEnabled() and "at=(5.0, 5.0" in tab._python()
    viewer.add_points([[3.0, 3.0]])  # as measuring adds outlines
    viewer.layers["photo"].name = "target"
    assert panel.job.button.isEnabled() and "at=(5.0, 5.0" in tab._python()
    click(qtbot, tab.forget)
    assert not panel.job.button.isEnabled() and tab.pick.text() == "Pick..."
    tab._on_click(viewer, type("Click", (), {"position": (5.0, 5.0)})())
    tab.image.choose(viewer.add_image(target(1.0), name="another"))
    assert not panel.job.button.isEnabled() and tab.pick.text() == "Pick..."


def test_resolution_and_error_map_of_the_plane_on_show(
    viewer: Any, panel: QualityPanel, qtbot: QtBot, capsys: pytest.CaptureFixture[str]
) -> None:
    (first, second), low = pair(), None
    viewer.add_image(np.stack([second, first]), name="stack")
    low = gaussian_filter(first.astype(float), 2)[::2, ::2].astype(np.uint16)
    viewer.add_image(
        np.stack([low // 2, low]), name="low", scale=(1, 2, 2), translate=(0, 0.5, 0.5)
    )
    viewer.dims.set_point(0, 1)
    tab = go_to(panel, "Resolution")
    tab.method.setCurrentIndex(2)
    tab.image.choose(viewer.layers["stack"])
    expected = acuity.quality.decorrelation(first).resolution
    assert float(printed(viewer, tab, capsys)) == pytest.approx(expected)

    tab = go_to(panel, "Error map")
    tab.image.choose(viewer.layers["stack"])
    tab.low.choose(viewer.layers["low"])
    measure(qtbot, panel)
    layer = viewer.layers["stack | error map"]
    assert layer.data.shape == (1, 80, 80)
    np.testing.assert_allclose(layer.data_to_world((0, 0, 0)), (1, 0.5, 0.5))
    wanted = acuity.quality.error_map(low, first)
    assert printed(viewer, tab, capsys) == f"{wanted.rsp} {wanted.rse}"


def test_positions_of_the_plane_on_show(
    viewer: Any, panel: QualityPanel, qtbot: QtBot, capsys: pytest.CaptureFixture[str]
) -> None:
    plane = np.array([[10.0, 10.0], [20.0, 30.0]])
    stack = np.array([[0, 50, 50], [1, 10, 11], [1, 20, 31]])
    viewer.add_image(np.zeros((2, 60, 60)), name="image")
    viewer.add_points(plane, name="truth")
    viewer.add_points(stack, name="found")
    viewer.dims.set_point(0, 1)
    tab = go_to(panel, "Positions")
    tab.points.choose(viewer.layers["found"])
    tab.reference.choose(viewer.layers["truth"])
    measure(qtbot, panel)
    assert "2 features matched, 0 missed, 0 invented" in tab.frame.job.outcome.text()
    assert tab._python() == ""
    tab.points.choose(viewer.add_points(plane + 1, name="flat"))
    assert "2" in printed(viewer, tab, capsys)
    tab.points.choose(viewer.add_points(plane, name="coarse", scale=(2, 2)))
    assert tab._python() == ""


def test_spots_that_could_not_be_measured_have_no_position(
    viewer: Any, panel: QualityPanel, qtbot: QtBot, capsys: pytest.CaptureFixture[str]
) -> None:
    plane = np.array([[10.0, 10.0], [20.0, 30.0]])
    viewer.add_points(plane, name="truth")
    spots = viewer.add_points(
        [*plane, [50, 50]], features={"ok": [True, True, False]}, name="found"
    )
    tab = go_to(panel, "Positions")
    tab.points.choose(spots)
    tab.reference.choose(viewer.layers["truth"])
    measure(qtbot, panel)
    assert "2 features matched, 0 missed, 0 invented" in tab.frame.job.outcome.text()
    assert "2 matched, 0 missed, 0 invented" in printed(viewer, tab, capsys)

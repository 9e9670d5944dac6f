"""The tab Modality of Quality: what networks made of one instrument's image, against another's."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari.layers import Shapes
from qtpy.QtWidgets import QFileDialog
from scipy.ndimage import gaussian_filter
from typer.testing import CliRunner

import napari_acuity as acuity
from gui import click, names, opened, wait
from napari_acuity.cli import app
from napari_acuity.core.quality.modalities import scores
from napari_acuity.core.simulate import bead_pair
from napari_acuity.widgets.quality import QualityPanel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari.layers import Image
    from pytestqt.qtbot import QtBot

    from napari_acuity.widgets._measuring.modality import ModalityTab

PIXEL_UM = 0.03
FIELD = bead_pair((96, 96), count=3, pair_distances_um=(0.2,), pixel_size=PIXEL_UM, bit_depth=16)
AGAIN = bead_pair(
    (96, 96), count=3, pair_distances_um=(0.2,), pixel_size=PIXEL_UM, bit_depth=16, acquisition=1
)
HERE: dict[str, Any] = {"scale": (PIXEL_UM, PIXEL_UM), "units": ("um", "um")}
OPTICS = {"na": 1.4, "wavelength_um": 0.64}


@pytest.fixture(autouse=True)
def few_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try one deconvolution: how the best is found is the engine's, which has tests of its own."""
    monkeypatch.setattr(scores, "_ITERATIONS", (5,))
    monkeypatch.setattr(scores, "_WIDENINGS", (1.0,))


@pytest.fixture
def panel(viewer: Any, qtbot: QtBot) -> Iterator[QualityPanel]:
    with opened(qtbot, QualityPanel(viewer)) as panel:
        panel.tabs.show_page(panel.modality)
        yield panel


@pytest.fixture
def tab(panel: QualityPanel) -> ModalityTab:
    return panel.modality


def output(sigma_px: float = 0.7, field: Any = FIELD) -> np.ndarray:
    """Return what a network might make: the truth, a little blurred, in other units."""
    return (0.3 * gaussian_filter(field.high.pixels.astype(np.float32), sigma_px) + 77).astype("f4")


def enhanced(image: Any, model: str, **more: Any) -> dict[str, Any]:
    """Return the metadata of a layer that Enhance has made."""
    parameters = {"image": image, "model": model, **more}
    return {"acuity": {"verb": "enhance", "parameters": parameters, "python": ""}}


def open_pair(viewer: Any) -> tuple[Image, Image]:
    """Open the images as the samples do: the modest instrument's on top."""
    truth = viewer.add_image(FIELD.high.pixels, name="STED", **HERE)
    return truth, viewer.add_image(FIELD.low.pixels, name="confocal", **HERE)


def add_output(viewer: Any, model: str = "net", pixels: Any = None, **look: Any) -> Image:
    made: Image = viewer.add_image(
        output() if pixels is None else pixels,
        name=f"confocal | x1 {model}",
        metadata=enhanced("confocal", model),
        **{**HERE, **look},
    )
    return made


def state_optics(tab: ModalityTab) -> None:
    tab.optics.na.setValue(OPTICS["na"])
    tab.optics.wavelength.setValue(640)


def ticked(tab: ModalityTab) -> list[str]:
    return [layer.name for layer in tab.outputs.layers]


def compare(qtbot: QtBot, panel: QualityPanel) -> None:
    click(qtbot, panel.job.button)
    wait(qtbot, panel)
    assert panel.job.error is None


def cells(tab: ModalityTab) -> list[list[str]]:
    return [line.split("\t") for line in tab.frame.table.text().splitlines()]


# What is chosen


def test_images_and_outputs_are_chosen_by_how_they_were_made(viewer: Any, tab: ModalityTab) -> None:
    truth, low = open_pair(viewer)
    assert (tab.truth.layer, tab.low.layer) == (truth, low)
    assert tab.outputs.ticks is None and "make it in Enhance" in tab.frame.reason.text()
    first = add_output(viewer)
    second = add_output(viewer, "other")
    viewer.add_image(output(2), name="from elsewhere", **HERE)
    assert (tab.truth.layer, tab.low.layer) == (truth, low)
    assert [x.name for x in tab.outputs.fitting] == ["from elsewhere", second.name, first.name]
    assert ticked(tab) == [second.name, first.name]


def test_what_is_opened_beside_a_pair_takes_no_ones_place(viewer: Any, tab: ModalityTab) -> None:
    """Nothing tells that another program's output is one."""
    truth, low = open_pair(viewer)
    plain = viewer.add_image(output(2), name="from elsewhere", **HERE)
    assert (tab.truth.layer, tab.low.layer) == (truth, low)
    assert tab.outputs.fitting == [plain]
    # Where Enhance has made something of another one, that is the low-resolution image.
    viewer.add_image(output(), name="made", metadata=enhanced("from elsewhere", "net"), **HERE)
    assert tab.low.layer == plain


def test_the_choice_is_kept_when_layers_come_go_and_are_renamed(
    viewer: Any, tab: ModalityTab
) -> None:
    open_pair(viewer)
    first, second = add_output(viewer), add_output(viewer, "other")
    plain = viewer.add_image(output(2), name="plain", **HERE)
    tab.outputs.ticks.boxes[second.name].click()
    tab.outputs.ticks.boxes["plain"].click()
    assert ticked(tab) == ["plain", first.name]
    third = add_output(viewer, "third")
    assert ticked(tab) == [third.name, "plain", first.name]
    plain.name = "renamed"
    viewer.layers.remove(third)
    assert ticked(tab) == ["renamed", first.name]


def test_maps_and_images_that_do_not_fit_are_not_listed(viewer: Any, tab: ModalityTab) -> None:
    open_pair(viewer)
    viewer.add_image(output()[:50], name="small", **HERE)
    viewer.add_image(np.zeros((96, 96, 3), np.uint8), name="coloured", **HERE)
    viewer.add_image(
        output(), name="spread", **HERE, metadata=enhanced("confocal", "e", output="disagreement")
    )
    for verb in ("measure", "compare"):
        viewer.add_image(output(), name=verb, **HERE, metadata={"acuity": {"verb": verb}})
    tab.truth.choose(viewer.layers["STED"])
    tab.low.choose(viewer.layers["confocal"])
    assert tab.outputs.fitting == []
    assert not tab.frame.job.button.isEnabled()


def test_a_registered_image_goes_with_what_it_was_registered_to(
    viewer: Any, tab: ModalityTab
) -> None:
    truth, low = open_pair(viewer)
    made = {"verb": "register", "parameters": {"moving": "confocal", "fixed": "STED"}, "python": ""}
    moved = viewer.add_image(
        low.data, name="confocal | registered", metadata={"acuity": made}, **HERE
    )
    viewer.add_image(output(), name="made", metadata=enhanced(moved.name, "net"), **HERE)
    assert (tab.truth.layer, tab.low.layer) == (truth, moved)
    assert ticked(tab) == ["made"]


# What is wrong


def test_images_that_cannot_be_compared_are_told_with_the_cure(
    viewer: Any, tab: ModalityTab
) -> None:
    truth, low = open_pair(viewer)
    add_output(viewer)
    state_optics(tab)
    assert tab.frame.job.button.isEnabled()
    wrong = {
        "Split RGB": np.zeros((96, 96, 3), np.uint8),
        "Split Stack": np.zeros((2, 96, 96), np.uint8),
        "96 x 70 px, which no plain enlargement brings to": np.zeros((96, 70), np.uint8),
    }
    for words, pixels in wrong.items():
        layer = viewer.add_image(pixels, name="wrong")
        tab.truth.choose(truth)
        tab.low.choose(layer)
        assert words in tab.frame.reason.text() and tab.frame.reason.isVisible()
        assert "'wrong'" in tab.frame.reason.text()
        assert not tab.frame.job.button.isEnabled()
        assert tab._python() == "" and tab._command() == ""
        viewer.layers.remove(layer)
        tab.low.choose(low)
        assert tab.frame.job.button.isEnabled()


def test_nothing_is_assumed_and_what_is_missing_is_told(viewer: Any, tab: ModalityTab) -> None:
    reason = tab.frame.reason.text
    assert "Open two images" in reason()
    viewer.add_image(FIELD.high.pixels, name="STED")
    assert "same layer" in reason()
    viewer.add_image(FIELD.low.pixels, name="confocal")
    made = viewer.add_image(output(), name="made")
    tab.low.choose(viewer.layers["confocal"])
    tab.truth.choose(viewer.layers["STED"])
    assert "Tick what was made of 'confocal'" in reason()
    tab.outputs.ticks.boxes[made.name].click()
    assert "the NA" in reason() and "wavelength in nm" in reason()
    tab.optics.na.setValue(1.4)
    assert "the NA" not in reason() and "wavelength in nm" in reason()
    tab.optics.wavelength.setValue(52)
    assert "wavelength in nm" in reason()
    tab.optics.wavelength.setValue(525)
    assert "pixel size of 'STED' is unknown" in reason()
    tab.pixel_nm.setValue(30)
    assert not reason() and tab.frame.job.button.isEnabled()
    tab.region.first.setValue(80)
    assert "96 x 16 px" in reason() and not tab.frame.job.button.isEnabled()
    tab.region.first.setValue(40)
    tab.region.end.setValue(30)
    assert "96 x 0 px" in reason()
    tab.region.end.setValue(0)
    shapes = viewer.add_shapes(name="part")
    tab.region.shapes.choose(shapes)
    assert "holds no shapes" in reason() and not tab.region.first.isEnabled()
    tab.low_again.choose(made)
    tab.region.shapes.choose(None)
    tab.low_again.choose(viewer.layers["STED"])
    assert "no second acquisition" in reason()
    small = viewer.add_image(np.zeros((9, 9)), name="small")
    tab.low_again.choose(small)
    assert "does not repeat 'confocal'" in reason()


def test_what_the_engine_refuses_is_told_with_cause_and_cure(
    viewer: Any, panel: QualityPanel, tab: ModalityTab, qtbot: QtBot, notes: list[str]
) -> None:
    open_pair(viewer)
    broken = output()
    broken[3, 3] = np.nan
    add_output(viewer, pixels=broken, contrast_limits=(0, 1))
    state_optics(tab)
    click(qtbot, panel.job.button)
    wait(qtbot, panel)
    assert "NaN or infinite" in tab.frame.job.outcome.text()
    assert any("Replace them" in note for note in notes)
    assert tab.frame.part is None and not tab.maps.isEnabled()


# What is found


def test_the_scores_are_those_of_the_engine_and_maps_come_on_demand(
    viewer: Any, panel: QualityPanel, tab: ModalityTab, qtbot: QtBot
) -> None:
    here = {**HERE, "translate": (2.0, 5.0)}
    viewer.add_image(FIELD.high.pixels, name="STED", **here)
    viewer.add_image(FIELD.low.pixels, name="confocal", **here)
    first, second = add_output(viewer, **here), add_output(viewer, "worse", output(2), **here)
    state_optics(tab)
    tab.region.first.setValue(48)
    compare(qtbot, panel)
    expected = acuity.quality.compare_modalities(
        FIELD.high,
        {second.name: second.data, first.name: first.data},
        low=FIELD.low,
        **OPTICS,
        region=(0, 48, 96, 96),
        spots=False,
    )
    assert cells(tab)[1:] == expected.rows()[1:]
    assert [row[0] for row in cells(tab)[1:3]] == ["confocal", "confocal, Richardson-Lucy"]
    table = tab.frame.table
    kept = [table.verticalHeaderItem(row).text() for row in range(table.rowCount())]
    assert kept == ["input", "Richardson-Lucy", "x1 worse", "x1 net", "truth"]
    assert table.verticalHeaderItem(3).toolTip() == first.name
    assert f"Best by SSIM: {first.name}" in tab.frame.job.outcome.text()
    assert "96 x 48 px from row 0, column 48" in tab.frame.job.outcome.text()
    assert not tab.frame.plot.isVisible()
    assert "whole image" not in tab.warning.text()

    before = names(viewer)
    click(qtbot, tab.maps)
    assert sorted(set(names(viewer)) - set(before)) == sorted(
        f"{layer.name} | error map" for layer in (first, second)
    )
    layer = viewer.layers[f"{first.name} | error map"]
    np.testing.assert_allclose(layer.data, expected.scores[first.name].error.map, rtol=1e-6)
    corner = viewer.layers["confocal"].data_to_world((0, 48))
    np.testing.assert_allclose(layer.data_to_world((0, 0)), corner)
    other = viewer.layers[f"{second.name} | error map"]
    assert list(layer.contrast_limits) == list(other.contrast_limits)
    assert layer.visible != other.visible
    assert not tab.maps.isEnabled()
    assert ticked(tab) == [second.name, first.name]


def test_the_script_does_the_same(
    viewer: Any, panel: QualityPanel, tab: ModalityTab, qtbot: QtBot
) -> None:
    open_pair(viewer)
    add_output(viewer)
    state_optics(tab)
    compare(qtbot, panel)
    scope: dict[str, Any] = {"viewer": viewer}
    exec(tab._python(), scope)
    assert scope["report"].rows()[1:] == cells(tab)[1:]
    assert "The whole image was measured" in tab.warning.text() and tab.warning.isVisible()


def test_the_command_does_the_same(
    viewer: Any, panel: QualityPanel, tab: ModalityTab, qtbot: QtBot, tmp_path: Path
) -> None:
    images = {"STED": FIELD.high, "confocal": FIELD.low, "made": FIELD.high.with_pixels(output())}
    for name, image in images.items():
        acuity.write(image, tmp_path / f"{name}.tif")
        viewer.open(str(tmp_path / f"{name}.tif"), plugin="napari")
    for layer in viewer.layers:
        layer.scale, layer.units = HERE["scale"], HERE["units"]
    tab.low.choose(viewer.layers["confocal"])
    tab.truth.choose(viewer.layers["STED"])
    tab.outputs.ticks.boxes["made"].click()
    state_optics(tab)
    tab.region.first.setValue(32)
    compare(qtbot, panel)
    command = tab._command()
    assert command.endswith("--pixel-size 0.03 --region 0 32 96 96 --no-spots")
    printed = CliRunner().invoke(app, shlex.split(command)[1:]).output.splitlines()
    figures = [line.split()[-4:] for line in printed[1:4]]
    assert figures == [row[1:5] for row in cells(tab)[1:4]]
    viewer.layers["made"].data = viewer.layers["made"].data
    viewer.add_image(output(), name="unsaved", **HERE)
    tab.outputs.ticks.boxes["unsaved"].click()
    assert tab._command() == ""


def test_widths_of_spots_are_shown_and_a_region_cuts_no_pixel_in_two(
    viewer: Any, panel: QualityPanel, tab: ModalityTab, qtbot: QtBot
) -> None:
    low = FIELD.low.pixels.reshape(48, 2, 48, 2).mean(axis=(1, 3)).astype(np.float32)
    viewer.add_image(FIELD.high.pixels, name="STED", **HERE)
    viewer.add_image(
        low, name="confocal", scale=(0.06, 0.06), translate=(0.015, 0.015), units=("um", "um")
    )
    add_output(viewer)
    assert (tab.truth.currentText(), tab.low.currentText()) == ("STED", "confocal")
    state_optics(tab)
    box = PIXEL_UM * np.array([[0.6, 0.7], [0.6, 90.4], [95.9, 90.4], [95.9, 0.7]])
    part = viewer.add_layer(Shapes([box], name="part", units=("um", "um")))
    tab.region.shapes.choose(part)
    tab.spots.click()
    compare(qtbot, panel)
    report: Any = tab.frame.part.report
    assert report.region == (2, 2, 96, 90)
    assert "Median FWHM: input" in tab.frame.job.outcome.text()
    curves = tab.frame.plot.chart.curves
    assert tab.frame.plot.isVisible() and tab.frame.plot.chart.x_label == "FWHM (µm)"
    assert [curve.name for curve in curves] == [
        "input, bicubic", "Richardson-Lucy", "x1 net", "truth",
    ]  # fmt: skip
    click(qtbot, tab.maps)
    layer = viewer.layers["confocal | x1 net | error map"]
    assert layer.data.shape == (47, 44)
    np.testing.assert_allclose(
        layer.data_to_world((0, 0)), viewer.layers["confocal"].data_to_world((1, 1))
    )


def test_second_acquisitions_and_disagreement_are_found(
    viewer: Any, panel: QualityPanel, tab: ModalityTab, qtbot: QtBot
) -> None:
    for name, image in (("confocal again", AGAIN.low), ("STED again", AGAIN.high)):
        viewer.add_image(image.pixels, name=name, **HERE)
    open_pair(viewer)
    made = {"mean": output(), "disagreement": np.abs(output(2) - output())}
    for name, pixels in made.items():
        metadata = enhanced({"grey": "confocal"}, "ensemble", output=name)
        viewer.add_image(pixels, name=f"confocal | {name}", metadata=metadata, **HERE)
    metadata = enhanced({"grey": "confocal again"}, "ensemble", output="mean")
    viewer.add_image(output(field=AGAIN), name="again | mean", metadata=metadata, **HERE)
    tab.low.choose(viewer.layers["confocal"])
    tab.truth.choose(viewer.layers["STED"])
    tab.low_again.choose(viewer.layers["confocal again"])
    tab.truth_again.choose(viewer.layers["STED again"])
    assert ticked(tab) == ["confocal | mean"]
    state_optics(tab)
    compare(qtbot, panel)
    header, *rows = cells(tab)
    assert header[-1] == "FRC (µm)" and all(row[-1] for row in rows)
    report: Any = tab.frame.part.report
    np.testing.assert_allclose(report.disagreement["confocal | mean"], made["disagreement"])
    assert tab.frame.plot.chart.x_label == "Spatial frequency (cycles/µm)"
    scope: dict[str, Any] = {"viewer": viewer}
    exec(tab._python(), scope)
    assert scope["report"].rows()[1:] == rows
    assert set(scope["report"].disagreement) == {"confocal | mean"}


def test_a_cancelled_comparison_leaves_the_last_one_as_it_was(
    viewer: Any, panel: QualityPanel, tab: ModalityTab, qtbot: QtBot
) -> None:
    open_pair(viewer)
    made = add_output(viewer)
    state_optics(tab)
    compare(qtbot, panel)
    add_output(viewer, "other")
    tab.region.first.setValue(48)
    click(qtbot, panel.job.button)
    assert panel.job.button.text() == "Cancel"
    click(qtbot, panel.job.button)
    wait(qtbot, panel)
    assert "Cancelled" in panel.job.outcome.text()
    click(qtbot, tab.maps)
    maps = [layer for layer in viewer.layers if layer.name.endswith("error map")]
    assert [layer.name for layer in maps] == [f"{made.name} | error map"]
    assert maps[0].data.shape == (96, 96)


# The report


def test_a_comparison_is_written_alone_and_among_others(
    viewer: Any,
    panel: QualityPanel,
    tab: ModalityTab,
    qtbot: QtBot,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    open_pair(viewer)
    add_output(viewer)
    state_optics(tab)
    compare(qtbot, panel)

    def write(name: str) -> str:
        path = tmp_path / name
        monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
        click(qtbot, panel.report_button)
        qtbot.waitUntil(lambda: not panel.writing.running, timeout=60_000)
        assert panel.writing.error is None
        return path.read_text(encoding="utf-8", errors="ignore")

    alone = write("alone.html"), write("alone.csv")
    click(qtbot, tab.frame.add)
    click(qtbot, tab.frame.add)
    assert panel.report_button.text() == "Report of 2..."
    together = write("all.html"), write("all.csv")
    for text in (alone[0], together[0]):
        assert "The whole image was measured" in text and "Error map: RSP" in text
    assert "Narrower than the truth" not in alone[0] and "Correlation with the low" in alone[0]
    assert "Fingerprint of confocal" in together[0]
    assert alone[1].startswith("image,psnr_db,ssim,rsp")
    assert together[1].count("confocal | x1 net, from confocal") == 2
    assert write("all.pdf").startswith("%PDF")

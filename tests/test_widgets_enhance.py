"""Enhance, driven as a user would: choose, click, wait, look at the layers."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtCore import Qt, QThreadPool
from qtpy.QtWidgets import QFileDialog

from enhance_panel import model
from gui import click, names, opened, wait
from napari_acuity.core.inference import enhance as engine
from napari_acuity.core.model import Header
from napari_acuity.widgets import _session
from napari_acuity.widgets.enhance import EnhancePanel, describe, use_model

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
        tissue[:61, :80],
        name="phone",
        scale=(0.6, 0.6),
        units=("um", "um"),
        translate=(10, 20),
        axis_labels=("y", "x"),
    )
    return viewer


@pytest.fixture
def panel(viewer: Any, qtbot: QtBot) -> Iterator[EnhancePanel]:
    with opened(qtbot, EnhancePanel(viewer)) as panel:
        yield panel


def titles(panel: EnhancePanel) -> list[str]:
    return [panel.model.itemText(i) for i in range(panel.model.count())]


def test_the_shipped_model_is_there_and_says_what_it_was_trained_on(
    viewer: Any, panel: EnhancePanel, qtbot: QtBot
) -> None:
    assert panel.model.currentText() == "Bright-field (shipped)"

    qtbot.waitUntil(lambda: panel.known is not None, timeout=60_000)

    assert "x2.5, RGB, brightfield" in panel.facts.text()
    assert "trained on H&E sections in bright field" in panel.facts.text()
    assert panel.job.button.isEnabled()
    viewer.layers["phone"].units = ("pixel", "pixel")
    panel.resample.toggle()  # whatever has the words written anew
    assert "pixel size of this image is unknown" in panel.facts.text()
    viewer.layers.clear()
    assert "this image" not in panel.facts.text()


def test_the_result_lies_over_the_image(viewer: Any, panel: EnhancePanel, qtbot: QtBot) -> None:
    chosen = model()
    panel.choose_model(_session.remember_model(chosen))
    assert "153 x 200 pixels" in panel.facts.text()

    click(qtbot, panel.job.button)
    wait(qtbot, panel)

    assert names(viewer) == ["phone", "phone | x2.5 lung"]
    image, result = viewer.layers
    assert result.data.shape == (153, 200, 3)
    np.testing.assert_array_equal(result.data, engine.enhance(image.data, chosen).pixels)
    np.testing.assert_allclose(
        result.data_to_world((-0.5, -0.5)), image.data_to_world((-0.5, -0.5))
    )
    np.testing.assert_allclose(
        result.data_to_world((-0.5, 199.5)), image.data_to_world((-0.5, 79.5))
    )
    assert result.units == image.units
    assert result.metadata["acuity"]["verb"] == "enhance"
    assert panel.image.layer == image  # the result does not become the next input by itself


def test_two_iterations_on_tiles_are_the_same_as_the_whole(
    viewer: Any, panel: EnhancePanel, qtbot: QtBot
) -> None:
    chosen = model()
    panel.choose_model(_session.remember_model(chosen))
    panel.options.iterations.setValue(2)
    panel.options.tile.setValue(64)
    click(qtbot, panel.job.button)
    wait(qtbot, panel)

    result = viewer.layers["phone | x6.25 lung"]
    whole = engine.enhance(viewer.layers["phone"].data, chosen, iterations=2, tile=None)
    difference = np.abs(result.data.astype(int) - whole.pixels)
    assert difference.max() <= 1  # rounding to 8 bit


def test_a_model_file_is_opened_and_chosen(
    panel: EnhancePanel, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lung-1120").mkdir()
    path = model().save(tmp_path / "lung-1120" / "best")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))

    for _ in range(2):
        qtbot.mouseClick(panel.browse, Qt.MouseButton.LeftButton)
        wait(qtbot, panel)

    assert titles(panel) == ["lung-1120", "Bright-field (shipped)"]
    assert panel.job.button.isEnabled()
    assert str(path) in panel._python()


def test_a_damaged_model_gives_a_notification_with_cause_and_cure(
    panel: EnhancePanel, qtbot: QtBot, tmp_path: Path, notes: list[str]
) -> None:
    path = tmp_path / "broken.safetensors"
    path.write_bytes(b"no model")

    panel.open_model(path)
    wait(qtbot, panel)

    assert len(notes) == 1
    assert "broken.safetensors is damaged or no model" in notes[0]
    assert "Copy it again" in notes[0]
    assert titles(panel) == ["Bright-field (shipped)"]


def test_a_model_for_other_channels_says_so_before_the_start(
    viewer: Any, panel: EnhancePanel
) -> None:
    panel.choose_model(_session.remember_model(model(channels=1)))

    assert not panel.job.button.isEnabled()
    assert "takes grey images, and 'phone' is RGB" in panel.job.button.toolTip()
    assert panel.problem.text() == panel.job.button.toolTip() and panel.problem.isVisible()
    assert "The result will" not in panel.facts.text()
    panel.choose_model(_session.remember_model(model()))
    assert panel.job.button.isEnabled() and not panel.problem.isVisible()


def test_data_of_12_bit_are_refused_until_the_range_is_stated(
    viewer: Any, panel: EnhancePanel, qtbot: QtBot, notes: list[str]
) -> None:
    pixels = np.linspace(0, 4000, 64 * 64).reshape(64, 64).astype(np.uint16)
    panel.image.choose(
        viewer.add_image(pixels, name="camera", units=("um", "um"), colormap="green")
    )
    panel.choose_model(_session.remember_model(model(channels=1)))

    click(qtbot, panel.job.button)
    wait(qtbot, panel)
    assert "12-bit" in notes[0] and "Options > Value range" in notes[0]

    panel.options.values.box.setCurrentText("12 bit, 0 to 4095")
    click(qtbot, panel.job.button)
    wait(qtbot, panel)
    result = viewer.layers["camera | x2.5 lung"]
    assert result.data.dtype == np.uint16
    assert result.data.max() <= 4095
    assert tuple(result.metadata["acuity"]["value_range"]) == (0, 4095)
    assert result.colormap.name == "green"
    assert "value_range" not in viewer.layers["camera"].metadata.get("acuity", {})


def test_custom_black_and_white(viewer: Any, panel: EnhancePanel) -> None:
    assert not panel.options.values.black.isVisible()

    panel.options.values.box.setCurrentText("Custom")
    panel.options.values.black.setValue(-5)
    panel.options.values.white.setValue(300)

    assert panel.options.values.of(viewer.layers["phone"]) == (-5, 300)
    panel.options.values.box.setCurrentText("Layer's contrast limits")
    assert panel.options.values.of(viewer.layers["phone"]) == (0, 255)


@pytest.mark.parametrize("dtype", ["As the input", "16 bit"])
def test_black_that_is_not_below_white_is_told(
    viewer: Any, panel: EnhancePanel, qtbot: QtBot, notes: list[str], dtype: str
) -> None:
    viewer.add_image(viewer.layers["phone"].data[..., 0], name="camera")
    panel.choose_model(_session.remember_model(model(channels=1), None))
    panel.options.dtype.setCurrentText(dtype)
    panel.options.values.box.setCurrentText("Custom")
    panel.options.values.black.setValue(5)
    panel.options.values.white.setValue(5)
    click(qtbot, panel.job.button)
    wait(qtbot, panel)
    assert any("black first" in note for note in notes) and names(viewer) == ["phone", "camera"]


def test_cancel_leaves_no_layer(
    viewer: Any, panel: EnhancePanel, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, steps = threading.Semaphore(0), engine.enhance_steps

    def slow(*args: Any, **how: Any) -> Any:
        for event in steps(*args, **how):
            yield event
            go_on.acquire(timeout=20)

    monkeypatch.setattr(engine, "enhance_steps", slow)
    panel.choose_model(_session.remember_model(model()))
    panel.options.tile.setValue(64)
    click(qtbot, panel.job.button)
    qtbot.waitUntil(lambda: panel.job.stage.text() == "tile 1 of 2")
    assert panel.job.button.text() == "Cancel"
    assert not panel.browse.isEnabled()

    click(qtbot, panel.job.button)
    go_on.release(100)
    wait(qtbot, panel)

    assert panel.job.button.text() == "Super-resolve"
    assert names(viewer) == ["phone"]
    qtbot.waitUntil(lambda: QThreadPool.globalInstance().activeThreadCount() == 0)


def test_a_stack_is_done_plane_by_plane(viewer: Any, panel: EnhancePanel, qtbot: QtBot) -> None:
    stack = np.random.default_rng(0).integers(0, 255, (2, 32, 34), dtype=np.uint8)
    panel.image.choose(viewer.add_image(stack, name="stack", scale=(2, 0.5, 0.5)))
    panel.choose_model(_session.remember_model(model(channels=1)))

    click(qtbot, panel.job.button)
    wait(qtbot, panel)

    result = viewer.layers["stack | x2.5 lung"]
    assert result.data.shape == (2, 80, 85)
    np.testing.assert_allclose(result.scale, (2, 0.2, 0.2))


def test_copy_as_python_runs(
    viewer: Any, panel: EnhancePanel, qtbot: QtBot, tmp_path: Path
) -> None:
    chosen = model()
    path = chosen.save(tmp_path / "lung")
    panel.choose_model(_session.remember_model(chosen, path))
    names_: dict[str, Any] = {"viewer": viewer}

    exec(panel._python(), names_)

    assert names_["result"].shape == (153, 200)
    panel.choose_model(_session.remember_model(model(name="unsaved")))
    assert panel._python() == ""


def test_train_hands_its_model_over(make_napari_viewer_proxy: Callable[..., Any]) -> None:
    viewer = make_napari_viewer_proxy()
    for name in ("first", "second"):
        use_model(viewer, model(name=name))

    panels = [p for p in viewer.window.dock_widgets.values() if isinstance(p, EnhancePanel)]
    assert len(panels) == 1
    assert panels[0].known is not None and panels[0].known.title == "second"
    assert [panels[0].model.itemText(i) for i in range(2)] == ["second", "first"]


@pytest.mark.parametrize(
    ("trained", "here", "words"),
    [
        (None, 0.6, "the pixel size it was trained on is unknown"),
        (0.62, None, "pixel size of this image is unknown"),
        (0.62, 0.6, "this image's are 0.6 µm"),
        (0.62, 0.75, "Caution"),
        (0.62, 0.5, "0.81 times"),
    ],
)
def test_the_pixel_size_is_compared(trained: float | None, here: float | None, words: str) -> None:
    header = Header("pyramid_resnet", {}, 2.5, 3, trained and (trained, trained))  # type: ignore[arg-type]

    text = describe(header, here and (here, here))  # type: ignore[arg-type]

    assert text.startswith("x2.5, RGB")
    assert words in text


def test_a_changed_option_is_marked_and_reset(panel: EnhancePanel, qtbot: QtBot) -> None:
    from qtpy.QtWidgets import QLabel, QToolButton

    fold = next(b for b in panel.findChildren(QToolButton) if b.text() == "Options")
    reset = next(b for b in panel.findChildren(QToolButton) if b.accessibleName() == "Reset Tile")
    qtbot.mouseClick(fold, Qt.MouseButton.LeftButton)
    assert not reset.isVisible()

    panel.options.tile.setValue(128)
    assert "Tile *" in {label.text() for label in panel.findChildren(QLabel)}
    qtbot.mouseClick(reset, Qt.MouseButton.LeftButton)

    assert panel.options.tile.value() == 0
    assert not reset.isVisible()


def test_the_chip_names_the_device(panel: EnhancePanel, qtbot: QtBot) -> None:
    qtbot.waitUntil(lambda: "▾" in panel.device.text(), timeout=30_000)

    actions = {action.text(): action for action in panel.device.menu().actions()}
    assert {"Automatic", "cpu"} <= actions.keys()
    actions["cpu"].trigger()
    assert panel.device.device == "cpu"
    qtbot.waitUntil(lambda: "asked for" in panel.device.toolTip(), timeout=30_000)

"""Register pair, driven as a user would: choose, click, wait, look at the layers."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari.layers import Vectors
from qtpy.QtCore import QThreadPool
from qtpy.QtWidgets import QFileDialog, QToolButton
from scipy import ndimage

from gui import click, names, wait
from napari_acuity.core.pairs.pair_set import PairSet
from napari_acuity.core.registration import register as engine
from napari_acuity.core.registration.registration import Registration
from napari_acuity.widgets import _session
from napari_acuity.widgets._layers import snapshot
from napari_acuity.widgets._registering.compare_views import Kept
from napari_acuity.widgets._registering.evidence import magnitude_layer
from napari_acuity.widgets._registering.job import summary
from napari_acuity.widgets._registering.shifts import (
    colour_by,
    sample_shifts,
    shift_layer,
    update_shifts,
)
from napari_acuity.widgets.register import RegisterPanel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from pytestqt.qtbot import QtBot

SIDE = 192


def shift(rows: NDArray[Any], cols: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """A smooth shift of a few px (dy, dx), which no homography can make."""
    return 2.5 * np.sin(cols / 40), 2.0 * np.cos(rows / 35)


@pytest.fixture(scope="session")
def pair(tissue: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The field, and a darker picture of it whose content is displaced by `shift`."""
    fixed = tissue[100 : 100 + SIDE, 100 : 100 + SIDE]
    rows, cols = np.mgrid[:SIDE, :SIDE].astype(float)
    dy, dx = shift(rows, cols)
    moving = [
        ndimage.map_coordinates(tissue[..., c], [rows + 100 - dy, cols + 100 - dx], order=1)
        for c in range(3)
    ]
    return (np.stack(moving, axis=-1) * 0.8).astype(np.uint8), fixed


@pytest.fixture
def viewer(make_napari_viewer_proxy: Callable[..., Any], pair: Any) -> Any:
    viewer = make_napari_viewer_proxy()
    grid = {"scale": (0.5, 0.5), "units": ("um", "um"), "axis_labels": ("y", "x")}
    viewer.add_image(pair[1], name="bench", translate=(10, 20), **grid)
    viewer.add_image(pair[0], name="phone", **grid)
    return viewer


def test_register_shows_the_image_its_shifts_and_the_figures(
    viewer: Any, registered: RegisterPanel, pair: Any
) -> None:
    assert names(viewer) == ["bench", "phone", "phone | registered", "phone | shifts"]
    image, arrows, bench = viewer.layers[2], viewer.layers[3], viewer.layers[0]
    for layer in (image, arrows):
        assert layer.data_to_world((7, 9)) == bench.data_to_world((7, 9))
        assert layer.units == bench.units
        assert layer.metadata["acuity"]["verb"] == "register"
        assert layer.metadata["acuity"]["homography"].shape == (3, 3)
    middle = np.s_[24:-24, 24:-24]
    after = np.abs(image.data[middle] / 0.8 - pair[1][middle]).mean()
    before = np.abs(pair[0][middle] / 0.8 - pair[1][middle]).mean()
    assert after < before / 2

    words = registered.job.outcome.text()
    for word in ("Start: features", "Correlation", "→", "residual", "largest shift", "no folding"):
        assert word in words


def test_the_arrows_show_the_map(viewer: Any, registered: RegisterPanel) -> None:
    """Start and elastic part together are the truth; the arrows are the elastic part of it."""
    arrows, registration = viewer.layers["phone | shifts"], registered._kept.registration  # type: ignore[union-attr]
    starts, shifts = arrows.data[:, 0], arrows.data[:, 1]

    assert 100 < len(starts) <= 1000
    for (row, col), arrow in zip(starts.astype(int), shifts, strict=True):
        np.testing.assert_allclose(arrow, registration.shift_map[:, row, col])
    np.testing.assert_allclose(arrows.features["magnitude"], np.linalg.norm(shifts, axis=1))
    inner = starts[((starts > 30) & (starts < SIDE - 30)).all(axis=1)]
    true = inner + np.stack(shift(inner[:, 0], inner[:, 1]), axis=1)
    error = np.linalg.norm(registration.map_points(inner) - true, axis=1)
    assert np.median(error) < 0.5


def test_arrows_and_magnitude_end_where_the_moving_image_does(viewer: Any) -> None:
    """Beside a small moving image nothing is known of the shifts."""
    shift_map = np.full((2, SIDE, SIDE), 90, np.float32)
    shift_map[:, 35:85, 45:95] = np.reshape((3, -4), (2, 1, 1))
    aside = np.array([[1.0, 0, -50], [0, 1, -40], [0, 0, 1]])
    found = Registration(aside, shift_map, (36, 36), (0.5, 0.5), "made up")
    phone, bench = viewer.layers["phone"], viewer.layers["bench"]
    kept = Kept(found, phone, bench, phone, {}, (snapshot(phone), snapshot(bench)))

    arrows = shift_layer(
        viewer.layers["bench"], found, name="", gain=1, colour="magnitude", metadata={}
    )
    update_shifts(arrows, found, "magnitude")
    image = magnitude_layer(kept)

    assert len(arrows.data) > 10
    np.testing.assert_allclose(arrows.features["magnitude"], 5)
    np.testing.assert_allclose(np.unique(image.data[np.isfinite(image.data)]), [5])
    assert np.isnan(image.data[0, 0]) and np.isfinite(image.data[60, 70])
    assert "RMS shift 5.0 px, largest shift 5.0 px" in summary(found)


@pytest.mark.parametrize("first", ["magnitude", "dx"])
def test_arrows_are_drawn_in_the_colours_of_their_shifts(viewer: Any, first: str) -> None:
    shift_map = np.zeros((2, SIDE, SIDE), np.float32)
    shift_map[1] = np.linspace(0, 3, SIDE)
    found = Registration(np.eye(3), shift_map, (SIDE, SIDE), (0.5, 0.5), "made up")
    arrows = shift_layer(
        viewer.layers["bench"], found, name="", gain=1, colour="magnitude", metadata={}
    )
    drawn = list[np.ndarray]()
    arrows.events.set_data.connect(lambda _event: drawn.append(arrows.edge_color.copy()))

    for colour in (first, "magnitude", "dx", "dy"):
        if len(arrows.data) == 1:
            update_shifts(arrows, found, colour)
        else:
            colour_by(arrows, colour)
        values = arrows.features[colour].to_numpy()
        high = max(1e-3, np.abs(values).max())
        low = 0 if colour == "magnitude" else -high
        at = (values - low) / (high - low)
        np.testing.assert_allclose(drawn[-1], arrows.edge_colormap.map(at), atol=0.02)


def test_the_gain_lengthens_the_arrows(
    viewer: Any, registered: RegisterPanel, qtbot: QtBot
) -> None:
    registered.arrows.gain.setValue(17)

    qtbot.waitUntil(lambda: viewer.layers["phone | shifts"].length == 17)
    assert registered.arrows.gain_text.text() == "x17"


def test_a_second_run_keeps_the_first(viewer: Any, registered: RegisterPanel, qtbot: QtBot) -> None:
    registered.start.setCurrentText("None")
    registered.elastic.setChecked(False)
    click(qtbot, registered.job.button)
    wait(qtbot, registered)

    assert names(viewer)[2:] == ["phone | registered", "phone | shifts", "phone | registered [1]"]
    assert not registered.arrows.gain.isEnabled()


def test_the_arrows_grow_while_it_works_and_nothing_else_moves(
    viewer: Any, panel: RegisterPanel, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = slowed(monkeypatch)
    viewer.layers.selection.active = viewer.layers["bench"]
    viewer.scene.camera.zoom = 3.3
    click(qtbot, panel.job.button)
    go_on.release(4)

    qtbot.waitUntil(lambda: "phone | shifts" in names(viewer), timeout=30_000)
    assert panel.job.running
    assert viewer.layers.selection.active == viewer.layers["bench"]
    assert viewer.scene.camera.zoom == 3.3

    go_on.release(1000)
    wait(qtbot, panel)
    assert names(viewer).count("phone | shifts") == 1


def slowed(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Let the engine take a step only when the test releases the semaphore."""
    go_on, steps = threading.Semaphore(0), engine.register_steps

    def slow(*args: Any, **how: Any) -> Any:
        job = steps(*args, **how)
        while True:
            try:
                event = next(job)
            except StopIteration as end:
                return end.value
            yield event
            go_on.acquire(timeout=20)

    monkeypatch.setattr(engine, "register_steps", slow)
    return go_on


def test_cancel_leaves_everything_as_it_was(
    viewer: Any, panel: RegisterPanel, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = slowed(monkeypatch)
    click(qtbot, panel.job.button)
    go_on.release(4)
    qtbot.waitUntil(lambda: "phone | shifts" in names(viewer), timeout=30_000)

    assert panel.job.button.text() == "Cancel"
    click(qtbot, panel.job.button)
    go_on.release(1000)
    wait(qtbot, panel)

    assert panel.job.button.text() == "Register"
    assert "Cancelled" in panel.job.outcome.text()
    assert names(viewer) == ["bench", "phone"]
    qtbot.waitUntil(lambda: QThreadPool.globalInstance().activeThreadCount() == 0)


def test_after_a_cancelled_second_run_the_gain_is_the_first_ones(
    viewer: Any, registered: RegisterPanel, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, shifts = slowed(monkeypatch), viewer.layers["phone | shifts"]
    click(qtbot, registered.job.button)
    go_on.release(4)
    qtbot.waitUntil(lambda: "phone | shifts [1]" in names(viewer), timeout=30_000)

    click(qtbot, registered.job.button)
    go_on.release(1000)
    wait(qtbot, registered)

    assert registered.arrows.gain.isEnabled()
    registered.arrows.gain.setValue(23)
    qtbot.waitUntil(lambda: shifts.length == 23)


def test_a_layer_removed_meanwhile_does_no_harm(
    viewer: Any, panel: RegisterPanel, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = slowed(monkeypatch)
    click(qtbot, panel.job.button)
    go_on.release(4)
    qtbot.waitUntil(lambda: "phone | shifts" in names(viewer), timeout=30_000)

    viewer.layers.remove(viewer.layers["phone"])
    viewer.layers.remove(viewer.layers["phone | shifts"])
    go_on.release(1000)
    wait(qtbot, panel)

    assert names(viewer) == ["bench", "phone | registered", "phone | shifts"]


def test_closing_the_dock_stops_the_job(
    viewer: Any, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = slowed(monkeypatch)
    panel = RegisterPanel(viewer)
    dock = viewer.window.add_dock_widget(panel)
    click(qtbot, panel.job.button)
    go_on.release(3)
    qtbot.waitUntil(lambda: panel.job.bar.value() > 0, timeout=30_000)

    viewer.window.remove_dock_widget(dock)
    qtbot.wait(100)
    go_on.release(1000)

    qtbot.waitUntil(lambda: QThreadPool.globalInstance().activeThreadCount() == 0)
    qtbot.wait(50)
    assert "phone | registered" not in names(viewer)


def test_unrelated_images_give_a_notification_with_cause_and_cure(
    make_napari_viewer_proxy: Callable[..., Any], qtbot: QtBot, notes: list[str]
) -> None:
    viewer, random = make_napari_viewer_proxy(), np.random.default_rng(0)
    for name in ("snow", "rain"):
        viewer.add_image(random.integers(0, 255, (128, 128), dtype=np.uint8), name=name)
    panel = RegisterPanel(viewer)
    qtbot.addWidget(panel)

    click(qtbot, panel.job.button)
    wait(qtbot, panel)

    assert len(notes) == 1
    assert "could not be registered" in notes[0]  # the cause
    assert "start 'none'" in notes[0]  # the cure
    assert panel.job.outcome.text() == notes[0]
    assert names(viewer) == ["snow", "rain"]


def test_the_button_says_why_it_cannot_be_pressed(
    make_napari_viewer_proxy: Callable[..., Any], qtbot: QtBot
) -> None:
    viewer = make_napari_viewer_proxy()
    panel = RegisterPanel(viewer)
    qtbot.addWidget(panel)
    assert not panel.job.button.isEnabled()
    assert "Open two images" in panel.job.button.toolTip()
    assert not panel.maps.save.isEnabled()
    assert "Register two images first" in panel.maps.save.toolTip()

    plane = viewer.add_image(np.zeros((64, 64)), name="plane")
    viewer.add_image(np.zeros((3, 64, 64)), name="stack")
    assert "'stack' is a stack" in panel.job.button.toolTip()
    assert "choose the stacks in Options of the pair" in panel.job.button.toolTip()

    panel.moving.choose(plane)
    panel.fixed.choose(plane)
    assert "two different images" in panel.job.button.toolTip()


def test_swap(viewer: Any, panel: RegisterPanel, qtbot: QtBot) -> None:
    click(qtbot, panel.swap)

    assert (panel.moving.layer, panel.fixed.layer) == (
        viewer.layers["bench"],
        viewer.layers["phone"],
    )


def test_a_pair_of_several_channels(
    viewer: Any,
    registered: RegisterPanel,
    pair: Any,
    qtbot: QtBot,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was found for one picture holds for all channels of it."""
    panel = registered
    click(
        qtbot, next(b for b in panel.findChildren(QToolButton) if b.text() == "Options of the pair")
    )
    on_moving, on_fixed = panel.maps.channels
    assert on_moving.count() == 1  # no layer but "none"
    of_moving, of_fixed = (np.moveaxis(each, -1, 0)[[0, 1, 2, 0]] for each in pair)
    viewer.add_image(of_moving, name="phone stains")
    viewer.add_image(of_fixed, name="bench stains")
    on_moving.setCurrentText("phone stains")
    assert not panel.maps.pair.isEnabled()
    assert "4 of the moving image and none of the fixed one" in panel.maps.pair.toolTip()
    on_fixed.setCurrentText("bench stains")
    folder = tmp_path / "stains"
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(folder))
    click(qtbot, panel.maps.pair)
    wait(qtbot, panel)

    assert "Added 'phone stains' (x1, 4-channel) to" in panel.job.outcome.text()
    (made,) = PairSet.open(folder)
    assert made.channels == 4
    low, high = made.low.pixels, made.high.pixels
    np.testing.assert_array_equal(low[0], low[3])
    for channel in range(3):
        assert np.corrcoef(low[channel].ravel(), high[channel].ravel())[0, 1] > 0.9

    on_moving.setCurrentText("none")
    on_fixed.setCurrentText("none")
    click(qtbot, panel.maps.pair)
    wait(qtbot, panel)
    assert "does not fit the set" in panel.job.outcome.text()


def test_the_panel_is_set_as_it_was_when_it_made_a_layer(
    viewer: Any, registered: RegisterPanel, qtbot: QtBot
) -> None:
    panel, made = registered, viewer.layers["phone | registered"]
    before = (panel.moving.layer, panel.fixed.layer, panel.start.currentText())
    click(qtbot, panel.swap)
    panel.start.setCurrentText("None")
    panel.elastic.setChecked(False)
    viewer.layers.selection.active = made
    (menu,) = (b.menu() for b in panel.findChildren(QToolButton) if b.accessibleName() == "More")
    menu.aboutToShow.emit()
    (load,) = (a for a in menu.actions() if a.text() == "Load settings from layer")
    load.trigger()
    assert (panel.moving.layer, panel.fixed.layer, panel.start.currentText()) == before
    assert panel.elastic.isChecked()


def test_the_options_are_used_told_and_copied(
    viewer: Any, panel: RegisterPanel, qtbot: QtBot
) -> None:
    assert panel.options.how() == {}
    unfold = next(b for b in panel.findChildren(QToolButton) if b.text() == "Options")
    click(qtbot, unfold)
    panel.options.transform.setCurrentText("Similarity")
    panel.options.smallest_block.setValue(64)
    panel.options.local_px.selectAll()
    qtbot.keyClicks(panel.options.local_px, "20")
    chosen = {"transform": "similarity", "smallest_block": 64, "local_px": 20}
    assert panel.options.how() == chosen
    panel.elastic.setChecked(False)
    panel.start.setCurrentText("None")
    assert panel.options.how() == {"local_px": 20}
    assert panel.options.smallest_block.toolTip() == "Only with Elastic."
    panel.elastic.setChecked(True)
    panel.start.setCurrentText("Auto")
    assert panel.options.how() == chosen
    click(qtbot, panel.job.button)
    wait(qtbot, panel)
    made = viewer.layers["phone | registered"].metadata["acuity"]
    assert {name: made["parameters"][name] for name in chosen} == chosen
    square = made["homography"][:2, :2].T @ made["homography"][:2, :2]
    np.testing.assert_allclose(square, square[0, 0] * np.eye(2), atol=1e-9)
    names_: dict[str, Any] = {"viewer": viewer}
    exec(made["python"], names_)
    np.testing.assert_array_equal(
        names_["registered"].pixels, viewer.layers["phone | registered"].data
    )

    for button in panel.findChildren(QToolButton):
        if button.accessibleName().startswith("Reset") and button.isVisible():
            click(qtbot, button)
    assert panel.options.how() == {}
    viewer.layers.selection.active = viewer.layers["phone | registered"]
    (menu,) = (b.menu() for b in panel.findChildren(QToolButton) if b.accessibleName() == "More")
    menu.aboutToShow.emit()
    next(a for a in menu.actions() if a.text() == "Load settings from layer").trigger()
    assert panel.options.how() == chosen


def test_the_device_is_told_and_can_be_chosen(
    viewer: Any, panel: RegisterPanel, qtbot: QtBot
) -> None:
    chip = panel.options.device
    qtbot.waitUntil(lambda: "▾" in chip.text(), timeout=20_000)
    next(a for a in chip.menu().actions() if a.text() == "cpu").trigger()
    assert "device='cpu'" in panel._python()
    qtbot.waitUntil(lambda: "asked for" in chip.toolTip(), timeout=20_000)


def test_make_pair_adds_to_a_folder(
    registered: RegisterPanel, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "pairs"
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(folder))
    registered.maps.pair_scale.setCurrentText("x2")

    for _ in range(2):
        click(qtbot, registered.maps.pair)
        wait(qtbot, registered)

    pairs = PairSet.open(folder)
    assert pairs.names == ["phone", "phone-2"]
    assert pairs["phone"].scale == 2
    assert "now holds 2 pairs" in registered.job.outcome.text()
    assert _session.pair_folders[0] == folder


def test_a_pair_of_a_twelve_bit_camera_tells_black_and_white(
    viewer: Any,
    panel: RegisterPanel,
    qtbot: QtBot,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "pairs"
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(folder))
    bench = viewer.layers["bench"]
    bench.data = bench.data.astype(np.uint16) * 16
    click(qtbot, panel.job.button)
    wait(qtbot, panel)

    click(qtbot, panel.maps.pair)
    wait(qtbot, panel)
    assert "Options > Value range" in panel.job.outcome.text() and not folder.exists()

    panel.maps.values.box.setCurrentText("12 bit, 0 to 4095")
    click(qtbot, panel.maps.pair)
    wait(qtbot, panel)
    pair = PairSet.open(folder)["phone"]
    assert pair.high.range() == (0, 4095)
    assert pair.low.range() == (0, 255)  # the phone has 8 bits


def test_a_saved_map_is_loaded_and_applied(
    viewer: Any,
    registered: RegisterPanel,
    qtbot: QtBot,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "map.npz"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))
    first = viewer.layers["phone | registered"].data

    click(qtbot, registered.maps.save)
    wait(qtbot, registered)
    assert isinstance(Registration.load(path), Registration)
    click(qtbot, registered.maps.load)
    wait(qtbot, registered)

    np.testing.assert_array_equal(viewer.layers["phone | registered [1]"].data, first)
    assert isinstance(viewer.layers["phone | shifts [1]"], Vectors)


def test_apply_to_another_channel(viewer: Any, registered: RegisterPanel, qtbot: QtBot) -> None:
    other = viewer.add_image(np.full((SIDE, SIDE), 700, np.uint16), name="DAPI", colormap="blue")
    viewer.add_image(np.zeros((9, 9)), name="too small")

    registered.maps.apply.menu().aboutToShow.emit()
    offered = {action.text(): action for action in registered.maps.apply.menu().actions()}
    assert "too small" not in offered
    offered["DAPI"].trigger()
    wait(qtbot, registered)

    warped = viewer.layers["DAPI | registered"]
    assert warped.data.dtype == np.uint16
    assert warped.colormap.name == "blue"
    assert warped.data_to_world((0, 0)) == viewer.layers["bench"].data_to_world((0, 0))
    assert registered.moving.layer != other


def test_copy_as_python_runs(viewer: Any, panel: RegisterPanel) -> None:
    panel.start.setCurrentText("None")
    panel.elastic.setChecked(False)
    names_: dict[str, Any] = {"viewer": viewer}

    exec(panel._python(), names_)

    assert names_["registered"].shape == (SIDE, SIDE)
    assert panel._command() == ""  # the layers come from no file


def test_the_panel_opens_from_the_menu(make_napari_viewer: Callable[..., Any]) -> None:
    viewer = make_napari_viewer()
    window = viewer.window._qt_window

    find_action(window, "Register pair").trigger()

    assert len(window.findChildren(RegisterPanel)) == 1


def find_action(window: Any, text: str) -> Any:
    """Return the entry of the menu bar that begins with a text, however deep it lies."""
    menus = [action.menu() for action in window.menuBar().actions() if action.menu()]
    while menus:
        for action in menus.pop().actions():
            if action.menu():
                menus.append(action.menu())
            elif action.text().startswith(text):
                return action
    raise AssertionError(f"no menu entry '{text}'")


def test_few_arrows_stand_for_a_large_map() -> None:
    shift_map = np.stack(np.mgrid[:400, :1000]).astype(np.float32)

    vectors, features, spacing = sample_shifts(shift_map, most=500)

    assert 400 <= len(vectors) <= 500
    np.testing.assert_allclose(vectors[:, 0], vectors[:, 1])  # each shift tells where it was read
    np.testing.assert_allclose(features["dx"], vectors[:, 0, 1])
    assert spacing == pytest.approx(np.sqrt(400 * 1000 / 500))

"""Before and after, and the evidence of a registration, by clicks and at the key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari.layers import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QRadioButton
from scipy import ndimage

from gui import click, names, opened, wait
from napari_acuity.core.errors import FileError
from napari_acuity.core.micrograph import Micrograph
from napari_acuity.core.registration.registration import Registration
from napari_acuity.widgets._layers import snapshot
from napari_acuity.widgets._registering.compare_images import Pictures, checkerboard, difference
from napari_acuity.widgets.quality import QualityPanel
from napari_acuity.widgets.register import RegisterPanel

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import SimpleNamespace

    from numpy.typing import NDArray
    from pytestqt.qtbot import QtBot

SIDE = 160
LAYERS = ["bench", "phone", "phone | registered", "phone | shifts"]


@pytest.fixture
def viewer(make_napari_viewer_proxy: Callable[..., Any], tissue: NDArray[np.uint8]) -> Any:
    """A field, and a darker picture of it that is displaced by some px, on coarser pixels."""
    rows, cols = np.mgrid[:SIDE, :SIDE] + 100.0
    at = [rows - 2.5 * np.sin(cols / 40) + 4, cols - 2 * np.cos(rows / 35) - 6]
    moving = [ndimage.map_coordinates(tissue[..., c], at, order=1) for c in range(3)]
    viewer = make_napari_viewer_proxy()
    viewer.add_image(tissue[100 : 100 + SIDE, 100 : 100 + SIDE], name="bench", scale=(2, 2))
    viewer.add_image((np.stack(moving, axis=-1) * 0.8).astype(np.uint8), name="phone")
    return viewer


def press(qtbot: QtBot, key: Any) -> None:
    """Press a key as if the pointer were in the viewer."""
    qtbot.keyClick(
        next(w for w in QApplication.allWidgets() if type(w).__name__ == "QtViewer"), key
    )


def visible(viewer: Any) -> list[str]:
    return [layer.name for layer in viewer.layers if layer.visible]


def choose(qtbot: QtBot, viewer: Any, panel: RegisterPanel, view: str, made: str) -> NDArray[Any]:
    """Choose a view and return the pixels of the layer made for it."""
    click(qtbot, panel.compare.buttons[view])
    qtbot.waitUntil(lambda: made in names(viewer))
    return np.asarray(viewer.layers[made].data)


def test_each_view_replaces_the_one_before_and_leaves_nothing_behind(
    viewer: Any, registered: RegisterPanel, qtbot: QtBot
) -> None:
    viewer.layers.selection.active = viewer.layers["phone"]
    viewer.layers["phone | registered"].opacity = 0.9
    viewer.scene.camera.zoom = 2.7

    click(qtbot, registered.compare.buttons["overlay"])
    assert names(viewer) == LAYERS
    assert visible(viewer) == ["bench", "phone | registered", "phone | shifts"]
    assert viewer.layers["phone | registered"].opacity == 0.5

    board = choose(qtbot, viewer, registered, "checkerboard", "phone | checkerboard")
    assert not registered.compare.buttons["overlay"].isChecked()
    assert visible(viewer) == ["phone | checkerboard", "phone | shifts"]
    layer, bench = viewer.layers["phone | checkerboard"], viewer.layers["bench"]
    assert layer.data_to_world((7, 9)) == bench.data_to_world((7, 9))
    np.testing.assert_array_equal(board[:20, :20], bench.data[:20, :20])
    np.testing.assert_array_equal(
        board[60:80, 80:100], viewer.layers["phone | registered"].data[60:80, 80:100]
    )

    choose(qtbot, viewer, registered, "difference", "phone | difference")
    assert "phone | checkerboard" not in names(viewer)
    click(qtbot, registered.compare.buttons["difference"])
    assert names(viewer) == visible(viewer) == LAYERS
    assert viewer.layers["phone | registered"].opacity == 0.9
    assert viewer.layers.selection.active == viewer.layers["phone"]
    assert viewer.scene.camera.zoom == 2.7


def test_q_shows_the_image_as_it_came(viewer: Any, registered: RegisterPanel, qtbot: QtBot) -> None:
    after = choose(qtbot, viewer, registered, "difference", "phone | difference")
    press(qtbot, Qt.Key.Key_Q)
    assert registered.compare.before.isChecked()
    qtbot.waitUntil(lambda: not np.array_equal(viewer.layers["phone | difference"].data, after))
    before = viewer.layers["phone | difference"].data
    middle = np.s_[24:-24, 24:-24]
    assert before[middle].mean() > 1.5 * after[middle].mean()

    click(qtbot, registered.compare.buttons["overlay"])
    qtbot.waitUntil(lambda: "phone | before" in names(viewer))
    assert visible(viewer) == ["bench", "phone | before", "phone | shifts"]
    np.testing.assert_array_equal(viewer.layers["phone | before"].data, viewer.layers["phone"].data)
    press(qtbot, Qt.Key.Key_Q)
    assert visible(viewer) == ["bench", "phone | registered", "phone | shifts"]

    click(qtbot, registered.compare.buttons["overlay"])  # leave; the key works without a view too
    assert visible(viewer) == names(viewer) == LAYERS
    press(qtbot, Qt.Key.Key_Q)
    qtbot.waitUntil(lambda: visible(viewer) == ["phone | before", "phone | shifts"])
    press(qtbot, Qt.Key.Key_Q)
    assert visible(viewer) == LAYERS


def test_views_show_what_was_registered_and_not_what_a_layer_holds_since(
    viewer: Any, panel: RegisterPanel, qtbot: QtBot
) -> None:
    bench, fixed = viewer.layers["bench"], viewer.layers["bench"].data
    click(qtbot, panel.job.button)
    bench.data = fixed[:90, :90]
    wait(qtbot, panel)
    board = choose(qtbot, viewer, panel, "checkerboard", "phone | checkerboard")
    np.testing.assert_array_equal(board[:20, :20], fixed[:20, :20])
    shown = choose(qtbot, viewer, panel, "difference", "phone | difference")
    assert shown.shape == fixed.shape[:2]


def test_blink_ends_with_the_choice_and_with_the_layer(
    viewer: Any, registered: RegisterPanel, qtbot: QtBot
) -> None:
    layer, blink = viewer.layers["phone | registered"], registered.compare.buttons["blink"]
    click(qtbot, blink)
    qtbot.waitUntil(lambda: not layer.visible)
    qtbot.waitUntil(lambda: layer.visible)
    qtbot.waitUntil(lambda: not layer.visible)
    click(qtbot, blink)
    assert layer.visible
    qtbot.wait(700)
    assert layer.visible

    click(qtbot, blink)
    viewer.layers.remove(layer)
    assert not blink.isChecked()
    assert not blink.isEnabled()
    assert "registered image was removed" in blink.toolTip()
    assert visible(viewer) == names(viewer)
    viewer.layers["phone"].visible = False
    qtbot.wait(700)
    assert not viewer.layers["phone"].visible


def test_a_view_ends_with_its_layer_the_next_run_and_the_panel(viewer: Any, qtbot: QtBot) -> None:
    panel = RegisterPanel(viewer)
    dock = viewer.window.add_dock_widget(panel)
    click(qtbot, panel.job.button)
    wait(qtbot, panel)

    choose(qtbot, viewer, panel, "checkerboard", "phone | checkerboard")
    viewer.layers.remove(viewer.layers["phone | checkerboard"])
    assert not panel.compare.buttons["checkerboard"].isChecked()
    assert visible(viewer) == LAYERS

    choose(qtbot, viewer, panel, "checkerboard", "phone | checkerboard")
    panel.elastic.setChecked(False)
    click(qtbot, panel.job.button)
    assert names(viewer) == LAYERS
    wait(qtbot, panel)
    click(qtbot, panel.compare.buttons["blink"])
    assert visible(viewer) == ["bench", "phone | registered [1]"]  # not the arrows of the first run

    viewer.window.remove_dock_widget(dock)
    images = [*LAYERS[:3], "phone | registered [1]"]
    qtbot.waitUntil(lambda: visible(viewer) == images)
    press(qtbot, Qt.Key.Key_Q)  # no longer ours
    qtbot.wait(700)
    assert visible(viewer) == images


def test_nothing_to_compare_yet_and_a_key_of_others(viewer: Any, qtbot: QtBot) -> None:
    pressed = []
    viewer.bind_key("Q", lambda _: pressed.append("theirs"))
    with opened(qtbot, RegisterPanel(viewer)) as panel:
        for control in (*panel.compare.buttons.values(), panel.compare.before, panel.evidence):
            assert not control.isEnabled()
            assert "Register two images first" in control.toolTip()
        assert panel.compare.before.text() == "before"
        press(qtbot, Qt.Key.Key_Q)
        assert pressed == ["theirs"]


def test_evidence(viewer: Any, registered: RegisterPanel, qtbot: QtBot) -> None:
    registration, bench = registered._kept.registration, viewer.layers["bench"]  # type: ignore[union-attr]
    viewer.layers.selection.active = viewer.layers["phone"]
    menu, choices = registered.evidence.menu(), registered.evidence.choices
    menu.aboutToShow.emit()
    for choice in choices.values():
        assert choice.isEnabled()
        choice.trigger()

    similarity = viewer.layers["phone | similarity"]
    np.testing.assert_allclose(similarity.data, registration.similarity, rtol=1e-6)
    last = np.array(similarity.data.shape) - 1
    for index, centre in (((0, 0), 24.5), (tuple(last), SIDE - 1 - 24.5)):
        np.testing.assert_allclose(
            similarity.data_to_world(index), bench.data_to_world((centre, centre))
        )
    magnitude = viewer.layers["phone | shift magnitude"]
    assert magnitude.data[40, 50] == pytest.approx(np.hypot(*registration.shift_map[:, 40, 50]))
    matches = viewer.layers["phone | matches"]
    np.testing.assert_allclose(matches.data, registration.fixed_points)
    assert np.median(matches.features["residual_px"]) < 1
    assert viewer.layers.selection.active == viewer.layers["phone"]

    choices["Matches"].trigger()
    viewer.layers.remove(similarity)
    menu.aboutToShow.emit()
    assert [choice.isChecked() for choice in choices.values()] == [False, True, False]
    assert names(viewer) == [*LAYERS, "phone | shift magnitude"]


def test_evidence_that_there_is_not(viewer: Any, panel: RegisterPanel, qtbot: QtBot) -> None:
    panel.start.setCurrentText("None")
    panel.elastic.setChecked(False)
    click(qtbot, panel.job.button)
    wait(qtbot, panel)
    panel.evidence.menu().aboutToShow.emit()

    choices = panel.evidence.choices
    assert not any(choice.isEnabled() for choice in choices.values())
    assert "matched no features" in choices["Matches"].toolTip()
    assert "no elastic part" in choices["Similarity"].toolTip()


def test_a_view_that_fails_says_why_and_is_left(
    viewer: Any,
    registered: RegisterPanel,
    qtbot: QtBot,
    notes: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def gone(*_: object) -> None:
        raise FileError("The image is gone.", "Open it again.")

    monkeypatch.setattr(Pictures, "picture", gone)
    click(qtbot, registered.compare.buttons["difference"])

    qtbot.waitUntil(lambda: len(notes) == 1)
    assert notes == ["The image is gone. Open it again."]
    assert not registered.compare.buttons["difference"].isChecked()
    assert names(viewer) == visible(viewer) == LAYERS


def test_before_is_frame_on_frame_also_where_size_and_kind_differ(
    tissue: NDArray[np.uint8],
) -> None:
    fixed = tissue[:160, :120]
    moving = fixed[::2, ::2, 1].astype(np.uint16) * 200
    pictures = Pictures(
        layer_like(moving),
        layer_like(fixed),
        Registration(
            homography=np.array([[0.5, 0, 4.25], [0, 0.5, 4.25], [0, 0, 1]]),  # 9 px further
            shift_map=np.zeros((2, 160, 120), np.float32),
            moving_shape=(80, 60),
            correlation=(1, 1),
            start="by hand",
        ),
    )

    before, after = (pictures.picture("overlay", now) for now in (True, False))

    assert before.dtype == np.uint16
    assert before.shape == after.shape == (160, 120)
    stretched = ndimage.zoom(moving.astype(float), 2, order=1, grid_mode=True, mode="nearest")
    assert np.abs(before - stretched).mean() < 0.1 * moving.std()
    np.testing.assert_allclose(after[20:100, 20:100], before[29:109, 29:109], atol=1)
    for view in ("checkerboard", "difference"):
        assert pictures.picture(view, True).shape == (160, 120)
    assert (
        pictures.picture("difference", True).mean() < pictures.picture("difference", False).mean()
    )


def layer_like(pixels: NDArray[Any]) -> SimpleNamespace:
    """What `snapshot` hands over of a layer."""
    return snapshot(Image(pixels))


def test_difference_sees_neither_exposure_nor_depth() -> None:
    field = np.random.default_rng(0).integers(10, 200, (64, 48), dtype=np.uint8)
    other = field.astype(np.uint16) * 100 + 3000
    inside = np.ones(field.shape, bool)
    inside[:, :10] = False
    other[:, :10] = 65535
    other[30, 30] += 5000

    away = difference(Micrograph(field), Micrograph(other), inside)

    assert away.max() == away[30, 30]
    away[30, 30] = 0
    assert away.max() < 5
    assert (away[:, :10] == 0).all()


@pytest.mark.parametrize("rgb", [False, True])
def test_checkerboard_has_eight_squares_along_the_longer_side(rgb: bool) -> None:
    shape = (32, 64, 3) if rgb else (32, 64)
    ramp = np.arange(64, dtype=np.uint8)[:, None] if rgb else np.arange(64, dtype=np.uint8)
    first = np.broadcast_to(ramp, shape).copy()
    inside = np.ones((32, 64), bool)
    inside[:, -8:] = False
    second = first[:, ::-1].copy()

    board = checkerboard(Micrograph(first, rgb=rgb), Micrograph(second, rgb=rgb), inside)

    plane = board[..., 0] if rgb else board
    own = np.isclose(plane, first[..., 0] if rgb else first)
    assert own[:8, :8].all()
    assert not own[:8, 8:16].any()
    assert not own[8:16, :8].any()
    assert own[8:16, 8:16].all()
    assert own[:, -8:].all()


def test_quality_takes_no_view_for_a_result(
    registered: RegisterPanel, viewer: Any, qtbot: QtBot
) -> None:
    (checkerboard,) = (
        button
        for button in registered.findChildren(QRadioButton)
        if button.text() == "checkerboard"
    )
    checkerboard.click()
    qtbot.waitUntil(lambda: "phone | checkerboard" in names(viewer), timeout=30_000)
    with opened(qtbot, QualityPanel(viewer)) as quality:
        assert quality.compare.image.currentText() == "phone | registered"

"""The section Adjust of Register pair, and stopping, going on and undoing, by clicks."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari.layers import Points, Shapes
from qtpy.QtWidgets import QRadioButton, QToolButton
from scipy import ndimage

import napari_acuity as acuity
from gui import click, names, wait
from napari_acuity.core.registration import refine
from napari_acuity.core.registration import register as engine
from napari_acuity.core.registration.registration import Registration
from napari_acuity.widgets._registering.guides import Guides, outlines
from napari_acuity.widgets._registering.job import summary
from napari_acuity.widgets._registering.shifts import colour_by
from napari_acuity.widgets.register import RegisterPanel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from pytestqt.qtbot import QtBot

SIDE = 128
PLACES = np.array([[30.0, 30.0], [30.0, 95.0], [95.0, 40.0]])
SHIFT = np.array([4.0, -6.0])


@pytest.fixture
def viewer(make_napari_viewer_proxy: Callable[..., Any], tissue: NDArray[np.uint8]) -> Any:
    """A field, and a picture of it that is displaced by `SHIFT` and bent a little."""
    rows, cols = np.mgrid[:SIDE, :SIDE] + 100.0
    at = [rows - SHIFT[0] - 1.5 * np.sin(cols / 30), cols - SHIFT[1]]
    moving = [ndimage.map_coordinates(tissue[..., c], at, order=1) for c in range(3)]
    viewer = make_napari_viewer_proxy()
    viewer.add_image(tissue[100 : 100 + SIDE, 100 : 100 + SIDE], name="bench", scale=(2, 2))
    viewer.add_image(np.stack(moving, axis=-1), name="phone")
    return viewer


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the engine was asked with."""
    calls, steps = list[dict[str, Any]](), engine.register_steps

    def spy(*images: Any, **how: Any) -> Any:
        calls.append(how)
        return (yield from steps(*images, **how))

    monkeypatch.setattr(engine, "register_steps", spy)
    return calls


def landmarks(viewer: Any, panel: RegisterPanel, qtbot: QtBot) -> tuple[Points, Points]:
    """Open Adjust, press Add landmarks, and return the layers of the fixed and the moving image."""
    unfold(panel)
    click(qtbot, panel.adjust.add_landmarks)
    return viewer.layers["bench | landmarks"], viewer.layers["phone | landmarks"]


def unfold(panel: RegisterPanel) -> None:
    """Open the section Adjust."""
    next(x for x in panel.adjust.findChildren(QToolButton) if x.text() == "Adjust").click()


def again(panel: RegisterPanel, level: str) -> None:
    menu = panel.adjust.go_again.menu()
    menu.aboutToShow.emit()
    next(action for action in menu.actions() if action.text() == level).trigger()


def test_landmarks_lead_the_start(
    viewer: Any, panel: RegisterPanel, qtbot: QtBot, asked: list[dict[str, Any]]
) -> None:
    on_fixed, on_moving = landmarks(viewer, panel, qtbot)
    assert (on_fixed.mode, viewer.layers.selection.active) == ("add", on_fixed)
    assert on_fixed.data_to_world((7, 9)) == viewer.layers["bench"].data_to_world((7, 9))

    on_fixed.name, viewer.layers["phone"].name = "mine", "camera"  # known by identity
    for place in PLACES:
        on_fixed.add(place)
        qtbot.waitUntil(lambda: viewer.layers.selection.active == on_moving)
        on_moving.add(place + SHIFT)
    np.testing.assert_array_equal(on_fixed.features["number"], [1, 2, 3])
    np.testing.assert_array_equal(on_fixed.face_color, on_moving.face_color)
    assert "3 landmarks" in panel.adjust.said.text()

    click(qtbot, panel.job.button)
    wait(qtbot, panel)

    assert "3 landmarks" in panel.job.outcome.text()
    np.testing.assert_array_equal(asked[0]["landmarks"][0], PLACES)
    np.testing.assert_array_equal(asked[0]["landmarks"][1], PLACES + SHIFT)


def test_layers_that_are_there_already_can_be_chosen(
    viewer: Any, panel: RegisterPanel, qtbot: QtBot, asked: list[dict[str, Any]]
) -> None:
    mine = viewer.add_points(2 * PLACES, name="mine")  # the fixed image has pixels two units wide
    yours = viewer.add_points((PLACES + SHIFT) / 4, scale=(4, 4), name="yours")
    corners = 2 * np.array([[10, 20], [10, 50], [40, 50], [40, 20]])
    viewer.add_shapes([corners], shape_type="rectangle", name="dirt")
    panel.start.setCurrentText("Landmarks")
    assert "there are 0" in panel.job.button.toolTip()

    adjust = panel.adjust
    for chooser, name in (
        (adjust.on_fixed, "mine"),
        (adjust.on_moving, "yours"),
        (adjust.excluded, "dirt"),
    ):
        chooser.setCurrentText(name)
        chooser.activated.emit(chooser.currentIndex())
    assert adjust.said.text() == "3 landmarks, 1 region left out"
    click(qtbot, panel.job.button)
    wait(qtbot, panel)

    np.testing.assert_array_equal(asked[0]["landmarks"], [PLACES, PLACES + SHIFT])
    assert asked[0]["exclude"][11:40, 21:50].all()
    assert asked[0]["exclude"].sum() < 32 * 32
    mine.add(2 * PLACES[0])
    assert "'phone' has 3 and 'bench' 4" in adjust.said.text()
    assert "number" not in mine.features
    viewer.layers.remove(yours)
    assert adjust.on_moving.layer is None
    click(qtbot, panel.swap)
    assert adjust.on_moving.layer == mine


def test_adding_landmarks_shows_the_images_in_which_they_are_set(
    viewer: Any, registered: RegisterPanel, qtbot: QtBot
) -> None:
    click(qtbot, next(b for b in registered.findChildren(QRadioButton) if b.text() == "difference"))
    qtbot.waitUntil(lambda: "phone | difference" in names(viewer))
    assert not viewer.layers["phone"].visible and not viewer.layers["bench"].visible
    on_fixed, _ = landmarks(viewer, registered, qtbot)
    assert viewer.layers["phone"].visible and viewer.layers["bench"].visible
    assert "phone | difference" not in names(viewer)
    assert viewer.layers.selection.active == on_fixed


def test_landmarks_that_do_not_pair_up_are_told(
    viewer: Any, panel: RegisterPanel, qtbot: QtBot
) -> None:
    on_fixed, on_moving = landmarks(viewer, panel, qtbot)
    on_fixed.add(PLACES)
    assert not panel.job.button.isEnabled()
    assert "'phone' has 0 and 'bench' 3" in panel.job.button.toolTip()
    assert "'phone' has 0" in panel.adjust.said.text()

    on_moving.add(PLACES[:1])
    on_fixed.data = PLACES[:1]
    assert "2 pairs or more; there is 1." in panel.job.button.toolTip()
    panel.options.transform.setCurrentText("Homography")
    assert "4 pairs or more for Homography; there is 1." in panel.job.button.toolTip()
    panel.start.setCurrentText("Features")
    assert panel.job.button.isEnabled()

    viewer.layers.remove(on_moving)
    assert "'phone' has 0 and 'bench' 1" in panel.job.button.toolTip()
    viewer.layers.remove(on_fixed)
    assert panel.job.button.isEnabled()
    panel.start.setCurrentText("Landmarks")
    assert "there are 0" in panel.job.button.toolTip()


def test_regions_are_left_out(
    viewer: Any, panel: RegisterPanel, qtbot: QtBot, asked: list[dict[str, Any]]
) -> None:
    unfold(panel)
    click(qtbot, panel.adjust.add_region)
    regions = viewer.layers["bench | excluded"]
    assert regions.mode == "add_polygon"
    regions.add_rectangles(np.array([[10, 20], [10, 50], [40, 50], [40, 20]]))
    assert "1 region left out" in panel.adjust.said.text()

    click(qtbot, panel.job.button)
    wait(qtbot, panel)

    mask = asked[0]["exclude"]
    assert mask.shape == (SIDE, SIDE)
    assert mask[11:40, 21:50].all()
    assert mask.sum() < 32 * 32
    recipe = viewer.layers["phone | registered"].metadata["acuity"]
    assert len(recipe["parameters"]["excluded"]) == 1
    assert "exclude=exclude" in recipe["python"]


def test_outlines_of_shapes() -> None:
    """An ellipse as napari draws it; a line encloses nothing."""
    box = np.array([[10.0, 20.0], [10, 60], [30, 60], [30, 20]])
    layer = Shapes([box, box[:2]], shape_type=["ellipse", "line"])

    (ellipse,) = outlines(layer)
    mask = Guides(np.zeros((0, 2)), np.zeros((0, 2)), (ellipse,)).arguments((50, 80))["exclude"]

    truth = layer.to_masks((50, 80))[0]
    assert (mask & truth).sum() > 0.95 * (mask | truth).sum()


def test_arrows_by_hand_become_landmarks_and_regions(
    viewer: Any, registered: RegisterPanel, qtbot: QtBot, asked: list[dict[str, Any]]
) -> None:
    unfold(registered)
    click(qtbot, registered.adjust.edit_arrows)
    edits = registered.adjust._edits
    assert edits is not None
    layer, gain = edits.layer, edits._gain
    assert not viewer.layers["phone | shifts"].visible
    assert registered.adjust.said.text() == ""

    lines = list(layer.data)
    start, end = lines[40]
    lines[40] = np.array([start, end + np.array([2 * gain, 0])])
    gone = lines.pop(0)[0]
    lines.append(np.array([[64.5, 63.2], [64.5, 63.2 + 3 * gain]]))
    layer.data = lines
    assert registered.adjust.said.text() == "2 arrows set, 1 arrow deleted"

    registration = registered._kept.registration  # type: ignore[union-attr]
    again(registered, "the start")
    wait(qtbot, registered)

    fixed, moving = asked[0]["landmarks"]
    np.testing.assert_allclose(fixed, [start, [64.5, 63.2]], atol=1e-3)
    asked_shift = (end - start) / gain + np.array([2, 0])
    plain = acuity.Registration(
        registration.homography, np.zeros_like(registration.shift_map), (SIDE, SIDE), (0, 0), ""
    )
    truth = plain.map_points(np.array([start + asked_shift, [64.5, 66.2]]))
    np.testing.assert_allclose(moving, truth, atol=1e-2)
    assert asked[0]["exclude"][int(gone[0]), int(gone[1])]


def test_keep_stops_at_a_level(
    viewer: Any, panel: RegisterPanel, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = refine.elastic_levels

    def slow(
        *images: Any, **how: Any
    ) -> Iterator[Any]:  # else so small a job ends before the click
        for level in levels(*images, **how):
            yield level
            time.sleep(1.0)

    monkeypatch.setattr(refine, "elastic_levels", slow)
    assert not panel.keep.isVisible()
    click(qtbot, panel.job.button)
    qtbot.waitUntil(panel.keep.isEnabled, timeout=30_000)
    click(qtbot, panel.keep)
    wait(qtbot, panel)

    words, level = panel.job.outcome.text(), panel._kept.registration.level  # type: ignore[union-attr]
    assert words.startswith(f"Stopped after {level} of ")
    assert "several px off" not in words  # it was the last level
    before_the_last = summary(panel._kept.registration, stopped="texture 2 of 4")  # type: ignore[union-attr]
    assert before_the_last.startswith("Stopped after texture 2 of 4. The levels left out refine")
    assert "near the corners it may be several px off" in before_the_last
    assert names(viewer) == ["bench", "phone", "phone | registered", "phone | shifts"]
    assert viewer.layers["phone | registered"].data.shape == (SIDE, SIDE, 3)
    made: dict[str, Any] = {"viewer": viewer}
    exec(viewer.layers["phone | registered"].metadata["acuity"]["python"], made)
    assert made["registration"].level == level


def test_again_and_undo(
    viewer: Any, registered: RegisterPanel, qtbot: QtBot, asked: list[dict[str, Any]]
) -> None:
    first, words = registered._kept, registered.job.outcome.text()
    registered.options.transform.setCurrentText("Affine")  # of the start, which stays
    again(registered, "texture 1")
    wait(qtbot, registered)
    assert asked[0]["start"].level == "texture 1"
    assert isinstance(asked[0]["start"], Registration)
    assert "transform" not in asked[0]
    assert names(viewer)[4:] == ["phone | registered [1]", "phone | shifts [1]"]
    assert not viewer.layers["phone | shifts"].visible

    viewer.layers.remove(viewer.layers["phone | registered"])
    unfold(registered)
    click(qtbot, registered.adjust.undo)
    assert registered._kept is first
    assert set(names(viewer)) == {"bench", "phone", "phone | registered", "phone | shifts"}
    assert viewer.layers["phone | shifts"].visible
    assert registered.job.outcome.text() == words

    viewer.layers.remove(viewer.layers["bench"])
    click(qtbot, registered.adjust.undo)
    assert names(viewer) == ["phone"]
    assert not registered.adjust.undo.isEnabled()
    assert not registered.maps.save.isEnabled()


def load_settings(viewer: Any, panel: RegisterPanel, layer: str) -> None:
    viewer.layers.selection.active = viewer.layers[layer]
    (menu,) = (b.menu() for b in panel.findChildren(QToolButton) if b.accessibleName() == "More")
    menu.aboutToShow.emit()
    next(a for a in menu.actions() if a.text() == "Load settings from layer").trigger()


def register_with_guides(viewer: Any, panel: RegisterPanel, qtbot: QtBot) -> None:
    """Set landmarks, draw a region to exclude, and register."""
    on_fixed, on_moving = landmarks(viewer, panel, qtbot)
    on_fixed.add(PLACES)
    on_moving.add(PLACES + SHIFT)
    click(qtbot, panel.adjust.add_region)
    viewer.layers["bench | excluded"].add_polygons(np.array([[5, 5], [5, 20], [20, 5]]))
    click(qtbot, panel.job.button)
    wait(qtbot, panel)


def test_the_settings_of_a_layer_bring_landmarks_and_regions_back(
    viewer: Any, panel: RegisterPanel, qtbot: QtBot, asked: list[dict[str, Any]]
) -> None:
    register_with_guides(viewer, panel, qtbot)
    for name in ("bench | landmarks", "phone | landmarks", "bench | excluded"):
        viewer.layers.remove(viewer.layers[name])
    assert panel.adjust.said.text() == ""

    load_settings(viewer, panel, "phone | registered")
    assert panel.adjust.said.text() == "3 landmarks, 1 region left out"
    drawn = viewer.layers["phone | landmarks"]
    np.testing.assert_array_equal(drawn.features["number"], [1, 2, 3])
    assert drawn.data_to_world((7, 9)) == viewer.layers["phone"].data_to_world((7, 9))
    assert panel.adjust.on_moving.layer == drawn
    assert panel.adjust.excluded.layer == viewer.layers["bench | excluded"]
    count = len(viewer.layers)
    load_settings(viewer, panel, "phone | registered")
    assert len(viewer.layers) == count  # they are there already
    click(qtbot, panel.job.button)
    wait(qtbot, panel)
    np.testing.assert_array_equal(asked[1]["landmarks"], asked[0]["landmarks"])
    np.testing.assert_array_equal(asked[1]["exclude"], asked[0]["exclude"])

    drawn.add(PLACES[0])  # what the user goes on with is not overwritten
    load_settings(viewer, panel, "phone | registered")
    assert len(drawn.data) == 4
    assert panel.adjust.on_moving.layer == viewer.layers["phone | landmarks [1]"]
    assert panel.adjust.said.text() == "3 landmarks, 1 region left out"

    viewer.layers.remove(viewer.layers["bench"])
    load_settings(viewer, panel, "phone | registered")
    assert "which are not both open" in panel.job.outcome.text()


def test_the_scripts_that_layers_carry_run(viewer: Any, panel: RegisterPanel, qtbot: QtBot) -> None:
    register_with_guides(viewer, panel, qtbot)
    for level in ("the start", "texture 1"):
        again(panel, level)
        wait(qtbot, panel)
        kept, made = panel._kept, dict[str, Any](viewer=viewer)
        assert kept is not None
        exec(kept.recipe["python"], made)
        np.testing.assert_allclose(
            made["registration"].shift_map, kept.registration.shift_map, atol=0.05
        )


def test_arrows_tell_their_block_and_take_its_colour(
    viewer: Any, registered: RegisterPanel, qtbot: QtBot
) -> None:
    arrows, blocks = viewer.layers["phone | shifts"], registered._kept.registration.blocks  # type: ignore[union-attr]
    table = arrows.features
    np.testing.assert_array_equal(
        table["similarity"], blocks.similarity[table["block_row"], table["block_col"]]
    )
    away = np.abs(arrows.data[:, 0, 0] - blocks.rows[table["block_row"]])
    assert away.max() <= max(np.diff(blocks.rows).max() / 2, blocks.rows[0]) + 1

    before = arrows.edge_color.copy()
    registered.arrows.colour.setCurrentText("similarity")
    assert not np.array_equal(arrows.edge_color, before)
    colour_by(arrows, "magnitude")
    np.testing.assert_allclose(arrows.edge_color, before)


def test_layers_to_edit_outlive_the_panel(
    make_napari_viewer_proxy: Callable[..., Any], tissue: NDArray[np.uint8], qtbot: QtBot
) -> None:
    viewer = make_napari_viewer_proxy()
    for name in ("bench", "phone"):
        viewer.add_image(tissue[:SIDE, :SIDE], name=name)
    panel = RegisterPanel(viewer)
    dock = viewer.window.add_dock_widget(panel)
    on_fixed, on_moving = landmarks(viewer, panel, qtbot)
    click(qtbot, panel.adjust.add_region)

    viewer.window.remove_dock_widget(dock)
    qtbot.wait(100)
    on_fixed.add(PLACES)
    viewer.layers["bench | excluded"].add_rectangles(np.array([[1, 2], [1, 5], [4, 5], [4, 2]]))
    assert len(on_moving.data) == 0


def test_stacks_get_no_landmarks(
    make_napari_viewer_proxy: Callable[..., Any], qtbot: QtBot
) -> None:
    viewer = make_napari_viewer_proxy()
    for name in ("bench", "phone"):
        viewer.add_image(np.zeros((3, SIDE, SIDE)), name=name)
    panel = RegisterPanel(viewer)
    qtbot.addWidget(panel)

    assert not panel.adjust.add_landmarks.isEnabled()
    assert "is a stack" in panel.adjust.add_landmarks.toolTip()

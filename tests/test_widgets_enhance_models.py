"""Enhance: which models are offered, over restarts too; and the one click that uses the last one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog

from enhance_panel import SHIPPED, model, titles, use, wait_for_model
from gui import click, names, opened, wait
from napari_acuity.widgets import _session
from napari_acuity.widgets.enhance import EnhancePanel, super_resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from pytestqt.qtbot import QtBot


pytestmark = pytest.mark.usefixtures("fresh_models")


@pytest.fixture
def viewer(make_napari_viewer_proxy: Callable[..., Any], tissue: NDArray[np.uint8]) -> Any:
    viewer = make_napari_viewer_proxy()
    viewer.add_image(tissue[:61, :80], name="phone", scale=(0.6, 0.6), units=("um", "um"))
    return viewer


@pytest.fixture
def panel(viewer: Any, qtbot: QtBot) -> Iterator[EnhancePanel]:
    with opened(qtbot, EnhancePanel(viewer)) as panel:
        yield panel


def panels_in(viewer: Any) -> list[EnhancePanel]:
    return [p for p in viewer.window.dock_widgets.values() if isinstance(p, EnhancePanel)]


def open_file(
    qtbot: QtBot, panel: EnhancePanel, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))
    qtbot.mouseClick(panel.browse, Qt.MouseButton.LeftButton)
    wait(qtbot, panel)


def test_the_shipped_model_enhances_at_once(viewer: Any, panel: EnhancePanel, qtbot: QtBot) -> None:
    wait_for_model(qtbot, panel)
    click(qtbot, panel.job.button)
    wait(qtbot, panel)

    result = viewer.layers["phone | x2.5 bright-field"]
    assert result.data.shape == (153, 200, 3)
    assert result.metadata["acuity"]["parameters"]["model"] == "default"
    assert "acuity.load('default')" in result.metadata["acuity"]["python"]


def test_models_used_before_are_offered_after_a_restart(
    viewer: Any, panel: EnhancePanel, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [model().save(tmp_path / name) for name in ("lung", "skin", "gone")]
    for path in paths:
        open_file(qtbot, panel, path, monkeypatch)
    assert titles(panel) == ["gone", "skin", "lung", SHIPPED]
    paths[2].unlink()
    _session.models.clear()
    _session.loaded.clear()

    with opened(qtbot, EnhancePanel(viewer)) as again:
        assert titles(again) == ["skin", "lung", SHIPPED]
        assert again.model.currentText() == "skin"
        assert not again.job.button.isEnabled()
        wait_for_model(qtbot, again)
        assert again.job.button.isEnabled()
        assert again.known is not None and again.known.path == paths[1]


def test_the_model_used_last_may_be_the_shipped_one(
    viewer: Any, panel: EnhancePanel, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_file(qtbot, panel, model().save(tmp_path / "lung"), monkeypatch)
    panel.model.setCurrentText(SHIPPED)
    wait_for_model(qtbot, panel)
    click(qtbot, panel.job.button)
    wait(qtbot, panel)
    _session.models.clear()

    with opened(qtbot, EnhancePanel(viewer)) as again:
        assert titles(again) == ["lung", SHIPPED]
        assert again.model.currentText() == SHIPPED


def test_a_file_that_was_damaged_since_says_so_when_chosen(
    viewer: Any, panel: EnhancePanel, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = model().save(tmp_path / "lung")
    open_file(qtbot, panel, path, monkeypatch)
    _session.models.clear()
    _session.loaded.clear()
    path.unlink()
    path.write_bytes(b"no model")

    with opened(qtbot, EnhancePanel(viewer)) as again:
        qtbot.waitUntil(lambda: "damaged or no model" in again.facts.text(), timeout=30_000)
        assert not again.job.button.isEnabled()
        assert "Copy it again" in again.job.button.toolTip()


def test_a_list_that_cannot_be_read_is_no_matter(viewer: Any, qtbot: QtBot, tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "napari-acuity-models.json").write_text("{no json")

    with opened(qtbot, EnhancePanel(viewer)) as panel:
        assert titles(panel) == [SHIPPED]


def test_the_menu_enhances_the_selected_layer_with_the_panel_in_sight(
    make_napari_viewer: Callable[..., Any], tissue: NDArray[np.uint8], qtbot: QtBot
) -> None:
    from napari._app_model import get_app_model

    viewer = make_napari_viewer()
    viewer.add_image(tissue[:40, :40], name="first")
    viewer.add_image(tissue[40:80, :40], name="second")
    viewer.layers.selection = {viewer.layers["first"]}

    get_app_model().commands.execute_command("napari-acuity.super_resolve").result()

    (panel,) = panels_in(viewer)
    qtbot.waitUntil(lambda: "first | x2.5 bright-field" in names(viewer), timeout=60_000)
    wait(qtbot, panel)
    assert names(viewer)[2:] == ["first | x2.5 bright-field"]
    assert viewer.layers.selection == {viewer.layers["first"]}


def test_the_key_enhances_again(viewer: Any, qtbot: QtBot) -> None:
    super_resolve(viewer)
    (panel,) = panels_in(viewer)
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=60_000)
    wait(qtbot, panel)
    use(panel, model())

    (bound,) = (f for key, f in viewer.keymap.items() if str(key) == "Ctrl+Shift+E")
    bound(viewer)
    wait(qtbot, panel)

    assert panels_in(viewer) == [panel]
    assert names(viewer) == ["phone", "phone | x2.5 bright-field", "phone | x2.5 lung"]


def test_one_click_says_what_is_wrong(
    make_napari_viewer_proxy: Callable[..., Any], qtbot: QtBot
) -> None:
    viewer = make_napari_viewer_proxy()
    super_resolve(viewer)
    (panel,) = panels_in(viewer)
    assert panel.job.outcome.text() == "Open an image first."

    wait_for_model(qtbot, panel)
    viewer.add_image(np.eye(40, dtype=np.uint8), name="grey")
    super_resolve(viewer)
    assert "The model takes RGB images, and 'grey' is grey" in panel.job.outcome.text()
    assert names(viewer) == ["grey"]


def test_the_key_enhances_no_other_layer_than_the_selected_one(viewer: Any, qtbot: QtBot) -> None:
    viewer.add_points([[3, 4]], name="marks")
    viewer.layers.selection.active = viewer.layers["marks"]

    super_resolve(viewer)

    (panel,) = panels_in(viewer)
    wait_for_model(qtbot, panel)
    assert panel.job.outcome.text() == "'marks' is no image. Select the image to enhance."
    assert names(viewer) == ["phone", "marks"]

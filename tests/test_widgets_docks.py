"""Where the panels stand in the window: in tabs of one place, unless the user moves them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytestqt.qtbot import QtBot


@pytest.fixture
def viewer(make_napari_viewer_proxy: Callable[..., Any]) -> Any:
    return make_napari_viewer_proxy(show=True)


def opened(viewer: Any, name: str) -> Any:
    """Open a panel as napari's menu does and return its dock."""
    return viewer.window.add_plugin_dock_widget("napari-acuity", name)[0]


def test_a_second_panel_is_a_tab_over_the_first_and_other_docks_are_left_alone(
    viewer: Any, qtbot: QtBot
) -> None:
    stranger = viewer.window.add_dock_widget(QLabel("of another plugin"), area="right")

    enhance, register = opened(viewer, "Enhance"), opened(viewer, "Register pair")
    window = enhance.parent()
    qtbot.waitUntil(lambda: window.tabifiedDockWidgets(enhance) == [register])

    assert not stranger.visibleRegion().isEmpty()
    assert not register.visibleRegion().isEmpty()
    assert enhance.visibleRegion().isEmpty()
    assert [dock.windowTitle() for dock in (enhance, register)] == ["Enhance", "Register pair"]


def test_a_panel_stays_where_the_user_moved_it(viewer: Any, qtbot: QtBot) -> None:
    enhance, register = opened(viewer, "Enhance"), opened(viewer, "Register pair")
    window = enhance.parent()
    qtbot.waitUntil(lambda: window.tabifiedDockWidgets(enhance) == [register])

    window.addDockWidget(Qt.DockWidgetArea.LeftDockWidgetArea, register)
    for visible in (False, True):
        register.setVisible(visible)
        qtbot.wait(50)
    assert window.tabifiedDockWidgets(register) == []

    enhance.setFloating(True)
    quality = opened(viewer, "Quality")
    qtbot.wait(50)
    assert window.tabifiedDockWidgets(quality) == []
    assert enhance.isFloating()


def test_a_panel_that_is_closed_at_once_does_no_harm(viewer: Any, qtbot: QtBot) -> None:
    viewer.window.remove_dock_widget(opened(viewer, "Fuse stack"))

    qtbot.wait(50)

"""Where the panels stand in the window: in tabs of one place, unless the user moves them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractSpinBox, QComboBox, QLabel, QPushButton, QToolButton

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


@pytest.mark.parametrize("name", ["Enhance", "Fuse stack", "Quality"])
def test_every_control_says_what_it_does_or_why_it_cannot(viewer: Any, name: str) -> None:
    panel = opened(viewer, name).widget()
    kinds = (QPushButton, QToolButton, QComboBox, QAbstractSpinBox)
    controls = [each for kind in kinds for each in panel.findChildren(kind)]

    silent = [each for each in controls if not each.toolTip() and not each.isHidden()]
    assert [each.accessibleName() or each.objectName() for each in silent] == []

    viewer.add_image(np.eye(64, dtype=np.float32)[None].repeat(3, 0), name="stack")
    buttons = [each for each in panel.findChildren(QPushButton) if not each.isHidden()]
    assert [each.text() for each in buttons if not each.toolTip()] == []

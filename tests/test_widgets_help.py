"""Help in the ... menu: the docs pages, within napari."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QUrl
from qtpy.QtWidgets import QApplication, QToolButton

from gui import click, opened
from napari_acuity.widgets import _help, _panel
from napari_acuity.widgets._help import HelpWindow
from napari_acuity.widgets.enhance import EnhancePanel
from napari_acuity.widgets.fuse import FusePanel
from napari_acuity.widgets.quality import QualityPanel
from napari_acuity.widgets.register import RegisterPanel
from napari_acuity.widgets.train import TrainPanel

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytestqt.qtbot import QtBot
    from qtpy.QtWidgets import QWidget


def menus(panel: QWidget) -> list[Any]:
    return [b.menu() for b in panel.findChildren(QToolButton) if b.accessibleName() == "More"]


def help_of(menu: Any) -> Any:
    (found,) = (action for action in menu.actions() if action.text() == "Help")
    return found


@pytest.mark.parametrize(
    ("kind", "count"),
    [(RegisterPanel, 1), (TrainPanel, 2), (EnhancePanel, 1), (QualityPanel, 7), (FusePanel, 1)],
)
def test_each_panel_opens_a_page_of_its_own(
    make_napari_viewer_proxy: Callable[..., Any], qtbot: QtBot, kind: type[QWidget], count: int
) -> None:
    with opened(qtbot, kind(make_napari_viewer_proxy())) as panel:
        if isinstance(panel, TrainPanel):
            panel.modes.bar.setCurrentIndex(1)
        assert len(menus(panel)) == count
        for menu in menus(panel):
            help_of(menu).trigger()
            (window,) = (w for w in QApplication.topLevelWidgets() if isinstance(w, HelpWindow))
            assert len(window.browser.toPlainText()) > 1000
            assert window.windowTitle().startswith("napari-acuity: ")
            with qtbot.waitSignal(window.destroyed):
                window.close()


def test_links_lead_to_other_pages_and_back(qtbot: QtBot) -> None:
    folder = _help.docs_folder()
    assert folder is not None
    window = HelpWindow(folder / "lens.md", None)
    qtbot.addWidget(window)
    window.show()
    assert not window.back.isEnabled()
    window.browser.setSource(window.browser.source().resolved(QUrl("lens-training.md")))
    assert "lens-training" in window.windowTitle()
    assert "label map" in window.browser.toPlainText()
    click(qtbot, window.back)
    assert window.windowTitle() == "napari-acuity: lens"


def test_without_the_pages_help_is_off(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_help, "_PLACES", ())
    button = _panel.more_button(python=str, command=str, page="register")
    qtbot.addWidget(button)
    assert not help_of(button.menu()).isEnabled()
    assert "not installed" in help_of(button.menu()).toolTip()


def test_what_was_copied_is_told_in_one_line(qtbot: QtBot) -> None:
    button = _panel.more_button(
        python=lambda: "import x\nx.y()", command=lambda: "x y", page="lens"
    )
    qtbot.addWidget(button)
    actions = {action.text(): action for action in button.menu().actions()}
    for name, text in (("Python", "import x\nx.y()"), ("command", "x y")):
        actions[f"Copy as {name}"].trigger()
        assert QApplication.clipboard().text() == text
        # A notification shows its first line until it is unfolded.
        assert notification_manager.records[-1].message == f"Copied as {name}\n{text}"

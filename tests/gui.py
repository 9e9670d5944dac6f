"""What the tests of the panels do with the mouse, and what they look at."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QThreadPool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytestqt.qtbot import QtBot


@contextmanager
def opened(qtbot: QtBot, panel: Any) -> Iterator[Any]:
    """Show a panel; at the end cancel what it does and wait until that is over."""
    qtbot.addWidget(panel)
    panel.show()
    yield panel
    with suppress(RuntimeError):  # a panel that the test closed is gone, and its job with it
        panel.job.cancel()
    qtbot.waitUntil(lambda: QThreadPool.globalInstance().activeThreadCount() == 0, timeout=60_000)


def click(qtbot: QtBot, button: Any) -> None:
    assert button.isEnabled(), button.toolTip()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def wait(qtbot: QtBot, panel: Any) -> None:
    """Wait until the panel's job has ended."""
    qtbot.waitUntil(lambda: not panel.job.running, timeout=60_000)


def names(viewer: Any) -> list[str]:
    return [layer.name for layer in viewer.layers]

"""What can wait until the window has drawn what a click has just changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["when_drawn"]

# With no delay it would be done before the window is drawn.
_DRAWN_MS = 30


def when_drawn(function: Callable[[], object]) -> None:
    """Call a function when the window has been drawn."""
    QTimer.singleShot(_DRAWN_MS, function)

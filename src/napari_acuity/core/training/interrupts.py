"""What asks a process to end: Ctrl+C, and the SIGTERM that a cluster's scheduler sends before it kills."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Interrupts"]

_USUAL: dict[signal.Signals, Any] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
}


class Interrupts:
    """While entered, Ctrl+C and SIGTERM are only noted, for the run to end after the step in hand.

    A second Ctrl+C interrupts at once. What the program around catches or ignores is left to it, and so is
    all in another thread than the main one, which cannot catch anything.

    Attributes
    ----------
    came : bool
        Whether one of them came.
    """

    def __init__(self) -> None:
        self.came = self._over = False
        self._caught: list[signal.Signals] = []

    def __enter__(self) -> Interrupts:
        if _in_main_thread():
            self._caught = [
                each for each, usual in _USUAL.items() if signal.getsignal(each) == usual
            ]
        for each in self._caught:
            signal.signal(each, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over = True
        # A generator may be ended in another thread than it was begun in.
        for each in self._caught if _in_main_thread() else ():
            signal.signal(each, _USUAL[each])

    def _note(self, number: int, _frame: Any) -> None:
        if self._over:
            signal.signal(number, _USUAL[signal.Signals(number)])
            signal.raise_signal(number)
        # Only Ctrl+C: a scheduler sends SIGTERM to torchrun and to its processes, and torchrun passes it on.
        elif self.came and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.came = True


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()

"""Follows a run for a panel: looks into its folder four times a second, in a thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal  # type: ignore[attr-defined]
from superqt.utils import create_worker

from ...core.training.events import is_number
from .run_reader import RunReader
from .run_state import RunState

if TYPE_CHECKING:
    from pathlib import Path

    from .run_reader import News

__all__ = ["RunFollower"]

_LOOK_MS = 250


class RunFollower(QObject):
    """Reads along in the folder of a run, whoever started it; to leave it does it no harm.

    Attributes
    ----------
    folder : Path or None
        The run that is followed.
    state : RunState
        What is known of it.
    """

    changed = Signal(object)
    """Emitted with the `News` of every look that brought some."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.reader: RunReader | None = None
        self.state = RunState()
        self._reading = False
        self._timer = QTimer(self)
        self._timer.setInterval(_LOOK_MS)
        self._timer.timeout.connect(self._look)

    @property
    def folder(self) -> Path | None:
        """The run that is followed."""
        return self.reader.folder if self.reader else None

    def follow(self, folder: Path) -> None:
        """Follow a run from its beginning."""
        self.reader, self.state = RunReader(folder), RunState()
        self._timer.start()
        self._look()

    def leave(self) -> None:
        """Follow nothing any more."""
        self._timer.stop()
        self.reader, self.state = None, RunState()

    def _look(self) -> None:
        if self.reader is None or self._reading:
            return
        self._reading = True
        worker = create_worker(self.reader.read)
        worker.returned.connect(self._take)
        worker.errored.connect(self._go_on)
        worker.start()

    def _go_on(self, _error: object = None) -> None:
        self._reading = False

    def _take(self, news: News) -> None:
        self._reading = False
        if self.reader is None or news.folder != self.reader.folder:
            return
        before = self.state.phase
        amounts = (news.facts.get(unit) for unit in ("epochs", "minutes"))
        self.state.epochs, self.state.minutes = (a if is_number(a) else None for a in amounts)
        for event in news.events:
            self.state.take(event)
        if news.awaited:  # how the process before it ended, or that it did not tell, is past
            self.state.start_again()
        if self.state.going and not news.alive:
            self.state.phase = "crashed"
        if news.events or self.state.phase != before:
            self.changed.emit(news)

"""Run a job of the core beside the viewer: progress, cancel, outcome and errors in one small box."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import traceback
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from napari.qt.threading import create_worker
from napari.utils.notifications import notification_manager, show_error
from qtpy.QtCore import Qt, QTimer, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QProgressBar,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QElidingLabel

from ..core.errors import AcuityError
from ..core.jobs import Event
from ..core.memory import memory_problems
from ._drawn import when_drawn

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from ..core.jobs import Steps

__all__ = ["JobBox", "one_step", "report_error", "time_left"]

T = TypeVar("T")

_LOG = logging.getLogger(__name__)
_REFRESH_MS = 100
# How long a thread may hold the interpreter while another waits. Python's own 5 ms are felt in the
# window while a job runs: drawing one picture asks for the interpreter dozens of times.
_SWITCH_S = 0.0005
_NICE = 10
# A job begins when the window has drawn what the click changed, and after so many seconds in any case.
_PATIENCE_S = 0.2


@dataclass(frozen=True)
class _Outcome(Generic[T]):
    result: T | None = None
    error: Exception | None = None


@dataclass
class _Running:
    """The job in hand, as the GUI sees it."""

    worker: Any
    done: Callable[[Any], None]
    watch: Callable[[list[Event]], None] | None
    stopped: Callable[[], None] | None
    began: float = field(default_factory=time.monotonic)
    events: list[Event] = field(default_factory=list)
    outcome: _Outcome[Any] | None = None


class _Titled(partial):
    """A call that napari lists by its title when it is closed while the call runs."""

    title = ""

    def __str__(self) -> str:
        return self.title


class JobBox(QWidget):
    """A primary button, the stage in words, a bar, the time left, and one line of outcome.

    Parameters
    ----------
    verb : str
        What the button does: "Register".
    start : callable
        Called at a click while nothing runs; it gathers the inputs and calls `run`.
    stop : str
        What the button reads while a job runs.

    Attributes
    ----------
    error : Exception or None
        What made the last job fail.
    """

    busy = Signal(bool)
    """Emitted when a job begins (True) and when it has ended (False)."""

    def __init__(self, verb: str, start: Callable[[], None], *, stop: str = "Cancel") -> None:
        super().__init__()
        self._verb, self._stop, self._start = verb, stop, start
        self._job: _Running | None = None
        self.error: Exception | None = None
        self._workers: list[Any] = []
        self._reason: str | None = None
        self._tip = ""
        self._timer = QTimer(self)
        self._timer.setInterval(_REFRESH_MS)
        self._timer.timeout.connect(self._show_events)
        # A closed panel takes its job with it; the list outlives the widget.
        self.destroyed.connect(partial(_quit, self._workers))
        self._lay_out()

    @property
    def running(self) -> bool:
        """Whether a job is under way, or being cancelled."""
        return self._job is not None

    def run(
        self,
        make_steps: Callable[[], Steps[T]],
        *,
        done: Callable[[T], None],
        watch: Callable[[list[Event]], None] | None = None,
        stopped: Callable[[], None] | None = None,
    ) -> None:
        """Run a job in a thread of its own.

        Parameters
        ----------
        make_steps : callable
            Returns the core's generator of events. Called in the thread, so that what it imports does
            not hold up the window; it must touch no layer.
        done : callable
            Called in the GUI thread with the result.
        watch : callable, optional
            Called in the GUI thread, ten times a second at most, with the events since the last call.
        stopped : callable, optional
            Called in the GUI thread when the job was cancelled or failed.
        """
        if self.running:
            return
        self.error = None
        opened: list[Steps[T]] = []
        drawn = threading.Event()
        task = _Titled(_drain, make_steps, opened, drawn)
        task.title = f"Acuity: {self._verb}"
        worker = create_worker(task, _ignore_errors=True)
        self._job = _Running(worker, done, watch, stopped)
        self._workers.append(worker)
        worker.yielded.connect(self._take)
        worker.returned.connect(self._keep)
        worker.finished.connect(self._finish)
        # In the worker's own thread, at once: what the job holds open is closed where it was opened.
        worker.aborted.connect(partial(_close, opened), Qt.ConnectionType.DirectConnection)
        self.say("")
        self._show_state("starting", 0.0, "")
        self._update_button()
        self._timer.start()
        self.busy.emit(True)
        worker.start()
        when_drawn(drawn.set)

    def cancel(self) -> None:
        """Ask the job to stop; it does at its next event."""
        if self._job is not None:
            self._job.worker.quit()
            self._show_state("stopping", self.bar.value() / self.bar.maximum(), "")
            self._update_button()

    def disable(self, reason: str | None) -> None:
        """Disable the button and say why in its tooltip; None enables it."""
        self._reason = reason
        self._update_button()

    def set_tip(self, tip: str) -> None:
        """Set the tooltip of the button while it can be pressed."""
        self._tip = tip
        self._update_button()

    def say(self, text: str, details: str = "") -> None:
        """Show one line of outcome, or of what is wrong; `details` unfold at a click."""
        self.outcome.setText(text)
        self.details_text.setPlainText(details)
        self.details.setChecked(False)
        self.details.setVisible(bool(details))

    def _lay_out(self) -> None:
        self.button = QPushButton(self._verb)
        self.button.setMinimumHeight(32)
        self.button.clicked.connect(self._on_click)
        self.row = QHBoxLayout()
        self.row.addWidget(self.button, stretch=1)
        self.stage, self.left = QElidingLabel(), QLabel()
        words = QHBoxLayout()
        words.addWidget(self.stage, stretch=1)
        words.addWidget(self.left)
        self.bar = QProgressBar()
        self.bar.setRange(0, 1000)
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(8)
        policy = self.bar.sizePolicy()
        policy.setRetainSizeWhenHidden(True)  # nothing jumps when it appears
        self.bar.setSizePolicy(policy)
        self.bar.hide()
        self.outcome, self.details, self.details_text = _outcome_line()
        self.details.toggled.connect(self.details_text.setVisible)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for part in (self.row, words):
            layout.addLayout(part)
        for widget in (self.bar, self.outcome, self.details, self.details_text):
            layout.addWidget(widget)
        self._update_button()

    def _on_click(self) -> None:
        if self.running:
            self.cancel()
        else:
            self._start()

    def _update_button(self) -> None:
        job, reason = self._job, None if self.running else self._reason
        stopping = job is not None and job.worker.abort_requested
        self.button.setText(self._stop if job else self._verb)
        self.button.setEnabled(reason is None and not stopping)
        self.button.setToolTip(reason or ("" if job else self._tip))

    def _take(self, event: Event) -> None:
        if self._job is not None:
            self._job.events.append(event)

    def _keep(self, outcome: _Outcome[Any]) -> None:
        if self._job is not None:
            self._job.outcome = outcome

    def _show_events(self) -> None:
        job = self._job
        if job is None or not job.events:
            return
        events, job.events = job.events, []
        if not job.worker.abort_requested:
            last = events[-1]
            left = time_left(last.fraction, time.monotonic() - job.began)
            self._show_state(last.stage, last.fraction, left)
        if job.watch:  # also the last ones of a stopped job: what they bring may be kept
            job.watch(events)

    def _finish(self) -> None:
        self._timer.stop()
        self._show_events()
        job, self._job = self._job, None
        if job is None:
            return
        self._workers.remove(job.worker)
        self._show_state("", None, "")
        self._update_button()
        self._hand_over(job)
        self.busy.emit(False)

    def _hand_over(self, job: _Running) -> None:
        outcome = job.outcome
        if outcome is not None and outcome.error is None:
            job.done(outcome.result)
            return
        if outcome is None:
            self.say("Cancelled; nothing was changed.")
        elif outcome.error is not None:
            self.error = outcome.error
            self.say(*report_error(outcome.error))
        if job.stopped:
            job.stopped()

    def _show_state(self, stage: str, fraction: float | None, left: str) -> None:
        self.stage.setText(stage)
        self.left.setText(left)
        # Set out of sight where it can be: a bar in sight has the window drawn at once.
        if fraction is None:
            self.bar.hide()
        self.bar.setValue(round(1000 * (fraction or 0.0)))
        if fraction is not None:
            self.bar.show()


def one_step(words: str, function: Callable[[], T]) -> Steps[T]:
    """Make a job of a plain function, for what is short but should not hold up the window."""
    yield Event(words, 0.0)
    return function()


def report_error(error: Exception) -> tuple[str, str]:
    """Show an error as a napari notification and log it.

    Parameters
    ----------
    error : Exception
        An `AcuityError` is shown as its cause and cure; anything else with its traceback, as napari does.

    Returns
    -------
    (str, str)
        One line for the panel, and the details.
    """
    details = "".join(traceback.format_exception(error))
    if isinstance(error, AcuityError):
        show_error(str(error))
        return str(error), details
    _LOG.error("A job failed.", exc_info=error)
    notification_manager.receive_error(type(error), error, error.__traceback__)
    return f"This failed unexpectedly ({type(error).__name__}: {error}).", details


def time_left(fraction: float, elapsed_s: float) -> str:
    """Say how long a job will still take, judged by how long it took so far."""
    if fraction < 0.02 or elapsed_s < 1:
        return ""
    left = elapsed_s * (1 - fraction) / fraction
    if left < 90:
        return f"{max(1, round(left))} s left"
    return f"{round(left / 60)} min left" if left < 5400 else f"{left / 3600:.1f} h left"


def _drain(
    make_steps: Callable[[], Steps[T]], opened: list[Steps[T]], drawn: threading.Event
) -> Generator[Event, None, _Outcome[T]]:
    _stand_back()
    drawn.wait(_PATIENCE_S)
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_S)
    try:
        steps = make_steps()
        opened.append(steps)
        with memory_problems():
            return _Outcome(result=(yield from steps))
    except Exception as error:  # noqa: BLE001 - the thread's end: every error goes to the GUI thread
        return _Outcome(error=error)
    finally:
        sys.setswitchinterval(before)


def _stand_back() -> None:
    """Let the window go before this thread, and those that it starts, where both want the processor.

    Elsewhere than on Linux a priority is that of the whole process.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


def _close(opened: list[Steps[Any]]) -> None:
    for steps in opened:
        steps.close()


def _quit(workers: list[Any], _owner: object = None) -> None:
    for worker in workers:
        worker.quit()


def _outcome_line() -> tuple[QLabel, QToolButton, QPlainTextEdit]:
    line, button, text = QLabel(), QToolButton(), QPlainTextEdit()
    line.setWordWrap(True)
    line.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
    line.setMinimumHeight(3 * line.fontMetrics().lineSpacing())  # nothing jumps when it is filled
    line.setTextInteractionFlags(
        Qt.TextInteractionFlag.TextSelectableByMouse
        | Qt.TextInteractionFlag.TextSelectableByKeyboard
    )
    button.setText("Details")
    button.setCheckable(True)
    button.setToolTip("Show what the program says of this error, to paste into a bug report")
    button.hide()
    text.setReadOnly(True)
    text.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
    text.setMinimumHeight(120)
    text.hide()
    return line, button, text

"""One job at a time, beside the viewer: progress, cancel, outcome and errors."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
import torch
from qtpy.QtCore import Qt

from napari_acuity.core.errors import ImageError
from napari_acuity.core.jobs import Event
from napari_acuity.widgets._jobs import JobBox, time_left

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytestqt.qtbot import QtBot

    from napari_acuity.core.jobs import Steps


class Steady:
    """A job of a hundred steps that a test lets go on, and that notes when it is closed."""

    def __init__(self) -> None:
        self.go_on = threading.Semaphore(0)
        self.closed_in: threading.Thread | None = None

    def steps(self) -> Steps[str]:
        try:
            for number in range(100):
                yield Event(f"step {number}", number / 100, number)
                self.go_on.acquire(timeout=5)
            return "result"
        finally:
            self.closed_in = threading.current_thread()


@pytest.fixture
def job() -> Steady:
    return Steady()


@pytest.fixture
def box(qtbot: QtBot, job: Steady) -> Iterator[JobBox]:
    results: list[Any] = []
    box = JobBox("Register", lambda: box.run(job.steps, done=results.append))
    box.results = results  # type: ignore[attr-defined]
    qtbot.addWidget(box)
    box.show()
    yield box
    for worker in list(box._workers):
        worker.quit()
    job.go_on.release(1000)
    qtbot.waitUntil(lambda: not box._workers, timeout=10_000)


def click(qtbot: QtBot, box: JobBox) -> None:
    qtbot.mouseClick(box.button, Qt.MouseButton.LeftButton)


def test_progress_is_shown_and_the_result_handed_over(
    qtbot: QtBot, box: JobBox, job: Steady
) -> None:
    click(qtbot, box)
    qtbot.waitUntil(lambda: box.stage.text() == "step 0")
    assert box.button.text() == "Cancel"
    job.go_on.release(50)
    qtbot.waitUntil(lambda: box.bar.value() == 500)

    job.go_on.release(50)
    qtbot.waitUntil(lambda: not box.running)

    assert box.results == ["result"]  # type: ignore[attr-defined]
    assert box.button.text() == "Register"
    assert not box.bar.isVisible()


def test_cancel_closes_the_job_in_its_own_thread(qtbot: QtBot, box: JobBox, job: Steady) -> None:
    click(qtbot, box)
    qtbot.waitUntil(lambda: box.stage.text() == "step 0")

    click(qtbot, box)
    assert not box.button.isEnabled()  # a second click has nothing to cancel
    job.go_on.release()
    qtbot.waitUntil(lambda: not box.running)

    assert box.results == []  # type: ignore[attr-defined]
    assert box.button.text() == "Register" and box.button.isEnabled()
    assert "Cancelled" in box.outcome.text()
    assert job.closed_in not in (None, threading.main_thread())


def test_every_event_reaches_the_panel_though_the_window_is_drawn_seldom(qtbot: QtBot) -> None:
    calls: list[list[int]] = []

    def steps() -> Steps[None]:
        for number in range(1000):
            yield Event("fast", number / 1000, number)

    box = JobBox("Go", lambda: None)
    qtbot.addWidget(box)
    box.run(steps, done=lambda _: None, watch=lambda es: calls.append([e.new for e in es]))  # type: ignore[misc]
    qtbot.waitUntil(lambda: not box.running)

    assert [number for part in calls for number in part] == list(range(1000))
    assert len(calls) < 100


def run_failing(qtbot: QtBot, error: Exception) -> JobBox:
    def steps() -> Steps[None]:
        yield Event("on the way", 0.1)
        raise error

    box = JobBox("Go", lambda: None)
    qtbot.addWidget(box)
    box.show()
    box.run(steps, done=lambda _: None)
    qtbot.waitUntil(lambda: not box.running)
    return box


def test_a_user_error_is_shown_as_cause_and_cure(qtbot: QtBot, notes: list[str]) -> None:
    box = run_failing(qtbot, ImageError("It is black.", "Choose another."))

    assert notes == ["It is black. Choose another."]
    assert box.outcome.text() == "It is black. Choose another."
    assert box.button.text() == "Go" and box.button.isEnabled()


@pytest.mark.parametrize("kind", [RuntimeError, ZeroDivisionError])
def test_a_bug_is_shown_with_its_traceback(
    qtbot: QtBot, notes: list[str], kind: Callable[[str], Exception]
) -> None:
    box = run_failing(qtbot, kind("ouch"))

    assert notes == ["ouch"]
    assert "ouch" in box.outcome.text()
    assert not box.details_text.isVisible()
    qtbot.mouseClick(box.details, Qt.MouseButton.LeftButton)
    assert box.details_text.isVisible()
    assert "raise error" in box.details_text.toPlainText()


def test_closing_the_panel_stops_the_job(qtbot: QtBot, job: Steady) -> None:
    box = JobBox("Go", lambda: None)
    results: list[str] = []
    box.run(job.steps, done=results.append)
    qtbot.waitUntil(lambda: box.stage.text() == "step 0")

    box.deleteLater()
    qtbot.wait(50)
    job.go_on.release(1000)

    qtbot.waitUntil(lambda: job.closed_in is not None)
    assert results == []


def test_a_disabled_button_says_why(qtbot: QtBot, box: JobBox, job: Steady) -> None:
    box.set_tip("Do it")
    box.disable("Open an image first.")
    assert not box.button.isEnabled()
    assert box.button.toolTip() == "Open an image first."

    box.disable(None)
    assert box.button.isEnabled()
    assert box.button.toolTip() == "Do it"


@pytest.mark.parametrize(
    ("fraction", "elapsed_s", "words"),
    [(0.0, 60, ""), (0.5, 0.2, ""), (0.5, 10, "10 s left"), (0.1, 60, "9 min left")],
)
def test_time_left(fraction: float, elapsed_s: float, words: str) -> None:
    assert time_left(fraction, elapsed_s) == words


def test_napari_lists_a_running_job_by_its_verb(
    make_napari_viewer: Callable[..., Any], qtbot: QtBot
) -> None:
    """What the dialog shows when napari is closed while a job runs."""
    viewer = make_napari_viewer()

    def steps() -> Steps[None]:
        while True:
            yield Event("on the way", 0.1)

    box = JobBox("Register", lambda: None)
    qtbot.addWidget(box)
    box.run(steps, done=lambda _: None)
    status = viewer.window._task_status_manager.get_status
    qtbot.waitUntil(lambda: any("Executing Acuity: Register" in line for line in status()))
    box.cancel()
    qtbot.waitUntil(lambda: not box.running)


def test_memory_that_is_used_up_is_told_with_a_cure(qtbot: QtBot) -> None:
    def greedy() -> Steps[None]:
        yield Event("growing", 0.0)
        torch.empty(10**15)

    box = JobBox("Grow", lambda: box.run(greedy, done=lambda _: None))
    qtbot.addWidget(box)
    box.show()

    click(qtbot, box)
    qtbot.waitUntil(lambda: not box.running and bool(box.outcome.text()), timeout=10_000)

    assert box.outcome.text().startswith("The memory does not hold all of this")
    assert box.outcome.text().endswith("Close other programs, or work on a part of the image.")

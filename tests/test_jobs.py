"""Long work as generators: results, events, and the cancel."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest

from napari_acuity import Event, run
from napari_acuity.core import jobs
from napari_acuity.core.jobs import Steps, altered, together, within


def counting(ended: list[str]) -> Steps[str]:
    """Yield four events, return a word, and note how it ended."""
    try:
        for count in range(1, 5):
            yield Event(f"step {count}", count / 4, count)
    finally:
        ended.append("cleaned")
    ended.append("done")
    return "result"


def test_run_returns_the_result():
    ended: list[str] = []

    assert run(counting(ended)) == "result"
    assert ended == ["cleaned", "done"]


def test_run_draws_a_bar_only_when_asked(capsys):
    run(counting([]))
    quiet = capsys.readouterr()
    run(counting([]), progress=True)

    assert quiet.err == "" == quiet.out
    assert "%" in capsys.readouterr().err


def test_run_logs_what_came_of_it_where_no_bar_is_drawn(caplog, monkeypatch):
    caplog.set_level("INFO", logger="napari_acuity")

    def training() -> Steps[None]:
        yield Event("epoch 1", 0.1)
        yield Event("epoch 1, 30.00 dB", 0.2, "an epoch")
        monkeypatch.setattr(jobs, "_LOG_S", 0.0)  # the time has come
        yield Event("epoch 2", 0.3)
        yield Event("paused", 0.4)

    run(training(), progress=False)
    assert not caplog.messages
    monkeypatch.undo()
    caplog.set_level("INFO", logger="napari_acuity")
    run(training())

    assert caplog.messages == ["30 %, epoch 1, 30.00 dB", "40 %, paused"]


def test_run_lets_errors_through():
    def failing() -> Steps[None]:
        yield Event("so far", 0.5)
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        run(failing())


def test_what_stops_the_bar_ends_the_job(monkeypatch):
    ended: list[str] = []
    steps = counting(ended)
    monkeypatch.setattr("tqdm.tqdm.update", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))

    with pytest.raises(KeyboardInterrupt):
        run(steps)

    assert ended == ["cleaned"]


def test_closing_is_the_cancel_and_cleans_up():
    ended: list[str] = []
    steps = counting(ended)
    next(steps)

    steps.close()

    assert ended == ["cleaned"]


def test_closing_reaches_through_altered_and_within():
    ended: list[str] = []

    def outer() -> Steps[str]:
        return (yield from within(altered(counting(ended), lambda event: event), 0.5, 1.0))

    steps = outer()
    next(steps)
    steps.close()

    assert ended == ["cleaned"]


def test_within_lays_fractions_between_two_bounds_and_keeps_the_rest():
    steps = within(counting([]), 0.2, 0.6)

    events = []
    with pytest.raises(StopIteration) as end:
        while True:
            events.append(next(steps))

    assert end.value.value == "result"
    assert [event.fraction for event in events] == pytest.approx([0.3, 0.4, 0.5, 0.6])
    assert [event.new for event in events] == [1, 2, 3, 4]


def test_altered_changes_every_event():
    steps = altered(counting([]), lambda event: replace(event, stage=f"field 1: {event.stage}"))

    assert [event.stage for event in steps] == [f"field 1: step {n}" for n in range(1, 5)]


# Several jobs at once


def meeting(place: threading.Barrier, name: str) -> Steps[str]:
    """Yield two events, waiting for the others before each."""
    for fraction in (0.5, 1.0):
        place.wait()
        yield Event(f"{name} {fraction}", fraction, name)
    return name


def test_jobs_run_at_once_and_their_fractions_are_averaged():
    # One after the other they would wait for ever.
    place = threading.Barrier(3, timeout=30)
    steps = together([meeting(place, name) for name in "abc"])

    events = []
    with pytest.raises(StopIteration) as end:
        while True:
            events.append(next(steps))

    assert end.value.value == ["a", "b", "c"]
    fractions = [event.fraction for event in events]
    assert fractions == sorted(fractions)
    assert fractions == pytest.approx([n / 6 for n in range(1, 7)])
    for name in "abc":
        mine = [event for event in events if event.new == name]
        assert [event.stage for event in mine] == [f"{name} 0.5", f"{name} 1.0"]


def test_no_jobs_are_done_at_once():
    assert run(together([])) == []


def test_closing_ends_all_jobs_and_waits_for_them():
    ended: list[str] = []
    begun = threading.Barrier(2, timeout=30)
    steps = together([endless(begun, ended), endless(begun, ended)])
    next(steps)

    steps.close()

    assert ended == ["endless ended"] * 2


def test_an_error_ends_the_other_jobs():
    ended: list[str] = []
    begun = threading.Barrier(3, timeout=30)

    def failing() -> Steps[None]:
        begun.wait()
        yield Event("so far", 0.5)
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        run(together([endless(begun, ended), failing(), endless(begun, ended)]))
    assert ended == ["endless ended"] * 2


def endless(begun: threading.Barrier, ended: list[str]) -> Steps[None]:
    """Yield events until closed, once all have begun."""
    begun.wait()
    try:
        while True:
            time.sleep(0.001)
            yield Event("on and on", 0.5)
    finally:
        ended.append("endless ended")

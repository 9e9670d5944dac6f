"""Long work as generators: results, events, and the cancel."""

from __future__ import annotations

from dataclasses import replace

import pytest

from napari_acuity import Event, run
from napari_acuity.core.jobs import Steps, altered, within


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


def test_run_lets_errors_through():
    def failing() -> Steps[None]:
        yield Event("so far", 0.5)
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        run(failing())


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

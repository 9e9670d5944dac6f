"""Long work as generators: progress, cancel and live results are one mechanism.

Every long verb has a generator twin (`register_steps`, `train_steps`, `enhance_steps`) that yields
`Event` objects and returns the result. The public verb drains it with `run`; a widget drains the same
generator in a worker. Closing the generator is the cancel.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import TypeAlias, TypeVar, cast

from .memory import memory_problems

__all__ = ["Event", "Steps", "altered", "at_once", "run", "together", "within"]

_LOG = logging.getLogger(__name__)
# How often a line is logged where there is no bar.
_LOG_S = 30.0

T = TypeVar("T")
Given = TypeVar("Given")


@dataclass(frozen=True)
class Event:
    """One sign of life of a long job.

    Parameters
    ----------
    stage : str
        What is being done, in words a user reads ("elastic, level 2 of 3").
    fraction : float
        How much of the whole job is done, 0 to 1, never falling.
    new : object, optional
        What is new since the last event: a shift map, a row of the loss table, a finished tile.
    """

    stage: str
    fraction: float
    new: object = None


Steps: TypeAlias = Generator[Event, None, T]
"""A job: yields events, returns its result."""


def run(steps: Steps[T], *, progress: bool | None = None) -> T:
    """Drain a generator of events with a progress bar and return its result.

    Parameters
    ----------
    steps : generator of Event
        The job.
    progress : bool, optional
        Show a progress bar. The default shows one where standard error is a terminal, and elsewhere logs
        a line every 30 s, at level INFO.

    Returns
    -------
    object
        What the generator returned.

    Raises
    ------
    AcuityError
        When the memory is used up; and what the generator raises.
    """
    from tqdm import tqdm

    disable = None if progress is None else not progress
    layout = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
    bar = tqdm(total=1.0, bar_format=layout, disable=disable, leave=False)
    logged, brought = time.monotonic(), ""
    # Ctrl+C may come while the bar is drawn, too.
    with closing(steps), bar, memory_problems():
        while True:
            try:
                event = next(steps)
            except StopIteration as end:
                return cast("T", end.value)
            bar.set_description_str(event.stage, refresh=False)
            bar.update(max(0.0, event.fraction - bar.n))
            # What brought something says more than what is done just now: an epoch, with what it reached.
            brought = brought if event.new is None else event.stage
            if progress is None and bar.disable and time.monotonic() - logged >= _LOG_S:
                _LOG.info("%.0f %%, %s", 100 * event.fraction, brought or event.stage)
                logged, brought = time.monotonic(), ""


def at_once(function: Callable[[Given], T], all_given: Sequence[Given]) -> list[T]:
    """Do the same with several things, each in a thread: NumPy and OpenCV let other threads go on."""
    with ThreadPoolExecutor(len(all_given)) as threads:
        return list(threads.map(function, all_given))


def altered(steps: Steps[T], change: Callable[[Event], Event]) -> Steps[T]:
    """Do a job, passing each of its events through a function.

    Parameters
    ----------
    steps : generator of Event
        The job.
    change : function of Event
        Returns the event to yield in its place.
    """
    while True:
        try:
            event = next(steps)
        except StopIteration as end:
            return cast("T", end.value)
        yield change(event)


def within(steps: Steps[T], first: float, last: float) -> Steps[T]:
    """Do a job as a part of a larger one, its fractions laid between `first` and `last`."""
    return altered(
        steps, lambda event: replace(event, fraction=first + (last - first) * event.fraction)
    )


def together(jobs: Sequence[Steps[T]]) -> Steps[list[T]]:
    """Do several jobs at once, each in a thread of its own; their fraction is the mean of theirs.

    Where it is closed, or one of them fails, the others end at their next event.

    Parameters
    ----------
    jobs : sequence of generators of Event

    Returns
    -------
    list
        What each returned, in order.
    """
    news: SimpleQueue[tuple[int, Event | None]] = SimpleQueue()
    stop = threading.Event()
    fractions, running = [0.0] * len(jobs), len(jobs)

    def done(place: int) -> T | None:
        try:
            return _drained(jobs[place], lambda event: news.put((place, event)), stop)
        finally:
            news.put((place, None))

    with ThreadPoolExecutor(max(1, running)) as threads:
        futures = [threads.submit(done, place) for place in range(len(jobs))]
        try:
            while running:
                place, event = news.get()
                if event is None:
                    running -= 1
                    futures[place].result()
                else:
                    fractions[place] = event.fraction
                    yield replace(event, fraction=sum(fractions) / len(fractions))
        finally:
            stop.set()
    return [cast("T", future.result()) for future in futures]


def _drained(job: Steps[T], tell: Callable[[Event], None], stop: threading.Event) -> T | None:
    """Do a job, telling its events, until it is at its end or asked to stop."""
    with closing(job):
        while not stop.is_set():
            try:
                event = next(job)
            except StopIteration as end:
                return cast("T", end.value)
            tell(event)
    return None

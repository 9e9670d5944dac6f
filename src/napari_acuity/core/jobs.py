"""Long work as generators: progress, cancel and live results are one mechanism.

Every long verb has a generator twin (`register_steps`, `train_steps`, `enhance_steps`) that yields
`Event` objects and returns the result. The public verb drains it with `run`; a widget drains the same
generator in a worker. Closing the generator is the cancel.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar, cast

__all__ = ["Event", "Steps", "altered", "run", "within"]

T = TypeVar("T")


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
        Show a progress bar. The default shows one only where standard error is a terminal.

    Returns
    -------
    object
        What the generator returned.
    """
    from tqdm import tqdm

    disable = None if progress is None else not progress
    layout = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
    with tqdm(total=1.0, bar_format=layout, disable=disable, leave=False) as bar:
        while True:
            try:
                event = next(steps)
            except StopIteration as end:
                return cast("T", end.value)
            bar.set_description_str(event.stage, refresh=False)
            bar.update(max(0.0, event.fraction - bar.n))


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

"""The tiles of a large image: done here on devices, or by a cluster, and noted as they are finished."""

from __future__ import annotations

from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, Any

from ...device import choose_device
from ...jobs import Event, Steps
from ...micrograph import plane_of
from ..deploy import engine_for
from .cluster import connected, on_cluster
from .tile_work import Work, enhanced, write_tile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ...micrograph import Micrograph
    from ...model import Model
    from .inputs import Watched
    from .stack import Part
    from .unfinished import Unfinished

__all__ = ["locally", "noted", "remotely"]


def noted(
    made: Iterator[int | None], job: Unfinished, watched: Watched, total: int, count: int
) -> Steps[None]:
    """Do the tiles, note each that is finished, and see that the input stays what it is."""
    with job.journal() as journal, closing(made):  # type: ignore[type-var]
        yield Event("getting ready", count / total)
        for number in made:
            watched.check()
            if number is None:
                yield Event(f"waiting for workers, {count} of {total} tiles", count / total)
                continue
            journal.write(f"{number}\n")
            count += 1
            yield Event(f"tile {count} of {total}", count / total)
        watched.check(now=True)


def locally(
    work: Work,
    parts: Iterator[tuple[int, Part]],
    read: Callable[[Part], Micrograph],
    model: Model,
    names: list[str],
) -> Iterator[int]:
    """Do tiles on the devices of this machine, a thread for each; others read ahead and write."""
    devices = [choose_device(name) for name in names]
    # A processor may be named several times, a GPU does one thing at a time.
    devices = [d for n, d in enumerate(devices) if d.name == "cpu" or d not in devices[:n]]
    engines = deque(engine_for(model, each, exact=work.exact, work=work.size) for each in devices)
    count = len(engines)
    free = deque(engines)

    def computed(reading: Future[Micrograph], part: Part) -> Any:
        region, engine = reading.result(), free.popleft()
        try:
            return enhanced(engine, work.grid, plane_of(region), region, part.cut)
        finally:
            free.append(engine)

    def written(computing: Future[Any], part: Part) -> None:
        write_tile(work, part, computing.result())

    # Each waits for the one before only, so they cannot wait for each other.
    readers, computers, writers = (ThreadPoolExecutor(n) for n in (count, count, 2 * count))
    under_way = dict[Future[None], int]()
    try:
        while True:
            for number, part in islice(parts, 3 * count - len(under_way)):
                reading = readers.submit(read, part)
                computing = computers.submit(computed, reading, part)
                under_way[writers.submit(written, computing, part)] = number
            if not under_way:
                return
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                future.result()
                yield under_way.pop(future)
    finally:
        for pool in (writers, computers, readers):
            pool.shutdown(wait=False, cancel_futures=True)
        for pool in (readers, computers, writers):
            pool.shutdown()


def remotely(
    work: Work,
    parts: Iterator[tuple[int, Part]],
    read: Callable[[Part], Micrograph] | None,
    workers: int,
    scheduler: str | None,
) -> Iterator[int | None]:
    """Do tiles in other processes, and see to it that these are there as long."""
    with connected(workers, scheduler) as client:
        yield from on_cluster(client, work, parts, read)

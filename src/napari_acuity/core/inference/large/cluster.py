"""Tiles on many processes or machines, through Dask's scheduler."""

from __future__ import annotations

import asyncio
import logging
import os
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

from ...errors import AcuityError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ...micrograph import Micrograph
    from .stack import Part
    from .tile_work import Work

__all__ = ["check_scheduler", "connected", "on_cluster"]

_CONNECT_S = 5
# A tile that kills its worker is tried on so many more.
_RETRIES = 3
_HEARTBEAT_S = 1.0


def check_scheduler(address: str) -> None:
    """See whether a scheduler answers; a client that finds none hangs when it is closed, and prints.

    Raises
    ------
    AcuityError
        When none does, or `distributed` is not installed.
    """
    distributed = _distributed()
    try:
        with ThreadPoolExecutor(1) as apart:  # from an event loop that may be running here
            apart.submit(asyncio.run, _greeted(distributed, address)).result()
    except Exception as error:  # a server of another kind may answer anything
        raise _no_scheduler(address, error) from error


@contextmanager
def connected(workers: int, scheduler: str | None) -> Iterator[Any]:
    """Yield a client of the scheduler at an address, or of one started here with so many processes.

    Parameters
    ----------
    workers : int
        How many processes to start, of one thread each; 0 with an address.
    scheduler : str or None
        Such as "tcp://10.0.0.5:8786".

    Raises
    ------
    AcuityError
        When `distributed` is not installed, no scheduler answers, or a worker ends at once.
    """
    distributed = _distributed()
    if scheduler is not None:
        with _client(distributed, scheduler) as client:
            yield client
        return
    with (
        _environment_kept(),
        distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            # Any free port, for this machine only.
            dashboard_address="127.0.0.1:0",
            # Tiles are of one size; a limit would end workers for what torch keeps for later.
            memory_limit=None,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        try:
            client.register_worker_callbacks(_one_thread)
        except OSError as error:  # as which a closed connection is raised
            raise AcuityError(
                "A worker ended while it was started.",
                "See that there is memory for so many, and start again.",
            ) from error
        yield client


def on_cluster(
    client: Any,
    work: Work,
    parts: Iterator[tuple[int, Part]],
    read: Callable[[Part], Micrograph] | None,
) -> Iterator[int | None]:
    """Do tiles on a scheduler's workers.

    Parameters
    ----------
    client : distributed.Client
    work : Work
    parts : iterator of (int, Part)
        Their numbers, and the tiles.
    read : function of a tile, optional
        Reads its pixels here, to send them along; by default the workers read them.

    Yields
    ------
    int or None
        The number of a finished tile; None about once a second while none is.

    Raises
    ------
    AcuityError
        What a worker raised; or when workers or the scheduler are lost.
    """
    from .tile_work import do_tile

    distributed = _distributed()
    under_way = dict[Any, int]()
    try:
        while True:
            # Enough to keep all busy, so few that what is sent along fits into memory.
            room = max(2, 2 * sum(client.nthreads().values()))
            for number, part in islice(parts, max(0, room - len(under_way))):
                pixels = read(part) if read else None
                future = client.submit(do_tile, work, part, pixels, pure=False, retries=_RETRIES)
                under_way[future] = number
            if not under_way:
                return
            try:
                with client.as_current():
                    found = distributed.wait(
                        list(under_way), timeout=_HEARTBEAT_S, return_when="FIRST_COMPLETED"
                    )
            except TimeoutError:
                yield None
                continue
            for future in found.done:
                future.result()
                yield under_way.pop(future)
    except distributed.KilledWorker as error:
        raise AcuityError(
            f"A tile ended {_RETRIES + 1} workers, one after the other.",
            "Choose smaller tiles or give the workers more memory; finished tiles are kept.",
        ) from error
    except (CancelledError, distributed.comm.CommClosedError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # a worker's: no space, no permission
        raise AcuityError(
            "The connection to the scheduler was lost.",
            "See that it runs, and start again; finished tiles are kept.",
        ) from error
    except ImportError as error:
        raise AcuityError(
            f"A worker lacks a package: {error}.",
            "Install napari-acuity[cluster] in the same version wherever workers run.",
        ) from error
    finally:
        if under_way and client.status == "running":
            client.cancel(list(under_way))


@contextmanager
def _environment_kept() -> Iterator[None]:
    """Take back what starting workers leaves in the environment: one thread for all started later."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise AcuityError(
            "Work is spread over processes with the package distributed, which is not installed.",
            "Install it: pip install 'napari-acuity[cluster]'.",
        ) from error
    return distributed


@contextmanager
def _client(distributed: Any, address: str) -> Iterator[Any]:
    try:
        client = distributed.Client(address, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError, RuntimeError) as error:
        raise _no_scheduler(address, error) from error
    with client:
        yield client


def _no_scheduler(address: str, error: Exception) -> AcuityError:
    return AcuityError(
        f"No scheduler answers at {address} ({str(error) or f'nothing within {_CONNECT_S} s'}).",
        "Start one with `dask scheduler`, and give the address it prints.",
    )


async def _greeted(distributed: Any, address: str) -> None:
    security = distributed.security.Security().get_connection_args("client")
    greeting = distributed.comm.connect(address, timeout=_CONNECT_S, **security)
    comm = await asyncio.wait_for(greeting, _CONNECT_S)
    await comm.close()


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)

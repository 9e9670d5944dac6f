"""Several processes, a device each, that train one network: what they share, and what each one does.

Started by ``torchrun``; alone, all of this does nothing.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
from torch import distributed

from ..device import Device, choose_device
from ..errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["World", "joined"]

_FOR_AS_LONG_AS_IT_TAKES = timedelta(days=365)


@dataclass(frozen=True)
class World:
    """One of several processes.

    Parameters
    ----------
    rank, size : int
        Which of how many; 0 validates, writes and decides.
    device : Device
    """

    rank: int
    size: int
    device: Device

    @property
    def first(self) -> bool:
        """Whether this one decides."""
        return self.rank == 0

    def part(self, count: int) -> slice:
        """Return this process's part of a batch; all of them make the whole."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def sum(self, tensors: Iterable[torch.Tensor]) -> None:
        """Add up tensors over all processes, in place; all in one message."""
        found = list(tensors)
        if self.size == 1 or not found:
            return
        flat = torch.cat([tensor.flatten() for tensor in found])
        distributed.all_reduce(flat)
        parts = torch.split(flat, [tensor.numel() for tensor in found])
        for tensor, part in zip(found, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def agree(self, value: float) -> float:
        """Return what the first process says."""
        if self.size == 1:
            return value
        said = torch.tensor(value, dtype=torch.float64, device=self.device.name)
        distributed.broadcast(said, 0)
        return float(said)


@contextmanager
def joined(device: str) -> Iterator[World]:
    """Join the processes that ``torchrun`` started, if it did.

    Raises
    ------
    AcuityError
        When the device is not there.
    TrainingError
        When there are fewer GPUs than processes on this machine.
    """
    size, rank = (
        int(os.environ.get(name, standard)) for name, standard in (("WORLD_SIZE", 1), ("RANK", 0))
    )
    chosen = choose_device(device)
    if size == 1 or distributed.is_initialized():
        yield World(0, 1, chosen)
        return
    if chosen.name.startswith("cuda"):
        local = int(os.environ.get("LOCAL_RANK", rank))
        if local >= torch.cuda.device_count():
            raise TrainingError(
                f"There are {torch.cuda.device_count()} GPUs here for more processes.",
                "Start torchrun with as many processes as there are GPUs.",
            )
        chosen = replace(chosen, name=f"cuda:{local}")
        torch.cuda.set_device(local)
    distributed.init_process_group("nccl" if chosen.name.startswith("cuda") else "gloo")
    ending = distributed.new_group(backend="gloo", timeout=_FOR_AS_LONG_AS_IT_TAKES)
    try:
        yield World(rank, size, chosen)
        # The first one scores when the others are done. One that leaves it alone may be aborted as it goes,
        # and torchrun then ends the first one, too.
        distributed.barrier(ending)
    finally:
        distributed.destroy_process_group()

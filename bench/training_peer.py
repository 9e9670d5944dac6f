"""The peer of our training loop: what a careful PyTorch user writes first, in float32."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from napari_acuity import Model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_acuity import Pair

WARM_UP_STEPS = 3


class Patches(Dataset):
    """Random crops of RGB uint8 pairs at x2.5, flipped and turned."""

    def __init__(self, pairs: Sequence[Pair], side: int, count: int) -> None:
        self.images = [(pair.low.pixels, pair.high.pixels) for pair in pairs]
        self.side, self.count = side, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, _: int) -> tuple[torch.Tensor, torch.Tensor]:
        # torch's random numbers: each worker has a seed of its own.
        low, high = self.images[int(torch.randint(len(self.images), ()))]
        y, x = (
            2 * int(torch.randint((n - self.side) // 2 + 1, ())) for n in low.shape[:2]
        )  # at even places both grids have a corner
        turns, flip = int(torch.randint(4, ())), bool(torch.randint(2, ()))
        top, left, side = y * 5 // 2, x * 5 // 2, self.side * 5 // 2
        patches = (
            low[y : y + self.side, x : x + self.side],
            high[top : top + side, left : left + side],
        )
        return tuple(_tensor(patch, turns, flip) for patch in patches)  # type: ignore[return-value]


def _tensor(patch: np.ndarray, turns: int, flip: bool) -> torch.Tensor:
    patch = np.rot90(patch[:, ::-1] if flip else patch, turns)
    return torch.from_numpy(np.ascontiguousarray(patch.transpose(2, 0, 1))).float() / 255


def plain_speed(
    pairs: Sequence[Pair], *, patch: int, batch: int, seconds: float, device: str
) -> float:
    """Return patches/s of the network that the bright-field recipe trains, Adam and MSE."""
    gpu = device.startswith("cuda")
    loader = DataLoader(
        Patches(pairs, patch, batch * 100_000),
        batch_size=batch,
        num_workers=min(8, os.cpu_count() or 1) if gpu else 1,
        pin_memory=gpu,
    )
    network = Model.new("brightfield").network.to(device).train()
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-4)
    start, total = 0.0, torch.zeros((), device=device)
    for step, batches in enumerate(loader):
        low, high = (part.to(device, non_blocking=True) for part in batches)
        optimiser.zero_grad()
        loss = functional.mse_loss(network(low), high)
        loss.backward()
        optimiser.step()
        total += loss.detach()
        if step + 1 == WARM_UP_STEPS:
            _wait(gpu)
            start = time.perf_counter()
        # Looking at the loss now and then, for a log, also keeps a GPU's queue short.
        if step % 10 == 0:
            total.item()
        if step + 1 > WARM_UP_STEPS and time.perf_counter() - start >= seconds:
            break
    _wait(gpu)
    return (step + 1 - WARM_UP_STEPS) * batch / (time.perf_counter() - start)


def _wait(gpu: bool) -> None:
    if gpu:
        torch.cuda.synchronize()

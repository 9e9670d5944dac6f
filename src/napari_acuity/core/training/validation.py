"""What a network reaches on fields it is not trained on, and what it shows of one of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from ..micrograph import Micrograph, plane_of, to_unit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..pairs.pair import Pair

    Network = Callable[[torch.Tensor], torch.Tensor]
    Field = tuple[torch.Tensor, torch.Tensor]

__all__ = ["VALIDATION_SIDE", "Preview", "interpolate", "middle", "preview", "validate"]

VALIDATION_SIDE = 256
"""Validation looks at the middle of every field; more says little more and costs training time."""


@dataclass(frozen=True, eq=False)
class Preview:
    """One fixed validation crop, (H, W) or (H, W, 3) float32 in 0..1, each on the output's grid.

    Of two channels, or more than three, their mean is shown.
    """

    input: Any
    output: Any
    truth: Any


def middle(pair: Pair, most_px: int, device: str) -> Field:
    """Cut the middle of a pair, at most so wide, in step with both grids -> two (1, C, h, w) in 0..1."""
    low, high = pair.parts(*pair.middle(most_px))
    return _batch(low, device), _batch(high, device)


@torch.no_grad()
def validate(network: Network, fields: Sequence[Field]) -> tuple[float, float]:
    """Return the mean squared error over the fields and its PSNR in dB, both clipped to 0..1."""
    errors = [
        (network(low).float().clamp(0, 1) - high.clamp(0, 1)).square().mean((1, 2, 3))
        for low, high in _batches(fields)
    ]
    mean = torch.cat(errors).double().mean().item()
    return mean, -10 * math.log10(max(mean, 1e-12))


def _batches(fields: Sequence[Field]) -> Iterator[Field]:
    """Yield fields of one shape together, up to four middles: a small one keeps no GPU busy."""
    for _, alike in groupby(fields, lambda field: (field[0].shape, field[1].shape)):
        found = [*alike]
        at_once = max(1, VALIDATION_SIDE**2 * 4 // found[0][0][0, 0].numel())
        for first in range(0, len(found), at_once):
            low, high = zip(*found[first : first + at_once], strict=True)
            yield torch.cat(low), torch.cat(high)


def interpolate(low: torch.Tensor, scale: float) -> torch.Tensor:
    """Enlarge a batch by torch's bicubic, on aligned centres: the line a network has to pass."""
    size = [round(n * scale) for n in low.shape[-2:]]
    return functional.interpolate(low, size, mode="bicubic", align_corners=False)


@torch.no_grad()
def preview(network: Network, field: Field, scale: float) -> Preview:
    """Show the field enlarged, as the network makes it, and as it is."""
    low, high = field
    return Preview(*(_picture(image) for image in (interpolate(low, scale), network(low), high)))


def _batch(image: Micrograph, device: str) -> torch.Tensor:
    pixels = np.ascontiguousarray(to_unit(image))
    return torch.from_numpy(plane_of(image.with_pixels(pixels)))[None].to(device)


def _picture(batch: torch.Tensor) -> Any:
    image = batch[0].float().clamp(0, 1).cpu()
    return (image.movedim(0, -1) if len(image) == 3 else image.mean(0)).numpy()

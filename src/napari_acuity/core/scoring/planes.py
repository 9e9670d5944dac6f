"""An image as the scores take it on a device: its values on unit range, and its light."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..quality.matching import unit
from .colour import linear

if TYPE_CHECKING:
    from torch import Tensor

    from ..micrograph import Micrograph

__all__ = ["Planes", "planes_of"]


@dataclass(frozen=True, eq=False)
class Planes:
    """An image on a device.

    Parameters
    ----------
    values : Tensor
        (C, Y, X) float64, black 0 and white 1.
    light : Tensor, optional
        The same in linear light; None for grey.
    """

    values: Tensor
    light: Tensor | None


def planes_of(image: Micrograph, device: torch.device) -> Planes:
    """Bring an image of one plane and known range to a device."""
    dtype = image.pixels.dtype
    if dtype.kind != "u" or dtype.itemsize > 2:
        values = _channels_first(unit(image), device, rgb=image.rgb)
        return Planes(values, linear(values) if image.rgb else None)
    # As few bytes as may be go to the device; torch does little with unsigned 16 bit.
    raw = image.pixels if dtype == np.uint8 else image.pixels.astype(np.int32)
    levels = _channels_first(raw, device, rgb=image.rgb).long()
    low, high = image.range()
    every = torch.arange(256**dtype.itemsize, dtype=torch.float64, device=device)
    table = (every - low) / (high - low)
    return Planes(table[levels], linear(table)[levels] if image.rgb else None)


def _channels_first(pixels: np.ndarray, device: torch.device, *, rgb: bool) -> Tensor:
    # torch.tensor takes a read-only array without a warning.
    held = torch.tensor(np.ascontiguousarray(pixels), device=device)
    return held.permute(2, 0, 1).contiguous() if rgb else held[None]

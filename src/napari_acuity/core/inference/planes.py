"""The planes of an image as a network takes them, and the way of pixels to a device and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..errors import ModelError
from ..micrograph import Micrograph, from_unit, kind_of, to_unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..model import Model

__all__ = ["Layout", "from_device", "new_pixels", "to_device"]

# Page-locked memory is copied to several times as fast, and is scarce.
_MOST_LOCKED_BYTES = 1 << 30


@dataclass(frozen=True)
class Layout:
    """Which axes of an image are planes, channels, rows and columns.

    Parameters
    ----------
    leading : tuple of int
        Lengths of the axes before channels, rows and columns: time, z.
    channels : int
        That go into the network together.
    last : bool
        Whether the channels are the last axis (RGB) rather than the one before the rows.
    single : bool
        Whether there is no axis of channels.
    """

    leading: tuple[int, ...]
    channels: int
    last: bool
    single: bool

    @classmethod
    def of(cls, image: Micrograph, channels: int) -> Layout | None:
        """Return how a network of so many channels takes an image; None where it does not fit."""
        shape = image.pixels.shape
        if image.rgb:
            return cls(shape[:-3], 3, True, False) if channels == 3 else None
        if channels == 1:
            return cls(shape[:-2], 1, False, True)
        if len(shape) > 2 and shape[-3] == channels:
            return cls(shape[:-3], channels, False, False)
        return None

    @classmethod
    def fitting(cls, image: Micrograph, model: Model) -> Layout:
        """Return how a model takes an image.

        Raises
        ------
        ModelError
            When its channels do not fit.
        """
        layout = cls.of(image, model.channels)
        if layout is not None:
            return layout
        wanted = kind_of(model.channels, rgb=model.rgb)
        given = kind_of(image.channels, rgb=image.rgb)
        raise ModelError(
            f"Model '{model.name}' takes {wanted} images, and '{image.name}' is {given}.",
            f"Choose a {given} model, or convert the image to {wanted}.",
        )

    def planes(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """View an image's pixels as (n, C, H, W)."""
        if self.last:
            return np.moveaxis(pixels.reshape(-1, *pixels.shape[-3:]), -1, 1)
        return pixels.reshape(-1, self.channels, *pixels.shape[-2:])

    def shape(self, rows: int, cols: int) -> tuple[int, ...]:
        """Return the shape of an image of this layout."""
        if self.last:
            return (*self.leading, rows, cols, self.channels)
        return (*self.leading, *([] if self.single else [self.channels]), rows, cols)

    def piece(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """View a (C, h, w) piece of a plane as the image has it."""
        if self.last:
            return np.moveaxis(pixels, 0, -1)
        return pixels[0] if self.single else pixels


def new_pixels(shape: tuple[int, ...], dtype: np.dtype[Any], device: str) -> NDArray[Any]:
    """Return an array to fill; for a GPU in page-locked memory, where it is not too large for that."""
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if device.startswith("cuda") and dtype == np.uint8 and size <= _MOST_LOCKED_BYTES:
        locked: NDArray[Any] = torch.empty(shape, dtype=torch.uint8, pin_memory=True).numpy()
        return locked
    return np.empty(shape, dtype)


def to_device(piece: NDArray[Any], like: Micrograph, device: str) -> torch.Tensor:
    """Bring a (C, h, w) piece of an image to a device as (1, C, h, w) float32, black 0 and white 1."""
    if piece.dtype == np.uint8 and device != "cpu":
        low, high = like.range()
        # As it lies in memory: interleaved colours stay so, and are what the network likes.
        raw = torch.from_numpy(np.ascontiguousarray(np.moveaxis(piece, 0, -1)))
        unit = (raw.to(device).permute(2, 0, 1).float() - low) / (high - low)
        return unit[None]
    unit_pixels = to_unit(_sized(piece, like))
    return torch.from_numpy(np.ascontiguousarray(unit_pixels))[None].to(device)


def from_device(
    output: torch.Tensor, like: Micrograph, target: NDArray[Any], *, wait: bool = True
) -> None:
    """Write a network's (1, C, h, w) output into a (C, h, w) target in the dtype and range of `like`.

    Without `wait` the copy from a GPU into page-locked memory may still be under way on return.
    """
    if target.dtype == np.uint8 and output.device.type != "cpu":
        low, high = like.range()
        values = (output[0] * (high - low) + low).round_().clamp_(max(low, 0), min(high, 255))
        rows = values.to(torch.uint8).permute(1, 2, 0)
        torch.from_numpy(np.moveaxis(target, 0, -1)).copy_(rows, non_blocking=not wait)
        return
    target[...] = from_unit(output[0].cpu().numpy(), like)


def _sized(piece: NDArray[Any], like: Micrograph) -> Micrograph:
    return Micrograph(piece, value_range=like.range())

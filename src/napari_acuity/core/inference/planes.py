"""The planes of an image as a network takes them, and the way of pixels to a device and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..errors import ModelError
from ..micrograph import Micrograph, from_unit, kind_of, to_unit

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ..model import Model

__all__ = ["Layout", "as_tensor", "from_device", "leaving", "to_device", "unit_pixels"]

# Page-locked memory is copied to several times as fast, and is scarce.
_MOST_LOCKED_BYTES = 1 << 29
# So many at once stay in a processor's cache.
_CACHED_VALUES = 1 << 18
# What a device scales and rounds itself; float32 tells all their values apart.
_NARROW = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float32))


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


def to_device(piece: NDArray[Any], like: Micrograph, device: str) -> torch.Tensor:
    """Bring a (C, h, w) piece of an image to a device as (1, C, h, w) float32, black 0 and white 1.

    On a CPU it may be the piece itself: it is for reading.
    """
    low, high = like.range()
    if device == "cpu" or piece.dtype not in _NARROW:
        piece = unit_pixels(Micrograph(piece, value_range=(low, high)))
        low, high = 0.0, 1.0
    # As it lies in memory: interleaved colours stay so, and are what the network likes.
    order = _order(piece)
    # To lock it first would take longer than the copy does.
    raw = as_tensor(piece.transpose(order)).to(device)
    if piece.dtype == np.uint16:
        raw = raw.int().bitwise_and_(0xFFFF)
    unit = raw.float()
    if low:
        unit = unit - low
    if high - low != 1:
        unit = unit / (high - low)
    return unit.permute(*np.argsort(order).tolist())[None]


def from_device(output: torch.Tensor, like: Micrograph, target: NDArray[Any]) -> None:
    """Write a network's (1, C, h, w) output into a (C, h, w) target in the dtype and range of `like`."""
    leaving(output, like, target)()


def leaving(output: torch.Tensor, like: Micrograph, target: NDArray[Any]) -> Callable[[], None]:
    """Launch what `from_device` has a GPU do; return what waits for it and writes into the target."""
    if target.dtype not in _NARROW:
        target[...] = from_unit(output[0].cpu().numpy(), like)
        return _nothing
    order = _order(target)
    place = _tensor(target.transpose(order))
    unit = output[0].permute(order)
    if output.device.type == "cpu":
        some = max(1, _CACHED_VALUES // unit[0].numel())
        for at in range(0, len(unit), some):
            part = _valued(unit[at : at + some], like, target.dtype)
            place[at : at + some].copy_(part)
        return _nothing
    rows = _valued(unit, like, target.dtype).contiguous()
    if output.device.type != "cuda" or rows.nbytes > _MOST_LOCKED_BYTES:
        place.copy_(rows)
        return _nothing
    # Not into locked memory that is given away: locking it anew takes longer than all the rest.
    staged = torch.empty(rows.shape, dtype=rows.dtype, pin_memory=True)
    staged.copy_(rows, non_blocking=True)
    ready = torch.cuda.current_stream(output.device).record_event()

    def finish() -> None:
        # New memory is laid out at its first touch: while the GPU still computes.
        place.zero_()
        ready.synchronize()
        place.copy_(staged)

    return finish


def unit_pixels(image: Micrograph) -> NDArray[np.float32]:
    """Return what `to_unit` does; pixels that are so already as they are: they are for reading."""
    if image.pixels.dtype == np.float32 and image.range() == (0.0, 1.0):
        return image.pixels
    return to_unit(image)


def as_tensor(pixels: NDArray[Any]) -> torch.Tensor:
    """View an array as a tensor, for reading: torch takes none that is read-only or runs backwards."""
    return _tensor(np.require(pixels, requirements=["C", "W"]))


def _nothing() -> None:
    pass


def _order(pixels: NDArray[Any]) -> tuple[int, int, int]:
    """Return the axes of (C, h, w) pixels in the order that they have in memory."""
    last = len(pixels) == 1 or abs(pixels.strides[0]) < abs(pixels.strides[2])
    return (1, 2, 0) if last else (0, 1, 2)


def _tensor(pixels: NDArray[Any]) -> torch.Tensor:
    """View an array as a tensor; one of 16 bits as signed, since torch does little with unsigned ones."""
    return torch.from_numpy(pixels.view(np.int16) if pixels.dtype == np.uint16 else pixels)


def _valued(unit: torch.Tensor, like: Micrograph, dtype: np.dtype[Any]) -> torch.Tensor:
    """Do what `from_unit` does; 16 bits as signed."""
    low, high = like.range()
    if dtype == np.float32:
        values = unit if high - low == 1 else unit * (high - low)
        return values + low if low else values
    # Each pass over the output takes the GPU some 2 % of what the network takes it.
    values = unit * (high - low)
    if low:
        values += low
    values = values.round_().clamp_(max(low, 0), min(high, np.iinfo(dtype).max))
    whole = torch.uint8 if dtype == np.uint8 else torch.int32
    values = values.to(whole, memory_format=torch.contiguous_format)
    return values if dtype == np.uint8 else values.to(torch.int16)

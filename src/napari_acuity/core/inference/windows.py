"""Networks that take statistics over their whole image: windows of the size they were trained at, blended.

Such a network gives for a part of an image something else than for the whole, so that no tiling is exact.
Windows of the training size see the statistics that the network learnt with; where they overlap, their
results are averaged, weighted by linear ramps. An image that is smaller than a window is mirrored at its
borders until it fills one. What was done stands in the result's notes.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..errors import AcuityError
from ..jobs import Event
from ..memory import memory_errors
from .planes import from_device, to_device
from .tiles import TileDone

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..jobs import Steps
    from ..micrograph import Micrograph
    from .deploy import Engine
    from .planes import Layout

__all__ = ["windowed"]

_OVERLAP = 1 / 4


def windowed(
    image: Micrograph,
    like: Micrograph,
    engine: Engine,
    layout: Layout,
    size: int,
    *,
    whole: bool = False,
) -> Steps[Micrograph]:
    """Apply a network that keeps the grid and takes its statistics over `size` x `size` px.

    Parameters
    ----------
    image : Micrograph
    like : Micrograph
        Tells dtype and range of the result.
    engine : Engine
    layout : Layout
    size : int
        Px; of an image that is larger, windows overlap by at least a quarter of it.
    whole : bool
        One pass over the image, mirrored up to a multiple of `size`, instead of windows.

    Yields
    ------
    Event
        `new` is a `TileDone` of the pixels that stand in a window so far.

    Returns
    -------
    Micrograph
        Its last note says what was done, where the image is not of the size itself.

    Raises
    ------
    AcuityError
        When the memory does not hold a window.
    """
    side = -(-max(image.shape) // size) * size if whole else size
    planes = layout.planes(image.pixels)
    pixels = np.empty(layout.shape(*image.shape), like.pixels.dtype)
    output = layout.planes(pixels)
    spans = [_spans(length, side) for length in image.shape]
    corners = list(product(range(len(planes)), *spans))
    for count, (plane, rows, cols) in enumerate(corners, start=1):
        part = (slice(None), rows, cols)
        made = _through(engine, planes[plane][part], image, side)
        if len(spans[0]) * len(spans[1]) > 1:
            if (rows.start, cols.start) == (0, 0):
                total = torch.zeros(layout.channels, *image.shape)
                weight = torch.zeros(image.shape)
            ramps = _ramps(rows, image.shape[0]), _ramps(cols, image.shape[1])
            share = torch.from_numpy(np.outer(*ramps))
            total[part] += share * made[0].cpu()
            weight[rows, cols] += share
            made = (total[part] / weight[rows, cols])[None]
        from_device(made, like, output[plane][part])
        new = TileDone((plane, rows, cols), layout.piece(output[plane][part]))
        yield Event(f"window {count} of {len(corners)}", count / len(corners), new)
    words = _words(image.shape, side, len(spans[0]) * len(spans[1]))
    # Several iterations have the same to say.
    notes = image.notes if not words or words in image.notes else (*image.notes, words)
    return like.with_pixels(pixels, pixel_size=image.pixel_size, notes=notes)


def _spans(length: int, side: int) -> list[slice]:
    """Cut an axis into windows at even distances; the first begins, and the last ends, with the axis."""
    if length <= side:
        return [slice(0, length)]
    overlap = int(side * _OVERLAP)
    count = -(-(length - overlap) // (side - overlap))
    starts = np.linspace(0, length - side, count).round().astype(int)
    return [slice(int(start), int(start) + side) for start in starts]


def _ramps(span: slice, length: int) -> NDArray[np.float32]:
    """Weigh a window along an axis: rising from its borders, but not where the image ends, too."""
    count = span.stop - span.start
    rise = np.arange(1, count + 1, dtype=np.float32) / (int(count * _OVERLAP) + 1)
    weight = np.ones(count, np.float32)
    if span.start > 0:
        weight = np.minimum(weight, rise)
    if span.stop < length:
        weight = np.minimum(weight, rise[::-1])
    return weight


def _through(engine: Engine, piece: NDArray[Any], image: Micrograph, side: int) -> torch.Tensor:
    rows, cols = piece.shape[-2:]
    if (rows, cols) != (side, side):
        around = [(0, 0), (0, side - rows), (0, side - cols)]
        piece = np.pad(piece, around, mode="symmetric")
    try:
        with memory_errors():
            found = engine.run(to_device(piece, image, engine.device))
    except MemoryError as error:
        raise AcuityError(
            f"The memory does not hold {side} x {side} px, which the network must see at once.",
            "Close other programs, or choose the CPU as the device.",
        ) from error
    return found[..., :rows, :cols]


def _words(shape: tuple[int, int], side: int, windows: int) -> str:
    if windows > 1:
        return (
            f"blended of {windows} windows of {side} x {side} px: the network takes statistics over each "
            "window, so this is not exactly what one pass over the whole image gives"
        )
    if shape != (side, side):
        return (
            f"mirrored from {shape[0]} x {shape[1]} to {side} x {side} px for the network, which takes "
            "statistics over all of it"
        )
    return ""

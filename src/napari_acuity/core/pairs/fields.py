"""All low or all high images of a training run in one tensor, to cut whole batches from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..micrograph import Micrograph, plane_of, to_unit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Fields", "sent"]

# torch can hold uint16 but hardly compute with it: it is kept as int16, shifted by this much.
_SHIFT = 1 << 15


@dataclass(frozen=True, eq=False)
class Fields:
    """All low or all high images, one after the other.

    Parameters
    ----------
    pixels : (N, C) tensor
        uint8, int16 or float32.
    start, width : (fields,) int64 tensors
        Where each image begins, and the length of its rows.
    black, span : (fields,) float32 tensors
        (pixel - black) / span is 0..1.
    """

    pixels: torch.Tensor
    start: torch.Tensor
    width: torch.Tensor
    black: torch.Tensor
    span: torch.Tensor

    @classmethod
    def of(cls, images: Sequence[Micrograph], device: str) -> Fields:
        """Join images of one kind into one buffer, in the fewest bits that hold them all.

        Raises
        ------
        ImageError
            When the values of black and white are not known.
        """
        kinds = {image.pixels.dtype for image in images}
        ranges = [image.range() for image in images]
        shift = 0
        if kinds <= {np.dtype(np.uint8), np.dtype(bool)}:
            arrays: list[NDArray[Any]] = [image.pixels.astype(np.uint8) for image in images]
        elif all(kind.kind in "bu" and kind.itemsize <= 2 for kind in kinds):
            shift = _SHIFT
            arrays = [(image.pixels.astype(np.int32) - shift).astype(np.int16) for image in images]
        else:
            arrays, ranges = [to_unit(image) for image in images], [(0.0, 1.0)] * len(images)
        # The channels of a pixel lie side by side, so that one gather brings them all.
        flat = [
            torch.from_numpy(_pixels_by_channels(image.with_pixels(array)))
            for array, image in zip(arrays, images, strict=True)
        ]
        lengths = torch.tensor([len(pixels) for pixels in flat])
        return cls(
            torch.cat(flat).to(device),
            (lengths.cumsum(0) - lengths).to(device),
            torch.tensor([image.shape[1] for image in images], device=device),
            torch.tensor([black - shift for black, _ in ranges], device=device),
            torch.tensor([white - black for black, white in ranges], device=device),
        )

    def cut(
        self,
        field: torch.Tensor,
        y: torch.Tensor,
        x: torch.Tensor,
        turn: torch.Tensor,
        side: int,
    ) -> torch.Tensor:
        """Cut square patches, each turned in one of eight ways, by one gather.

        Parameters
        ----------
        field, y, x : (n,) int64 tensors
            The field, and the first row and column in it; the patch must lie inside.
        turn : (n,) int64 tensor
            0 to 7: + 1 upside down, + 2 mirrored, + 4 transposed.
        side : int

        Returns
        -------
        (n, C, side, side) float32 tensor
            In 0..1, channels last in memory.
        """
        width = self.width[field]
        upside_down, mirrored, transposed = turn % 2, turn // 2 % 2, turn // 4 == 1
        first = self.start[field] + y * width + x
        first = first + (side - 1) * (upside_down * width + mirrored)
        # Walking a patch's rows and columns is walking the image in steps of +-1 and +-width.
        down, across = width * (1 - 2 * upside_down), 1 - 2 * mirrored
        along_rows = torch.where(transposed, across, down)
        along_cols = torch.where(transposed, down, across)
        walk = torch.arange(side, device=turn.device)
        rows = first[:, None] + along_rows[:, None] * walk
        cols = along_cols[:, None] * walk
        # Of the batch's size from here on: small types and few passes.
        small = torch.int32 if len(self.pixels) < 2**31 else torch.int64
        index = rows.to(small)[:, :, None] + cols.to(small)[:, None, :]
        pixels = self.pixels.index_select(0, index.flatten())
        pixels = pixels.view(len(field), side, side, -1).permute(0, 3, 1, 2)
        black, span = (value[field][:, None, None, None] for value in (self.black, self.span))
        return (pixels - black).div_(span)


def sent(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Bring a tensor from the CPU to a device without waiting for what that has still to do."""
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def _pixels_by_channels(image: Micrograph) -> NDArray[Any]:
    """Lay (Y, X), (Y, X, 3) or (C, Y, X) out as (Y * X, C)."""
    last = np.moveaxis(plane_of(image), 0, -1)
    return np.ascontiguousarray(last).reshape(-1, last.shape[-1])

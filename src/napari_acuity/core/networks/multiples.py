"""Images of any size for networks that take whole blocks of pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["in_whole_blocks", "up_to_multiple"]


def in_whole_blocks(
    compute: Callable[[torch.Tensor], torch.Tensor],
    image: torch.Tensor,
    *,
    enlarged: int,
    shrunk: int,
) -> torch.Tensor:
    """Compute an image whose last row and column are repeated to whole blocks, and cut off what that adds.

    A convolution that strides would meet zeros beyond an image of another size, as it never did in training
    on patches of whole blocks, and would make a dark border of them.

    Parameters
    ----------
    compute : function of a tensor
        (n, C, h, w) -> (n, C, enlarged h / shrunk, enlarged w / shrunk), where these are whole.
    image : (n, C, h, w) tensor
        Of any size.
    enlarged, shrunk : int
        By how much a shuffle enlarges, and a stride then shrinks; the side of a block.

    Returns
    -------
    (n, C, ceil(enlarged h / shrunk), ceil(enlarged w / shrunk)) tensor
    """
    # ONNX divides negative numbers otherwise: none here.
    height, width = ((enlarged * n + shrunk - 1) // shrunk for n in image.shape[-2:])
    return compute(up_to_multiple(image, shrunk))[..., :height, :width]


def up_to_multiple(image: torch.Tensor, multiple: int) -> torch.Tensor:
    """Repeat the last row and column until both sides are multiples; nothing where they are."""
    if multiple == 1:
        return image
    # Whole cells times their size: exporters can then prove that both halves of the network fit together.
    wanted = [(n + multiple - 1) // multiple * multiple for n in image.shape[-2:]]
    tracing = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    # torch has it from 2.7 on, and so must have who exports.
    exporting = getattr(torch.compiler, "is_exporting", bool)
    recorded = exporting() or tracing
    if not recorded and wanted == [*image.shape[-2:]]:
        return image
    for axis, size in zip((-2, -1), wanted, strict=True):
        places = torch.arange(size, device=image.device).clamp(max=image.shape[axis] - 1)
        image = image.index_select(axis, places)
    return image

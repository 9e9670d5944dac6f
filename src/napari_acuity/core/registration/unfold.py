"""Smooth a shift map where it folds the image, and only there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from .looks import smooth

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["unfolded"]

_LEAST_AREA = 0.05
_REACHES_PX = (6.0, 6.0, 12.0, 12.0, 24.0, 24.0, 48.0, 48.0, 96.0, 96.0)


def unfolded(shift_map: Tensor) -> Tensor:
    """Blend a shift map into its own blur round each fold, further and further until none is left.

    A map folds where too little is seen to hold it, at corners and over empty glass; the rest of it
    stays as it is.

    Parameters
    ----------
    shift_map : (2, H, W) float32 tensor
        (dy, dx) in px.

    Returns
    -------
    (2, H, W) float32 tensor
    """
    for reach_px in _REACHES_PX:
        (yy, yx), (xy, xx) = (torch.gradient(part) for part in shift_map)
        folded = yy.add_(1).mul_(xx.add_(1)).addcmul_(yx, xy, value=-1) < _LEAST_AREA
        if not folded.any():
            break
        near = (smooth(folded.float(), reach_px) > 1e-3).float()
        blend = smooth(near, reach_px / 2)
        shift_map = torch.lerp(shift_map, smooth(shift_map, reach_px), blend)
    return shift_map

"""Smooth a shift map where it folds the image, and only there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from .looks import smooth

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["unfolded"]

_LEAST_AREA = 0.05
# Splines bend over 20 px and more: where no square of 4 px is smaller than this share, no pixel is folded.
_STEP_PX, _CLEARLY_FLAT = 4, 0.7
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
    coarse = shift_map[:, ::_STEP_PX, ::_STEP_PX] / _STEP_PX
    if (_areas(coarse) > _CLEARLY_FLAT).all():
        return shift_map
    for reach_px in _REACHES_PX:
        folded = _areas(shift_map) < _LEAST_AREA
        if not folded.any():
            break
        whole = functional.pad(folded.float(), (0, 1, 0, 1))
        near = (smooth(whole, reach_px) > 1e-3).float()
        blend = smooth(near, reach_px / 2)
        shift_map = torch.lerp(shift_map, smooth(shift_map, reach_px), blend)
    return shift_map


def _areas(shifts: Tensor) -> Tensor:
    """Return how large the square below and beside each pixel becomes: (2, H, W) -> (H - 1, W - 1)."""
    corner = shifts[:, :-1, :-1]
    (yy, xy), (yx, xx) = shifts[:, 1:, :-1] - corner, shifts[:, :-1, 1:] - corner
    return yy.add_(1).mul_(xx.add_(1)).addcmul_(yx, xy, value=-1)

"""Smooth a shift map where it folds the image, and only there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from .looks import smooth

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["unfolded"]

# A square of 4 px: splines bend over 20 px and more, and folds are no narrower.
_STEP_PX, _LEAST_AREA = 4, 0.05
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
        folded = _areas(shift_map[:, ::_STEP_PX, ::_STEP_PX]) < _LEAST_AREA * _STEP_PX**2
        if not folded.any():
            break
        whole = functional.interpolate(folded[None, None].float(), shift_map.shape[1:])[0, 0]
        near = (smooth(whole, reach_px) > 1e-3).float()
        blend = smooth(near, reach_px / 2)
        shift_map = torch.lerp(shift_map, smooth(shift_map, reach_px), blend)
    return shift_map


def _areas(shifts: Tensor) -> Tensor:
    """Return the areas (px^2) that the squares between (2, h, w) shifts, taken every few px, become."""
    corner = shifts[:, :-1, :-1]
    (yy, xy), (yx, xx) = shifts[:, 1:, :-1] - corner, shifts[:, :-1, 1:] - corner
    return yy.add_(_STEP_PX).mul_(xx.add_(_STEP_PX)).addcmul_(yx, xy, value=-1)

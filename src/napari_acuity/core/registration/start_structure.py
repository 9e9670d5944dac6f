"""A start for images whose details differ: shifts of large blocks of outlines and layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from ..geometry import dense_map, resample, resize_homography
from .correlation import BlockShifts, block_shifts
from .looks import STRUCTURE
from .plane import implausible, shrunk

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["find_by_structure"]

# Structure is compared at this size at most, px.
_STRUCTURE_SIDE = 1024
# Round by round: block side, largest shift, and how far blocks may be from the affine map they agree on, px.
_ROUNDS = ((256, 80, 24.0), (256, 80, 16.0), (128, 32, 8.0))
# So many blocks must agree, this share of all, and so much more than by chance. Of twelve pairs of serial
# sections the weakest had 31 blocks, 26 %, 1.4 times what chance gave.
_LEAST_BLOCKS, _LEAST_SHARE, _BETTER = 25, 0.25, 1.33


def find_by_structure(
    fixed: NDArray[np.float32], moving: NDArray[np.float32]
) -> tuple[NDArray[np.float64] | None, str]:
    """Lay the frames over each other, then fit an affine map to the shifts of large blocks.

    For images whose fine texture differs, such as neighbouring sections in unlike stains: what is
    compared is their `STRUCTURE`. It finds shifts of up to a quarter of the frame and small turns.

    Parameters
    ----------
    fixed, moving : (H, W) float32

    Returns
    -------
    (3, 3) float64 or None
        (x, y, 1) px of fixed -> (x, y, 1) px of moving; None when too few blocks agree.
    str
        What was found, in words.
    """
    (small_f, to_small_f), (small_m, to_small_m) = (
        shrunk(image, _STRUCTURE_SIDE) for image in (fixed, moving)
    )
    target = _seen(small_f)
    agreement = _agree_on_structure(target, small_m)
    # What blocks agree on where there is nothing to find: the same image, turned over.
    chance = _agree_on_structure(target, np.ascontiguousarray(small_m[::-1, ::-1]))
    words = f"{agreement.share:.0%} of the blocks agree, {chance.share:.0%} by chance"
    needed = max(_LEAST_SHARE, _BETTER * chance.share)
    if agreement.agree < _LEAST_BLOCKS or agreement.share < needed:
        return None, f"only {words}"
    plane = np.linalg.inv(to_small_m) @ agreement.plane @ to_small_f
    reason = implausible(plane, fixed.shape, moving.shape)
    return (None, f"{words}, but {reason}") if reason else (plane, words)


@dataclass(frozen=True, eq=False)
class _Agreement:
    """An affine map, and how many of the trusted blocks agree on it."""

    plane: NDArray[np.float64]
    agree: int = 0
    trusted: int = 0

    @property
    def share(self) -> float:
        return self.agree / self.trusted if self.trusted else 0.0


def _agree_on_structure(target: NDArray[np.float32], moving: NDArray[np.float32]) -> _Agreement:
    """Fit an affine map from a fixed image's structure to a moving image, round by round."""
    found = _Agreement(resize_homography(target.shape, moving.shape))
    for block, max_shift, tolerance_px in _ROUNDS:
        shifts = _structure_shifts(target, moving, found.plane, block, max_shift)
        trusted = shifts.similarity > 0.2
        if trusted.sum() < 6:
            return _Agreement(found.plane)
        centres = np.stack(np.meshgrid(shifts.cols, shifts.rows), axis=-1)[trusted]
        landed = centres + shifts.shift[trusted][:, ::-1]
        cv2.setRNGSeed(0)
        affine, agree = cv2.estimateAffine2D(
            centres,
            landed,
            method=cv2.RANSAC,
            ransacReprojThreshold=tolerance_px,
            maxIters=5000,
            confidence=0.999,
        )
        if affine is None:
            return _Agreement(found.plane)
        plane = found.plane @ np.vstack([affine, [0, 0, 1]])
        found = _Agreement(plane, int(agree.sum()), len(agree))
    return found


def _structure_shifts(
    target: NDArray[np.float32],
    moving: NDArray[np.float32],
    plane: NDArray[np.float64],
    block: int,
    max_shift: int,
) -> BlockShifts:
    warped, inside = resample(moving, dense_map(plane, torch.zeros((2, *target.shape))))
    shared, source = (
        torch.from_numpy(np.where(inside, structure, np.float32(0)))
        for structure in (target, _seen(warped))
    )
    side = min(block, min(target.shape) // 2)
    return block_shifts(shared, source, block=side, max_shift=max_shift)


def _seen(image: NDArray[np.float32]) -> NDArray[np.float32]:
    return STRUCTURE.of(torch.from_numpy(image)).numpy()

"""A start for images whose details differ: shifts of large blocks of outlines and layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from ...geometry import dense_map, resize_homography, sample
from ..correlation import BlockShifts, block_shifts
from ..looks import STRUCTURE, local_correlation
from ..plane import implausible, shrunk
from .turns import likely_turns

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["find_by_structure"]

# Structure is compared at this size at most, px.
_STRUCTURE_SIDE = 1024
# Round by round: block side, largest shift, and how far blocks may be from the affine map they agree on, px.
_ROUNDS = ((256, 80, 24.0), (256, 80, 16.0), (128, 32, 8.0))
# So many blocks must agree, and the structure then correlate so well, and so much better than by chance.
# Twelve pairs of serial sections correlate by 0.18 to 0.70; of 250 unrelated pairs on which 20 blocks or
# more agree none reached more than 0.10.
_LEAST_BLOCKS, _LEAST_CORRELATION, _BETTER = 25, 0.14, 1.5


def find_by_structure(
    fixed: NDArray[np.float32], moving: NDArray[np.float32], *, scale: float | None = None
) -> tuple[NDArray[np.float64] | None, str]:
    """Lay the frames over each other, then fit an affine map to the shifts of large blocks.

    For images whose fine texture differs, such as neighbouring sections in unlike stains: what is
    compared is their `STRUCTURE`. It finds shifts of up to a quarter of the frame and small turns; where
    there is nothing, the moving image is turned, mirrored and moved first.

    Parameters
    ----------
    fixed, moving : (H, W) float32
    scale : float, optional
        Moving px per fixed px, from the pixel sizes.

    Returns
    -------
    (3, 3) float64 or None
        (x, y, 1) px of fixed -> (x, y, 1) px of moving; None when the structure does not agree.
    str
        What was found, in words.
    """
    (small_f, to_small_f), (small_m, to_small_m) = (
        shrunk(image, _STRUCTURE_SIDE) for image in (fixed, moving)
    )
    target = _seen(small_f)
    agreement, words = _agree(target, small_m, resize_homography(target.shape, small_m.shape))
    if agreement is None:
        for turn in likely_turns(fixed, moving, scale=scale):
            start = to_small_m @ turn.plane @ np.linalg.inv(to_small_f)
            other, others = _agree(target, small_m, start)
            if other and (agreement is None or other.correlation > agreement.correlation):
                agreement, words = other, f"{turn.words}, {others}"
    if agreement is None:
        return None, f"only {words}"
    plane = np.linalg.inv(to_small_m) @ agreement.plane @ to_small_f
    reason = implausible(plane, fixed.shape, moving.shape)
    return (None, f"{words}, but {reason}") if reason else (plane, words)


def _agree(
    target: NDArray[np.float32], moving: NDArray[np.float32], start: NDArray[np.float64]
) -> tuple[_Agreement | None, str]:
    """Return what blocks agree on from a plane map on, None where that is no more than chance; and words."""
    agreement = _agree_on_structure(target, moving, start)
    # What blocks agree on where there is nothing to find: the same image, turned over.
    chance = _agree_on_structure(target, np.ascontiguousarray(moving[::-1, ::-1]), start)
    words = (
        f"{agreement.blocks} blocks agree, correlation {agreement.correlation:.2f}, "
        f"{chance.correlation:.2f} by chance"
    )
    needed = max(_LEAST_CORRELATION, _BETTER * chance.correlation)
    enough = agreement.blocks >= _LEAST_BLOCKS and agreement.correlation >= needed
    return (agreement if enough else None), words


@dataclass(frozen=True, eq=False)
class _Agreement:
    """An affine map, how many blocks agree on it, and how well the structure correlates then."""

    plane: NDArray[np.float64]
    blocks: int = 0
    correlation: float = 0.0


def _agree_on_structure(
    target: NDArray[np.float32], moving: NDArray[np.float32], plane: NDArray[np.float64]
) -> _Agreement:
    """Fit an affine map from a fixed image's structure to a moving image, from one on, round by round."""
    blocks = 0
    for block, max_shift, tolerance_px in _ROUNDS:
        shifts = _structure_shifts(target, moving, plane, block, max_shift)
        trusted = shifts.similarity > 0.2
        if trusted.sum() < 6:
            return _Agreement(plane)
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
            return _Agreement(plane)
        plane, blocks = plane @ np.vstack([affine, [0, 0, 1]]), int(agree.sum())
    source, inside = _through(moving, plane, target.shape)
    correlation = local_correlation(torch.from_numpy(target), source, inside)
    return _Agreement(plane, blocks, correlation)


def _structure_shifts(
    target: NDArray[np.float32],
    moving: NDArray[np.float32],
    plane: NDArray[np.float64],
    block: int,
    max_shift: int,
) -> BlockShifts:
    source, inside = _through(moving, plane, target.shape)
    nothing = torch.zeros(())
    shared = torch.where(inside, torch.from_numpy(target), nothing)
    side = min(block, min(target.shape) // 2)
    return block_shifts(
        shared, torch.where(inside, source, nothing), block=side, max_shift=max_shift
    )


def _through(
    moving: NDArray[np.float32], plane: NDArray[np.float64], shape: tuple[int, ...]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the structure of the moving image on a grid of a shape, and where it is."""
    mapping = dense_map(plane, torch.zeros((2, *shape)), dtype=torch.float32)
    warped, inside = sample(torch.from_numpy(moving), mapping)
    return STRUCTURE.of(warped), inside


def _seen(image: NDArray[np.float32]) -> NDArray[np.float32]:
    return STRUCTURE.of(torch.from_numpy(image)).numpy()

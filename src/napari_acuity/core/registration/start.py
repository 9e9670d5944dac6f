"""Starts: plane maps that bring two images roughly onto each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from ..geometry import apply_homography, dense_map, resample, resize_homography, scale_at_centre
from .correlation import BlockShifts, block_shifts
from .elastic import STRUCTURE

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Matches", "find_by_features", "find_by_structure", "implausible"]

_FEATURES = 8000
_RATIO = 0.8
_LEAST_INLIERS = 12

# Structure is compared at this size at most, px.
_STRUCTURE_SIDE = 1024
# Round by round: block side, largest shift, and how far blocks may be from the affine map they agree on, px.
_ROUNDS = ((256, 80, 24.0), (256, 80, 16.0), (128, 32, 8.0))
# So many blocks must agree, this share of all, and so much more than by chance. Of twelve pairs of serial
# sections the weakest had 31 blocks, 26 %, 1.4 times what chance gave.
_LEAST_BLOCKS, _LEAST_SHARE, _BETTER = 25, 0.25, 1.33


@dataclass(frozen=True, eq=False)
class Matches:
    """A homography and the features that agree on it.

    Parameters
    ----------
    homography : (3, 3) float64
        (x, y, 1) px of fixed -> (x, y, 1) px of moving.
    fixed, moving : (n, 2) float64
        The inliers, (row, col) in each image.
    """

    homography: NDArray[np.float64]
    fixed: NDArray[np.float64]
    moving: NDArray[np.float64]


def find_by_features(
    fixed: NDArray[np.float32], moving: NDArray[np.float32]
) -> tuple[Matches | None, str]:
    """Match SIFT features and fit a homography by RANSAC.

    SIFT as in Lowe 2004 (doi:10.1023/B:VISI.0000029664.99615.94) on contrast-limited equalised grey,
    ratio test at 0.8.

    Parameters
    ----------
    fixed, moving : (H, W) float32

    Returns
    -------
    Matches or None
        None when too few features agree or their map is implausible.
    str
        What was found, in words.
    """
    sift = cv2.SIFT.create(_FEATURES)
    (points_f, features_f), (points_m, features_m) = (
        sift.detectAndCompute(_equalised(image), None) for image in (fixed, moving)
    )
    if min(len(points_f), len(points_m)) < _LEAST_INLIERS:
        return None, f"only {len(points_f)} and {len(points_m)} features"
    pairs = cv2.BFMatcher(cv2.NORM_L2).knnMatch(features_f, features_m, k=2)
    good = [p[0] for p in pairs if len(p) == 2 and p[0].distance < _RATIO * p[1].distance]
    if len(good) < _LEAST_INLIERS:
        return None, f"only {len(good)} matching features"
    xy_f = np.array([points_f[match.queryIdx].pt for match in good])
    xy_m = np.array([points_m[match.trainIdx].pt for match in good])
    tolerance_px = 3.0 * max(1.0, moving.shape[0] / 1000)
    cv2.setRNGSeed(0)
    found, mask = cv2.findHomography(
        xy_f, xy_m, cv2.RANSAC, tolerance_px, maxIters=5000, confidence=0.999
    )
    homography = None if found is None else np.asarray(found, dtype=np.float64)
    inliers = np.zeros(len(good), bool) if mask is None else mask.ravel().astype(bool)
    words = f"{inliers.sum()} of {len(good)} matching features agree"
    # Two matches of one point count once: repeated features would let chance agree with itself.
    distinct = len(np.unique(np.rint(xy_m[inliers]), axis=0))
    if homography is None or distinct < _LEAST_INLIERS:
        return None, f"only {words}"
    reason = implausible(homography, fixed.shape, moving.shape)
    if reason:
        return None, f"{words}, but {reason}"
    return Matches(homography, xy_f[inliers, ::-1], xy_m[inliers, ::-1]), words


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
    (small_f, to_small_f), (small_m, to_small_m) = _shrunk(fixed), _shrunk(moving)
    target = STRUCTURE.of(small_f)
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
        for structure in (target, STRUCTURE.of(warped))
    )
    side = min(block, min(target.shape) // 2)
    return block_shifts(shared, source, block=side, max_shift=max_shift)


def _shrunk(image: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Shrink an image to the size structure is compared at; also return the map to it."""
    factor = max(1.0, max(image.shape) / _STRUCTURE_SIDE)
    height, width = (max(1, round(n / factor)) for n in image.shape)
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32), resize_homography(image.shape, (height, width))


def implausible(
    homography: NDArray[np.float64], fixed_shape: tuple[int, int], moving_shape: tuple[int, int]
) -> str:
    """Say why a homography cannot be right for two micrographs, or return an empty string."""
    height, width = fixed_shape
    outline = np.array([[0, 0], [0, width - 1], [height - 1, width - 1], [height - 1, 0]], float)
    corners = apply_homography(homography, outline)
    if not np.isfinite(corners).all():
        return "the map has its horizon inside the image"
    edges = np.roll(corners, -1, axis=0) - corners
    turns = edges[:, 0] * np.roll(edges[:, 1], -1) - edges[:, 1] * np.roll(edges[:, 0], -1)
    if not ((turns > 0).all() or (turns < 0).all()):
        return "the map folds the image"
    lengths = np.linalg.norm(edges, axis=1)
    if (lengths[:2] / lengths[2:]).max() > 1.5 or (lengths[2:] / lengths[:2]).max() > 1.5:
        return "the map tilts the image more than a microscope can"
    stretch = (lengths[0] + lengths[2]) / width / ((lengths[1] + lengths[3]) / height)
    if not 0.5 < stretch < 2:
        return (
            f"the map stretches one axis {max(stretch, 1 / stretch):.1f} times more than the other"
        )
    scale = scale_at_centre(homography, fixed_shape)
    if not 0.05 < scale < 20:
        return f"the map scales by {scale:.3g}"
    if _overlap(corners, moving_shape) < 0.05:
        return "the images hardly overlap"
    return ""


def _overlap(corners: NDArray[np.float64], moving_shape: tuple[int, int]) -> float:
    """Return the share of the smaller image that the mapped outline and the moving image share."""
    height, width = moving_shape
    frame = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], np.float32)
    outline = np.ascontiguousarray(corners[:, ::-1], np.float32)
    shared, _ = cv2.intersectConvexConvex(outline, frame)
    return float(shared) / min(float(cv2.contourArea(outline)), float(cv2.contourArea(frame)))


def _equalised(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    low, high = np.percentile(image, (0.1, 99.9))
    stretched = np.clip((image - low) / max(high - low, 1e-6) * 255, 0, 255).astype(np.uint8)
    return cv2.createCLAHE(2.0, (8, 8)).apply(stretched)

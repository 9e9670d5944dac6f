"""A start by matching details: SIFT features, and the plane map that most of them agree on."""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from ...geometry import apply_homography
from ...jobs import at_once
from ..plane import NAMES, Matches, Transform, flip, implausible, shrunk, squared_misses

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["find_by_features"]

# Longer side of the images in px, and features at most. Small images come first: they cost little,
# and a capture and its reference agree better without the finest detail, which one of them lacks.
_SMALL, _LARGE = ((256, 1000), (384, 1500)), (2048, 8000)
_RATIO = 0.8
_LEAST_INLIERS = 12
# In the small images so many must agree, and this share, or more is tried.
_SURE_INLIERS, _SURE_SHARE = 20, 0.35


def find_by_features(
    fixed: NDArray[np.float32], moving: NDArray[np.float32], *, transform: Transform = "auto"
) -> tuple[Matches | None, str]:
    """Match SIFT features and fit a homography, an affine map or a similarity to them.

    SIFT as in Lowe 2004 (doi:10.1023/B:VISI.0000029664.99615.94) on contrast-limited equalised grey,
    ratio test at 0.8. Shrunk images are matched first; where that finds nothing sure, the moving one
    is mirrored; then both are matched large.

    Parameters
    ----------
    fixed, moving : (H, W) float32
    transform : str
        The kind of map to fit; "auto" takes the one that pays best for its parameters.

    Returns
    -------
    Matches or None
        None when too few features agree or their map is implausible.
    str
        What was found, in words.
    """
    longest = max(*fixed.shape, *moving.shape)
    # The last are as they come where they are smaller still.
    sizes = [size for size in _SMALL[:-1] if size[0] < longest] + [_SMALL[-1]]
    for size, mirrored in product(sizes, (False, True)):
        found, words, share = _find(fixed, moving, *size, transform, mirrored=mirrored)
        if found and len(found.fixed) >= _SURE_INLIERS and share >= _SURE_SHARE:
            return found, words
    found, words, _ = _find(fixed, moving, *_LARGE, transform)
    return found, words


def _find(
    fixed: NDArray[np.float32],
    moving: NDArray[np.float32],
    side: int,
    count: int,
    transform: Transform,
    *,
    mirrored: bool = False,
) -> tuple[Matches | None, str, float]:
    """Match at one size; also return the share of the matches that agree."""
    turned = np.ascontiguousarray(moving[:, ::-1]) if mirrored else moving
    points_f, points_m = _matching_points(fixed, turned, side, count)
    if len(points_f) < _LEAST_INLIERS:
        return None, f"only {len(points_f)} matching features", 0.0
    tolerance_px = max(3.0, 2.25 * max(moving.shape) / side)
    name, plane = _best_model(points_f, points_m, tolerance_px, transform)
    inliers = _residuals(plane, points_f, points_m) < tolerance_px
    words = f"{inliers.sum()} of {len(inliers)} matching features agree on {name}"
    # Two matches of one point count once: repeated features would let chance agree with itself.
    if len(np.unique(np.rint(points_m[inliers]), axis=0)) < _LEAST_INLIERS:
        return None, f"only {words}", 0.0
    if mirrored:
        plane, words = flip(moving.shape) @ plane, f"{words}, the moving image mirrored"
        points_m = points_m * (1, -1) + (0, moving.shape[1] - 1)
    reason = implausible(plane, fixed.shape, moving.shape)
    if reason:
        return None, f"{words}, but {reason}", 0.0
    return Matches(plane, points_f[inliers], points_m[inliers]), words, float(inliers.mean())


def _matching_points(
    fixed: NDArray[np.float32], moving: NDArray[np.float32], side: int, count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (n, 2) points (row, col) in px of either image whose features match."""
    (points_f, features_f), (points_m, features_m) = at_once(
        partial(_features, side=side, count=count), (fixed, moving)
    )
    if min(len(points_f), len(points_m)) < 2:
        return np.zeros((0, 2)), np.zeros((0, 2))
    index_f, index_m = _nearest(torch.from_numpy(features_f), torch.from_numpy(features_m))
    return points_f[index_f], points_m[index_m]


def _features(
    image: NDArray[np.float32], side: int, count: int
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return points (row, col) in px of the image, and their SIFT descriptors."""
    small, to_small = shrunk(image, side)
    points, features = cv2.SIFT.create(count).detectAndCompute(_equalised(small), None)
    if features is None:
        return np.zeros((0, 2)), np.zeros((0, 128), np.float32)
    points_rc = np.array([point.pt[::-1] for point in points], np.float64)
    points_rc = apply_homography(np.asarray(np.linalg.inv(to_small), np.float64), points_rc)
    return points_rc, np.asarray(features, np.float32)


def _nearest(
    wanted: torch.Tensor, among: torch.Tensor
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the index pairs of features clearly nearer to one feature than to any other."""
    lengths = among.square().sum(1)
    clear, nearest = [], []
    for part in torch.split(wanted, 2048):
        squares, index = torch.addmm(lengths, part, among.T, alpha=-2).topk(2, largest=False)
        squares += part.square().sum(1, keepdim=True)
        clear.append(squares[:, 0] < _RATIO**2 * squares[:, 1])
        nearest.append(index[:, 0])
    chosen = torch.nonzero(torch.cat(clear))[:, 0]
    return chosen.numpy(), torch.cat(nearest)[chosen].numpy()


def _best_model(
    points_f: NDArray[np.float64],
    points_m: NDArray[np.float64],
    tolerance_px: float,
    transform: Transform,
) -> tuple[str, NDArray[np.float64]]:
    """Fit each kind of plane map robustly and choose by GRIC (Torr 1998, doi:10.1098/rsta.1998.0224).

    Each parameter must pay by smaller residuals: few or doubtful matches get a simpler map.
    """
    xy_f, xy_m = points_f[:, ::-1].copy(), points_m[:, ::-1].copy()
    # MAGSAC++ (Barath et al. 2020, doi:10.1109/CVPR42600.2020.00138).
    kinds = (
        ("homography", 8, cv2.findHomography, cv2.USAC_MAGSAC),
        ("affine", 6, cv2.estimateAffine2D, cv2.RANSAC),
        ("similarity", 4, cv2.estimateAffinePartial2D, cv2.RANSAC),
    )
    costs = []
    cv2.setRNGSeed(0)
    for kind, parameters, estimate, method in kinds:
        if transform not in ("auto", kind):
            continue
        fitted, _ = estimate(
            xy_f,
            xy_m,
            method=method,
            ransacReprojThreshold=tolerance_px,
            maxIters=5000,
            confidence=0.999,
        )
        if fitted is None:
            continue
        plane = np.vstack([fitted, [0, 0, 1]])[:3].astype(np.float64)
        squares = (_residuals(plane, points_f, points_m) / (tolerance_px / 2)) ** 2
        cost = np.minimum(squares, 4).sum() + parameters * np.log(4 * len(squares))
        costs.append((float(cost), NAMES[kind], plane))
    if not costs:
        return "nothing", np.full((3, 3), np.nan)
    return min(costs, key=lambda entry: entry[0])[1:]


def _residuals(
    plane: NDArray[np.float64], points_f: NDArray[np.float64], points_m: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return how far the map squared_misses each point, px of the moving image."""
    return np.nan_to_num(np.sqrt(squared_misses(plane, points_f, points_m)), nan=np.inf)


def _equalised(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    low, high = np.percentile(image, (0.1, 99.9))
    stretched = np.clip((image - low) / max(high - low, 1e-6) * 255, 0, 255).astype(np.uint8)
    return cv2.createCLAHE(2.0, (8, 8)).apply(stretched)

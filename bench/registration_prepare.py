"""What the peers get: a start by features, and both images in grey on the fixed grid.

None of them finds a turn, a scale and a stain of its own, so that each is given what a careful user would
give it: SIFT's homography, or a plain resize where that fails, and greys that are alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from registration_truth import apply_plane, grid
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]
    Grey = NDArray[np.float32]
    Points = NDArray[np.float64]
    Map = Callable[[Points], Points]

SWAP = np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]])


def grey(image: Pixels) -> Grey:
    """Return the luma of an RGB image, 0 to 255."""
    return image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)


def resize_plane(moving: Pixels, fixed: Pixels) -> Points:
    """Return the map of frame onto frame, (row, col) of fixed to moving."""
    rows, cols = (m / f for m, f in zip(moving.shape[:2], fixed.shape[:2], strict=True))
    return np.array([[rows, 0, (rows - 1) / 2], [0, cols, (cols - 1) / 2], [0, 0, 1]])


def start_plane(moving: Pixels, fixed: Pixels) -> Points:
    """Return SIFT's homography, (row, col) of fixed to moving, or a resize where there is none."""
    (fixed_keys, fixed_words), (moving_keys, moving_words) = _details(fixed), _details(moving)
    matches = []
    if min(len(fixed_keys), len(moving_keys)) >= 8:
        pairs = cv2.BFMatcher(cv2.NORM_L2).knnMatch(fixed_words, moving_words, k=2)
        matches = [p[0] for p in pairs if len(p) == 2 and p[0].distance < 0.8 * p[1].distance]
    if len(matches) < 8:
        return resize_plane(moving, fixed)
    source = np.array([fixed_keys[match.queryIdx].pt for match in matches], np.float32)
    target = np.array([moving_keys[match.trainIdx].pt for match in matches], np.float32)
    reach = 3 * max(1.0, len(moving) / 1000)
    plane, inliers = cv2.findHomography(
        source, target, cv2.RANSAC, reach, maxIters=5000, confidence=0.999
    )
    if plane is None or inliers.sum() < 10 or not _plausible(plane, len(moving) / len(fixed)):
        return resize_plane(moving, fixed)
    return SWAP @ plane @ SWAP


def _details(image: Pixels) -> tuple[tuple[cv2.KeyPoint, ...], Grey]:
    lively = cv2.createCLAHE(2.0, (8, 8)).apply(np.clip(grey(image), 0, 255).astype(np.uint8))
    return cv2.SIFT_create(8000).detectAndCompute(lively, None)


def _plausible(plane: Points, expected: float) -> bool:
    scale = np.sqrt(abs(np.linalg.det(plane[:2, :2])))
    return bool(0.2 < scale / expected < 3)


def sample(image: NDArray[np.generic], where: NDArray[np.floating]) -> NDArray[np.generic]:
    """Sample an image at (H, W, 2) (row, col), bicubic."""
    rows, cols = np.moveaxis(where.astype(np.float32), -1, 0)
    return cv2.remap(image, cols, rows, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def on_fixed(moving: Pixels, fixed: Pixels, plane: Points) -> tuple[Pixels, NDArray[np.bool_]]:
    """Bring moving onto the fixed grid; return it and where it is inside."""
    rows, cols = fixed.shape[:2]
    where = apply_plane(plane, grid(rows, cols)).reshape(rows, cols, 2)
    inside = ((where >= 0) & (where <= np.array(moving.shape[:2]) - 1)).all(-1)
    return sample(moving, where), inside


def matched(moving: Pixels, fixed: Pixels, plane: Points) -> tuple[Grey, Grey]:
    """Return fixed and moving in grey on the fixed grid, with like histograms.

    Fixed is blurred to the resolution of moving; outside its frame, moving is fixed, so that no method
    is led astray by an empty border.
    """
    target, source, inside = _greys(moving, fixed, plane)
    levels = np.linspace(0, 100, 256)
    low, high = (np.percentile(image[inside], levels) for image in (source, target))
    source = np.interp(source, low, high).astype(np.float32)
    source[~inside] = target[~inside]
    return target, source


def normalised(moving: Pixels, fixed: Pixels, plane: Points) -> tuple[Grey, Grey]:
    """Do as `matched`, by local mean and contrast (Gaussian window, sigma 12 px)."""
    target, source, inside = _greys(moving, fixed, plane)
    target, source = _local_contrast(target), _local_contrast(source)
    source[~inside] = target[~inside]
    return target, source


def _greys(moving: Pixels, fixed: Pixels, plane: Points) -> tuple[Grey, Grey, NDArray[np.bool_]]:
    source, inside = on_fixed(moving, fixed, plane)
    target = grey(fixed)
    scale = np.sqrt(abs(np.linalg.det(plane[:2, :2])))
    if scale < 0.95:
        target = cv2.GaussianBlur(target, (0, 0), 0.5 * np.sqrt(1 / scale**2 - 1) + 0.3)
    return target, grey(source), inside


def _local_contrast(image: Grey) -> Grey:
    mean = cv2.GaussianBlur(image, (0, 0), 12)
    spread = cv2.GaussianBlur(image * image, (0, 0), 12) - mean * mean
    return (image - mean) / (np.sqrt(np.maximum(spread, 0)) + 4)


def to_bytes(image: Grey) -> Pixels:
    """Bring a normalised grey, about -3 to 3, to bytes."""
    return np.clip((image + 3) / 6 * 255, 0, 255).astype(np.uint8)


def after_plane(plane: Points, shift: NDArray[np.floating]) -> Map:
    """Return the map of a fixed point to plane(point + shift); shift is (H, W, 2), (row, col)."""

    def mapped(points: Points) -> Points:
        moved = [
            ndimage.map_coordinates(shift[..., axis], points.T, order=1, mode="nearest")
            for axis in (0, 1)
        ]
        return apply_plane(plane, points + np.stack(moved, -1))

    return mapped

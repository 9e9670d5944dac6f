"""Plane maps between two images: what supports one, and whether it can be right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ..geometry import apply_homography, resize_homography, scale_at_centre

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Matches", "flip", "implausible", "shrunk"]


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


def shrunk(
    image: NDArray[np.float32], side: float
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Shrink an image by area until its longer side is at most `side`; also return the map to it."""
    factor = max(1.0, max(image.shape) / side)
    height, width = (max(1, round(n / factor)) for n in image.shape)
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32), resize_homography(image.shape, (height, width))


def flip(shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return the map (x, y, 1) -> (x, y, 1) px that mirrors an image left to right; its own inverse."""
    return np.array([[-1.0, 0, shape[1] - 1], [0, 1, 0], [0, 0, 1]])


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

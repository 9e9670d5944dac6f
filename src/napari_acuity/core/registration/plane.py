"""Plane maps between two images: what supports one, and whether it can be right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np

from ..geometry import apply_homography, resize_homography, scale_at_centre

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "NAMES",
    "Matches",
    "Transform",
    "fitted_plane",
    "flip",
    "grid_over",
    "implausible",
    "squared_misses",
    "of_kind",
    "shrunk",
    "to_peak",
]

Transform = Literal["auto", "homography", "affine", "similarity"]

NAMES = {"homography": "a homography", "affine": "an affine map", "similarity": "a similarity"}


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


def fitted_plane(
    fixed: NDArray[np.float64], moving: NDArray[np.float64], kind: Transform
) -> NDArray[np.float64]:
    """Fit a plane map to (n, 2) points (row, col) of both images by least squares.

    A homography takes 4 points, an affine map 3, a similarity 2; a similarity may mirror where there
    are more than 2.
    """
    if kind == "affine":
        xy1 = np.column_stack([fixed[:, ::-1], np.ones(len(fixed))])
        rows, *_ = np.linalg.lstsq(xy1, moving[:, ::-1], rcond=None)
        return np.vstack([rows.T, [0.0, 0.0, 1.0]])
    if kind == "similarity":
        upright = _similarity(fixed, moving)
        if len(fixed) == 2:
            return upright
        over = np.diag([-1.0, 1.0, 1.0])
        mirrored = _similarity(fixed * (1, -1), moving) @ over
        return min(upright, mirrored, key=lambda plane: squared_misses(plane, fixed, moving).sum())
    found, _ = cv2.findHomography(fixed[:, ::-1].copy(), moving[:, ::-1].copy(), 0)
    return np.full((3, 3), np.nan) if found is None else np.asarray(found, np.float64)


def squared_misses(
    plane: NDArray[np.float64], fixed: NDArray[np.float64], moving: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the square of how far a map misses each point, px^2 of the moving image."""
    squares: NDArray[np.float64] = ((apply_homography(plane, fixed) - moving) ** 2).sum(axis=1)
    return squares


def of_kind(
    plane: NDArray[np.float64], transform: Transform, shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Return the plane map of a kind that is nearest to one over an image of a shape."""
    if transform == "auto":
        return plane
    points = grid_over(shape, 8)
    return fitted_plane(points, apply_homography(plane, points), transform)


def grid_over(shape: tuple[int, int], count: int) -> NDArray[np.float64]:
    """Return count x count points (row, col) spread evenly over an image of a shape, (count^2, 2)."""
    rows, cols = (np.linspace(0, length - 1, count) for length in shape)
    return np.stack(np.meshgrid(rows, cols, indexing="ij"), axis=-1).reshape(-1, 2)


def _similarity(fixed: NDArray[np.float64], moving: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fit a similarity that does not mirror: in the complex plane, moving = a fixed + b."""
    from_, to = fixed @ (1j, 1), moving @ (1j, 1)
    off = from_ - from_.mean()
    a = np.vdot(off, to - to.mean()) / np.vdot(off, off).real
    b = to.mean() - a * from_.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag], [0, 0, 1]])


def shrunk(
    image: NDArray[np.float32], side: float
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Shrink an image by area until its longer side is at most `side`; also return the map to it."""
    factor = max(1.0, max(image.shape) / side)
    height, width = (max(1, round(n / factor)) for n in image.shape)
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32), resize_homography(image.shape, (height, width))


def to_peak(surface: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the map (x, y, 1) -> (x, y, 1) px by the offset at which a circular correlation peaks."""
    at = np.unravel_index(surface.argmax(), surface.shape)
    dy, dx = ((int(p) + n // 2) % n - n // 2 for p, n in zip(at, surface.shape, strict=True))
    return np.array([[1.0, 0, dx], [0, 1, dy], [0, 0, 1]])


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

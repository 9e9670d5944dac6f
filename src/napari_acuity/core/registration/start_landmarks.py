"""A start by landmarks: pairs of points that a person has set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from ..errors import RegistrationError
from ..geometry import apply_homography
from .plane import implausible

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["find_by_landmarks", "paired"]

# So many pairs, and a residual smaller by this factor, before a homography is taken.
_LEAST_FOR_HOMOGRAPHY, _CLEARLY_BETTER = 6, 0.7
# Points whose cloud is thinner than this share of its length lie on a line.
_THINNEST = 0.02


def find_by_landmarks(
    fixed_points: NDArray[Any],
    moving_points: NDArray[Any],
    fixed_shape: tuple[int, int],
    moving_shape: tuple[int, int],
) -> tuple[NDArray[np.float64] | None, str]:
    """Fit a plane map to pairs of points by least squares.

    Two pairs give a similarity (no mirror), three or more an affine map, six or more a homography
    where that fits clearly better.

    Parameters
    ----------
    fixed_points, moving_points : (n, 2)
        (row, col) px in each image, in the same order.
    fixed_shape, moving_shape : (int, int)
        Height and width of each image, px.

    Returns
    -------
    (3, 3) float64 or None
        (x, y, 1) px of fixed -> (x, y, 1) px of moving; None when the map is implausible.
    str
        What was fitted, and the RMS residual in px of moving.

    Raises
    ------
    RegistrationError
        When the points do not pair up, are too few, not finite, or coincide or lie on one line.
    """
    fixed, moving = paired((fixed_points, moving_points))
    _check(fixed, "fixed")
    _check(moving, "moving")
    if len(fixed) == 2:
        name, plane = "a similarity", _similarity(fixed, moving)
    else:
        name, plane = _affine_or_homography(fixed, moving)
    words = (
        f"{name} through {len(fixed)} landmarks, RMS residual {_rms(plane, fixed, moving):.2f} px"
    )
    reason = implausible(plane, fixed_shape, moving_shape)
    return (None, f"{words}, but {reason}") if reason else (plane, words)


def paired(landmarks: tuple[Any, Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the landmarks of fixed and moving as (n, 2) float64 each, or say what is wrong with them.

    Raises
    ------
    RegistrationError
        When they are not two lists of as many finite (row, col).
    """
    try:
        fixed, moving = (np.asarray(points, np.float64) for points in landmarks)
    except (TypeError, ValueError) as error:
        raise RegistrationError(
            f"The landmarks are not two lists of points: {error}.",
            "Give two arrays (n, 2) of (row, col): those of the fixed image, then those of the moving one.",
        ) from error
    # An empty list has no columns.
    fixed, moving = (points if points.size else np.zeros((0, 2)) for points in (fixed, moving))
    for role, points in (("fixed", fixed), ("moving", moving)):
        if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
            raise RegistrationError(
                f"A landmark of the {role} image is no finite (row, col).",
                "Remove it, or set it again on the image.",
            )
    if len(fixed) != len(moving):
        raise RegistrationError(
            f"The fixed image has {len(fixed)} landmarks, the other one {len(moving)}.",
            "Set every landmark in both images, in the same order.",
        )
    return fixed, moving


def _check(points: NDArray[np.float64], role: str) -> None:
    """Say why no plane map goes through the landmarks of an image."""
    if len(points) < 2:
        raise RegistrationError(
            f"There are too few landmarks: {len(points)}.",
            "Set at least two in both images; three or more also find shear and mirroring.",
        )
    if len(np.unique(np.rint(2 * points), axis=0)) < len(points):
        raise RegistrationError(
            f"Two landmarks of the {role} image are at the same place.", "Remove one of each pair."
        )
    if len(points) > 2 and _thinness(points) < _THINNEST:
        raise RegistrationError(
            f"The landmarks of the {role} image lie on one line.",
            "Add one away from the line, or keep only two.",
        )


def _thinness(points: NDArray[np.float64]) -> float:
    """Return the width of a cloud of points as a share of its length."""
    lengths = np.linalg.svd(points - points.mean(0), compute_uv=False)
    return float(lengths[1] / lengths[0])


def _similarity(fixed: NDArray[np.float64], moving: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the similarity through two pairs: in the complex plane, moving = a fixed + b."""
    from_, to = fixed @ (1j, 1), moving @ (1j, 1)
    a = (to[1] - to[0]) / (from_[1] - from_[0])
    b = to[0] - a * from_[0]
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag], [0, 0, 1]])


def _affine_or_homography(
    fixed: NDArray[np.float64], moving: NDArray[np.float64]
) -> tuple[str, NDArray[np.float64]]:
    xy1 = np.column_stack([fixed[:, ::-1], np.ones(len(fixed))])
    rows, *_ = np.linalg.lstsq(xy1, moving[:, ::-1], rcond=None)
    affine = np.vstack([rows.T, [0.0, 0.0, 1.0]])
    if len(fixed) < _LEAST_FOR_HOMOGRAPHY:
        return "an affine map", affine
    found, _ = cv2.findHomography(fixed[:, ::-1].copy(), moving[:, ::-1].copy(), 0)
    homography = None if found is None else np.asarray(found, np.float64)
    if homography is None:
        return "an affine map", affine
    # Per degree of freedom: a homography has two parameters more to fit with.
    n = 2 * len(fixed)
    better = _rms(homography, fixed, moving) / np.sqrt(n - 8)
    if better + 1e-6 < _CLEARLY_BETTER * _rms(affine, fixed, moving) / np.sqrt(n - 6):
        return "a homography", homography
    return "an affine map", affine


def _rms(
    plane: NDArray[np.float64], fixed: NDArray[np.float64], moving: NDArray[np.float64]
) -> float:
    misses = np.linalg.norm(apply_homography(plane, fixed) - moving, axis=1)
    return float(np.sqrt(np.mean(misses**2)))

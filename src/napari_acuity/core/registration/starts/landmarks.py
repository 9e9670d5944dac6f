"""A start by landmarks: pairs of points that a person has set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import RegistrationError
from ..plane import NAMES, Transform, fitted_plane, implausible, squared_misses

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["find_by_landmarks", "paired"]

# So many pairs, and a residual smaller by this factor, before a homography is taken.
_LEAST_FOR_HOMOGRAPHY, _CLEARLY_BETTER = 6, 0.7
_LEAST_FOR: dict[Transform, int] = {"similarity": 2, "affine": 3, "homography": 4}
# Points whose cloud is thinner than this share of its length lie on a line.
_THINNEST = 0.02


def find_by_landmarks(
    fixed_points: NDArray[Any],
    moving_points: NDArray[Any],
    fixed_shape: tuple[int, int],
    moving_shape: tuple[int, int],
    *,
    transform: Transform = "auto",
) -> tuple[NDArray[np.float64] | None, str]:
    """Fit a plane map to pairs of points by least squares.

    Where the kind of map is left open, two pairs give a similarity (no mirror), three or more an
    affine map, six or more a homography where that fits clearly better.

    Parameters
    ----------
    fixed_points, moving_points : (n, 2)
        (row, col) px in each image, in the same order.
    fixed_shape, moving_shape : (int, int)
        Height and width of each image, px.
    transform : str
        The kind of map: "similarity" (two pairs or more), "affine" (three), "homography" (four), "auto".

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
    kind, plane = _fitted(fixed, moving, transform)
    residual = f"RMS residual {_rms(plane, fixed, moving):.2f} px"
    words = f"{NAMES[kind]} through {len(fixed)} landmarks, {residual}"
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


def _fitted(
    fixed: NDArray[np.float64], moving: NDArray[np.float64], transform: Transform
) -> tuple[Transform, NDArray[np.float64]]:
    """Fit the kind of map that is asked for, or as many parameters as the points can tell."""
    if transform != "auto":
        least = _LEAST_FOR[transform]
        if len(fixed) < least:
            raise RegistrationError(
                f"{NAMES[transform].capitalize()} takes {least} landmarks or more; there are {len(fixed)}.",
                "Set more, or choose a simpler transform.",
            )
        return transform, fitted_plane(fixed, moving, transform)
    if len(fixed) == 2:
        return "similarity", fitted_plane(fixed, moving, "similarity")
    return _affine_or_homography(fixed, moving)


def _thinness(points: NDArray[np.float64]) -> float:
    """Return the width of a cloud of points as a share of its length."""
    lengths = np.linalg.svd(points - points.mean(0), compute_uv=False)
    return float(lengths[1] / lengths[0])


def _affine_or_homography(
    fixed: NDArray[np.float64], moving: NDArray[np.float64]
) -> tuple[Transform, NDArray[np.float64]]:
    affine = fitted_plane(fixed, moving, "affine")
    if len(fixed) < _LEAST_FOR_HOMOGRAPHY:
        return "affine", affine
    homography = fitted_plane(fixed, moving, "homography")
    if not np.isfinite(homography).all():
        return "affine", affine
    # Per degree of freedom: a homography has two parameters more to fit with.
    n = 2 * len(fixed)
    better = _rms(homography, fixed, moving) / np.sqrt(n - 8)
    if better + 1e-6 < _CLEARLY_BETTER * _rms(affine, fixed, moving) / np.sqrt(n - 6):
        return "homography", homography
    return "affine", affine


def _rms(
    plane: NDArray[np.float64], fixed: NDArray[np.float64], moving: NDArray[np.float64]
) -> float:
    return float(np.sqrt(np.mean(squared_misses(plane, fixed, moving))))

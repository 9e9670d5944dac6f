"""The distortion of a steady instrument: the mean of many maps, to correct new captures with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from ..errors import RegistrationError
from ..geometry import apply_homography
from ..micrograph import as_micrograph, check_content
from .archive import array_of, reading, write_arrays
from .registration import Registration

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from ..micrograph import ImageLike, Micrograph

__all__ = ["LensProfile", "mean_shift"]

# The maps are aligned and compared at so many points along each side of the moving image.
_POINTS = 33
_FEWEST_POINTS = 50
_ROUNDS = 6
# A map that lies so many times further from the median map than half of them do is left out, unless it
# is as near as registration can tell.
_TOO_FAR = 3.0
_NEAR_PX = 0.1


@dataclass(frozen=True, eq=False)
class LensProfile:
    """How one instrument bends its images, whatever it looks at.

    Parameters
    ----------
    shift_map : (2, H, W) float32
        (dy, dx), px of the instrument's image: what an undistorted image shows at g, the instrument
        shows at g + shift. No homography is left in it.
    sd_map : (2, H, W) float32
        Standard deviation of the single maps' dy and dx, px; NaN where fewer than two reach.
    count : int
        How many maps the mean is of.
    left_out : tuple of int
        Which of the maps given were left out, counted from 0.
    """

    shift_map: NDArray[np.float32]
    sd_map: NDArray[np.float32]
    count: int
    left_out: tuple[int, ...] = ()

    def correct(self, image: ImageLike) -> Micrograph:
        """Take the distortion out of a capture, in one resampling.

        What is left between the result and an undistorted image of the same flat field is a
        homography: `register(..., elastic=False)` finds it.

        Parameters
        ----------
        image : Micrograph, array or napari layer
            From the same instrument, of the same rows and columns.

        Returns
        -------
        Micrograph
            On the same grid, with the same pixel size; border pixels are repeated where there is no
            image.

        Raises
        ------
        RegistrationError
            When the image is a stack or of another size.
        ImageError
            When it holds NaN or infinite values, or nothing to see.
        """
        unbent = Registration(
            homography=None,
            shift_map=self.shift_map,
            moving_shape=(self.shift_map.shape[1], self.shift_map.shape[2]),
            correlation=(float("nan"), float("nan")),
            start="lens profile",
        )
        given = as_micrograph(image)
        straight = unbent.warp(given)
        check_content(given)
        return straight

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the profile as a ``.npz`` archive of plain arrays.

        Raises
        ------
        FileError
            When the folder is missing or may not be written, or the disk is full.
        """
        return write_arrays(
            path,
            lens_shift_map=self.shift_map,
            lens_sd_map=self.sd_map,
            count=self.count,
            left_out=np.array(self.left_out, dtype=np.int64),
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> LensProfile:
        """Read a profile that `save` wrote; nothing from the file is executed.

        Raises
        ------
        FileError
            When the file is missing, damaged, not a lens profile, or of a newer version.
        """
        cure = "Choose a .npz file that 'acuity lens-profile' or LensProfile.save wrote."
        with reading(path, kind="lens profile", cure=cure) as file:
            shift_map = array_of(file, "lens_shift_map", 2, None, None)
            return cls(
                shift_map=shift_map,
                sd_map=array_of(file, "lens_sd_map", *shift_map.shape, gaps=True),
                count=int(file["count"]),
                left_out=tuple(file["left_out"].tolist()),
            )


def mean_shift(registrations: Iterable[Registration]) -> LensProfile:
    """Find what the maps of one instrument's captures have in common: its distortion.

    Each map is parted into a homography from fixed to moving, free for every capture as poses and
    fields differ, and a shift on the moving grid, where a steady lens bends alike each time. The
    homographies are fitted so that the shifts agree: first the one nearest to each whole map in
    the sense of least squares, then, round by round, nearest up to the median of the shifts. A map whose
    shift lies further from the median (root of the mean square) than three times what half of the
    maps reach, and than 0.1 px, is left out: of three maps or more a bad one spoils nothing. The others are
    averaged at every pixel they reach; elsewhere the nearest such pixel's shift holds. The idea is
    that of Rivenson et al. [1]_.

    Parameters
    ----------
    registrations : iterable of Registration
        With the elastic part, moving images all of one size, from one instrument left as it was:
        different fields, turned or moved, and fixed images without distortion, of any sizes.

    Returns
    -------
    LensProfile

    Raises
    ------
    RegistrationError
        When there are none, moving images differ in size, or no map reaches its moving image.

    References
    ----------
    .. [1] Y. Rivenson et al., "Deep learning enhanced mobile-phone microscopy", ACS Photonics 5
       (2018) 2354, doi:10.1021/acsphotonics.8b00146.
    """
    maps = list(registrations)
    shape = _one_moving_shape(maps)
    rows, cols = (np.linspace(0, n - 1, _POINTS) for n in shape)
    points = _pairs_of(rows, cols)
    median = np.zeros_like(points)
    for _ in range(_ROUNDS):
        planes = [_plane(one, points, median) for one in maps]
        shifts = np.stack(
            [_bend(one, plane, points) for one, plane in zip(maps, planes, strict=True)]
        )
        median = _median(shifts)
    kept = _agreeing(shifts, median)
    if not kept:
        raise RegistrationError(
            "None of the maps covers enough of its moving image to see the lens's distortion.",
            "Give registrations of images that overlap more.",
        )
    mean, sd = _mean_and_sd([(maps[i], planes[i]) for i in kept], shape)
    left_out = tuple(i for i in range(len(maps)) if i not in kept)
    return LensProfile(mean, sd, len(kept), left_out)


def _one_moving_shape(maps: list[Registration]) -> tuple[int, int]:
    shapes = sorted({one.moving_shape for one in maps})
    if not shapes:
        raise RegistrationError("There are no maps to average.", "Register some pairs first.")
    if len(shapes) > 1:
        raise RegistrationError(
            f"The moving images differ in size: {', '.join(f'{h} x {w}' for h, w in shapes)}.",
            "Average captures of one instrument, all of its full frame.",
        )
    return shapes[0]


def _pairs_of(rows: NDArray[np.float64], cols: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the points of a grid, (n, 2), row by row."""
    return np.stack(np.meshgrid(rows, cols, indexing="ij"), axis=-1).reshape(-1, 2)


def _plane(
    one: Registration, points: NDArray[np.float64], bend: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Fit the homography from the undistorted moving image to the fixed one, given the distortion."""
    import cv2

    fixed = one.inverse_points(points + bend)
    seen = _within(fixed, one.fixed_shape)
    if seen.sum() < _FEWEST_POINTS:
        return None
    plane, _ = cv2.findHomography(points[seen, ::-1], fixed[seen, ::-1], 0)
    return None if plane is None else np.asarray(plane, dtype=np.float64)


def _bend(
    one: Registration, plane: NDArray[np.float64] | None, points: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the shift at points of the undistorted moving image; NaN where the map has no content."""
    shift = np.full(points.shape, np.nan)
    if plane is None:
        return shift
    fixed = apply_homography(plane, points)
    seen = np.flatnonzero(_within(fixed, one.fixed_shape))
    moving = one.map_points(fixed[seen])
    content = _within(moving, one.moving_shape)
    shift[seen[content]] = moving[content] - points[seen[content]]
    return shift


def _within(points: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Say which points lie on an image; NaN does not."""
    (y, x), (height, width) = points.T, shape
    within: NDArray[np.bool_] = (y >= -0.5) & (y <= height - 0.5) & (x >= -0.5) & (x <= width - 0.5)
    return within


def _median(shifts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the median over maps (n, points, 2), NaN where none reaches."""
    known = np.isfinite(shifts[..., 0]).any(axis=0)
    median = np.full(shifts.shape[1:], np.nan)
    median[known] = np.nanmedian(shifts[:, known], axis=0)
    return median


def _agreeing(shifts: NDArray[np.float64], median: NDArray[np.float64]) -> list[int]:
    """Return which maps lie near the median of all."""
    squares = ((shifts - median) ** 2).sum(axis=-1)
    reaching = np.flatnonzero(np.isfinite(squares).any(axis=1))
    far = np.sqrt(np.nanmean(squares[reaching], axis=1))
    if not far.size:
        return []
    return [int(i) for i in reaching[far <= max(_NEAR_PX, _TOO_FAR * np.median(far))]]


def _mean_and_sd(
    parted: list[tuple[Registration, NDArray[np.float64] | None]], shape: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Average the maps at every pixel, one map in memory at a time -> (2, H, W), twice."""
    points = _pairs_of(*(np.arange(n, dtype=np.float64) for n in shape))
    count = np.zeros(len(points))
    total, squares = np.zeros_like(points), np.zeros_like(points)
    for one, plane in parted:
        shift = _bend(one, plane, points)
        known = np.isfinite(shift[:, 0])
        count += known
        total[known] += shift[known]
        squares[known] += shift[known] ** 2
    mean = total / np.maximum(count, 1)[:, None]
    variance = (squares - mean * total) / np.maximum(count - 1, 1)[:, None]
    sd = np.sqrt(np.maximum(variance, 0))
    sd[count < 2] = np.nan
    mean_map, sd_map = (field.T.reshape(2, *shape).astype(np.float32) for field in (mean, sd))
    return _filled(mean_map, count.reshape(shape) > 0), sd_map


def _filled(field: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Give every unknown pixel the values of the nearest known one."""
    if known.all():
        return field
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    return field[:, nearest[0], nearest[1]]

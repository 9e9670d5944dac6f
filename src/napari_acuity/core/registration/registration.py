"""The map from a fixed image to a moving one: to apply, to make pairs with, to keep."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..errors import ImageError, RegistrationError
from ..geometry import (
    apply_homography,
    as_points,
    dense_map,
    map_points,
    resample,
    scale_at_centre,
)
from ..micrograph import ImageLike, Micrograph, as_micrograph
from ..pairs.pair import Pair, exact_scale, part_of
from ..pairs.similarity_map import over_cells
from .archive import write_arrays
from .correlation import BlockShifts, no_blocks
from .displacement import jacobian, unshift
from .export import export_map
from .plane import fitted_plane, grid_over
from .registration_file import read_fields

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from .plane import Transform

__all__ = ["Registration", "nearest_plane", "no_points"]


def no_points() -> NDArray[np.float64]:
    """Return an empty list of points, (0, 2)."""
    return np.zeros((0, 2))


@dataclass(frozen=True, eq=False)
class Registration:
    """The map from a fixed image to a moving one, and its evidence.

    Parameters
    ----------
    homography : (3, 3) float64 or None
        (x, y, 1) px of fixed -> (x, y, 1) px of moving; None when no plane map was used.
    shift_map : (2, H, W) float32
        The elastic part (dy, dx), px of fixed: fixed p maps to homography(p + shift).
    moving_shape : (int, int)
        Rows and columns of the moving image.
    correlation : (float, float)
        Mean local correlation after the start and after the elastic part, -1 to 1.
    start : str
        Which start won, and what it found, in words.
    blocks : BlockShifts
        What the last level's blocks said: their centres, similarity, and the shift left.
    scores : mapping of str to float
        The correlation each start that was tried led to after a coarse elastic pass.
    level : str
        The last elastic level passed, such as "texture 2"; empty without an elastic part.
    fixed_points, moving_points : (n, 2) float64
        The start's inlier matches, (row, col) in each image.
    pixel_size : (float, float) or None
        (y, x) of the fixed image, um; None where it is unknown.
    """

    homography: NDArray[np.float64] | None
    shift_map: NDArray[np.float32]
    moving_shape: tuple[int, int]
    correlation: tuple[float, float]
    start: str
    blocks: BlockShifts = field(default_factory=no_blocks)
    scores: Mapping[str, float] = field(default_factory=dict)
    level: str = ""
    fixed_points: NDArray[np.float64] = field(default_factory=no_points)
    moving_points: NDArray[np.float64] = field(default_factory=no_points)
    pixel_size: tuple[float, float] | None = None

    @property
    def fixed_shape(self) -> tuple[int, int]:
        """Rows and columns of the fixed image."""
        return self.shift_map.shape[1], self.shift_map.shape[2]

    @property
    def similarity(self) -> NDArray[np.float64]:
        """Pearson correlation of the last level's blocks, (ny, nx)."""
        return self.blocks.similarity

    @property
    def residual_px(self) -> float:
        """Median shift that the more similar half of the last level's blocks still found, px of fixed.

        NaN without an elastic part.
        """
        if not self.similarity.size:
            return float("nan")
        trusted = self.similarity >= np.median(self.similarity)
        return float(np.median(np.linalg.norm(self.blocks.shift, axis=-1)[trusted]))

    @cached_property
    def overlap(self) -> NDArray[np.bool_]:
        """Where the map leads into the moving image, (H, W); nothing is known of the shifts elsewhere."""
        mapping = dense_map(self.homography, torch.from_numpy(self.shift_map), dtype=torch.float32)
        return self.within_moving(mapping.reshape(2, -1).T.numpy()).reshape(self.fixed_shape)

    def within_moving(self, points_rc: NDArray) -> NDArray[np.bool_]:
        """Say which points (n, 2), (row, col) in px of the moving image, lie on it."""
        on = (points_rc >= 0) & (points_rc <= np.subtract(self.moving_shape, 1))
        return np.asarray(on.all(axis=1))

    @property
    def largest_shift_px(self) -> float:
        """Length of the longest elastic shift where the images overlap, px of fixed."""
        return float(self._shift_lengths().max(initial=0.0))

    @property
    def rms_shift_px(self) -> float:
        """Root of the mean square of the elastic shifts where the images overlap, px of fixed."""
        lengths = self._shift_lengths()
        return float(np.sqrt(np.mean(lengths**2))) if lengths.size else 0.0

    @property
    def folds(self) -> bool:
        """Whether the shift map turns a part of the image inside out (Jacobian determinant <= 0).

        What lies beside the moving image does not count: nothing is known of the shifts there.
        """
        folded = np.argwhere(self.jacobian() <= 0)
        return bool(self.within_moving(self.map_points(folded)).any())

    @property
    def scale(self) -> float:
        """How many fixed pixels one moving pixel spans at the centre of the fixed image."""
        return (
            1.0
            if self.homography is None
            else 1 / scale_at_centre(self.homography, self.fixed_shape)
        )

    def map_points(self, points_rc: NDArray) -> NDArray[np.float64]:
        """Map points of the fixed image into the moving one.

        Parameters
        ----------
        points_rc : (n, 2)
            (row, col) in px of the fixed image.

        Returns
        -------
        (n, 2) float64
            (row, col) in px of the moving image: homography and shift map together.
        """
        return map_points(points_rc, self.homography, self.shift_map)

    def inverse_points(self, points_rc: NDArray) -> NDArray[np.float64]:
        """Map points of the moving image into the fixed one: the inverse of `map_points`.

        Parameters
        ----------
        points_rc : (n, 2)
            (row, col) in px of the moving image.

        Returns
        -------
        (n, 2) float64
            (row, col) in px of the fixed image, to 0.01 px; beyond its border as `map_points` goes on
            there. NaN where the map folds, and beyond the homography's horizon.
        """
        points = as_points(points_rc)
        if self.homography is not None:
            back = np.asarray(np.linalg.inv(self.homography), dtype=np.float64)
            points = apply_homography(back, points)
        return unshift(points, self.shift_map)

    def jacobian(self) -> NDArray[np.float32]:
        """Return how much the shift map enlarges the area round each pixel of the fixed image.

        Returns
        -------
        (H, W) float32
            The Jacobian determinant of p -> p + shift(p): 1 where nothing is stretched, 0 or less where
            the map folds. The homography is not part of it.
        """
        return jacobian(self.shift_map)

    def warp(self, image: ImageLike, *, scale: float = 1.0) -> Micrograph:
        """Resample an image on the moving grid onto the fixed grid, once.

        Parameters
        ----------
        image : Micrograph, array or napari layer
            Any image of the moving one's rows and columns: itself, or another channel.
        scale : float
            Pixels of the result are `scale` fixed pixels wide (2.5: the low-resolution half of a pair).

        Returns
        -------
        Micrograph
            (floor(H / scale), floor(W / scale)); border pixels are repeated where there is no image.

        Raises
        ------
        RegistrationError
            When the image is not on the moving grid, or `scale` is not between 0 and the fixed image's
            shorter side.
        """
        if not 0 < scale <= min(self.fixed_shape):
            raise RegistrationError(
                f"An image cannot be warped to pixels {scale} times as wide.",
                "Give a scale above 0, such as 1 or 2.5.",
            )
        return self._warped(as_micrograph(image), scale)[0]

    def pair(
        self,
        moving: ImageLike,
        fixed: ImageLike,
        *,
        scale: float | None = None,
        channels: int = 0,
    ) -> Pair:
        """Make a training pair: the moving image on fixed's grid / scale, and the fixed image.

        Parameters
        ----------
        moving, fixed : Micrograph, array or napari layer
            The registered images.
        scale : float, optional
            How much finer the network shall make the image; by default the nearest of 1, 1.5, 2, 2.5,
            3 and 4 to the ratio of the two images' pixels.
        channels : int
            How many channels both images have, (C, H, W) each, where they are not RGB; one of these, or
            their mean, is then what was registered.

        Returns
        -------
        Pair
            Cut to the largest rectangle that both images cover.

        Raises
        ------
        RegistrationError
            When they are not on the registered grids, or overlap too little for a pair.
        PairError
            When `scale` is no ratio of small numbers.
        """
        low, high = as_micrograph(moving, name="moving"), as_micrograph(fixed, name="fixed")
        _check_grid(high, "fixed", self.fixed_shape, channels)
        if scale is None:
            scale = min((1, 1.5, 2, 2.5, 3, 4), key=lambda s: abs(np.log(s / self.scale)))
        exact = exact_scale(scale)
        scale, step = float(exact), exact.denominator
        warped, inside = self._warped(low, scale, channels)
        top, left, bottom, right = _covered_rectangle(inside, step)
        if min(bottom - top, right - left) < 2 * step:
            raise RegistrationError(
                f"'{low.name}' and '{high.name}' share no rectangle to make a pair of.",
                "Choose images that overlap more.",
            )
        y, x, end_y, end_x = (round(v * scale) for v in (top, left, bottom, right))
        if high.pixel_size is not None:
            warped = replace(warped, pixel_size=high.finer_pixel_size(1 / scale))
        return Pair(
            replace(part_of(warped, slice(top, bottom), slice(left, right)), name=low.name),
            part_of(high, slice(y, end_y), slice(x, end_x)),
            scale=scale,
            name=low.name,
            similarity=float(np.median(self.similarity)) if self.similarity.size else None,
            similarity_map=self._similarity_over((y, end_y), (x, end_x)),
            registration={
                "start": self.start,
                "correlation": [float(value) for value in self.correlation],
                "homography": None if self.homography is None else self.homography.tolist(),
                "largest_shift_px": self.largest_shift_px,
            },
            channels=channels,
        )

    def export(
        self,
        path: str | os.PathLike[str],
        *,
        pixel_size: tuple[float, float] = (1.0, 1.0),
        moving_pixel_size: tuple[float, float] = (1.0, 1.0),
    ) -> Path:
        """Write homography and shift map together as one displacement field for other programs.

        The field holds, at each pixel of the fixed image, where its content lies in the moving image
        less where it lies in the fixed one.

        Parameters
        ----------
        path : path
            ``.mha``: a displacement field in ITK's convention [1]_ (vectors x, y), for ITK, SimpleITK and
            elastix. ``.tif``, ``.tiff``: an OME-TIFF of two float32 channels, dy and dx.
        pixel_size, moving_pixel_size : (float, float)
            (y, x) of the fixed and of the moving image as the other program knows them; the vectors
            are in that unit (um in the OME-TIFF). The defaults are right for images read without a
            pixel size: the vectors are in px.

        Returns
        -------
        Path

        Raises
        ------
        FileError
            For another suffix; when the folder is missing or may not be written, or the disk is full.
        ImageError
            For a pixel size that is not two positive lengths.

        References
        ----------
        .. [1] H. J. Johnson, M. M. McCormick, L. Ibanez, "The ITK Software Guide, Book 2", chapter
           Registration: a point x of the fixed image maps to x + d(x) of the moving one.
        """
        mapping = dense_map(self.homography, torch.from_numpy(self.shift_map)).numpy()
        return export_map(mapping, path, pixel_size, moving_pixel_size)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the map as a ``.npz`` archive of plain arrays.

        Raises
        ------
        FileError
            When the folder is missing or may not be written, or the disk is full.
        """
        return write_arrays(
            path,
            homography=np.zeros((0, 0)) if self.homography is None else self.homography,
            shift_map=self.shift_map,
            block_rows=self.blocks.rows,
            block_cols=self.blocks.cols,
            block_shift=self.blocks.shift,
            similarity=self.similarity,
            moving_shape=self.moving_shape,
            correlation=self.correlation,
            start=self.start,
            tried=np.array(list(self.scores), dtype=str),
            scores=np.array(list(self.scores.values()), dtype=float),
            level=self.level,
            fixed_points=self.fixed_points,
            moving_points=self.moving_points,
            pixel_size=np.array(self.pixel_size or (), dtype=float),
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Registration:
        """Read a map that `save` wrote; nothing from the file is executed.

        Raises
        ------
        FileError
            When the file is missing, damaged, not a registration, or of a newer version.
        """
        return cls(**read_fields(path))

    def _shift_lengths(self) -> NDArray[np.float32]:
        lengths: NDArray[np.float32] = np.linalg.norm(self.shift_map[:, self.overlap], axis=0)
        return lengths

    def _similarity_over(
        self, rows: tuple[int, int], cols: tuple[int, int]
    ) -> NDArray[np.float64] | None:
        if not self.similarity.size:
            return None
        # A block's centre is the middle of a pixel, half a pixel from its edge.
        centres = self.blocks.rows + 0.5, self.blocks.cols + 0.5
        return over_cells(self.similarity, *centres, rows, cols)

    def _warped(
        self, moving: Micrograph, scale: float, channels: int = 0
    ) -> tuple[Micrograph, NDArray[np.bool_]]:
        _check_grid(moving, "moving", self.moving_shape, channels)
        mapping = dense_map(self.homography, torch.from_numpy(self.shift_map), scale=scale)
        first = moving.pixels.ndim == 3 and not moving.rgb
        pixels = np.moveaxis(moving.pixels, 0, -1) if first else moving.pixels
        pixels, inside = resample(pixels, mapping)
        pixels = np.ascontiguousarray(np.moveaxis(pixels, -1, 0)) if first else pixels
        size = self.pixel_size or self._fixed_pixel_size(moving.pixel_size)
        value_range = moving.value_range
        # A part of it may look like fewer bits.
        with suppress(ImageError):
            value_range = moving.range()
        return moving.with_pixels(
            pixels,
            pixel_size=size and (size[0] * scale, size[1] * scale),
            value_range=value_range,
        ), inside

    def _fixed_pixel_size(self, moving: tuple[float, float] | None) -> tuple[float, float] | None:
        """Return the size of the fixed image's pixels as the moving one's and the plane map tell it."""
        if moving is None or self.homography is None:
            return moving
        centre = (np.array(self.fixed_shape) - 1) / 2
        at, below, beside = apply_homography(
            self.homography, centre + np.array([[0, 0], [1, 0], [0, 1]])
        )
        y, x = (float(np.hypot(*((end - at) * moving))) for end in (below, beside))
        return y, x


def nearest_plane(registration: Registration, transform: Transform) -> NDArray[np.float64]:
    """Return the plane map nearest to a whole map, by least squares where it meets the moving image."""
    points = grid_over(registration.fixed_shape, 40)
    landed = registration.map_points(points)
    met = ((landed >= 0) & (landed <= np.subtract(registration.moving_shape, 1))).all(axis=1)
    return fitted_plane(points[met], landed[met], transform)


def _check_grid(image: Micrograph, role: str, shape: tuple[int, int], channels: int = 0) -> None:
    """Refuse a stack, and an image that is not of the registered one's rows and columns."""
    are_channels = not image.rgb and image.pixels.ndim == 3 and len(image.pixels) == channels
    name = f"'{image.name}'" if image.name else "The image"
    if image.pixels.ndim != 2 + image.rgb and not are_channels:
        raise RegistrationError(
            f"{name} is a stack of shape {image.pixels.shape}.",
            "Give it plane by plane; for a pair, channels may say how many it has.",
        )
    if image.shape != shape:
        raise RegistrationError(
            f"{name} has {image.shape} pixels, the registered {role} image {shape}.",
            f"Give an image on the same grid: another channel, or the {role} image itself.",
        )


def _covered_rectangle(inside: NDArray[np.bool_], step: int) -> tuple[int, int, int, int]:
    """Peel the worst side until every pixel is inside -> (top, left, bottom, right), multiples of step."""
    top, left = 0, 0
    bottom, right = (length - length % step for length in inside.shape)
    while bottom > top and right > left and not inside[top:bottom, left:right].all():
        view = inside[top:bottom, left:right]
        outside = [1 - float(side.mean()) for side in (view[0], view[-1], view[:, 0], view[:, -1])]
        # A notch inside the frame touches no side yet: then the longer side gives way.
        worst = (
            int(np.argmax(outside)) if max(outside) > 0 else 2 * int(view.shape[1] > view.shape[0])
        )
        top, bottom = top + step * (worst == 0), bottom - step * (worst == 1)
        left, right = left + step * (worst == 2), right - step * (worst == 3)
    return top, left, bottom, right

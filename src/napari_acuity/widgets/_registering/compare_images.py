"""The pixels that compare a registered image with the fixed one, before and after registration."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ...core.micrograph import Micrograph, as_micrograph, grey

if TYPE_CHECKING:
    from types import SimpleNamespace
    from typing import Any

    from numpy.typing import NDArray

    from ...core.registration.registration import Registration

__all__ = ["Pictures", "checkerboard", "difference"]

_SQUARES = 8


class Pictures:
    """The moving image on the fixed grid, as it came and as it was registered, against the fixed one.

    Nothing is computed before it is asked for; all of it may be asked for in another thread.

    Parameters
    ----------
    moving, fixed : SimpleNamespace
        From `snapshot`.
    registration : Registration
    """

    def __init__(
        self, moving: SimpleNamespace, fixed: SimpleNamespace, registration: Registration
    ) -> None:
        self._moving, self._fixed, self._registration = moving, fixed, registration

    def picture(self, view: str | None, before: bool) -> NDArray[Any]:
        """Return the pixels of a view, on the fixed grid.

        Parameters
        ----------
        view : {"checkerboard", "difference"} or any other
            Any other is the moving image by itself.
        before : bool
            Compare the moving image as it came, frame on frame, instead of the registered one.
        """
        moving, inside = self._before if before else self._after
        if view == "checkerboard":
            return checkerboard(self._target, moving, inside)
        if view == "difference":
            return difference(self._target, moving, inside)
        return moving.pixels

    @cached_property
    def _target(self) -> Micrograph:
        return as_micrograph(self._fixed)

    @cached_property
    def _after(self) -> tuple[Micrograph, NDArray[np.bool_]]:
        return self._laid(self._registration.homography, self._registration.shift_map)

    @cached_property
    def _before(self) -> tuple[Micrograph, NDArray[np.bool_]]:
        from ...core.geometry import resize_homography

        fixed, moving = self._registration.fixed_shape, self._registration.moving_shape
        stretch = None if fixed == moving else resize_homography(fixed, moving)
        return self._laid(stretch, np.zeros((2, *fixed), np.float32))

    def _laid(
        self, homography: NDArray[np.float64] | None, shift_map: NDArray[np.float32]
    ) -> tuple[Micrograph, NDArray[np.bool_]]:
        import torch

        from ...core.geometry import dense_map, resample

        moving = as_micrograph(self._moving)
        mapping = dense_map(homography, torch.from_numpy(shift_map))
        pixels, inside = resample(moving.pixels, mapping)
        return moving.with_pixels(pixels), inside


def checkerboard(
    fixed: Micrograph, moving: Micrograph, inside: NDArray[np.bool_]
) -> NDArray[np.generic]:
    """Return alternating squares of both images, eight along the longer side.

    Two RGB images of one dtype keep their colours; others become grey, matched in mean and spread.

    Parameters
    ----------
    fixed, moving : Micrograph
        On one grid, (H, W) or (H, W, 3).
    inside : (H, W) bool
        Where `moving` has content; elsewhere `fixed` is shown.
    """
    side = -(-max(fixed.shape) // _SQUARES)
    row, col = (np.arange(length) // side for length in fixed.shape)
    second = ((row[:, None] + col) % 2 == 1) & inside
    if fixed.rgb and moving.rgb and fixed.pixels.dtype == moving.pixels.dtype:
        return np.where(second[..., None], moving.pixels, fixed.pixels)
    target = grey(fixed)
    return np.where(second, _matched(grey(moving), target, inside), target)


def difference(
    fixed: Micrograph, moving: Micrograph, inside: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return the absolute grey difference after matching mean and spread; 0 outside `inside`.

    Parameters
    ----------
    fixed, moving : Micrograph
        On one grid, (H, W) or (H, W, 3).
    inside : (H, W) bool
        Where `moving` has content.

    Returns
    -------
    (H, W) float32
        In grey values of the fixed image.
    """
    target = grey(fixed)
    away = np.abs(_matched(grey(moving), target, inside) - target)
    return np.where(inside, away, np.float32(0))


def _matched(
    image: NDArray[np.float32], target: NDArray[np.float32], inside: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Give an image the mean and the spread that the target has where both have content."""
    if not inside.any():
        return image
    mine, theirs = image[inside], target[inside]
    gain = theirs.std() / max(float(mine.std()), 1e-6)
    return (image - mine.mean()) * np.float32(gain) + theirs.mean()

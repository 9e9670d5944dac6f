"""The elastic part: a pyramid of block correlations, coarse to fine.

The scheme of Rivenson et al. 2018 (ACS Photonics 5:2354, doi:10.1021/acsphotonics.8b00146): correlate
blocks, fit a smooth shift map, warp, repeat with smaller blocks. Here every pass fits the total
displacement at the block centres rather than the residual, so that repeated smoothing shrinks nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage

from ..geometry import dense_map, resample
from .correlation import BlockShifts, block_shifts
from .spline import fit_field

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = [
    "STRUCTURE",
    "TEXTURE",
    "Level",
    "Look",
    "elastic_levels",
    "local_correlation",
    "local_normalise",
]

_LEAST_OVERLAP = 0.5


@dataclass(frozen=True)
class Look:
    """What of the images is compared, and at which levels.

    Parameters
    ----------
    name : str
        What progress calls it.
    blur_px : float
        Gaussian sigma of a blur before all else; 0 for none.
    local_px : float
        Gaussian sigma of "local" in the local normalisation.
    levels : tuple of (int, int, int)
        Block side and largest shift in px, and how often the level is repeated.
    """

    name: str
    blur_px: float
    local_px: float
    levels: tuple[tuple[int, int, int], ...]

    def of(self, grey: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what this look sees of a grey image."""
        import cv2

        if self.blur_px:
            blurred = cv2.GaussianBlur(grey, (0, 0), self.blur_px, borderType=cv2.BORDER_REFLECT)
            grey = np.asarray(blurred, dtype=np.float32)
        return local_normalise(grey, sigma_px=self.local_px)


TEXTURE = Look("texture", 0.0, 12.0, ((128, 24, 1), (80, 12, 1), (50, 8, 2)))
"""Fine texture: two images of one section."""

STRUCTURE = Look("structure", 4.0, 60.0, ((128, 32, 2), (80, 16, 1)))
"""Outlines and layers of the tissue, all that neighbouring sections in unlike stains share."""


@dataclass(frozen=True, eq=False)
class Level:
    """The state after one pass.

    Parameters
    ----------
    number, count : int
        Which level of how many.
    shift_map : (2, H, W) float32
        Total displacement (dy, dx) in px of the fixed image.
    blocks : BlockShifts
        What the blocks of this pass said.
    """

    number: int
    count: int
    shift_map: NDArray[np.float32]
    blocks: BlockShifts


def local_normalise(image: NDArray[np.float32], *, sigma_px: float = 12.0) -> NDArray[np.float32]:
    """Divide out local mean and contrast, so that colour casts, vignetting and exposure do not matter.

    Parameters
    ----------
    image : (H, W) float32
    sigma_px : float
        The Gaussian scale of "local".

    Returns
    -------
    (H, W) float32
        About zero mean and unit spread where there is contrast; near zero in empty background.
    """
    import cv2

    mean = cv2.GaussianBlur(image, (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT)
    square = cv2.GaussianBlur(image * image, (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT)
    spread = np.sqrt(np.maximum(square - mean * mean, 0))
    # A floor of a sixtieth of the full range keeps noise in empty background from being blown up.
    floor = float(np.ptp(image)) / 60 + 1e-6
    return np.asarray((image - mean) / (spread + floor), dtype=np.float32)


def elastic_levels(
    fixed: NDArray[np.float32],
    moving: NDArray[np.float32],
    inside: NDArray[np.bool_],
    *,
    levels: tuple[tuple[int, int, int], ...] = TEXTURE.levels,
    shift_map: NDArray[np.float32] | None = None,
) -> Iterator[Level]:
    """Refine a shift map level by level.

    Parameters
    ----------
    fixed, moving : (H, W) float32
        Locally normalised, `moving` already brought onto the grid of `fixed` by the start.
    inside : (H, W) bool
        Where `moving` has content.
    levels : tuple of (int, int, int)
        Block side and largest shift in px, and how often the level is repeated.
    shift_map : (2, H, W) float32, optional
        What is known of the shifts; by default none.

    Yields
    ------
    Level
        After every pass; the last one is the result.
    """
    height, width = fixed.shape
    fitting = [level for level in levels if 2 * level[0] <= min(height, width)] or [
        (min(50, height, width), 8, 2)
    ]
    coverage = {
        block: ndimage.uniform_filter(inside.astype(np.float32), block, mode="constant")
        for block, _, _ in fitting
    }
    field = np.zeros((2, height, width), np.float32) if shift_map is None else shift_map
    target = torch.from_numpy(fixed)
    for number, (block, max_shift, passes) in enumerate(fitting, start=1):
        for again in range(passes):
            reach = max_shift if again == 0 else max(4, max_shift // 2)
            warped = _warp(moving, field)
            found = block_shifts(target, torch.from_numpy(warped), block=block, max_shift=reach)
            trust = found.similarity * (_at_centres(coverage[block], found) > _LEAST_OVERLAP)
            field = fit_field(found.rows, found.cols, _total(found, field), trust, fixed.shape)
            yield Level(number, len(fitting), field, found)


def local_correlation(
    fixed: NDArray[np.float32], moving: NDArray[np.float32], inside: NDArray[np.bool_]
) -> float:
    """Return the mean local Pearson correlation (Gaussian window, sigma 16 px) where images overlap."""
    import cv2

    if not inside.any():
        return 0.0

    def mean(image: NDArray[np.float32]) -> NDArray[np.float32]:
        blurred = cv2.GaussianBlur(image, (0, 0), 16.0, borderType=cv2.BORDER_REFLECT)
        return np.asarray(blurred, dtype=np.float32)

    mf, mm = mean(fixed), mean(moving)
    covariance = mean(fixed * moving) - mf * mm
    variance = np.maximum(mean(fixed * fixed) - mf * mf, 1e-6)
    variance = variance * np.maximum(mean(moving * moving) - mm * mm, 1e-6)
    return float((covariance / np.sqrt(variance))[inside].mean())


def _warp(image: NDArray[np.float32], field: NDArray[np.float32]) -> NDArray[np.float32]:
    warped, _ = resample(image, dense_map(None, torch.from_numpy(field)))
    return warped


def _at_centres(image: NDArray[np.float32], found: BlockShifts) -> NDArray[np.float32]:
    return image[np.ix_(np.rint(found.rows).astype(int), np.rint(found.cols).astype(int))]


def _total(found: BlockShifts, field: NDArray[np.float32]) -> NDArray[np.float64]:
    """Add a pass's residual shifts to the field they were measured after.

    The moving image was warped by `field`, so content that the block found at p + shift came from
    p + shift + field(p + shift).
    """
    landed = np.stack(np.meshgrid(found.rows, found.cols, indexing="ij"), axis=-1) + found.shift
    limits = np.array(field.shape[1:]) - 1
    landed = np.clip(landed, 0, limits).reshape(-1, 2).T
    before = np.stack([ndimage.map_coordinates(part, landed, order=1) for part in field], axis=-1)
    return found.shift + before.reshape(found.shift.shape)

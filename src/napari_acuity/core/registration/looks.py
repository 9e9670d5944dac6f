"""What of two images is compared: locally normalised grey, fine or coarse.

Local mean and contrast are divided out, so that stains, colour casts, vignetting and exposure do not
matter. The functions work on torch tensors, on any device.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = [
    "EDGES",
    "STRUCTURE",
    "TEXTURE",
    "Look",
    "edges_of",
    "fisher",
    "local_correlation",
    "local_normalise",
    "normalised",
    "smooth",
]

_COARSEST_POOL = 16
_WINDOW_CELLS = 7


@dataclass(frozen=True)
class Look:
    """What of the images is compared, and by which blocks.

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
    dense : bool
        Whether a dense level follows the blocks.
    edges : bool
        Whether the grey gives way to its edges.
    """

    name: str
    blur_px: float
    local_px: float
    levels: tuple[tuple[int, int, int], ...]
    dense: bool
    edges: bool = False

    def of(self, grey: Tensor) -> Tensor:
        """Return what this look sees of a grey image (H, W)."""
        grey = smooth(grey, self.blur_px) if self.blur_px else grey
        grey = edges_of(grey) if self.edges else grey
        return local_normalise(grey, sigma_px=self.local_px)

    def down_to(self, block: int) -> Look:
        """Return this look with no block smaller than so many px; fine texture ends with just these."""
        levels = tuple(level for level in self.levels if level[0] >= block)
        if not self.dense:
            return replace(self, levels=levels or self.levels[:1])
        if block not in (level[0] for level in levels):
            levels = (*levels, (block, max(4, block // 6), 1))
        return replace(self, levels=levels, dense=False)


TEXTURE = Look("texture", 0.0, 30.0, ((128, 24, 1), (80, 12, 1), (50, 8, 1)), dense=True)
"""Fine texture: two images of one section."""

STRUCTURE = Look("structure", 4.0, 60.0, ((128, 32, 2), (80, 16, 1)), dense=False)
"""Outlines and layers of the tissue, all that neighbouring sections in unlike stains share."""

EDGES = Look("edges", 1.5, 30.0, TEXTURE.levels, dense=True, edges=True)
"""Where the grey changes, whichever way: images of which a part is opposite."""


def smooth(image: Tensor, sigma_px: float) -> Tensor:
    """Blur (..., H, W) by a Gaussian; borders are repeated.

    A wide Gaussian is taken on a pooled image and interpolated back: equal to about 1 %, and many times
    faster.
    """
    height, width = image.shape[-2:]
    pool = max(1, min(int(sigma_px / 3), _COARSEST_POOL))
    planes = image.reshape(1, -1, height, width)
    if pool > 1:
        padding = (0, -width % pool, 0, -height % pool)
        planes = functional.avg_pool2d(functional.pad(planes, padding, mode="replicate"), pool)
    # What pooling and linear interpolation have blurred already (a box and a triangle) is left out.
    variance = sigma_px**2 - (pool**2 - 1) / 12 - (pool**2 - 1) / 6
    blurred = _blur(planes, variance**0.5 / pool)
    if pool > 1:
        blurred = functional.interpolate(
            blurred, scale_factor=pool, mode="bilinear", align_corners=False
        )
    return blurred[..., :height, :width].reshape(image.shape)


def _blur(planes: Tensor, sigma_px: float) -> Tensor:
    radius = int(4 * sigma_px + 0.5)
    taps = torch.arange(-radius, radius + 1, dtype=planes.dtype, device=planes.device)
    kernel = torch.exp(-0.5 * (taps / sigma_px) ** 2)
    kernel = (kernel / kernel.sum()).expand(planes.shape[1], 1, 1, -1)
    padded = functional.pad(planes, (radius, radius, radius, radius), mode="replicate")
    across = functional.conv2d(padded, kernel, groups=planes.shape[1])
    return functional.conv2d(across, kernel.mT, groups=planes.shape[1])


def edges_of(grey: Tensor) -> Tensor:
    """Return the logarithm of the steepness of a grey image (H, W): strong edges do not drown the faint."""
    steepness = torch.hypot(*torch.gradient(grey))
    return steepness.add_(steepness.mean() / 2 + 1e-6).log_()


def local_normalise(image: Tensor, *, sigma_px: float = 12.0) -> Tensor:
    """Divide out local mean and contrast.

    Parameters
    ----------
    image : (H, W) float32 tensor
    sigma_px : float
        The Gaussian scale of "local".

    Returns
    -------
    (H, W) float32 tensor
        About zero mean and unit spread where there is contrast; near zero in empty background.
    """
    mean, square = (smooth(product, sigma_px) for product in (image, image * image))
    spread = square.addcmul_(mean, mean, value=-1).clamp_min_(0).sqrt_()
    # A floor of a sixtieth of the full range keeps noise in empty background from being blown up.
    floor = (image.max() - image.min()) / 60 + 1e-6
    return (image - mean).div_(spread.add_(floor))


def normalised(image: NDArray[np.float32], *, sigma_px: float = 12.0) -> NDArray[np.float32]:
    """Do as `local_normalise`, on an array."""
    plane = torch.from_numpy(np.array(image, dtype=np.float32, order="C"))
    return local_normalise(plane, sigma_px=sigma_px).numpy()


def local_correlation(fixed: Tensor, moving: Tensor, inside: Tensor) -> float:
    """Return the mean Pearson correlation of two (H, W) images in windows of 56 x 56 px.

    Windows lie 8 px apart; those less than half `inside` (H, W) do not count. 0 where none counts.
    """
    products = (fixed, moving, fixed * moving, fixed * fixed, moving * moving, inside.to(fixed))
    cell = min(8, *fixed.shape)
    cells = torch.cat([functional.avg_pool2d(plane[None], cell) for plane in products])[None]
    window = [min(_WINDOW_CELLS, length) for length in cells.shape[-2:]]
    mean_f, mean_m, both, square_f, square_m, covered = functional.avg_pool2d(
        cells, window, stride=1
    )[0]
    variance = (square_f - mean_f**2).clamp_min(1e-6) * (square_m - mean_m**2).clamp_min(1e-6)
    counts = covered > 0.5
    if not counts.any():
        return 0.0
    return float(((both - mean_f * mean_m) / variance.sqrt())[counts].mean())


def fisher(correlation: float) -> float:
    """Return a correlation on Fisher's scale, its arctanh: equal steps tell equally much; 1 is about 5."""
    return float(np.arctanh(np.clip(correlation, -0.9999, 0.9999)))

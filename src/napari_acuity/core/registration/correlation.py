"""Shifts of blocks by windowed, zero-mean cross-correlation, to a few hundredths of a pixel.

Plain correlation of mean-subtracted, Hann-windowed blocks stays accurate where the two images differ in
blur, which a pair from two instruments always does; phase-only correlation does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.fft import next_fast_len

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BlockShifts", "block_origins", "block_shifts", "no_blocks"]

# What is at once in work then fits into a processor's cache; a GPU likes it large.
_PIXELS_AT_ONCE, _PIXELS_AT_ONCE_ON_GPU = 2**20, 2**26
_MOST_BLOCKS = 48


@dataclass(frozen=True, eq=False)
class BlockShifts:
    """What correlation found in a grid of overlapping blocks.

    Parameters
    ----------
    rows, cols : (ny,), (nx,) float64
        Block centres in px of the fixed image.
    shift : (ny, nx, 2) float64
        (dy, dx) in px: content at p of the fixed block is at p + shift of the moving one.
    similarity : (ny, nx) float64
        Pearson correlation of the windowed blocks at the peak; 0 where the peak lies on the search border.
    """

    rows: NDArray[np.float64]
    cols: NDArray[np.float64]
    shift: NDArray[np.float64]
    similarity: NDArray[np.float64]


def no_blocks() -> BlockShifts:
    """Return what no block said."""
    return BlockShifts(np.zeros(0), np.zeros(0), np.zeros((0, 0, 2)), np.zeros((0, 0)))


def block_origins(length: int, block: int) -> NDArray[np.int64]:
    """Return the origins of blocks that cover 0..length evenly.

    They overlap by half; by less where that would be more than 48, which tell no more.
    """
    count = max(2, -(-(length - block) // (block // 2)) + 1) if length > block else 1
    count = max(min(count, _MOST_BLOCKS), -(-length // block))
    return np.unique(np.linspace(0, length - block, count).astype(np.int64))


def block_shifts(
    fixed: torch.Tensor, moving: torch.Tensor, *, block: int, max_shift: int
) -> BlockShifts:
    """Find the shift of every block.

    Parameters
    ----------
    fixed, moving : (H, W) float32 tensors
        On one grid, roughly aligned.
    block : int
        Side of a block in px, at most min(H, W).
    max_shift : int
        Largest shift to look for along each axis, in px; at most a third of the block is used.

    Returns
    -------
    BlockShifts
    """
    rows, cols = block_origins(fixed.shape[0], block), block_origins(fixed.shape[1], block)
    search = min(max_shift, block // 3)
    origins = torch.cartesian_prod(torch.from_numpy(rows), torch.from_numpy(cols)).to(fixed.device)
    at_once = _PIXELS_AT_ONCE_ON_GPU if fixed.is_cuda else _PIXELS_AT_ONCE
    found = [
        _peaks(_correlate(fixed, moving, some, block, search), search)
        for some in torch.split(origins, max(1, at_once // (block + search) ** 2))
    ]
    shift = torch.cat([shift for shift, _ in found]).double().cpu().numpy()
    similarity = torch.cat([value for _, value in found]).double().cpu().numpy()
    grid = (len(rows), len(cols))
    centre = np.float64(block - 1) / 2
    return BlockShifts(
        rows + centre, cols + centre, shift.reshape(*grid, 2), similarity.reshape(grid)
    )


def _correlate(
    fixed: torch.Tensor, moving: torch.Tensor, origins: torch.Tensor, block: int, search: int
) -> torch.Tensor:
    """Return (n, 2 search + 3, 2 search + 3) Pearson correlations, one px wider than the search."""
    window = torch.hann_window(block + 2, periodic=False, device=fixed.device)[1:-1]
    window = window[:, None] * window
    a, b = (_windowed(image, origins, window) for image in (fixed, moving))
    size = next_fast_len(block + search + 1, real=True)
    spectrum = torch.fft.rfft2(a, (size, size)).conj() * torch.fft.rfft2(b, (size, size))
    lags = torch.arange(-search - 1, search + 2, device=fixed.device) % size
    # Only the rows that are looked at are transformed back along their length.
    surface = torch.fft.irfft(torch.fft.ifft(spectrum, dim=1)[:, lags], size)[:, :, lags]
    energy = (a.square().sum((1, 2)) * b.square().sum((1, 2))).sqrt()
    return surface / (energy[:, None, None] + 1e-6)


def _windowed(image: torch.Tensor, origins: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
    """Cut blocks, subtract each one's weighted mean, and apply the window."""
    side = len(window)
    blocks = image.unfold(0, side, 1).unfold(1, side, 1)[origins[:, 0], origins[:, 1]]
    mean = (blocks * window).sum((1, 2), keepdim=True) / window.sum()
    return (blocks - mean) * window


def _peaks(surface: torch.Tensor, search: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the sub-pixel peak (n, 2) and its height (n,) of each correlation surface."""
    n, side = len(surface), 2 * search + 1
    best = surface[:, 1:-1, 1:-1].reshape(n, -1).argmax(1)
    y, x = best // side + 1, best % side + 1
    index, near = torch.arange(n, device=surface.device), torch.arange(-1, 2, device=surface.device)
    around = surface[
        index[:, None, None], (y[:, None] + near)[:, :, None], (x[:, None] + near)[:, None]
    ]
    height = around[:, 1, 1].clone()
    on_border = (y == 1) | (y == side) | (x == 1) | (x == side)
    height[on_border] = 0.0
    whole = torch.stack([y, x], dim=1) - search - 1
    return whole + _vertex(around.clamp_min(1e-3).log()), height


def _vertex(around: torch.Tensor) -> torch.Tensor:
    """Return the vertex (n, 2) of the paraboloid fitted to 3x3 neighbourhoods by least squares.

    Of logarithms, it is the middle of the 2-D Gaussian fitted to them.
    """
    rows, cols = around.sum(2), around.sum(1)
    dy, dx = (rows[:, 2] - rows[:, 0]) / 6, (cols[:, 2] - cols[:, 0]) / 6
    dyy, dxx = (v[:, 0] - 2 * v[:, 1] + v[:, 2] for v in (rows, cols))
    dyy, dxx = dyy / 3, dxx / 3
    dxy = (around[:, 0, 0] - around[:, 0, 2] - around[:, 2, 0] + around[:, 2, 2]) / 4
    determinant = dxx * dyy - dxy * dxy
    peaked = (determinant > 1e-12) & (dyy < 0)
    safe = torch.where(peaked, determinant, torch.ones_like(determinant))
    vertex = torch.stack([dxy * dx - dxx * dy, dxy * dy - dyy * dx], dim=1) / safe[:, None]
    return torch.where(peaked[:, None], vertex, torch.zeros_like(vertex)).clamp(-1, 1)

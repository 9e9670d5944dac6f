"""Dual-tree complex wavelet transform of an image, and its inverse.

Two wavelet trees along rows times two along columns, half a sample apart at every level, are the real and
imaginary parts of wavelets of six orientations. Their magnitude hardly changes when the image is shifted,
which that of a plain wavelet transform does.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Coefficients", "forward", "inverse", "most_levels", "places"]


def _symmetric(*half: float) -> Tensor:
    """Return the taps up to the middle one, mirrored."""
    return torch.tensor([*half, *half[-2::-1]], dtype=torch.float64)


# Kingsbury's near-symmetric pair of 13 and 19 taps for level 1, and his q-shift filter of 14 for the others.
# His shorter pair, of 5 and 7 taps, lets the magnitude vary two to ten times as much with a shift.
_LEVEL1_LOW = _symmetric(
    *(0, 0, 0, -9 / 5120, 0, 114 / 5120, -240 / 5120, -247 / 5120, 1520 / 5120, 2844 / 5120)
)
_LEVEL1_DUAL = _symmetric(
    *(7.0626395089286e-5, 0, -0.0013419015066964, -0.0018833705357143, 0.0071568080357143),
    *(0.0238560267857143, -0.0556431361607143, -0.0516880580357143, 0.2997576032366072),
    0.5594308035714286,
)
_QSHIFT_LOW = torch.tensor(
    [
        *(0.00325314, -0.00388321, 0.03466035, -0.03887280, -0.11720389, 0.27529538, 0.75614564),
        *(0.56881042, 0.01186609, -0.10671180, 0.02382538, 0.01702522, -0.00543948, -0.00455690),
    ],
    dtype=torch.float64,
)
_MARGIN_PX = 64
"""The image is mirrored this far beyond its sides, or the coarser wavelets of opposite ones would meet."""

_Axis = Literal[-2, -1]


@dataclass(frozen=True, eq=False)
class Coefficients:
    """An image as complex wavelet coefficients.

    Parameters
    ----------
    bands : tuple of Tensor
        Finest level first; each (6, rows, columns), complex: the orientations of a level. They cover the
        image and a mirrored margin around it; `places` says where.
    low : Tensor
        (4, rows, columns), real: what is coarser than the last level, a plane for each pair of trees.
    shape : (int, int)
        Rows and columns of the image.
    """

    bands: tuple[Tensor, ...]
    low: Tensor
    shape: tuple[int, int]


def most_levels(shape: tuple[int, int]) -> int:
    """Return how many levels are of use for an image: the coarsest has a few coefficients a side."""
    return max(1, min(shape).bit_length() - 3)


def places(length: int, level: int, levels: int) -> Tensor:
    """Return where the pixels of a line lie among the coefficients of a level (1 is the finest)."""
    before = _margin(length, levels)[0]
    return (torch.arange(length) + before + 0.5) / 2**level - 0.5


def forward(image: Tensor, levels: int) -> Coefficients:
    """Transform an image.

    Parameters
    ----------
    image : Tensor
        (rows, columns), real, of any size.
    levels : int
        How often the scale doubles, 1 or more.

    Returns
    -------
    Coefficients
        About four times as many numbers as pixels.

    References
    ----------
    .. [1] N. Kingsbury, "Complex wavelets for shift invariant analysis and filtering of signals", Appl.
       Comput. Harmon. Anal. 10(3), 234-253 (2001). :doi:`10.1006/acha.2000.0343`
    .. [2] I. W. Selesnick, R. G. Baraniuk and N. G. Kingsbury, "The dual-tree complex wavelet transform",
       IEEE Signal Process. Mag. 22(6), 123-151 (2005). :doi:`10.1109/MSP.2005.1550194`
    """
    rows, columns = image.shape
    inside = (_mirrored(n, levels, image.device) for n in (rows, columns))
    low = image[next(inside)][:, next(inside)].expand(4, -1, -1)
    bands = []
    for level in range(levels):
        split = _split(low, level, axis=-2)
        low, fine_columns = _split(split[:, 0], level, axis=-1).unbind(1)
        mixed = _split(split[:, 1], level, axis=-1)
        bands.append(_paired(torch.stack([fine_columns, mixed[:, 0], mixed[:, 1]])))
    return Coefficients(tuple(bands), low, (rows, columns))


def inverse(coefficients: Coefficients) -> Tensor:
    """Undo `forward`: return the image, (rows, columns)."""
    low = coefficients.low
    for level in reversed(range(len(coefficients.bands))):
        fine_columns, fine_rows, fine_both = _unpaired(coefficients.bands[level])
        coarse_rows = _join(torch.stack([low, fine_columns], 1), level, axis=-1)
        detail_rows = _join(torch.stack([fine_rows, fine_both], 1), level, axis=-1)
        low = _join(torch.stack([coarse_rows, detail_rows], 1), level, axis=-2)
    rows, columns = coefficients.shape
    top, left = (_margin(n, len(coefficients.bands))[0] for n in (rows, columns))
    return low.mean(0)[top : top + rows, left : left + columns]


def _margin(length: int, levels: int) -> tuple[int, int]:
    """Return the pixels to add before and after, so that every level has an even number to halve."""
    unit = 2**levels
    # The coarsest level must be as long as a filter, for it is taken to be periodic.
    least = max(length + 2 * _MARGIN_PX, 8 * unit)
    extra = -(-least // unit) * unit - length
    return extra // 2, extra - extra // 2


def _mirrored(length: int, levels: int, device: torch.device) -> Tensor:
    """Return the indices of a line that is mirrored at both ends, the last pixel repeated."""
    before, after = _margin(length, levels)
    index = torch.arange(-before, length + after, device=device) % (2 * length)
    return torch.minimum(index, 2 * length - 1 - index)


def _split(planes: Tensor, level: int, axis: _Axis) -> Tensor:
    """Halve the four trees along an axis: (4, rows, columns) to (4, 2, ...), low-pass first."""
    kernels, before = _filters(level, axis, False, planes.dtype, planes.device)
    after = kernels.shape[axis] - 2 - before
    padding = (before, after, 0, 0) if axis == -1 else (0, 0, before, after)
    padded = functional.pad(planes[None], padding, mode="circular")
    stride = (1, 2) if axis == -1 else (2, 1)
    halves = functional.conv2d(padded, kernels, stride=stride, groups=4)
    return halves.view(4, 2, *halves.shape[-2:])


def _join(halves: Tensor, level: int, axis: _Axis) -> Tensor:
    """Undo `_split`: (4, 2, rows, columns) to (4, ...)."""
    kernels, before = _filters(level, axis, True, halves.dtype, halves.device)
    stride = (1, 2) if axis == -1 else (2, 1)
    whole = functional.conv_transpose2d(
        halves.flatten(0, 1)[None], kernels, stride=stride, groups=4
    )[0]
    # What reaches beyond the ends belongs to the opposite ones.
    length = 2 * halves.shape[axis]
    kept = whole.narrow(axis, 0, length).clone()
    beyond = whole.shape[axis] - length
    kept.narrow(axis, 0, beyond).add_(whole.narrow(axis, length, beyond))
    return kept.roll(-before, axis)


@lru_cache(maxsize=32)
def _filters(
    level: int, axis: _Axis, synthesis: bool, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, int]:
    return _kernels(level > 0, axis, synthesis).to(device, dtype), (9 if level == 0 else 6)


def _kernels(deep: bool, axis: _Axis, synthesis: bool) -> Tensor:
    """Return the eight kernels along an axis: of each of the four trees low-pass and high-pass."""
    trees = _qshift_trees() if deep else _level1_trees(synthesis)
    # The trees are ordered (row tree, column tree): aa, ab, ba, bb.
    order = [0, 0, 1, 1] if axis == -2 else [0, 1, 0, 1]
    flat = trees[order].flatten(0, 1)
    return flat[:, None, None, :] if axis == -1 else flat[:, None, :, None]


def _level1_trees(synthesis: bool) -> Tensor:
    """Return (tree, band, tap): both trees alike, one a sample behind the other."""
    signs = torch.tensor([-1.0, 1.0], dtype=torch.float64).repeat(10)[:19]
    low, other = (_LEVEL1_DUAL, _LEVEL1_LOW) if synthesis else (_LEVEL1_LOW, _LEVEL1_DUAL)
    # A high-pass is the low-pass of the opposite direction, modulated, and sits one sample on.
    gap = torch.zeros(1, dtype=torch.float64)
    bands = torch.stack([torch.cat([low, gap]), torch.cat([gap, signs * other])])
    a = torch.cat([bands, torch.zeros(2, 1, dtype=torch.float64)], 1)
    return 2**0.5 * torch.stack([a, a.roll(1, 1)])


def _qshift_trees() -> Tensor:
    """Return (tree, band, tap): orthonormal, the second tree the first one reversed in time."""
    signs = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(7)
    a = torch.stack([_QSHIFT_LOW, signs * _QSHIFT_LOW.flip(0)])
    return torch.stack([a, a.flip(1)])


def _paired(trees: Tensor) -> Tensor:
    """Turn (3, 4, ...) real bands of the trees into (6, ...) complex ones, of the same energy."""
    aa, ab, ba, bb = trees.unbind(1)
    return torch.cat([torch.complex(aa - bb, ab + ba), torch.complex(aa + bb, ba - ab)]) / 2**0.5


def _unpaired(bands: Tensor) -> Tensor:
    """Undo `_paired`: (6, ...) complex to (3, 4, ...) real."""
    first, second = bands[:3], bands[3:]
    aa, bb = first.real + second.real, second.real - first.real
    ab, ba = first.imag - second.imag, first.imag + second.imag
    return torch.stack([aa, ab, ba, bb], 1) / 2**0.5

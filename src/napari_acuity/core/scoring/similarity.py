"""SSIM and MS-SSIM of planes on a device, as `core.quality` defines them."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import conv2d

from ..quality.agreement import MS_SSIM_EXPONENTS
from ..quality.similarity import SSIM_C1, SSIM_C2, SSIM_WINDOW

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["local_similarity", "ms_ssim"]


def local_similarity(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return SSIM's two factors wherever the whole window lies in the images.

    Parameters
    ----------
    a, b : Tensor
        (C, Y, X) on unit range; float64 to measure by, float32 to train with.

    Returns
    -------
    luminance, structure : Tensor
        (C, Y - 10, X - 10). SSIM is their product.
    """
    # The variances enter as a sum only. As differences of means of squares they are good to 1e-15 of
    # the squares, far below the constant beside them; in single precision they would not be.
    mean_a, mean_b = _blurred(a, b)
    squares, product = _blurred(a * a + b * b, a * b)
    both, power = mean_a * mean_b, mean_a * mean_a + mean_b * mean_b
    luminance = (2 * both + SSIM_C1) / (power + SSIM_C1)
    return luminance, (2 * (product - both) + SSIM_C2) / (squares - power + SSIM_C2)


def ms_ssim(a: Tensor, b: Tensor, *, finest: Tensor) -> Tensor:
    """Return the multi-scale SSIM of two images as `quality.ms_ssim`.

    Parameters
    ----------
    a, b : Tensor
        (C, Y, X) float64 on unit range, 176 px or more.
    finest : Tensor
        Their `structure` from `local_similarity`.

    Returns
    -------
    Tensor
        Of no axes.
    """
    means = [finest.mean((-2, -1))]
    for _ in MS_SSIM_EXPONENTS[1:]:
        a, b = _halved(a), _halved(b)
        luminance, structure = local_similarity(a, b)
        means.append(structure.mean((-2, -1)))
    means[-1] = (luminance * structure).mean((-2, -1))
    weighted = [
        mean.clamp(min=0) ** exponent
        for mean, exponent in zip(means, MS_SSIM_EXPONENTS, strict=True)
    ]
    return torch.stack(weighted).prod(0).mean()


def _blurred(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return the means of two images, (C, Y, X) each, under SSIM's window, wherever it lies inside."""
    # Two at a time: from two channels on, torch has a kernel of its own for channels that do not mix.
    channels = 2 * len(first)
    window = _window(first.device, first.dtype).repeat(channels, 1)
    planes = torch.cat((first, second))[None]
    planes = conv2d(planes, window[:, None, :, None], groups=channels)
    planes = conv2d(planes, window[:, None, None, :], groups=channels)
    one, other = planes[0].chunk(2)
    return one, other


@cache
def _window(device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return SSIM's profile; kept, as to bring anything to a GPU is to wait for it."""
    return torch.tensor(SSIM_WINDOW, device=device, dtype=dtype)


def _halved(planes: Tensor) -> Tensor:
    rows, columns = (n // 2 * 2 for n in planes.shape[-2:])
    even = planes[:, :rows, :columns]
    return (even[:, ::2, ::2] + even[:, 1::2, ::2] + even[:, ::2, 1::2] + even[:, 1::2, 1::2]) / 4

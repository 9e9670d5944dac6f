"""What baseline JPEG does to a batch of patches, computed where they are."""

from __future__ import annotations

import math
from functools import cache

import torch
from torch.nn import functional

__all__ = ["compress", "quantisation_tables"]

# ITU-T T.81 (1992), Annex K, tables K.1 (luminance) and K.2 (chrominance).
_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)
# JFIF 1.02, section "Conversion to and from RGB": rows Y, Cb, Cr; columns R, G, B.
_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


@torch.no_grad()
def compress(images: torch.Tensor, quality: torch.Tensor) -> torch.Tensor:
    """Compress and decompress images as JPEG does, without the lossless part.

    RGB is coded as YCbCr with 4:2:0 chroma (ITU-T T.81; JFIF 1.02), its chroma enlarged by the triangle
    filter as libjpeg does by default. The 8 x 8 blocks begin at the first pixel of each image.

    Parameters
    ----------
    images : (n, C, h, w) float tensor
        In 0..1; C is 1 or 3. Values are rounded to 8 bits first.
    quality : (n,) int tensor
        Of each, 1 to 100 on libjpeg's scale; on the same device.

    Returns
    -------
    (n, C, h, w) float32 tensor
        Multiples of 1/255.
    """
    # Half precision would decide on other coefficients.
    with torch.autocast(images.device.type, enabled=False):
        pixels = (images.float() * 255).round().clamp(0, 255)
        if images.shape[1] == 1:
            (table,) = quantisation_tables(quality, colour=False)
            return _coded(pixels, table, block=8) / 255
        luma_table, chroma_table = quantisation_tables(quality, colour=True)
        planes = _mixed(pixels, _YCC) + pixels.new_tensor([0.0, 128, 128]).view(3, 1, 1)
        planes = planes.round().clamp(0, 255)
        height, width = images.shape[2:]
        luma = _coded(planes[:, :1], luma_table, block=8)
        half = _coded(_halved(planes[:, 1:]), chroma_table, block=8)
        # What lies beyond the image in the last blocks is none of the decoder's business.
        half = half[:, :, : -(-height // 2), : -(-width // 2)]
        chroma = _doubled(half)[:, :, :height, :width] - 128
        decoded = _mixed(torch.cat([luma, chroma], 1), _RGB)
        return decoded.round().clamp(0, 255) / 255


def quantisation_tables(quality: torch.Tensor, *, colour: bool) -> list[torch.Tensor]:
    """Scale the tables of T.81's Annex K as libjpeg's `jpeg_set_quality` does.

    Parameters
    ----------
    quality : (n,) int tensor
        1 to 100.
    colour : bool
        Whether the table of chroma is wanted too.

    Returns
    -------
    list of (n, 8, 8) float32 tensors
        Luma, and chroma if wanted; rows are vertical frequencies.
    """
    percent = torch.where(quality < 50, 5000 // quality, 200 - 2 * quality)[:, None, None]
    tables = (_LUMINANCE, _CHROMINANCE) if colour else (_LUMINANCE,)
    return [
        ((torch.tensor(table, device=quality.device) * percent + 50) // 100).clamp(1, 255).float()
        for table in tables
    ]


def _coded(planes: torch.Tensor, table: torch.Tensor, *, block: int) -> torch.Tensor:
    """Transform, quantise and restore (n, C, h, w) planes in 0..255, each image with its own table."""
    count, channels, height, width = planes.shape
    padded = _padded(planes, block) - 128
    rows, cols = (n // block for n in padded.shape[2:])
    blocks = padded.view(count, channels, rows, block, cols, block).transpose(3, 4)
    cosine = _cosine(planes.device)
    steps = table[:, None, None, None]
    # libjpeg's transform ends in eighths, and halves are rounded away from 0: ties are frequent.
    eighths = (cosine @ blocks @ cosine.T * 8).round()
    levels = torch.floor((eighths.abs() + 4 * steps) / (8 * steps))
    coefficients = levels * eighths.sign() * steps
    restored = (cosine.T @ coefficients @ cosine).transpose(3, 4).reshape(padded.shape)
    return (restored[:, :, :height, :width] + 128).round().clamp(0, 255)


def _halved(planes: torch.Tensor) -> torch.Tensor:
    """Average squares of four pixels; halves are rounded down and up by turns, as libjpeg does."""
    mean = functional.avg_pool2d(_padded(planes, 16), 2)
    return torch.floor(mean + _by_turns(mean, 1 / 4, 2 / 4))


def _doubled(planes: torch.Tensor) -> torch.Tensor:
    """Enlarge by libjpeg's triangle filter: 9, 3, 3 and 1 sixteenths of the four nearest pixels."""
    fine = functional.interpolate(planes, scale_factor=2, mode="bilinear", align_corners=False)
    return torch.floor(fine + _by_turns(fine, 8 / 16, 7 / 16))


def _by_turns(planes: torch.Tensor, even: float, odd: float) -> torch.Tensor:
    return torch.where(torch.arange(planes.shape[-1], device=planes.device) % 2 == 0, even, odd)


@cache
def _cosine(device: torch.device) -> torch.Tensor:
    """Return the orthonormal 8-point DCT-II as a matrix."""
    frequency, place = torch.arange(8.0)[:, None], torch.arange(8.0)
    matrix = torch.cos((2 * place + 1) * frequency * math.pi / 16) / 2
    matrix[0] /= math.sqrt(2)
    return matrix.to(device)


def _padded(planes: torch.Tensor, block: int) -> torch.Tensor:
    """Repeat the last row and column up to whole blocks."""
    below, beside = (-n % block for n in planes.shape[2:])
    return functional.pad(planes, (0, beside, 0, below), mode="replicate").contiguous()


def _mixed(planes: torch.Tensor, weights: tuple[tuple[float, ...], ...]) -> torch.Tensor:
    """Apply a 3 x 3 matrix to the channels of (n, 3, h, w)."""
    matrix = torch.tensor(weights, device=planes.device)
    return torch.einsum("ij,njhw->nihw", matrix, planes)

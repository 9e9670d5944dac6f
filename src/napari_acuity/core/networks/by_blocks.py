"""The last layers of the bright-field network, without the image p times as fine that they shrink again.

A pixel shuffle by p and a 3x3 convolution that strides by q map each q x q block of pixels, of p x p values a
channel, to a block of p x p output pixels: one convolution of stride q between values, and a shuffle of what
it gives. Beyond the border both see zeros, so that the result is the same there, too.

Processors gain nothing; GPUs neither make nor read the large image, nor convolve its three channels, which
takes them as long as convolving sixteen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import nn

__all__ = ["enlarge_by_blocks", "weight_of_blocks"]


def enlarge_by_blocks(
    values: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    *,
    channels: int,
    shuffle: int,
    stride: int,
) -> torch.Tensor:
    """Shuffle values into an image `shuffle` times as fine and convolve that by `stride`, all at once.

    Parameters
    ----------
    values : (n, m, h, w) tensor
        What is shuffled; channels beyond those of the image are not looked at.
    weight, bias : tensors
        From `weight_of_blocks` for m values; without a bias None.
    channels : int
        C, of the image.
    shuffle, stride : int
        p and q.

    Returns
    -------
    (n, C, ceil(p/q h), ceil(p/q w)) tensor
    """
    p, q = shuffle, stride
    height, width = values.shape[-2:]
    if q <= 2:
        blocks = functional.conv2d(values, weight, bias, stride=q, padding=1)
    else:
        below, right = (-n % q for n in (height, width))
        blocks = functional.conv2d(
            functional.pad(values, (1, right, 1, below)), weight, bias, stride=q
        )
    whole = functional.pixel_shuffle(blocks[:, : channels * p * p], p)
    return whole[..., : -(-p * height // q), : -(-p * width // q)]


def weight_of_blocks(
    down: nn.Conv2d, *, shuffle: int, values: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the kernel and bias with which `enlarge_by_blocks` convolves; gradients pass through.

    Parameters
    ----------
    down : torch.nn.Conv2d
        3x3, C to C channels, of stride q, padded by 1.
    shuffle : int
        p.
    values : int
        m, at least C p p: how many there are, and how many are made of them; what is more is zero.

    Returns
    -------
    (m, m, k, k), (m,) tensors
    """
    p, q = shuffle, down.stride[0]
    weight = _spread(_spread(down.weight, p, q).movedim(2, -1), p, q)
    # Of output channel and place in its block; of channel, place in its pixel, and pixel:
    weight = weight.permute(0, 5, 2, 1, 7, 4, 6, 3).flatten(0, 2).flatten(1, 3)
    bias = down.bias.repeat_interleave(p * p)  # type: ignore[union-attr]
    more = values - len(weight)
    return functional.pad(weight, (0, 0, 0, 0, 0, more, 0, more)), functional.pad(bias, (0, more))


def _spread(taps: torch.Tensor, p: int, q: int) -> torch.Tensor:
    """Lay 3 taps over k coarse pixels of p values, from pixel -1 on, for p outputs: (..., p, k, p)."""
    count = max(3, q + 1)
    before = [p - 1 + q * output for output in range(p)]
    rows = [functional.pad(taps, (at, count * p - 3 - at)) for at in before]
    return torch.stack(rows, -2).view(*taps.shape[:-1], p, count, p)

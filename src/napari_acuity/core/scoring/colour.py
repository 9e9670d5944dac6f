"""Colour differences of planes on a device, as `core.quality` defines them."""

from __future__ import annotations

from math import pi, radians
from typing import TYPE_CHECKING

import torch

from ..quality.colour import D65, XYZ_FROM_LINEAR

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["cie94", "ciede2000", "lab", "linear"]


def linear(srgb: Tensor) -> Tensor:
    """Decode sRGB within 0..1 to linear light."""
    curved = ((srgb.clamp(min=0) + 0.055) / 1.055) ** 2.4
    return torch.where(srgb > 0.04045, curved, srgb / 12.92)


def lab(light: Tensor) -> Tensor:
    """Return CIE L*a*b* (D65) of linear light, both (3, Y, X)."""
    red, green, blue = light
    # Without a matrix product, which a GPU may be set to round to TF32.
    x, y, z = (
        _compressed((r * red + g * green + b * blue) / white)
        for (r, g, b), white in zip(XYZ_FROM_LINEAR.tolist(), D65.tolist(), strict=True)
    )
    return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)))


def cie94(reference: Tensor, image: Tensor) -> Tensor:
    """Return the CIE-94 difference, (Y, X), of L*a*b* colours, (3, Y, X); see `quality.cie94`."""
    (light_1, a_1, b_1), (light_2, a_2, b_2) = reference, image
    chroma = torch.hypot(a_1, b_1)
    chroma_step = chroma - torch.hypot(a_2, b_2)
    # What of the step in a and b is no step in chroma is one in hue; rounding may leave less than none.
    hue_2 = ((a_1 - a_2) ** 2 + (b_1 - b_2) ** 2 - chroma_step**2).clamp(min=0)
    weighted = (light_1 - light_2) ** 2 + (chroma_step / (1 + 0.045 * chroma)) ** 2
    return (weighted + hue_2 / (1 + 0.015 * chroma) ** 2).sqrt()


def ciede2000(first: Tensor, second: Tensor) -> Tensor:
    """Return the CIEDE2000 difference, (Y, X), of L*a*b* colours, (3, Y, X); see `quality.ciede2000`.

    Equations 2 to 22 of Sharma, Wu and Dalal, Color Res. Appl. 30(1), 21-30 (2005),
    :doi:`10.1002/col.20070`.
    """
    (light_1, a_1, b_1), (light_2, a_2, b_2) = first, second
    stretch = 1.5 - 0.5 * _share((torch.hypot(a_1, b_1) + torch.hypot(a_2, b_2)) / 2)
    chroma_1, hue_1 = _polar(a_1 * stretch, b_1)
    chroma_2, hue_2 = _polar(a_2 * stretch, b_2)
    chroma_product, chroma = chroma_1 * chroma_2, (chroma_1 + chroma_2) / 2
    # A grey has no hue; what its angle may be is multiplied with the root of no chroma below.
    turn, hue = _hues(hue_1, hue_2)

    from_middle = ((light_1 + light_2) / 2 - 50) ** 2
    light_step = (light_2 - light_1) / (1 + 0.015 * from_middle / (20 + from_middle).sqrt())
    chroma_step = (chroma_2 - chroma_1) / (1 + 0.045 * chroma)
    hue_step = 2 * chroma_product.sqrt() * (turn / 2).sin() / (1 + 0.015 * chroma * _weight(hue))
    blue = torch.exp(-(((hue - radians(275)) / radians(25)) ** 2))
    rotation = -(radians(60) * blue).sin() * 2 * _share(chroma)
    squares = light_step**2 + chroma_step**2 + hue_step**2 + rotation * chroma_step * hue_step
    return squares.clamp(min=0).sqrt()


def _compressed(relative: Tensor) -> Tensor:
    """Return L*a*b*'s f of a tristimulus value over that of white."""
    steep = relative * (841 / 108) + 4 / 29
    return torch.where(relative > (6 / 29) ** 3, relative.clamp(min=0) ** (1 / 3), steep)


def _polar(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return chroma, and hue within 0..2 pi."""
    angle = torch.atan2(b, a)
    return torch.hypot(a, b), torch.where(angle < 0, angle + 2 * pi, angle)


def _share(chroma: Tensor) -> Tensor:
    seventh = chroma**7
    return (seventh / (seventh + 25.0**7)).sqrt()


def _hues(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return the turn from one hue to another the short way, and the hue half-way, within 0..2 pi."""
    turn, total = second - first, first + second
    long_way = turn.abs() > pi
    # Not of two plain numbers: torch.where would make them single precision.
    opposite = torch.where(total < 2 * pi, total / 2 + pi, total / 2 - pi)
    short = torch.where(long_way, turn - 2 * pi * turn.sign(), turn)
    return short, torch.where(long_way, opposite, total / 2)


def _weight(hue: Tensor) -> Tensor:
    """Return T, how much a step in hue counts by where on the circle it lies."""
    return (
        1
        - 0.17 * (hue - radians(30)).cos()
        + 0.24 * (2 * hue).cos()
        + 0.32 * (3 * hue + radians(6)).cos()
        - 0.20 * (4 * hue - radians(63)).cos()
    )

"""What a network reaches on fields it is not trained on, and what it shows of one of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from ..geometry import ratio
from ..pairs.patches import Field, as_unit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Preview", "interpolate", "middle", "preview", "validate"]

# Validation looks at the middle of every field; more says little more and costs training time.
_VALIDATION_SIDE = 256


@dataclass(frozen=True, eq=False)
class Preview:
    """One fixed validation crop, (H, W) or (H, W, 3) float32 in 0..1, each on the output's grid."""

    input: Any
    output: Any
    truth: Any


def middle(field: Field, scale: float) -> Field:
    """Cut the middle of a field, in step with both grids."""
    p, q = ratio(scale).as_integer_ratio()
    height, width = (min(n, _VALIDATION_SIDE) // q * q for n in field.low.shape[1:])
    top, left = (
        (n - m) // 2 // q * q for n, m in zip(field.low.shape[1:], (height, width), strict=True)
    )
    y, x, h, w = (v * p // q for v in (top, left, height, width))
    return Field(
        field.low[:, top : top + height, left : left + width], field.high[:, y : y + h, x : x + w]
    )


@torch.no_grad()
def validate(
    network: Callable[[torch.Tensor], torch.Tensor], fields: Sequence[Field]
) -> tuple[float, float]:
    """Return the mean squared error over the fields and its PSNR in dB, outputs clipped to 0..1."""
    errors = []
    for field in fields:
        low, high = as_unit(field.low)[None], as_unit(field.high)[None]
        errors.append(functional.mse_loss(network(low).float().clamp(0, 1), high).item())
    mean = sum(errors) / len(errors)
    return mean, -10 * math.log10(max(mean, 1e-12))


def interpolate(low: torch.Tensor, scale: float) -> torch.Tensor:
    """Enlarge a batch by torch's bicubic, on aligned centres: the line a network has to pass."""
    size = [round(n * scale) for n in low.shape[-2:]]
    return functional.interpolate(low, size, mode="bicubic", align_corners=False)


@torch.no_grad()
def preview(network: Callable[[torch.Tensor], torch.Tensor], field: Field, scale: float) -> Preview:
    """Show the field enlarged, as the network makes it, and as it is."""
    low, high = as_unit(field.low)[None], as_unit(field.high)[None]
    return Preview(*(_picture(image) for image in (interpolate(low, scale), network(low), high)))


def _picture(batch: torch.Tensor) -> Any:
    image = batch[0].float().clamp(0, 1).cpu()
    return (image.movedim(0, -1) if len(image) > 1 else image[0]).numpy()

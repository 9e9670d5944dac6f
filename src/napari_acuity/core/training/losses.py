"""What training minimises."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from ..scoring.similarity import local_similarity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["POINTWISE", "TERMS", "gradient_energy", "loss_terms", "structure_loss"]


def loss_terms(
    output: torch.Tensor, truth: torch.Tensor, weights: Mapping[str, float]
) -> dict[str, torch.Tensor]:
    """Return each term of a loss that the truth decides, weighted; their sum is what is minimised.

    Rivenson et al. 2017 (doi:10.1364/OPTICA.4.001437), supplement: MSE and 0.001 times the gradient.
    Wang et al. 2019 (doi:10.1038/s41592-018-0239-0): MSE and `structure_loss`, beside an adversarial term.

    Parameters
    ----------
    output, truth : (n, C, H, W) tensors
    weights : mapping
        Name in `TERMS` -> weight; others are left to whoever knows them, and those of weight 0 out.
    """
    return {
        name: weight * TERMS[name](output, truth)
        for name, weight in weights.items()
        if name in TERMS and weight
    }


def gradient_energy(image: torch.Tensor) -> torch.Tensor:
    """Return the mean of (h * Y)^2 + (h^T * Y)^2, h the 3x3 Sobel kernel, over the valid area."""
    planes = image.flatten(0, 1)[:, None]
    kernels = _sobel(image.device, image.dtype)
    return functional.conv2d(planes, kernels).square().sum(1).mean()


@cache
def _sobel(device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Return h and h^T, (2, 1, 3, 3); kept, as to bring anything to a GPU is to wait for it."""
    sobel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], device=device, dtype=dtype)
    return torch.stack([sobel, sobel.T])[:, None]


def structure_loss(output: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return the mean of -log((1 + SSIM) / 2) over the images; SSIM over the valid area, range 1.

    Wang et al. 2019 (doi:10.1038/s41592-018-0239-0), the third term of the generator's loss.
    """
    # Half precision would lose the variances, which are differences of like numbers.
    planes = (image.float().flatten(0, 1) for image in (output, truth))
    luminance, structure = local_similarity(*planes)
    similarity = (luminance * structure).mean((-2, -1)).view(output.shape[:2]).mean(1)
    # Rounding must not take it to -1, whose logarithm is no number.
    return -torch.log(((1 + similarity) / 2).clamp(min=1e-6)).mean()


TERMS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "mse": functional.mse_loss,
    "mae": functional.l1_loss,
    "ssim": structure_loss,
    "gradient": lambda output, _truth: gradient_energy(output),
}

POINTWISE = ("mse", "mae")
"""Terms that look at each pixel by itself: compiled with a network they cost nothing."""

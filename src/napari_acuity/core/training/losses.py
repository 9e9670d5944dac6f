"""What training minimises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TERMS", "gradient_energy", "loss_terms"]


def loss_terms(
    output: torch.Tensor, truth: torch.Tensor, weights: Mapping[str, float]
) -> dict[str, torch.Tensor]:
    """Return each term of a loss, weighted; their sum is what is minimised.

    Rivenson et al. 2017 (doi:10.1364/OPTICA.4.001437), supplement: MSE and 0.001 times the gradient.

    Parameters
    ----------
    output, truth : (n, C, H, W) tensors
    weights : mapping
        Name in `TERMS` -> weight.
    """
    return {name: weight * TERMS[name](output, truth) for name, weight in weights.items()}


def gradient_energy(image: torch.Tensor) -> torch.Tensor:
    """Return the mean of (h * Y)^2 + (h^T * Y)^2, h the 3x3 Sobel kernel, over the valid area."""
    sobel = torch.tensor(
        [[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], device=image.device, dtype=image.dtype
    )
    kernels = torch.stack([sobel, sobel.T])[:, None]
    planes = image.flatten(0, 1)[:, None]
    return functional.conv2d(planes, kernels).square().sum(1).mean()


TERMS = {
    "mse": functional.mse_loss,
    "mae": functional.l1_loss,
    "gradient": lambda output, _truth: gradient_energy(output),
}

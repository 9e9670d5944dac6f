"""What training minimises."""

from __future__ import annotations

import torch
from torch.nn import functional

__all__ = ["gradient_energy", "supervised_loss"]


def supervised_loss(
    output: torch.Tensor, truth: torch.Tensor, *, gradient_weight: float = 0.0
) -> torch.Tensor:
    """Return MSE + gradient_weight * mean squared gradient of the output.

    Rivenson et al. 2017 (doi:10.1364/OPTICA.4.001437), supplement: lambda = 0.001.

    Parameters
    ----------
    output, truth : (n, C, H, W) tensors
    gradient_weight : float
        lambda.
    """
    loss = functional.mse_loss(output, truth)
    return loss + gradient_weight * gradient_energy(output) if gradient_weight else loss


def gradient_energy(image: torch.Tensor) -> torch.Tensor:
    """Return the mean of (h * Y)^2 + (h^T * Y)^2, h the 3x3 Sobel kernel, over the valid area."""
    sobel = torch.tensor(
        [[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], device=image.device, dtype=image.dtype
    )
    kernels = torch.stack([sobel, sobel.T])[:, None]
    planes = image.flatten(0, 1)[:, None]
    return functional.conv2d(planes, kernels).square().sum(1).mean()

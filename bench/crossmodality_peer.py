"""The peer of the cross-modality recipes: a plain small U-Net, trained by a plain loop for the same time."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import napari_acuity as acuity
from napari_acuity.core.training.losses import structure_loss

__all__ = ["plain_unet"]

PATCH_PX, BATCH, RATE, SSIM_WEIGHT = 128, 4, 1e-3, 0.1


class SmallUNet(nn.Module):
    """Two levels down and up, 16, 32 and 64 channels, two convolutions with ReLU each; torch's own start."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = _double(1, 16), _double(16, 32), _double(32, 64)
        self.four, self.five = _double(96, 32), _double(48, 16)
        self.last = nn.Conv2d(16, 1, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Map (n, 1, h, w) to the same shape; sides are multiples of 4."""
        one = self.one(image)
        two = self.two(functional.max_pool2d(one, 2))
        three = self.three(functional.max_pool2d(two, 2))
        four = self.four(torch.cat([_twice(three), two], 1))
        return self.last(self.five(torch.cat([_twice(four), one], 1)))


def plain_unet(
    low: acuity.Micrograph,
    high: acuity.Micrograph,
    columns: slice,
    *,
    minutes: float,
    device: str,
) -> acuity.Micrograph:
    """Train on some columns of a pair and return what the network makes of the whole image."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    images = []
    for image in (low, high):
        black, white = np.percentile(image.pixels[:, columns], [0.1, 99.9])
        unit = (image.pixels.astype(np.float32) - black) / (white - black)
        images.append(torch.from_numpy(unit.astype(np.float32)))
    network = SmallUNet().to(device)
    optimiser = torch.optim.Adam(network.parameters(), lr=RATE)
    rows, cols = low.shape[0] - PATCH_PX, columns.stop - PATCH_PX
    end = time.monotonic() + 60 * minutes
    while time.monotonic() < end:
        places = rng.integers(0, (rows + 1, cols + 1), (BATCH, 2))
        given, wanted = (
            torch.stack([image[y : y + PATCH_PX, x : x + PATCH_PX] for y, x in places])[:, None].to(
                device
            )
            for image in images
        )
        made = network(given)
        loss = functional.mse_loss(made, wanted) + SSIM_WEIGHT * structure_loss(made, wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.inference_mode():
        output = network(images[0][None, None].to(device))[0, 0].cpu().numpy()
    return acuity.Micrograph(output, low.pixel_size)


def _double(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.ReLU(),
    )


def _twice(image: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(image, scale_factor=2, mode="bilinear", align_corners=False)

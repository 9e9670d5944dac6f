"""The plain arithmetic of a lens: what each operation makes of its images, all at once.

Within a lens images are float32 with black 0 and white 1, those of three channels RGB; masks are images of
zeros and ones, labels uint8. torch computes on all cores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from torch.nn import functional

from ..colours import merge
from ..errors import ModelError
from ..micrograph import Micrograph, grey
from .planes import as_tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ..lens import Step
    from ..lens.steps import Kind

__all__ = ["FUNCTIONS", "Function", "check_sizes"]

Function: TypeAlias = "Callable[[Step, list[Kind], list[Micrograph]], Micrograph]"
"""Gets the step, what its images are, and the images, in the order of the step's `of`."""


def check_sizes(step: Step, images: list[Micrograph]) -> None:
    """Raise ModelError where images of one scale are of unlike size: rounded up once, or twice."""
    if len({image.shape for image in images}) > 1:
        told = " and ".join(" x ".join(map(str, image.shape)) for image in images)
        raise ModelError(
            f"Step '{step.name}' of the lens joins images of unlike size: {told} px.",
            "Crop the image to a multiple of 16 rows and columns.",
        )


def _given(step: Step, kinds: list[Kind], images: list[Micrograph]) -> Micrograph:
    return images[0]


def _merge(step: Step, kinds: list[Kind], images: list[Micrograph]) -> Micrograph:
    """Add up grey images, each in its colour; all planes of a stack are shown alike."""
    check_sizes(step, images)
    shape = images[0].pixels.shape
    flat = [image.with_pixels(image.pixels.reshape(-1, shape[-1])) for image in images]
    made = merge(flat, step.settings["colours"])
    return made.with_pixels(made.pixels.reshape(*shape, 3))


def _add(step: Step, kinds: list[Kind], images: list[Micrograph]) -> Micrograph:
    """Add up images; a sum beyond white stays."""
    check_sizes(step, images)
    first, second, *others = (as_tensor(image.pixels) for image in images)
    total = first + second
    for other in others:
        total += other
    return images[0].with_pixels(total.numpy())


def _multiply(step: Step, kinds: list[Kind], images: list[Micrograph]) -> Micrograph:
    """Multiply images, and masks on them."""
    check_sizes(step, images)
    # The image is what has most axes; a product of masks is one.
    first, *others = sorted(images, key=lambda image: -image.pixels.ndim)
    product = as_tensor(first.pixels)
    for number, other in enumerate(others):
        factor = as_tensor(other.pixels)
        if factor.ndim < product.ndim:
            factor = factor.unsqueeze(-1 if first.rgb else -3)
        product = product.mul_(factor) if number else product * factor
    return first.with_pixels(product.numpy())


def _threshold(step: Step, kinds: list[Kind], images: list[Micrograph]) -> Micrograph:
    """Make a mask of where the luma (ITU-R BT.601) reaches a value."""
    reached = grey(images[0]) >= np.float32(step.settings["at"])
    return images[0].with_pixels(reached.astype(np.float32), rgb=False)


def _classify(step: Step, kinds: list[Kind], images: list[Micrograph]) -> Micrograph:
    """Make labels: of each pixel the kind whose colour is nearest in RGB, or 0 where black is nearer."""
    pixels = as_tensor(images[0].pixels)
    labels = torch.zeros(pixels.shape[:-1], dtype=torch.uint8)
    # |p - c|^2 = |p|^2 - (2 p c - |c|^2): the nearest colour has the largest bracket, and black has 0.
    nearest = torch.zeros(labels.shape)
    for number, colour in enumerate(map(_rgb, step.settings["colours"]), start=1):
        nearness = (pixels @ torch.from_numpy(2 * colour)).sub_(float(colour @ colour))
        # The numbers rise: the last kind that is nearer than those before has the largest.
        torch.maximum(
            labels, (nearness > nearest) * torch.tensor(number, dtype=torch.uint8), out=labels
        )
        torch.maximum(nearness, nearest, out=nearest)
    return images[0].with_pixels(labels.numpy(), rgb=False, value_range=None)


def _mask(step: Step, kinds: list[Kind], images: list[Micrograph]) -> Micrograph:
    """Make a mask of where labels have a kind."""
    names = [name for name, _ in kinds[0].classes]
    number = names.index(step.settings["kind"]) + 1
    pixels = (as_tensor(images[0].pixels) == number).float()
    return images[0].with_pixels(pixels.numpy(), value_range=(0.0, 1.0))


def _colourise(step: Step, kinds: list[Kind], images: list[Micrograph]) -> Micrograph:
    """Give each kind its colour, as bright as the image is; what is of no kind stays as it is."""
    check_sizes(step, images)
    labels, image = images
    # Of 256 labels those that are of no kind would be white: luma as it is.
    colours = np.ones((256, 3), np.float32)
    colours[1 : len(kinds[0].classes) + 1] = [_rgb(colour) for _, colour in kinds[0].classes]
    # Where an image has colours, they are added where there is no kind.
    colours[0] = not image.rgb
    numbers = as_tensor(labels.pixels).int()
    pixels = functional.embedding(numbers, torch.from_numpy(colours))
    pixels *= torch.from_numpy(grey(image))[..., None]
    if image.rgb:
        pixels.addcmul_(as_tensor(image.pixels), (numbers == 0).float()[..., None])
    return image.with_pixels(pixels.numpy(), rgb=True)


def _rgb(colour: str) -> NDArray[np.float32]:
    return np.frombuffer(bytes.fromhex(colour[1:]), np.uint8).astype(np.float32) / np.float32(255)


FUNCTIONS: dict[str, Function] = {
    "model": _given,  # the model is applied to it by `lens_apply`
    "merge": _merge,
    "add": _add,
    "multiply": _multiply,
    "threshold": _threshold,
    "classify": _classify,
    "mask": _mask,
    "colourise": _colourise,
}

"""The plain arithmetic of a lens: what each operation makes of its images, all at once.

Within a lens images are float32 with black 0 and white 1, those of three channels RGB; masks are images of
zeros and ones, labels uint8. torch computes on all cores; what it does slowly with three colours beside each
other is left to OpenCV, which takes a tenth to a fifth of the time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import cv2
import numpy as np

from ...colours import merge
from ...errors import ModelError
from ...micrograph import Micrograph, grey
from ..planes import as_tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ...lens import Step
    from ...lens.steps import Kind

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
        factor = as_tensor(_on_all_channels(other.pixels, first))
        product = product.mul_(factor) if number else product * factor
    return first.with_pixels(product.numpy())


def _threshold(step: Step, kinds: list[Kind], images: list[Micrograph]) -> Micrograph:
    """Make a mask of where the luma (ITU-R BT.601) reaches a value."""
    reached = grey(images[0]) >= np.float32(step.settings["at"])
    return images[0].with_pixels(reached.astype(np.float32), rgb=False)


def _classify(step: Step, kinds: list[Kind], images: list[Micrograph]) -> Micrograph:
    """Make labels: of each pixel the kind whose colour is nearest in RGB, or 0 where black is nearer."""
    shape = images[0].pixels.shape[:-1]
    lines = _lines(images[0].pixels, rgb=True)
    labels = np.zeros(lines.shape[:2], np.uint8)
    # |p - c|^2 = |p|^2 - (2 p c - |c|^2): the nearest colour has the largest bracket, and black has 0.
    nearest = np.zeros(lines.shape[:2], np.float32)
    for number, colour in enumerate(map(_rgb, step.settings["colours"]), start=1):
        nearness = cv2.transform(lines, np.append(2 * colour, -colour @ colour)[None])
        # The numbers rise: the last kind that is nearer than those before has the largest.
        np.maximum(labels, (nearness > nearest) * np.uint8(number), out=labels)
        np.maximum(nearness, nearest, out=nearest)
    return images[0].with_pixels(labels.reshape(shape), rgb=False, value_range=None)


def _mask(step: Step, kinds: list[Kind], images: list[Micrograph]) -> Micrograph:
    """Make a mask of where labels have a kind."""
    names = [name for name, _ in kinds[0].classes]
    pixels = _where(images[0].pixels, names.index(step.settings["kind"]) + 1)
    return images[0].with_pixels(pixels, value_range=(0.0, 1.0))


def _colourise(step: Step, kinds: list[Kind], images: list[Micrograph]) -> Micrograph:
    """Give each kind its colour, as bright as the image is; what is of no kind stays as it is."""
    check_sizes(step, images)
    labels, image = images
    # Of 256 labels those that are of no kind would be white: luma as it is.
    colours = np.ones((256, 3), np.float32)
    colours[1 : len(kinds[0].classes) + 1] = [_rgb(colour) for _, colour in kinds[0].classes]
    # Where an image has colours, they are added where there is no kind.
    colours[0] = not image.rgb
    made = as_tensor(colours.take(labels.pixels, axis=0))
    made *= as_tensor(_in_colours(grey(image)))
    if image.rgb:
        of_none = _in_colours(_where(labels.pixels, 0))
        made.addcmul_(as_tensor(image.pixels), as_tensor(of_none))
    return image.with_pixels(made.numpy(), rgb=True)


def _where(labels: NDArray[np.uint8], number: int) -> NDArray[np.float32]:
    return (labels == number).astype(np.float32)


def _on_all_channels(pixels: NDArray[Any], image: Micrograph) -> NDArray[Any]:
    """Return pixels as they multiply with those of an image, which may have an axis of channels more."""
    if pixels.ndim == image.pixels.ndim:
        return pixels
    return _in_colours(pixels) if image.rgb else np.expand_dims(pixels, -3)


def _in_colours(planes: NDArray[Any]) -> NDArray[Any]:
    """Return (..., Y, X) as (..., Y, X, 3), all three alike."""
    return cv2.cvtColor(_lines(planes), cv2.COLOR_GRAY2RGB).reshape(*planes.shape, 3)


def _lines(pixels: NDArray[Any], *, rgb: bool = False) -> NDArray[Any]:
    """View (..., Y, X), or (..., Y, X, 3), as one image of all the rows there are: OpenCV knows no more."""
    return np.ascontiguousarray(pixels).reshape(-1, *pixels.shape[-2 if rgb else -1 :])


def _rgb(colour: str) -> NDArray[np.float32]:
    return np.frombuffer(bytes.fromhex(colour[1:]), np.uint8).astype(np.float32) / np.float32(255)


FUNCTIONS: dict[str, Function] = {
    "model": _given,  # the model is applied to it by `apply`
    "merge": _merge,
    "add": _add,
    "multiply": _multiply,
    "threshold": _threshold,
    "classify": _classify,
    "mask": _mask,
    "colourise": _colourise,
}

"""What the steps of a lens do with images, but for the models.

Within a lens images are float32 with black 0 and white 1. `FUNCTIONS` get all their images at once;
`GATHERERS` take them one by one, so that not all are held at a time. Every operation of
`lens.steps.OPERATIONS` has its place in one of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..colours import merge
from ..errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ..lens import Step
    from ..micrograph import Micrograph

__all__ = ["FUNCTIONS", "GATHERERS", "Gatherer", "Moments", "gatherer_for"]


class Gatherer(Protocol):
    """Takes the images of a step as they are made, then makes its own of them."""

    def take(self, place: int, image: Micrograph) -> None:
        """Take the image of a place in the step's `of`."""

    def result(self) -> Micrograph:
        """Return what the step makes, once all were taken."""


@dataclass
class Together:
    """Holds all images until a function is done with them.

    Parameters
    ----------
    function : callable
        Gets the step and its images in order.
    step : Step
    """

    function: Callable[[Step, list[Micrograph]], Micrograph]
    step: Step
    images: dict[int, Micrograph] = field(default_factory=dict)

    def take(self, place: int, image: Micrograph) -> None:
        """Hold an image."""
        self.images[place] = image

    def result(self) -> Micrograph:
        """Do the function."""
        return self.function(self.step, [self.images[place] for place in sorted(self.images)])


class Moments:
    """The mean of images, or their standard deviation at each pixel, without holding them.

    By Welford's recurrence: no difference of large squares. The deviation is that of the images themselves
    (divided by their number); channels are joined by the root of the mean of their variances.

    Parameters
    ----------
    step : Step
    channels : int
        Of the images.
    spread : bool
        Whether the standard deviation is wanted.

    References
    ----------
    .. [1] B. P. Welford, "Note on a method for calculating corrected sums of squares and products",
       Technometrics 4(3), 419-420 (1962). :doi:`10.1080/00401706.1962.10490022`
    """

    def __init__(self, step: Step, channels: int, *, spread: bool) -> None:
        self._step, self._channels, self._spread = step, channels, spread
        self._count = 0

    def take(self, place: int, image: Micrograph) -> None:
        """Take an image into the mean and the sum of squared deviations from it."""
        if self._count == 0:
            self._like, self._mean = image, np.zeros_like(image.pixels)
            self._squares = np.zeros_like(image.pixels if self._spread else np.float32(0))
        check_shapes(self._step, self._mean, image.pixels)
        self._count += 1
        off = image.pixels - self._mean
        self._mean += off / np.float32(self._count)
        if self._spread:
            off *= image.pixels - self._mean
            self._squares += off

    def result(self) -> Micrograph:
        """Return the mean, or the standard deviation (..., Y, X)."""
        if not self._spread:
            return self._like.with_pixels(self._mean)
        variance = self._squares / np.float32(self._count)
        if self._channels > 1:
            variance = variance.mean(axis=-1 if self._like.rgb else -3)
        return self._like.with_pixels(np.sqrt(variance), rgb=False)


def gatherer_for(step: Step, channels: int) -> Gatherer:
    """Return what takes the images of a step, which have so many channels."""
    if step.op in GATHERERS:
        return GATHERERS[step.op](step, channels)
    return Together(FUNCTIONS[step.op], step)


def check_shapes(step: Step, *images: NDArray[Any]) -> None:
    """Raise ModelError where images of one scale are of unlike size: rounded up once, or twice."""
    if len({image.shape for image in images}) > 1:
        told = " and ".join(" x ".join(map(str, image.shape)) for image in images)
        raise ModelError(
            f"Step '{step.name}' of the lens joins images of unlike size: {told} px.",
            "Crop the image to a multiple of 16 rows and columns.",
        )


def _given(step: Step, images: list[Micrograph]) -> Micrograph:
    return images[0]


def _merge(step: Step, images: list[Micrograph]) -> Micrograph:
    """Add up grey images, each in its colour; all planes of a stack are shown alike."""
    shape = images[0].pixels.shape
    check_shapes(step, *(image.pixels for image in images))
    flat = [image.with_pixels(image.pixels.reshape(-1, shape[-1])) for image in images]
    made = merge(flat, step.settings["colours"])
    return made.with_pixels(made.pixels.reshape(*shape, 3))


FUNCTIONS: dict[str, Callable[[Step, list[Micrograph]], Micrograph]] = {
    "model": _given,  # the model is applied to it by `lens_apply`
    "merge": _merge,
}
GATHERERS: dict[str, Callable[[Step, int], Gatherer]] = {
    "mean": partial(Moments, spread=False),
    "sd": partial(Moments, spread=True),
}

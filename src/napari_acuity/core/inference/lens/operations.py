"""What the steps of a lens do with images, but for the models.

`FUNCTIONS` get all their images at once; `GATHERERS` take them one by one, so that not all are held at a
time. Every operation of `lens.rules.OPERATIONS` has its place in one of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np

from .arithmetic import FUNCTIONS, Function, check_sizes

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...lens import Step
    from ...lens.steps import Kind
    from ...micrograph import Micrograph

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
    function : Function
    step : Step
    kinds : list of Kind
        What its images are, in order.
    """

    function: Function
    step: Step
    kinds: list[Kind]
    images: dict[int, Micrograph] = field(default_factory=dict)

    def take(self, place: int, image: Micrograph) -> None:
        """Hold an image; (..., 3, Y, X) as RGB, but for a model, which takes it as it is."""
        if self.kinds[place].channels == 3 and not image.rgb and self.step.op != "model":
            image = image.with_pixels(np.moveaxis(image.pixels, -3, -1), rgb=True)
        self.images[place] = image

    def result(self) -> Micrograph:
        """Do the function."""
        images = [self.images[place] for place in sorted(self.images)]
        return replace(self.function(self.step, self.kinds, images), notes=_notes(*images))


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
        check_sizes(self._step, [self._like, image])
        self._count += 1
        self._like = replace(self._like, notes=_notes(self._like, image))
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


def gatherer_for(step: Step, kinds: list[Kind]) -> Gatherer:
    """Return what takes the images of a step, which are of these kinds."""
    if step.op in GATHERERS:
        return GATHERERS[step.op](step, kinds[0].channels)
    return Together(FUNCTIONS[step.op], step, kinds)


def _notes(*images: Micrograph) -> tuple[str, ...]:
    """Return what is to be known of several images, each note once."""
    return tuple(dict.fromkeys(note for image in images for note in image.notes))


GATHERERS: dict[str, Callable[[Step, int], Gatherer]] = {
    "mean": partial(Moments, spread=False),
    "sd": partial(Moments, spread=True),
}

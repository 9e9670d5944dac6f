"""Whether two images agree after a start, and by more than chance."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from .displacement import jacobian
from .elastic import elastic_levels
from .looks import STRUCTURE, fisher
from .refine import CLEARLY, ENOUGH, LEAST_CORRELATION, views_of
from .starts.find import BY_NUCLEI, find

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .inputs import Images
    from .registration import Registration
    from .starts.find import Found

__all__ = [
    "agreement",
    "alike",
    "bent_far",
    "caution_about",
    "doubt_about",
    "opposite_before",
    "opposite_instead",
]

# A template's place, clear of all others, is right where the images agree so well before anything is bent:
# true places of crops of 64 to 150 px agree by 0.93 or more, false ones that were clear by 0.23 and 0.39.
_PLAIN = 0.7
# How much better than by chance images must agree after any other start, on Fisher's scale (arctanh of the
# correlation): how many times the chance's, and how much more. Opposite images are rare and need more.
_TIMES_CHANCE, _TIMES_CHANCE_INVERTED, _ABOVE_CHANCE = 2.0, 3.0, 0.1
_LEAST_SIDE_TO_TELL_PX = 512
# Of all but a fiftieth of a right map: of 12 phone captures 0.80 to 1.24, of 12 pairs of serial sections
# 0.64 to 1.29. Of ten maps that had lost their way, each went beyond.
_USUAL_AREAS, _STEP_PX = (3 / 4, 4 / 3), 8
_FEWEST_AREAS = 100


def agreement(images: Images, found: Found) -> float:
    """Return the correlation of the structure that a start leads to after one coarse elastic pass."""
    still = np.zeros((2, *images.fixed.shape), np.float32)
    levels = elastic_levels(views_of(images, found, STRUCTURE), still)
    return max(level.correlation for level in islice(levels, 2))


def alike(images: Images, found: Found) -> Images:
    """Return the images as a map that is right shows them most alike: as they are, inverted, by nuclei."""
    still = np.zeros((2, *images.fixed.shape), np.float32)
    shift_map = still if found.before is None else found.before.shift_map

    def correlation(images: Images) -> float:
        return views_of(images, found, STRUCTURE).through(shift_map).correlation

    grey, nuclei = correlation(images), images.as_nuclei()
    if nuclei is not None and (
        BY_NUCLEI in found.words or fisher(correlation(nuclei)) >= fisher(abs(grey)) + CLEARLY
    ):
        return nuclei
    return images.inverted() if grey < -LEAST_CORRELATION else images


def opposite_before(registration: Registration) -> bool:
    """Say whether the images are opposite after the start: what then agrees was bent away from there."""
    return registration.correlation[0] < -LEAST_CORRELATION


def caution_about(registration: Registration) -> str | None:
    """Return what a user who knows the place should look at, or None."""
    reached = registration.correlation[1]
    if reached < LEAST_CORRELATION:
        return f"the images hardly agree there, correlation {reached:.2f}"
    if bent_far(registration):
        return "parts of it are squeezed or stretched by a third or more: see whether they fit"
    return None


def bent_far(registration: Registration) -> bool:
    """Say whether the elastic part changes areas more than lenses and sections usually do."""
    coarse = registration.shift_map[:, ::_STEP_PX, ::_STEP_PX]
    areas = jacobian(coarse / np.float32(_STEP_PX))[registration.overlap[::_STEP_PX, ::_STEP_PX]]
    # Those at the border are the least certain, and most of a small image is border.
    if areas.size < _FEWEST_AREAS:
        return False
    low, high = np.percentile(areas, (1, 99))
    return bool(low < _USUAL_AREAS[0] or high > _USUAL_AREAS[1])


def doubt_about(images: Images, found: Found, registration: Registration) -> str | None:
    """Return why the images may show nothing in common after all, or None."""
    words = found.words.removeprefix("start: ")
    if registration.correlation[1] < LEAST_CORRELATION:
        return f"{words}, but the correlation is only {registration.correlation[1]:.2f}"
    if opposite_before(registration):
        return f"{words}, but the images are opposite there"
    if found.name == "features" and registration.correlation[1] >= ENOUGH:
        return None
    if found.name == "template" and registration.correlation[0] >= _PLAIN:
        return None
    if images.is_inverted and min(images.moving.shape) < _LEAST_SIDE_TO_TELL_PX:
        return f"{words}, but the image is too small to be told by its outlines when inverted"
    reached, by_chance = agreement(images, found), _agreement_by_chance(images, found)
    times = _TIMES_CHANCE_INVERTED if images.is_inverted else _TIMES_CHANCE
    if fisher(reached) >= times * fisher(by_chance) + _ABOVE_CHANCE:
        return None
    return (
        f"{words}, but the structure's correlation is {reached:.2f}, and {by_chance:.2f} with the "
        "image turned over or moved on"
    )


def opposite_instead(images: Images, found: Found) -> str | None:
    """Return a caution where the frames agree with the moving image inverted, too; or None.

    A shadow fits an object seen in transmission better than the object, which is bright, does. Features
    are not so mistaken.
    """
    if found.name == "features":
        return None
    frame_on_frame = find("none", images)
    if isinstance(frame_on_frame, str):
        return None
    reached = agreement(images.inverted(), frame_on_frame)
    if reached < LEAST_CORRELATION:
        return None
    return f"frame on frame with one inverted they agree, too, by {reached:.2f}: see which is right"


def _agreement_by_chance(images: Images, found: Found) -> float:
    """Return the best agreement with the moving image turned over; a small one also moved on by half."""
    others = _turned_over(images.moving)
    lit = [None] * len(others) if images.lit is None else _turned_over(images.lit)
    return max(
        agreement(replace(images, moving=other, lit=there), found)
        for other, there in zip(others, lit, strict=True)
    )


def _turned_over(image: NDArray[Any]) -> list[NDArray[Any]]:
    turned = (image, image[::-1], image[:, ::-1], image[::-1, ::-1])
    others = [*turned[1:]]
    if min(image.shape) < _LEAST_SIDE_TO_TELL_PX:
        others += [
            np.roll(one, (image.shape[0] // 2, image.shape[1] // 2), (0, 1)) for one in turned
        ]
    return [*map(np.ascontiguousarray, others)]

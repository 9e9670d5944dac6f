"""What the edges of two images say of a map: where the grey changes, whichever way."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np

from ..jobs import Event, Steps, altered
from .agreement import bent_far
from .looks import EDGES, fisher
from .refine import CLEARLY, ENOUGH, KNOWN, SURE, follow, views_of
from .starts.find import Found, find

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .inputs import Images
    from .registration import Registration
    from .starts.find import Start

__all__ = ["better_by_edges"]


def better_by_edges(
    images: Images, found: Found, registration: Registration, *, elastic: bool
) -> Steps[Registration | None]:
    """Register by edges; return None where these do not speak clearly against a map by grey.

    Grey misleads where one image is opposite in a part only: nuclei, but not the ground between them; or an
    object is dark on bright ground in one and bright beside its shadow in the other, where the shadow fits.
    """
    searched = found.name != "features" and found.name not in KNOWN
    sure = not searched and registration.correlation[1] >= SURE
    if sure or found.looks == (EDGES,):
        return None
    yield Event("comparing edges", 0.0)
    images = images.inverted() if images.is_inverted else images
    there = replace(found, plane=registration.homography, looks=(EDGES,))
    still = np.zeros_like(registration.shift_map)
    at_start = _agree(images, there, still)
    other = find(cast("Start", found.name), images.as_edges()) if searched else ""
    if not isinstance(other, str):
        other = replace(other, looks=(EDGES,))
        if _agree(images, other, still) >= at_start + CLEARLY:
            return (yield from follow(images, other, elastic=elastic))
    # Edges that hardly agree there tell little, and another elastic part takes long.
    if searched and at_start < ENOUGH:
        return None
    second = follow(images, replace(found, looks=(EDGES,)), elastic=elastic)
    # Its levels are none to keep before it is known to be better.
    by_edges = yield from altered(second, lambda event: replace(event, new=None))
    by_grey = _agree(images, there, registration.shift_map)
    led_astray = by_grey < at_start and bent_far(registration)
    if led_astray or fisher(by_edges.correlation[1]) >= by_grey + CLEARLY:
        return by_edges
    return None


def _agree(images: Images, found: Found, shift_map: NDArray[np.float32]) -> float:
    """Return how well edges agree through a map, on Fisher's scale."""
    return fisher(views_of(images, found, EDGES).through(shift_map).correlation)

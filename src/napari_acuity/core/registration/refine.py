"""What follows a start: the elastic levels of each of its looks, or the plane map nearest to them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..geometry import apply_homography, scale_at_centre
from ..jobs import Event, Steps, within
from .elastic import elastic_levels
from .looks import EDGES, smooth
from .registration import Registration, nearest_plane, no_points
from .starts.find import BY_EDGES, BY_NUCLEI
from .views import Views

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .inputs import Images
    from .looks import Look
    from .starts.find import Found

__all__ = ["CLEARLY", "ENOUGH", "KNOWN", "LEAST_CORRELATION", "SURE", "follow", "views_of"]

KNOWN = ("landmarks", "none", "")
"""The starts that a user has set: landmarks, frame on frame, an earlier registration."""

# What a map must reach after a start that found something; phone captures reach 0.5 to 0.98.
LEAST_CORRELATION = 0.15
# Features after which the images agree so well are right, and no other start is tried.
ENOUGH = 0.3
# Images that agree so well need no second opinion: phone captures reach 0.61 to 0.95, those of which a part
# was opposite 0.35 to 0.52 where grey had bent them by px.
SURE = 0.55
# What a right fit may lower the correlation by: the elastic part is finer than that can tell.
_BLUNT = 0.01
# How much better another look must agree by a map of its own, on Fisher's scale (arctanh of the correlation).
# Edges did by 0.17 to 0.25 at the start where shadows had passed for objects, by 0.29 to 0.69 in the end
# where a part was opposite, and by 0.05 at most for 12 pairs of serial sections, which grey tells as well.
CLEARLY = 0.1
_INVERTED = ", the moving image inverted"


def follow(images: Images, found: Found, *, elastic: bool) -> Steps[Registration]:
    """Follow a start with the elastic part; without it, with the plane map nearest to it.

    A start is right to a few pixels only. What the user has set stays as it is.
    """
    if elastic or found.name in KNOWN:
        return (yield from refine(images, found, elastic=elastic))
    bent = yield from within(refine(images, found, elastic=True), 0.0, 0.95)
    nearest = replace(found, plane=nearest_plane(bent, images.transform))
    return (yield from within(refine(images, nearest, elastic=False), 0.95, 1.0))


def refine(images: Images, found: Found, *, elastic: bool) -> Steps[Registration]:
    """Follow a start with the elastic levels of each of its looks, as far as they raise correlation."""
    kept = _started(images, found)
    if found.before is not None:
        kept = replace(found.before, start=kept.start)
    started = kept.correlation[0]
    for share, look in enumerate(map(images.seen_by, found.looks)):
        views = views_of(images, found, look)
        levels = elastic_levels(views, kept.shift_map, after=_done(kept, look, found))
        before = next(levels).correlation
        if share == 0:
            started = before if found.before is None else started
            kept = replace(kept, correlation=(started, before))
        elif found.before is None:
            started = views.through(np.zeros_like(kept.shift_map)).correlation
        newest = kept
        for level in levels if elastic else ():
            words = f"elastic, {look.name}, level {level.number} of {level.count}"
            newest = replace(
                kept,
                shift_map=level.shift_map,
                blocks=level.blocks,
                correlation=(started, level.correlation),
                level=f"{look.name} {level.number}",
            )
            fraction = (share + level.number / (level.count + 1)) / len(found.looks)
            yield Event(words, fraction, newest)
        reached = newest.correlation[1]
        # A little correlation is gained by fitting noise, too; the coarser look is then worth more.
        coarse = share == 0 and found.name != "none"
        better = reached > before and (coarse or reached >= LEAST_CORRELATION)
        # Where images agree, half a pixel changes the correlation of soft structures less than noise does.
        better = better or (before >= ENOUGH and reached > before - _BLUNT)
        # Landmarks hold, whatever the images say.
        if newest is not kept and (better or images.landmarks is not None):
            kept = newest
    return kept


def _done(kept: Registration, look: Look, found: Found) -> int:
    """Return the number of the look's level that a registration to go on from stands at."""
    name, _, done = kept.level.partition(" ")
    return int(done) if found.before is not None and name == look.name else 0


def _started(images: Images, found: Found) -> Registration:
    """Return the map of a start alone."""
    return Registration(
        homography=found.plane,
        shift_map=np.zeros((2, *images.fixed.shape), np.float32),
        moving_shape=(images.moving.shape[0], images.moving.shape[1]),
        correlation=(0.0, 0.0),
        start=_told(images, found),
        fixed_points=found.matches.fixed if found.matches else no_points(),
        moving_points=found.matches.moving if found.matches else no_points(),
        pixel_size=images.pixel_size,
    )


def _told(images: Images, found: Found) -> str:
    """Return what the start was; what an earlier registration said of its images may not hold for these."""
    words = found.words.partition("; ")[0]
    for ending in (_INVERTED, BY_EDGES, BY_NUCLEI):
        words = words.removesuffix(ending)
    if images.by_nuclei:
        words += BY_NUCLEI
    if found.looks == (EDGES,):
        return words + BY_EDGES
    return words + _INVERTED if images.is_inverted else words


def views_of(images: Images, found: Found, look: Look) -> Views:
    """Return both images as the elastic part compares them: at the coarser one's resolution."""
    target, moving, trusted = (
        torch.from_numpy(pixels).to(images.device)
        for pixels in (images.fixed, images.moving, images.trusted)
    )
    lit = None if images.lit is None else torch.from_numpy(images.lit).to(images.device)
    scale = 1.0 if found.plane is None else scale_at_centre(found.plane, images.fixed.shape)
    if scale < 0.95:
        target = smooth(target, 0.5 * (1 / scale**2 - 1) ** 0.5)
    anchors = _anchors(images, found.plane)
    return Views(target, moving, found.plane, look, trusted, anchors, lit)


def _anchors(images: Images, plane: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Return the landmarks as points of fixed and the shifts that lead to their places, (n, 2, 2)."""
    if images.landmarks is None:
        return np.zeros((0, 2, 2))
    at, landed = images.landmarks
    if plane is not None:
        landed = apply_homography(np.asarray(np.linalg.inv(plane), np.float64), landed)
    return np.stack([at, landed - at], axis=1)

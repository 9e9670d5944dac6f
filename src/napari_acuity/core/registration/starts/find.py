"""Starts: plane maps that bring two images roughly onto each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ...errors import RegistrationError
from ...geometry import resize_homography
from ..looks import EDGES, STRUCTURE, TEXTURE, Look
from ..plane import Matches, of_kind
from .features import find_by_features
from .landmarks import find_by_landmarks
from .phase import find_by_phase
from .structure import find_by_structure
from .template import find_by_template

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..inputs import Images
    from ..registration import Registration

__all__ = ["BY_EDGES", "BY_NUCLEI", "Found", "Start", "find", "go_on"]

Start = Literal["auto", "features", "structure", "phase", "template", "landmarks", "none"]

BY_EDGES = ", compared by edges"
"""How the words of a start end where edges were compared."""

BY_NUCLEI = ", compared by nuclei"
"""How they end where the nuclei of a stained section were compared with the other image."""


@dataclass(frozen=True, eq=False)
class Found:
    """What a start found, and what to compare from there on."""

    plane: NDArray[np.float64] | None
    words: str
    name: str
    looks: tuple[Look, ...]
    matches: Matches | None = None
    before: Registration | None = None


def find(start: Start, images: Images) -> Found | str:
    """Try a start; where it fails, say why."""
    fixed, moving = images.at_start
    matches: Matches | None = None
    looks: tuple[Look, ...] = (STRUCTURE, TEXTURE)
    if start == "features":
        matches, words = find_by_features(fixed, moving, transform=images.transform)
        plane = None if matches is None else matches.homography
        looks = (TEXTURE,)
    elif start == "structure":
        plane, words = find_by_structure(fixed, moving, scale=images.scale)
    elif start == "phase":
        plane, words = find_by_phase(fixed, moving)
    elif start == "template":
        plane, words = find_by_template(fixed, moving, scale=images.scale)
        looks = (TEXTURE,)
    elif start == "landmarks":
        if images.landmarks is None:
            raise RegistrationError(
                "There are no landmarks to start from.", "Give landmarks, or choose another start."
            )
        plane, words = find_by_landmarks(
            *images.landmarks, fixed.shape, moving.shape, transform=images.transform
        )
    else:
        same = fixed.shape == moving.shape
        plane = None if same else resize_homography(fixed.shape, moving.shape)
        return Found(plane, "start: none, frame on frame", start, (TEXTURE,))
    if plane is None:
        return words
    plane = of_kind(plane, images.transform, fixed.shape)
    return Found(plane, f"start: {start}, {words}", start, looks, matches)


def go_on(before: Registration, images: Images) -> Found:
    """Take an earlier registration as what a start found."""
    if (before.fixed_shape, before.moving_shape) != (images.fixed.shape, images.moving.shape):
        raise RegistrationError(
            "The registration to go on from is of images of other sizes.",
            "Give the images it was made with.",
        )
    looks = (STRUCTURE, TEXTURE) if before.level.startswith(STRUCTURE.name) else (TEXTURE,)
    if BY_EDGES in before.start:
        looks = (EDGES,)
    return Found(before.homography, before.start, "", looks, None, before)

"""Register two images: a start, an elastic pyramid, and one map to keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import torch

from ..errors import RegistrationError
from ..geometry import dense_map, resample, resize_homography, scale_at_centre
from ..jobs import Event, Steps, run, within
from ..micrograph import ImageLike, Micrograph, as_micrograph, check_content, grey
from .elastic import STRUCTURE, TEXTURE, Level, Look, elastic_levels, local_correlation
from .registration import Registration, no_points
from .start import Matches, find_by_features, find_by_structure

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Start", "register", "register_steps"]

Start = Literal["auto", "features", "structure", "none"]

# Of 132 unrelated pairs (tissues, noise, photographs) none reached 0.10; phone captures reach 0.5 to 0.98.
_LEAST_CORRELATION = 0.15
_LEAST_SIDE_PX = 32


def register(
    moving: ImageLike, fixed: ImageLike, *, start: Start = "auto", elastic: bool = True
) -> Registration:
    """Find the map that brings a moving image onto a fixed one.

    Parameters
    ----------
    moving, fixed : Micrograph, array or napari Image layer
        Two images of one field, (H, W) or (H, W, 3) each, of any dtype, range and pixel size.
    start : {"auto", "features", "structure", "none"}
        "features": matching details (SIFT), for any shift, turn and scale; "structure": outlines and
        layers, for images whose details differ, such as neighbouring sections in unlike stains, with
        the frames roughly over each other; "none": the frames lie over each other already (stretched
        where their sizes differ); "auto": the first of these that leads to correlated images.
    elastic : bool
        Follow with the elastic pyramid.

    Returns
    -------
    Registration

    Raises
    ------
    RegistrationError
        When the images show no common content; a wild map is never returned.
    ImageError
        When an image is empty, constant, NaN or a stack.
    """
    return run(register_steps(moving, fixed, start=start, elastic=elastic))


def register_steps(
    moving: ImageLike, fixed: ImageLike, *, start: Start = "auto", elastic: bool = True
) -> Steps[Registration]:
    """Do what `register` does, yielding events.

    Yields
    ------
    Event
        `new` is the start's `Matches` where it has some, then a `Level` after every elastic pass.
    """
    if start not in get_args(Start):
        raise RegistrationError(
            f"There is no start called '{start}'.", "Choose one of: " + ", ".join(get_args(Start))
        )
    moving, fixed = _planar(moving, "moving"), _planar(fixed, "fixed")
    greys = grey(fixed), grey(moving)
    tried = []
    done, end = 0.0, 0.9  # mostly the first start that finds something is the last
    for name in ("features", "structure", "none") if start == "auto" else (start,):
        yield Event(f"start: {name}", done)
        found = _find(name, *greys)
        if isinstance(found, str):
            tried.append(f"{name}: {found}")
            continue
        started = done + 0.3 * (end - done)
        yield Event(found.words, started, found.matches)
        registration = yield from within(_refine(found, *greys, elastic=elastic), started, end)
        reached = registration.correlation[1]
        if start == "none" or reached >= _LEAST_CORRELATION:
            return registration
        tried.append(f"{name}: {found.words}, but the correlation is only {reached:.2f}")
        done, end = end, (1 + end) / 2
    raise RegistrationError(
        f"'{moving.name}' and '{fixed.name}' could not be registered: they show no common content that "
        f"was found ({'; '.join(tried)}).",
        "Check that they show one field; crop the larger one to it; if the frames already lie over each "
        "other, choose start 'none'.",
    )


@dataclass(frozen=True, eq=False)
class _Found:
    """What a start found, and what to compare from there on."""

    plane: NDArray[np.float64] | None
    words: str
    looks: tuple[Look, ...]
    matches: Matches | None = None


def _find(start: str, fixed: NDArray[np.float32], moving: NDArray[np.float32]) -> _Found | str:
    """Try a start; where it fails, say why."""
    if start == "features":
        matches, words = find_by_features(fixed, moving)
        if matches is None:
            return words
        return _Found(matches.homography, f"start: features, {words}", (TEXTURE,), matches)
    if start == "structure":
        plane, words = find_by_structure(fixed, moving)
        if plane is None:
            return words
        return _Found(plane, f"start: structure, {words}", (STRUCTURE, TEXTURE))
    plane = None if fixed.shape == moving.shape else resize_homography(fixed.shape, moving.shape)
    return _Found(plane, "start: none, frame on frame", (TEXTURE,))


def _refine(
    found: _Found, fixed: NDArray[np.float32], moving: NDArray[np.float32], *, elastic: bool
) -> Steps[Registration]:
    """Follow a start with the elastic levels of each of its looks, as far as they raise correlation."""
    shift_map = np.zeros((2, *fixed.shape), np.float32)
    kept: Level | None = None
    correlation = (0.0, 0.0)
    for share, look in enumerate(found.looks):
        target, source, inside = _on_one_grid(fixed, moving, found.plane, look)
        started = local_correlation(target, source, inside)
        before = started if kept is None else _correlation_at(shift_map, target, source, inside)
        if share == 0:
            correlation = (started, started)
        level, after = None, before
        passes = elastic_levels(target, source, inside, levels=look.levels, shift_map=shift_map)
        for count, level in enumerate(passes if elastic else (), start=1):
            words = f"elastic, {look.name}, level {level.number} of {level.count}"
            yield Event(words, (share + min(0.2 * count, 0.9)) / len(found.looks), level)
        if level is not None:
            after = _correlation_at(level.shift_map, target, source, inside)
        # A little correlation is gained by fitting noise, too; the coarser look is then worth more.
        if level is not None and after > before and (share == 0 or after >= _LEAST_CORRELATION):
            shift_map, kept, correlation = level.shift_map, level, (started, after)
    return Registration(
        homography=found.plane,
        shift_map=shift_map,
        similarity=kept.blocks.similarity if kept else np.zeros((0, 0)),
        moving_shape=(moving.shape[0], moving.shape[1]),
        correlation=correlation,
        residual_px=_residual(kept) if kept else float("nan"),
        start=found.words,
        fixed_points=found.matches.fixed if found.matches else no_points(),
        moving_points=found.matches.moving if found.matches else no_points(),
    )


def _correlation_at(
    shift_map: NDArray[np.float32],
    target: NDArray[np.float32],
    source: NDArray[np.float32],
    inside: NDArray[np.bool_],
) -> float:
    warped, _ = resample(source, dense_map(None, torch.from_numpy(shift_map)))
    return local_correlation(target, warped, inside)


def _planar(image: ImageLike, role: str) -> Micrograph:
    micrograph = check_content(as_micrograph(image, name=role))
    if micrograph.pixels.ndim != 2 + micrograph.rgb:
        raise RegistrationError(
            f"'{micrograph.name}' is a stack of shape {micrograph.pixels.shape}.",
            "Choose one plane or channel of it.",
        )
    if min(micrograph.shape) < _LEAST_SIDE_PX:
        raise RegistrationError(
            f"'{micrograph.name}' is only {micrograph.shape[0]} x {micrograph.shape[1]} pixels.",
            f"Choose an image of at least {_LEAST_SIDE_PX} x {_LEAST_SIDE_PX}.",
        )
    return micrograph


def _on_one_grid(
    fixed: NDArray[np.float32],
    moving: NDArray[np.float32],
    plane: NDArray[np.float64] | None,
    look: Look,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Return both images on the fixed grid, as the look sees them, at the coarser one's resolution."""
    import cv2

    scale = 1.0 if plane is None else scale_at_centre(plane, fixed.shape)
    if scale < 0.95:
        sigma = 0.5 * (1 / scale**2 - 1) ** 0.5
        blurred = cv2.GaussianBlur(fixed, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
        fixed = np.asarray(blurred, dtype=np.float32)
    still = torch.zeros((2, *fixed.shape))
    warped, inside = resample(moving, dense_map(plane, still))
    target, source = look.of(fixed), look.of(warped)
    # Outside the overlap the images are made equal, so that its edge pulls no block.
    return target, np.where(inside, source, target), inside


def _residual(level: Level) -> float:
    trusted = level.blocks.similarity >= np.median(level.blocks.similarity)
    return float(np.median(np.linalg.norm(level.blocks.shift, axis=-1)[trusted]))

"""Register two images: a start, an elastic pyramid, and one map to keep."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch

from ..device import choose_device
from ..errors import RegistrationError
from ..geometry import apply_homography, resize_homography, scale_at_centre
from ..jobs import Event, Steps, run, within
from .elastic import elastic_levels
from .inputs import Images, checked
from .looks import STRUCTURE, TEXTURE, Look, smooth
from .registration import Registration, nearest_homography, no_points
from .start import (
    find_by_features,
    find_by_landmarks,
    find_by_phase,
    find_by_structure,
    find_by_template,
)
from .views import Views

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..micrograph import ImageLike
    from .plane import Matches

__all__ = ["Start", "register", "register_steps"]

Start = Literal["auto", "features", "structure", "phase", "template", "landmarks", "none"]

# What a map must reach after a start that found something; phone captures reach 0.5 to 0.98.
_LEAST_CORRELATION = 0.15
# Features after which the images agree so well are right, and no other start is tried.
_ENOUGH = 0.3
# A template's place, clear of all others, is right where the images agree so well before anything is bent:
# true places of crops of 64 to 150 px agree by 0.93 or more, false ones that were clear by 0.23 and 0.39.
_PLAIN = 0.7
# What a right fit may lower the correlation by: the elastic part is finer than that can tell.
_BLUNT = 0.01
# How much better than by chance images must agree after any other start, on Fisher's scale (arctanh of the
# correlation): how many times the chance's, and how much more.
_TIMES_CHANCE, _ABOVE_CHANCE = 2.0, 0.1
_LEAST_SIDE_TO_TELL_PX = 512
_OTHERS: tuple[Start, ...] = ("phase", "template", "structure", "none")


def register(
    moving: ImageLike,
    fixed: ImageLike,
    *,
    start: Start | Registration = "auto",
    elastic: bool = True,
    landmarks: tuple[Any, Any] | None = None,
    exclude: NDArray[np.bool_] | None = None,
    device: str = "auto",
) -> Registration:
    """Find the map that brings a moving image onto a fixed one.

    Parameters
    ----------
    moving, fixed : Micrograph, array or napari Image layer
        Two images of one field, (H, W) or (H, W, 3) each, of any dtype, range and pixel size.
    start : str or Registration
        "features": matching details (SIFT), for any shift, turn, scale and mirroring; "phase": turn,
        scale and mirroring from the spectra, then the shift, for images that show about the same
        field; "template": the smaller field found in a much larger one; "structure": outlines and
        layers, for images whose details differ, such as neighbouring sections in unlike stains, with
        the frames roughly over each other; "landmarks": a plane map through the landmarks; "none": the
        frames lie over each other already (stretched where their sizes differ); where the images hardly
        agree there, `Registration.start` says so, and nothing is bent. "auto": the landmarks
        where there are some; else features, and where they do not lead to images that agree, the start
        after which they agree best. A Registration: go on after the level it stands at.
    elastic : bool
        Follow with the elastic pyramid; without it, the map is one homography.
    landmarks : (array, array), optional
        Points that show the same, (n, 2) (row, col) px of fixed and (n, 2) of moving, in one order.
        They also hold in the elastic part.
    exclude : (H, W) bool array, optional
        True where the fixed image is not to be compared.
    device : str
        Where the elastic part computes: "auto" takes a CUDA GPU where there is one, else the CPU.

    Returns
    -------
    Registration

    Raises
    ------
    RegistrationError
        When the images show no common content (a wild map is never returned); for landmarks that do
        not pair up or are no points.
    ImageError
        When an image is empty, constant, NaN or a stack.
    """
    return run(
        register_steps(
            moving,
            fixed,
            start=start,
            elastic=elastic,
            landmarks=landmarks,
            exclude=exclude,
            device=device,
        )
    )


def register_steps(
    moving: ImageLike,
    fixed: ImageLike,
    *,
    start: Start | Registration = "auto",
    elastic: bool = True,
    landmarks: tuple[Any, Any] | None = None,
    exclude: NDArray[np.bool_] | None = None,
    device: str = "auto",
) -> Steps[Registration]:
    """Do what `register` does, yielding events.

    Yields
    ------
    Event
        `new` is the start's `Matches` where it has some, then after every elastic level the
        `Registration` as it stands: the one to keep where a user stops there.
    """
    images = replace(checked(moving, fixed, landmarks, exclude), device=_device(device))
    if isinstance(start, Registration):
        return (yield from _follow(images, _go_on(start, images), elastic=elastic))
    if start not in get_args(Start):
        raise RegistrationError(
            f"There is no start called '{start}'.", "Choose one of: " + ", ".join(get_args(Start))
        )
    if start == "landmarks" or (start == "auto" and landmarks is not None):
        found = _find("landmarks", images)
        if isinstance(found, str):
            raise RegistrationError(f"The landmarks fit no map: {found}.", "Set them anew.")
        return (yield from _follow(images, found, elastic=elastic))
    if start == "auto":
        return (yield from _best(images, elastic=elastic))
    yield Event(f"start: {start}", 0.0)
    found = _find(start, images)
    if isinstance(found, str):
        raise _unrelated(images, [f"{start}: {found}"])
    yield Event(found.words, 0.2, found.matches)
    registration = yield from within(_follow(images, found, elastic=elastic), 0.2, 1.0)
    if start == "none":
        return _with_caution(registration)
    doubt = _doubt(images, found, registration)
    if doubt is not None:
        raise _unrelated(images, [doubt])
    return registration


@dataclass(frozen=True, eq=False)
class _Found:
    """What a start found, and what to compare from there on."""

    plane: NDArray[np.float64] | None
    words: str
    name: str
    looks: tuple[Look, ...]
    matches: Matches | None = None
    before: Registration | None = None


def _device(name: str) -> str:
    chosen = choose_device(name).name
    # Apple's and Intel's GPUs lack some of what it takes.
    return chosen if name != "auto" or chosen.startswith("cuda") else "cpu"


def _best(images: Images, *, elastic: bool) -> Steps[Registration]:
    """Take features where they lead to images that agree, else the best of the other starts."""
    failed, likely = list[str](), list[tuple[float, _Found]]()
    yield Event("start: features", 0.0)
    found = _find("features", images)
    if isinstance(found, str):
        failed.append(f"features: {found}")
    else:
        yield Event(found.words, 0.05, found.matches)
        refining = within(_follow(images, found, elastic=elastic), 0.1, 1.0)
        registration = yield from _if_it_agrees(refining)
        if registration is not None:
            return registration
        likely.append((_agreement(images, found), found))
    for step, name in enumerate(_OTHERS):
        yield Event(f"start: {name}", 0.3 + 0.05 * step)
        other = _find(name, images)
        if isinstance(other, str):
            failed.append(f"{name}: {other}")
        else:
            likely.append((_agreement(images, other), other))
    # "None" has found nothing: it comes last, however well the frames seem to agree.
    likely.sort(key=lambda scored: (scored[1].name != "none", scored[0]), reverse=True)
    scores = {found.name: score for score, found in likely}
    for number, (_, found) in enumerate(likely):
        begin, end = (0.5 + 0.5 * (number + side) / len(likely) for side in (0, 1))
        yield Event(found.words, begin, found.matches)
        registration = yield from within(_follow(images, found, elastic=elastic), begin, end)
        doubt = _doubt(images, found, registration)
        if doubt is None:
            return replace(registration, scores=scores)
        failed.append(doubt)
    raise _unrelated(images, failed)


def _if_it_agrees(refining: Steps[Registration]) -> Steps[Registration | None]:
    """Go on only where the images agree after the first elastic level; else return None."""
    score = None
    while True:
        try:
            event = next(refining)
        except StopIteration as end:
            registration: Registration = end.value
            score = registration.correlation[1] if score is None else score
            return replace(registration, scores={"features": score}) if score >= _ENOUGH else None
        if score is None and isinstance(event.new, Registration):
            score = event.new.correlation[1]
            if score < _ENOUGH:
                refining.close()
                return None
        yield event


def _find(start: Start, images: Images) -> _Found | str:
    """Try a start; where it fails, say why."""
    fixed, moving = images.at_start
    matches: Matches | None = None
    looks: tuple[Look, ...] = (STRUCTURE, TEXTURE)
    if start == "features":
        matches, words = find_by_features(fixed, moving)
        plane = None if matches is None else matches.homography
        looks = (TEXTURE,)
    elif start == "structure":
        plane, words = find_by_structure(fixed, moving)
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
        plane, words = find_by_landmarks(*images.landmarks, fixed.shape, moving.shape)
    else:
        same = fixed.shape == moving.shape
        plane = None if same else resize_homography(fixed.shape, moving.shape)
        return _Found(plane, "start: none, frame on frame", start, (TEXTURE,))
    if plane is None:
        return words
    return _Found(plane, f"start: {start}, {words}", start, looks, matches)


def _go_on(before: Registration, images: Images) -> _Found:
    if (before.fixed_shape, before.moving_shape) != (images.fixed.shape, images.moving.shape):
        raise RegistrationError(
            "The registration to go on from is of images of other sizes.",
            "Give the images it was made with.",
        )
    looks = (STRUCTURE, TEXTURE) if before.level.startswith(STRUCTURE.name) else (TEXTURE,)
    return _Found(before.homography, before.start, "", looks, None, before)


def _agreement(images: Images, found: _Found) -> float:
    """Return the correlation of the structure that a start leads to after one coarse elastic pass."""
    still = np.zeros((2, *images.fixed.shape), np.float32)
    levels = elastic_levels(_views(images, found, STRUCTURE), still)
    return max(level.correlation for level in islice(levels, 2))


def _follow(images: Images, found: _Found, *, elastic: bool) -> Steps[Registration]:
    """Follow a start with the elastic part; without it, with the homography nearest to it.

    A start is right to a few pixels only. What the user has set stays as it is.
    """
    if elastic or found.name in ("landmarks", "none", ""):
        return (yield from _refine(images, found, elastic=elastic))
    bent = yield from within(_refine(images, found, elastic=True), 0.0, 0.95)
    nearest = replace(found, plane=nearest_homography(bent))
    return (yield from within(_refine(images, nearest, elastic=False), 0.95, 1.0))


def _refine(images: Images, found: _Found, *, elastic: bool) -> Steps[Registration]:
    """Follow a start with the elastic levels of each of its looks, as far as they raise correlation."""
    kept = found.before or _started(images, found)
    started = kept.correlation[0]
    for share, look in enumerate(found.looks):
        views = _views(images, found, look)
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
        better = reached > before and (coarse or reached >= _LEAST_CORRELATION)
        # Where images agree, half a pixel changes the correlation of soft structures less than noise does.
        better = better or (before >= _ENOUGH and reached > before - _BLUNT)
        # Landmarks hold, whatever the images say.
        if newest is not kept and (better or images.landmarks is not None):
            kept = newest
    return kept


def _done(kept: Registration, look: Look, found: _Found) -> int:
    """Return the number of the look's level that a registration to go on from stands at."""
    name, _, done = kept.level.partition(" ")
    return int(done) if found.before is not None and name == look.name else 0


def _started(images: Images, found: _Found) -> Registration:
    """Return the map of a start alone."""
    return Registration(
        homography=found.plane,
        shift_map=np.zeros((2, *images.fixed.shape), np.float32),
        moving_shape=(images.moving.shape[0], images.moving.shape[1]),
        correlation=(0.0, 0.0),
        start=found.words,
        fixed_points=found.matches.fixed if found.matches else no_points(),
        moving_points=found.matches.moving if found.matches else no_points(),
    )


def _views(images: Images, found: _Found, look: Look) -> Views:
    """Return both images as the elastic part compares them: at the coarser one's resolution."""
    target, moving, trusted = (
        torch.from_numpy(pixels).to(images.device)
        for pixels in (images.fixed, images.moving, images.trusted)
    )
    scale = 1.0 if found.plane is None else scale_at_centre(found.plane, images.fixed.shape)
    if scale < 0.95:
        target = smooth(target, 0.5 * (1 / scale**2 - 1) ** 0.5)
    return Views(target, moving, found.plane, look, trusted, _anchors(images, found.plane))


def _anchors(images: Images, plane: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Return the landmarks as points of fixed and the shifts that lead to their places, (n, 2, 2)."""
    if images.landmarks is None:
        return np.zeros((0, 2, 2))
    at, landed = images.landmarks
    if plane is not None:
        landed = apply_homography(np.asarray(np.linalg.inv(plane), np.float64), landed)
    return np.stack([at, landed - at], axis=1)


def _doubt(images: Images, found: _Found, registration: Registration) -> str | None:
    """Return why the images may show nothing in common after all, or None."""
    words = found.words.removeprefix("start: ")
    if registration.correlation[1] < _LEAST_CORRELATION:
        return f"{words}, but the correlation is only {registration.correlation[1]:.2f}"
    if found.name == "features" and registration.correlation[1] >= _ENOUGH:
        return None
    if found.name == "template" and registration.correlation[0] >= _PLAIN:
        return None
    reached, by_chance = _agreement(images, found), _agreement_by_chance(images, found)
    if np.arctanh(reached) >= _TIMES_CHANCE * np.arctanh(by_chance) + _ABOVE_CHANCE:
        return None
    return (
        f"{words}, but the structure's correlation is {reached:.2f}, and {by_chance:.2f} with the "
        "image turned over or moved on"
    )


def _with_caution(registration: Registration) -> Registration:
    """Say so where the frames were laid over each other and the images do not agree."""
    reached = registration.correlation[1]
    if reached >= _LEAST_CORRELATION:
        return registration
    words = f"{registration.start}; the images hardly agree there, correlation {reached:.2f}"
    return replace(registration, start=words)


def _agreement_by_chance(images: Images, found: _Found) -> float:
    """Return the best agreement with the moving image turned over; a small one also moved on by half."""
    image = images.moving
    turned = (image, image[::-1], image[:, ::-1], image[::-1, ::-1])
    others = [*turned[1:]]
    if min(image.shape) < _LEAST_SIDE_TO_TELL_PX:
        others += [
            np.roll(one, (image.shape[0] // 2, image.shape[1] // 2), (0, 1)) for one in turned
        ]
    return max(
        _agreement(replace(images, moving=np.ascontiguousarray(other)), found) for other in others
    )


def _unrelated(images: Images, failed: Sequence[str]) -> RegistrationError:
    moving, fixed = images.names
    return RegistrationError(
        f"'{moving}' and '{fixed}' could not be registered: they show no common content that "
        f"was found ({'; '.join(failed)}).",
        "Check that they show one field; crop the larger one to it; set landmarks in both; if the frames "
        "already lie over each other, choose start 'none'.",
    )

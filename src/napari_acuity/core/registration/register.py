"""Register two images: a start, an elastic pyramid, and one map to keep."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from ..device import choose_device
from ..errors import RegistrationError
from ..jobs import Event, Steps, altered, run, within
from .agreement import (
    agreement,
    alike,
    caution_about,
    doubt_about,
    opposite_before,
    opposite_instead,
)
from .edges import better_by_edges
from .inputs import Images, check_start, checked
from .plane import Transform
from .refine import ENOUGH, KNOWN, SURE, follow
from .registration import Registration
from .starts.find import Found, Start, find, go_on

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from ..micrograph import ImageLike

__all__ = ["Start", "Transform", "register", "register_steps"]

# What the elastic options may be, px.
_BLOCK_PX, _LOCAL_PX = (16, 128), (4, 200)
# Where on the way edges are looked at.
_LAST_LOOK = 0.95
_OTHERS: tuple[Start, ...] = ("phase", "template", "structure", "none")


def register(
    moving: ImageLike,
    fixed: ImageLike,
    *,
    start: Start | Registration = "auto",
    elastic: bool = True,
    landmarks: tuple[Any, Any] | None = None,
    exclude: NDArray[np.bool_] | None = None,
    transform: Transform = "auto",
    smallest_block: int | None = None,
    local_px: float | None = None,
    device: str = "auto",
) -> Registration:
    """Find the map that brings a moving image onto a fixed one.

    Parameters
    ----------
    moving, fixed : Micrograph, array or napari Image layer
        Two images of one field, (H, W) or (H, W, 3) each, of any dtype, range and pixel size. One may be
        bright where the other is dark, as fluorescence beside a bright field, also in a part only. Of a
        stained section beside an image of another kind the nuclei are compared, too.
    start : str or Registration
        "features": matching details (SIFT), for any shift, turn, scale and mirroring; "phase": turn,
        scale and mirroring from the spectra, then the shift, for images that show about the same
        field; "template": the smaller field found in a much larger one; "structure": outlines and
        layers, for images whose details differ, such as neighbouring sections in unlike stains, turned
        by any angle, and by default of one pixel size; "landmarks": a plane map through the landmarks;
        "none": the frames lie over each other already (stretched where their sizes differ); where the
        images hardly agree there, nothing is bent. After "landmarks" and "none", `Registration.start`
        says where the images hardly agree, and where the map bends more than a right one usually does.
        "auto": the landmarks where there are some; else features, and where they do not lead to images
        that agree, the start after which they agree best. A Registration: go on after the level it
        stands at.
    elastic : bool
        Follow with the elastic pyramid; without it, the map is one plane map.
    landmarks : (array, array), optional
        Points that show the same, (n, 2) (row, col) px of fixed and (n, 2) of moving, in one order.
        They also hold in the elastic part.
    exclude : (H, W) bool array, optional
        True where the fixed image is not to be compared.
    transform : str
        The kind of plane map that the start ends at: "similarity" (shift, turn, scale), "affine" (also
        shear), "homography" (also tilt). "auto": as many of these parameters as the start can tell, and,
        without the elastic part, a homography. Landmarks need two pairs, three for "affine", four for
        "homography".
    smallest_block : int, optional
        Side in px, 16 to 128, of the smallest blocks of the elastic part: the larger, the stiffer the
        map. Else blocks of 128, 80 and 50 px are followed by a dense level, finer than all of them.
    local_px : float, optional
        Gaussian sigma in px, 4 to 200, of "local" where local mean and contrast are divided out before
        fine texture is compared; else 30. Less, such as 12, where light out of focus lies over a
        fluorescence image.
    device : str
        Where the elastic part computes: "auto" takes a CUDA GPU where there is one, else the CPU.

    Returns
    -------
    Registration

    Raises
    ------
    RegistrationError
        When the images show no common content (a wild map is never returned), or one is nearly blank;
        for landmarks that do not pair up, are no points or are too few for the transform; for an
        option out of its range.
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
            transform=transform,
            smallest_block=smallest_block,
            local_px=local_px,
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
    transform: Transform = "auto",
    smallest_block: int | None = None,
    local_px: float | None = None,
    device: str = "auto",
) -> Steps[Registration]:
    """Do what `register` does, yielding events.

    Yields
    ------
    Event
        `new` is the start's `Matches` where it has some, then after every elastic level the
        `Registration` as it stands: the one to keep where a user stops there.
    """
    _check_options(transform, smallest_block, local_px)
    images = replace(
        checked(moving, fixed, landmarks, exclude),
        device=choose_device(device, cuda_only=True).name,
        transform=transform,
        smallest_block=smallest_block,
        local_px=local_px,
    )
    if isinstance(start, Registration):
        return (yield from _from_known(go_on(start, images), images, elastic=elastic))
    if start not in get_args(Start):
        raise RegistrationError(
            f"There is no start called '{start}'.", "Choose one of: " + ", ".join(get_args(Start))
        )
    if start == "landmarks" or (start == "auto" and landmarks is not None):
        marked = find("landmarks", images)
        if isinstance(marked, str):
            raise RegistrationError(f"The landmarks fit no map: {marked}.", "Set them anew.")
        return (yield from _from_known(marked, images, elastic=elastic))
    if start != "none":
        check_start(images)
    return (yield from _every_way(start, images, elastic=elastic))


def _check_options(
    transform: Transform, smallest_block: int | None, local_px: float | None
) -> None:
    if transform not in get_args(Transform):
        raise RegistrationError(
            f"There is no transform called '{transform}'.",
            "Choose one of: " + ", ".join(get_args(Transform)),
        )
    for name, value, kind, (least, most) in (
        ("smallest_block", smallest_block, Integral, _BLOCK_PX),
        ("local_px", local_px, Real, _LOCAL_PX),
    ):
        if value is not None and not (isinstance(value, kind) and least <= value <= most):
            whole = "a whole number, " if kind is Integral else ""
            raise RegistrationError(
                f"{name} is {value!r}.", f"Choose {whole}{least} to {most} px, or leave it out."
            )


def _every_way(start: Start, images: Images, *, elastic: bool) -> Steps[Registration]:
    """Register; where the images do not agree, try with the moving one inverted; then by nuclei.

    Fluorescence is bright where a bright field is dark; that of nuclei shows a part of a stained section.
    """
    reached, seen = 0.0, images

    def followed(event: Event) -> Event:
        nonlocal reached
        reached = event.fraction
        return event

    attempt = _best if start == "auto" else partial(_from_one, start)
    chosen = first = yield from altered(attempt(images, elastic=elastic), followed)
    if first.doubts:
        opposite = images.inverted()
        end = _LAST_LOOK if images.section is None else (reached + _LAST_LOOK) / 2
        looking = within(attempt(opposite, elastic=elastic), reached, end)
        second = yield from altered(looking, followed)
        # A wide search of opposite images, too, finds places that agree a little.
        if not second.doubts and second.reached > first.reached:
            seen, chosen = opposite, second
    nuclei = images.as_nuclei() if chosen.reached < SURE else None
    if nuclei is not None:
        third = yield from within(attempt(nuclei, elastic=elastic), reached, _LAST_LOOK)
        if not third.doubts and third.reached > chosen.reached:
            seen, chosen = nuclei, third
    if chosen.registration is None or chosen.found is None:
        raise _unrelated(images, first.doubts, second.doubts)
    return (yield from _settled(seen, chosen.found, chosen.registration, elastic=elastic))


def _settled(
    images: Images, found: Found, registration: Registration, *, elastic: bool
) -> Steps[Registration]:
    """Take what edges say instead, where they clearly do; say what there is to look at."""
    looking = better_by_edges(images, found, registration, elastic=elastic)
    by_edges = yield from within(looking, _LAST_LOOK, 1.0)
    if by_edges:
        registration = replace(by_edges, scores=registration.scores)
    if by_edges or found.name in KNOWN:
        caution = caution_about(registration)
    else:
        caution = opposite_instead(images, found)
    if caution is None:
        return registration
    return replace(registration, start=f"{registration.start}; {caution}")


class _Outcome(NamedTuple):
    """What an attempt came to: a registration, why it may be wrong, or both where the user insists."""

    registration: Registration | None
    found: Found | None = None
    doubts: tuple[str, ...] = ()

    @property
    def reached(self) -> float:
        """The correlation; less than any without a registration."""
        return -1.0 if self.registration is None else self.registration.correlation[1]


def _from_one(start: Start, images: Images, *, elastic: bool) -> Steps[_Outcome]:
    """Register by one start."""
    yield Event(f"start: {start}", 0.0)
    found = find(start, images)
    if isinstance(found, str):
        return _Outcome(None, None, (f"{start}: {found}",))
    yield Event(found.words, 0.2, found.matches)
    registration = yield from within(follow(images, found, elastic=elastic), 0.2, _LAST_LOOK)
    if start == "none":
        doubt = caution_about(registration)
        if doubt is None and opposite_before(registration):
            doubt = "the images are opposite there"
        return _Outcome(registration, found, () if doubt is None else (doubt,))
    doubt = doubt_about(images, found, registration)
    if doubt is not None:
        return _Outcome(None, None, (doubt,))
    return _Outcome(registration, found)


def _best(images: Images, *, elastic: bool) -> Steps[_Outcome]:
    """Take features where they lead to images that agree, else the best of the other starts."""
    failed, likely = list[str](), list[tuple[float, Found]]()
    yield Event("start: features", 0.0)
    found = find("features", images)
    if isinstance(found, str):
        failed.append(f"features: {found}")
    else:
        yield Event(found.words, 0.05, found.matches)
        refining = within(follow(images, found, elastic=elastic), 0.1, _LAST_LOOK)
        registration = yield from _if_it_agrees(refining)
        if registration is not None:
            return _Outcome(registration, found)
        likely.append((agreement(images, found), found))
    for step, name in enumerate(_OTHERS):
        yield Event(f"start: {name}", 0.3 + 0.05 * step)
        other = find(name, images)
        if isinstance(other, str):
            failed.append(f"{name}: {other}")
        else:
            likely.append((agreement(images, other), other))
    # "None" has found nothing: it comes last, however well the frames seem to agree.
    likely.sort(key=lambda scored: (scored[1].name != "none", scored[0]), reverse=True)
    scores = {found.name: score for score, found in likely}
    for number, (_, found) in enumerate(likely):
        begin, end = (0.5 + 0.25 * (number + side) / len(likely) for side in (0, 1))
        yield Event(found.words, begin, found.matches)
        registration = yield from within(follow(images, found, elastic=elastic), begin, end)
        doubt = doubt_about(images, found, registration)
        if doubt is None:
            return _Outcome(replace(registration, scores=scores), found)
        failed.append(doubt)
    return _Outcome(None, None, tuple(failed))


def _if_it_agrees(refining: Steps[Registration]) -> Steps[Registration | None]:
    """Go on only where the images agree after the first elastic level; else return None."""
    score = None
    while True:
        try:
            event = next(refining)
        except StopIteration as end:
            registration: Registration = end.value
            score = registration.correlation[1] if score is None else score
            return replace(registration, scores={"features": score}) if score >= ENOUGH else None
        if score is None and isinstance(event.new, Registration):
            score = event.new.correlation[1]
            if score < ENOUGH or opposite_before(event.new):
                refining.close()
                return None
        yield event


def _from_known(found: Found, images: Images, *, elastic: bool) -> Steps[Registration]:
    """Follow a place that the user knows."""
    images = alike(images, found)
    registration = yield from within(follow(images, found, elastic=elastic), 0.0, _LAST_LOOK)
    return (yield from _settled(images, found, registration, elastic=elastic))


def _unrelated(images: Images, failed: Sequence[str], inverted: Sequence[str]) -> RegistrationError:
    moving, fixed = images.names
    # Of several starts the reasons would be as many again.
    why = f" ({inverted[0]})" if len(inverted) == 1 else ""
    return RegistrationError(
        f"'{moving}' and '{fixed}' could not be registered: they show no common content that "
        f"was found, neither as they are ({'; '.join(failed)}) nor with the moving image inverted{why}"
        f"{'' if images.section is None else ', nor by the nuclei of the stained one'}.",
        "Check that they show one field; crop the larger one to it; set landmarks in both; if the frames "
        "already lie over each other, choose start 'none'.",
    )

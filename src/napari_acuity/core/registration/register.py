"""Register two images: a start, an elastic pyramid, and one map to keep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from ..errors import RegistrationError
from ..geometry import dense_map, resample, resize_homography, scale_at_centre
from ..jobs import Event, Steps, run
from ..micrograph import ImageLike, Micrograph, as_micrograph, check_content, grey
from .elastic import Level, elastic_levels, local_correlation, local_normalise
from .registration import Registration, no_points
from .start import Matches, find_by_features

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Start", "register", "register_steps"]

Start = Literal["auto", "features", "none"]

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
    start : {"auto", "features", "none"}
        "features": SIFT and RANSAC; "none": the frames lie over each other already (stretched where
        their sizes differ); "auto": features, else none if the images then correlate.
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
        `new` is the start's `Matches`, then a `Level` after every elastic pass.
    """
    moving, fixed = _planar(moving, "moving"), _planar(fixed, "fixed")
    grey_moving, grey_fixed = grey(moving), grey(fixed)
    yield Event("start: features" if start != "none" else "start: none", 0.0)
    matches, words = _start(grey_fixed, grey_moving, start, (moving.name, fixed.name))
    homography = matches.homography if matches else _frame_on_frame(fixed.shape, moving.shape)
    yield Event(words, 0.4, matches)

    target, source, inside = _on_one_grid(grey_fixed, grey_moving, homography)
    before = after = local_correlation(target, source, inside)
    shift_map = np.zeros((2, *fixed.shape), np.float32)
    level: Level | None = None
    for count, level in enumerate(
        elastic_levels(target, source, inside) if elastic else (), start=1
    ):
        yield Event(f"elastic, level {level.number} of {level.count}", 0.4 + 0.14 * count, level)
    if level is not None:
        mapping = dense_map(None, torch.from_numpy(level.shift_map))
        after = local_correlation(target, resample(source, mapping)[0], inside)
        shift_map = level.shift_map
    if after < before:  # the elastic part found noise
        shift_map, level, after = np.zeros_like(shift_map), None, before
    if start != "none" and after < _LEAST_CORRELATION:
        raise _nothing_common(moving.name, fixed.name, f"{words}; correlation {after:.2f}")
    return Registration(
        homography=homography,
        shift_map=shift_map,
        similarity=level.blocks.similarity if level else np.zeros((0, 0)),
        moving_shape=moving.shape,
        correlation=(before, after),
        residual_px=_residual(level) if level else float("nan"),
        start=words,
        fixed_points=matches.fixed if matches else no_points(),
        moving_points=matches.moving if matches else no_points(),
    )


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


def _start(
    fixed: NDArray[np.float32], moving: NDArray[np.float32], start: Start, names: tuple[str, str]
) -> tuple[Matches | None, str]:
    if start not in ("auto", "features", "none"):
        raise RegistrationError(
            f"There is no start called '{start}'.", "Choose 'auto', 'features' or 'none'."
        )
    if start == "none":
        return None, "start: none, frame on frame"
    matches, words = find_by_features(fixed, moving)
    if matches:
        return matches, f"start: features, {words}"
    if start == "features":
        raise _nothing_common(*names, words)
    return None, f"start: none, frame on frame ({words})"


def _frame_on_frame(
    fixed_shape: tuple[int, int], moving_shape: tuple[int, int]
) -> NDArray[np.float64] | None:
    return None if fixed_shape == moving_shape else resize_homography(fixed_shape, moving_shape)


def _on_one_grid(
    fixed: NDArray[np.float32], moving: NDArray[np.float32], homography: NDArray[np.float64] | None
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Return both images on the fixed grid, locally normalised, at the coarser one's resolution."""
    import cv2

    scale = 1.0 if homography is None else scale_at_centre(homography, fixed.shape)
    if scale < 0.95:
        sigma = 0.5 * (1 / scale**2 - 1) ** 0.5
        blurred = cv2.GaussianBlur(fixed, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
        fixed = np.asarray(blurred, dtype=np.float32)
    still = torch.zeros((2, *fixed.shape))
    warped, inside = resample(moving, dense_map(homography, still))
    target, source = local_normalise(fixed), local_normalise(warped)
    # Outside the overlap the images are made equal, so that its edge pulls no block.
    return target, np.where(inside, source, target), inside


def _residual(level: Level) -> float:
    trusted = level.blocks.similarity >= np.median(level.blocks.similarity)
    return float(np.median(np.linalg.norm(level.blocks.shift, axis=-1)[trusted]))


def _nothing_common(moving: str, fixed: str, tried: str) -> RegistrationError:
    return RegistrationError(
        f"'{moving}' and '{fixed}' could not be registered: they show no common content that was found "
        f"({tried}).",
        "Check that they show one field; crop the larger one to it; if the frames already lie over each "
        "other, choose start 'none'.",
    )

"""Averages of frames, drift taken out first, and of lines that were scanned several times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..errors import ImageError
from ..geometry import as_type, dense_map, resample
from ..jobs import Event, Steps, run, within
from ..micrograph import ImageLike, Micrograph, above, as_micrograph
from .drift import drift_of
from .stack import Frames, frames_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Averaged", "average", "average_lines", "average_steps"]

_NO_PEAK = "unlike the other frames"


@dataclass(frozen=True, eq=False)
class Averaged:
    """The average of a stack of frames.

    Parameters
    ----------
    image : Micrograph
        (Y, X) or (Y, X, 3), with the name, pixel size and range of the stack.
    shifts : (T, 2) float64
        (dy, dx) of each frame against the first, px, as `drift` gives them; 0 where the drift was not
        corrected, NaN for frames left out.
    left_out : dict of int to str
        Which frames are not in the average, counted from 0, and why: "blank", "saturated", "NaN or
        infinite", "unlike the other frames".
    """

    image: Micrograph
    shifts: NDArray[np.float64]
    left_out: dict[int, str]


def average(stack: ImageLike, *, correct_drift: bool = True, rounded: bool = True) -> Averaged:
    """Average the frames of a stack, each moved back by its drift.

    Each frame is resampled once, by bicubic interpolation; at the borders those frames are averaged that
    reach there.

    Parameters
    ----------
    stack : Micrograph, array or napari Image layer
        (T, Y, X) or (T, Y, X, 3), of any dtype, at least 32 x 32 px.
    correct_drift : bool
        False: average the frames as they lie.
    rounded : bool
        Round the average back into the stack's dtype; else it is float32, which keeps what averaging
        gains beyond the steps of an 8-bit camera.

    Returns
    -------
    Averaged

    Raises
    ------
    ImageError
        As `drift`.
    """
    return run(average_steps(stack, correct_drift=correct_drift, rounded=rounded))


def average_steps(
    stack: ImageLike, *, correct_drift: bool = True, rounded: bool = True
) -> Steps[Averaged]:
    """Do what `average` does, yielding an event a frame and pass."""
    frames = frames_of(stack)
    faults = dict(frames.faults)
    shifts = np.zeros((len(frames), 2))
    if correct_drift:
        shifts = yield from within(drift_of(frames), 0.0, 0.6)
        lost = [index for index in frames.usable if np.isnan(shifts[index]).any()]
        faults |= dict.fromkeys(lost, _NO_PEAK)
    shifts[list(faults)] = np.nan
    mean = yield from within(_mean(frames, shifts), 0.6 if correct_drift else 0.0, 1.0)
    image = _finished(mean, frames.whole, rounded=rounded)
    yield Event("averaged", 1.0)
    return Averaged(image, shifts, dict(sorted(faults.items())))


def average_lines(image: ImageLike, times: int, *, rounded: bool = True) -> Micrograph:
    """Average the scans of each line of an image whose every line was scanned several times in a row.

    Parameters
    ----------
    image : Micrograph, array or napari Image layer
        (..., times * Y, X) or (..., times * Y, X, 3): the scans of a line follow each other as rows.
    times : int
        How often each line was scanned.
    rounded : bool
        As for `average`.

    Returns
    -------
    Micrograph
        (..., Y, X) or (..., Y, X, 3), with the image's pixel size: repeated scans of a line lie at one
        place, so that the distance of two lines is that of two rows of the result.

    Raises
    ------
    ImageError
        When `times` is less than 1 or does not divide the rows, or a pixel is NaN or infinite.
    """
    whole = as_micrograph(image, name="image")
    rows = whole.shape[0]
    if not (times >= 1 and float(times).is_integer()) or rows % int(times):
        raise ImageError(
            f"The {rows} rows of '{whole.name}' are no {times} scans of each line.",
            "Give a number that divides the rows, as the acquisition's settings state it.",
        )
    if not np.isfinite(whole.pixels).all():
        raise ImageError(
            f"'{whole.name}' holds values that are NaN or infinite.",
            "Replace them, for example with numpy.nan_to_num, or crop them away.",
        )
    axis = whole.pixels.ndim - (3 if whole.rgb else 2)
    shape = whole.pixels.shape
    scans = whole.pixels.reshape(*shape[:axis], rows // int(times), int(times), *shape[axis + 1 :])
    return _finished(scans.mean(axis + 1, dtype=np.float64), whole, rounded=rounded)


def _mean(frames: Frames, shifts: NDArray[np.float64]) -> Steps[NDArray[np.float64]]:
    """Average the frames that have a shift, each moved back by it."""
    pixels = frames.whole.pixels
    used = np.flatnonzero(np.isfinite(shifts).all(1))
    total, weight = np.zeros(pixels.shape[1:]), np.zeros(frames.shape)
    still = dense_map(None, torch.zeros(2, *frames.shape), dtype=torch.float32)
    for done, index in enumerate(used):
        yield Event(f"average, frame {index + 1} of {len(frames)}", done / len(used))
        frame, inside = pixels[index], np.ones(frames.shape, bool)
        if shifts[index].any():
            mapping = still + torch.from_numpy(shifts[index]).float()[:, None, None]
            # From a black of its own: float32 cannot count the values of 32-bit integers.
            black = float(frame.min())
            raised, inside = resample(above(frame, black), mapping)
            frame = raised.astype(np.float64) + black
        total[inside] += frame[inside]
        weight += inside
    if frames.whole.rgb:
        weight = weight[..., None]
    return total / weight


def _finished(mean: NDArray[Any], stack: Micrograph, *, rounded: bool) -> Micrograph:
    """Return the average in the stack's dtype, or as float32 with the stack's range stated."""
    dtype = stack.pixels.dtype
    if rounded:
        return stack.with_pixels(as_type(mean, dtype))
    try:
        known = stack.range()
    except ImageError:  # it stays unknown
        known = None
    return stack.with_pixels(mean.astype(np.float32), value_range=known)

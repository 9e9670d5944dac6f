"""How far the frames of a stack have drifted: from pairs of frames, to a few hundredths of a pixel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..errors import ImageError
from ..jobs import Event, Steps, run, within
from .peaks import Peak, envelope_of, matched, peak_of, spectrum_of
from .stack import Frames, frames_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..micrograph import ImageLike

__all__ = ["drift", "drift_of", "drift_steps"]

# From the first to the last of these residuals (px) a pair of frames must come to agree with the others.
_TOLERANCES_PX = (16.0, 8.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.1, 0.1, 0.1)
_WRONG_PX = 1.0
_STRANGE = 0.3


def drift(stack: ImageLike) -> NDArray[np.float64]:
    """Find how far each frame of a stack is shifted against the first.

    Parameters
    ----------
    stack : Micrograph, array or napari Image layer
        (T, Y, X) or (T, Y, X, 3), of any dtype and range, at least 32 x 32 px.

    Returns
    -------
    (T, 2) float64
        (dy, dx) in px: content at p of the first frame is at p + shift of this one. The first usable
        frame is at (0, 0). NaN for frames that are blank, saturated, or show no common content.

    Raises
    ------
    ImageError
        When it is no stack of frames, the frames are too small, or none is usable.

    Notes
    -----
    Each frame is freed of hot pixels, blurred a little, relieved of its uneven background and windowed;
    pairs of frames 1, 2, 4, ... apart are cross-correlated, and a 2-D Gaussian is fitted to each peak.
    The shifts are those that all pairs agree on best, so that errors do not add up from frame to frame
    (after Wang et al. [1]_, with fewer pairs and a robust fit). A third of a side is the largest shift
    between two frames of a pair that is looked for.

    References
    ----------
    .. [1] Y. Wang et al., "Localization events-based sample drift correction for localization
       microscopy with redundant cross-correlation algorithm", Opt. Express 22(13), 15982-15991 (2014).
       :doi:`10.1364/OE.22.015982`
    """
    return run(drift_steps(stack))


def drift_steps(stack: ImageLike) -> Steps[NDArray[np.float64]]:
    """Do what `drift` does, yielding an event a frame and a distance between frames."""
    return (yield from drift_of(frames_of(stack)))


def drift_of(frames: Frames) -> Steps[NDArray[np.float64]]:
    """Do what `drift_steps` does, of frames that were looked through already."""
    still = np.zeros((len(frames), 2), np.intp)
    whole = yield from within(_measured(frames, frames.usable, still, frames.shape), 0.0, 0.5)
    good = np.flatnonzero(np.isfinite(whole).all(1)).tolist()
    # Again on what all frames show: what comes in at one border and leaves at the other pulls the peak.
    corners = still.copy()
    corners[good] = np.rint(whole[good]).astype(np.intp)
    corners[good] -= corners[good].min(0)
    rows, cols = (int(n) for n in frames.shape - corners.max(0))
    if 2 * rows < frames.shape[0] or 2 * cols < frames.shape[1]:
        return whole
    shifts = yield from within(_measured(frames, good, corners, (rows, cols)), 0.5, 1.0)
    yield Event("drift found", 1.0)
    return shifts


def _measured(
    frames: Frames, chosen: list[int], corners: NDArray[np.intp], shape: tuple[int, int]
) -> Steps[NDArray[np.float64]]:
    """Return the (T, 2) shifts of chosen frames, measured on a part that begins at a corner of each."""
    spectra = []
    for done, index in enumerate(chosen):
        yield Event(f"drift, frame {index + 1} of {len(frames)}", 0.4 * done / len(chosen))
        row, col = corners[index]
        part = frames.grey(index)[row : row + shape[0], col : col + shape[1]]
        spectra.append(spectrum_of(part))
    pairs = yield from within(_pairs(matched(spectra, shape), shape), 0.4, 1.0)
    places = corners[chosen] + _positions(pairs, len(chosen))
    shifts = np.full((len(frames), 2), np.nan)
    shifts[chosen] = places - places[np.flatnonzero(np.isfinite(places).all(1))[0]]
    return shifts


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Which frames were compared, and what each pair said: (n,), (n,), (n, 2) and (n,)."""

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    shift: NDArray[np.float64]
    trust: NDArray[np.float64]


def _pairs(spectra: list[NDArray[np.complex64]], shape: tuple[int, int]) -> Steps[_Pairs]:
    count = len(spectra)
    envelope = envelope_of(shape)
    lags = [2**n for n in range(count.bit_length()) if 2**n < count]
    firsts, seconds, peaks = list[int](), list[int](), list[Peak]()
    for number, lag in enumerate(lags):
        yield Event(f"drift, frames {lag} apart", number / len(lags))
        for first in range(count - lag):
            surface = fft.irfft2(spectra[first].conj() * spectra[first + lag], shape)
            peaks.append(peak_of(surface, envelope))
            firsts.append(first)
            seconds.append(first + lag)
    return _Pairs(
        np.array(firsts, np.intp),
        np.array(seconds, np.intp),
        np.array([peak.shift for peak in peaks]).reshape(-1, 2),
        np.array([peak.trust for peak in peaks]),
    )


def _positions(pairs: _Pairs, count: int) -> NDArray[np.float64]:
    """Return the (count, 2) places that most pairs agree on; NaN where they do not."""
    pairs = _without_strangers(pairs, count)
    weight = pairs.trust.copy()
    places = np.zeros((count, 2))
    for tolerance in _TOLERANCES_PX:
        places = _solved(pairs, weight, count)
        miss = np.linalg.norm(places[pairs.second] - places[pairs.first] - pairs.shift, axis=1)
        # Geman-McClure, from lenient to strict, so that a wrong pair among right ones is let go.
        weight = pairs.trust / (1 + (miss / tolerance) ** 2) ** 2
    right = (miss < _WRONG_PX) & (pairs.trust > 0) if count > 1 else np.zeros(0, bool)
    good = _largest_group(pairs, right, count)
    places[~good] = np.nan
    return places


def _without_strangers(pairs: _Pairs, count: int) -> _Pairs:
    """Trust no pair of a frame whose best peak is far lower than those of the other frames.

    Another field has peaks with all frames, too, and they agree with each other.
    """
    best = np.zeros(count)
    for ends in (pairs.first, pairs.second):
        np.maximum.at(best, ends, pairs.trust)
    strange = best < _STRANGE * np.median(best)
    trust = np.where(strange[pairs.first] | strange[pairs.second], 0.0, pairs.trust)
    return replace(pairs, trust=trust)


def _solved(pairs: _Pairs, weight: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Solve for the places by weighted least squares; a frame that no pair holds stays at 0."""
    rows = np.arange(len(weight))
    differences = np.zeros((len(weight), count))
    differences[rows, pairs.second], differences[rows, pairs.first] = 1, -1
    weighted = differences.T * weight
    held = weighted @ differences + 1e-9 * np.eye(count)
    return np.asarray(np.linalg.solve(held, weighted @ pairs.shift), np.float64)


def _largest_group(pairs: _Pairs, right: NDArray[np.bool_], count: int) -> NDArray[np.bool_]:
    """Return which frames most of their peaks agree with, and that right pairs link to each other."""
    held = np.zeros((2, count))
    for ends in (pairs.first, pairs.second):
        np.add.at(held[0], ends, right)
        np.add.at(held[1], ends, pairs.trust > 0)
    sound = (held[0] >= held[1] / 2) & (held[0] > 0) if count > 1 else np.ones(1, bool)
    kept = right & sound[pairs.first] & sound[pairs.second]
    links = coo_array((kept, (pairs.first, pairs.second)), (count, count))
    group = connected_components(links, directed=False)[1]
    group[~sound] = count
    sizes = np.bincount(group[sound], minlength=1)
    if sizes.max() < min(count, 2):
        raise ImageError(
            "No two frames of the stack show the same.",
            "Check that they show one field, or average them without correcting the drift.",
        )
    return np.asarray(group == sizes.argmax())

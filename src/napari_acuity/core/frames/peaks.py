"""The shift between two frames: windowed zero-mean correlation, and a 2-D Gaussian fit of its peak.

Plain correlation, as in registration: phase-only correlation fails where noise or blur hide details.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from scipy import fft, signal

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Peak", "envelope_of", "matched", "peak_of", "spectrum_of"]

_BACKGROUND_PX = 12.0  # what is wider is background, and does not move with the specimen
_RINGS = 32
_TAPERED = 0.25
_REACH_PX = 2
# Noise alone, with 10,000 places to look at, reaches 4.5 times its spread; 0.3 in no frame of 64 x 64 px.
_TIMES_SPREAD, _SURE = 7.0, 0.3
_PER_MEDIAN = 1.4826


@dataclass(frozen=True, eq=False)
class Peak:
    """Where a correlation is highest.

    Parameters
    ----------
    shift : (2,) float64
        (dy, dx) in px: content at p of the first image is at p + shift of the second.
    trust : float
        Pearson correlation there; 0 where there is no peak above the noise.
    """

    shift: NDArray[np.float64]
    trust: float


def spectrum_of(grey: NDArray[np.float32]) -> NDArray[np.complex64]:
    """Return the half spectrum of a grey image (Y, X), without background, zero-mean, windowed."""
    background = cv2.GaussianBlur(grey, (0, 0), _BACKGROUND_PX, borderType=cv2.BORDER_REFLECT_101)
    window = _window(grey.shape)
    flat = grey - background
    flat -= (flat * window).sum() / window.sum()
    return np.asarray(fft.rfft2(flat * window), np.complex64)


def matched(
    spectra: list[NDArray[np.complex64]], shape: tuple[int, int]
) -> list[NDArray[np.complex64]]:
    """Weight spatial frequencies as each deserves, and scale each spectrum to unit energy.

    With the power S of what all frames show and N of the noise, equal at all frequencies, the cross
    spectrum's maximum-likelihood weight is S / (N (2 S + N)) (Knapp and Carter 1976,
    doi:10.1109/TASSP.1976.1162830): where there is but noise, none.
    """
    fy, fx = fft.fftfreq(shape[0])[:, None], fft.rfftfreq(shape[1])
    ring = np.minimum(np.hypot(fy, fx) * 2 * _RINGS, 2 * _RINGS).astype(np.intp)
    power = np.mean([_power(spectrum) for spectrum in spectra], 0)
    count = np.bincount(ring.ravel())
    rings = np.bincount(ring.ravel(), power.ravel()) / np.maximum(count, 1)
    # The corners of the spectrum lie beyond what a camera's pixels are chosen to resolve.
    noise = float(np.median(rings[_RINGS:])) + 1e-6 * float(rings.max()) + 1e-30
    shared = np.maximum(rings - noise, 0)
    weight = np.sqrt(shared / (2 * shared + noise))[ring].astype(np.float32)
    weighted = [spectrum * weight for spectrum in spectra]
    return [each / np.float32(_energy(each, shape) ** 0.5 + 1e-30) for each in weighted]


def envelope_of(shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return what the window alone does to a correlation at each shift: 1 at none, less farther on."""
    power = np.abs(fft.rfft2(_window(shape))) ** 2
    envelope = fft.irfft2(power, shape)
    return np.asarray(envelope / envelope[0, 0], np.float32)


def peak_of(correlation: NDArray[np.float32], envelope: NDArray[np.float32]) -> Peak:
    """Find the peak within a third of each side.

    Parameters
    ----------
    correlation : (Y, X) float32
        Cyclic, no shift at the top left, 1 for equal images.
    envelope : (Y, X) float32
        What `envelope_of` gives.
    """
    reach = [n // 3 + _REACH_PX for n in correlation.shape]
    lags = np.ix_(*(np.arange(-far, far + 1) for far in reach))
    # The window lessens large shifts and so pulls each peak towards none.
    surface = correlation[lags] / envelope[lags]
    inside = surface[_REACH_PX:-_REACH_PX, _REACH_PX:-_REACH_PX]
    at = np.array(np.unravel_index(inside.argmax(), inside.shape))
    height = float(inside[tuple(at)])
    spread = _PER_MEDIAN * float(np.median(np.abs(inside)))
    found = height > min(_SURE, _TIMES_SPREAD * spread)
    rows, cols = (slice(n, n + 2 * _REACH_PX + 1) for n in at)
    shift = at + _REACH_PX - reach + _middle(surface[rows, cols].astype(np.float64))
    return Peak(shift, min(height, 1.0) if found and height > 0 else 0.0)


def _power(spectrum: NDArray[np.complex64]) -> NDArray[np.float32]:
    return spectrum.real**2 + spectrum.imag**2


def _energy(spectrum: NDArray[np.complex64], shape: tuple[int, int]) -> float:
    """Return the sum of squares of the image behind a half spectrum."""
    power = _power(spectrum)
    # Every column but the first, and for an even width the last, stands for two.
    twice = 2 * power.sum() - power[:, 0].sum()
    return float(twice - (power[:, -1].sum() if shape[1] % 2 == 0 else 0)) / (shape[0] * shape[1])


def _middle(around: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (dy, dx) of the middle of a 2-D Gaussian fitted to the surroundings of a peak."""
    side = np.arange(-_REACH_PX, _REACH_PX + 1.0)
    y, x = (axis.ravel() for axis in np.meshgrid(side, side, indexing="ij"))
    values = around.ravel() / around.max()
    # The logarithm of a Gaussian is a paraboloid. Weighted by their squares, the values count as in a
    # fit of the Gaussian itself (Guo 2011, doi:10.1109/MSP.2011.941846).
    weight = np.where(values > 0.2, values, 0.0)
    terms = np.stack([np.ones_like(y), y, x, y * y, x * x, y * x], axis=1)
    logs = np.log(np.maximum(values, 0.2))
    _, by, bx, ayy, axx, ayx = np.linalg.lstsq(terms * weight[:, None], logs * weight, rcond=None)[
        0
    ]
    bend = np.array([[2 * ayy, ayx], [ayx, 2 * axx]])
    if not (np.linalg.eigvalsh(bend) < -1e-9).all():
        return np.zeros(2)
    return np.clip(-np.linalg.solve(bend, [by, bx]), -1, 1)


def _window(shape: tuple[int, ...]) -> NDArray[np.float32]:
    rows, cols = (signal.windows.tukey(n + 2, _TAPERED)[1:-1] for n in shape)
    return np.outer(rows, cols).astype(np.float32)

"""Spectra of images, summed over rings of equal spatial frequency."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import fft
from scipy.signal.windows import tukey

from ...errors import ImageError
from ...micrograph import ImageLike, Micrograph, as_micrograph
from ..plane import grey_plane

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Rings", "half_plane", "large_plane", "ratio", "spectrum", "tapered"]


@dataclass(frozen=True, eq=False)
class Rings:
    """Rings one frequency step of the shorter side wide, around multiples of that step.

    Parameters
    ----------
    frequency : ndarray
        (n,) of the rings' middles in cycles per px, from the first step to the Nyquist frequency.
    count : ndarray
        (n,) number of samples of the whole Fourier plane in each.
    index, weight : ndarray
        The ring of each sample of the half plane, and how many samples of the whole it stands for.
    """

    frequency: NDArray[np.float64]
    count: NDArray[np.float64]
    index: NDArray[np.intp]
    weight: NDArray[np.float64]

    @classmethod
    def of(cls, shape: tuple[int, int]) -> Rings:
        """Lay rings over the spectrum of an image of this shape."""
        frequency, weight = half_plane(shape)
        side = min(shape)
        number = side // 2
        index = np.minimum(np.rint(frequency * side).astype(np.intp), number + 1).ravel()
        rings = cls(np.arange(1, number + 1) / side, np.empty(number), index, weight.ravel())
        return cls(rings.frequency, rings.sums(np.ones(1)), index, rings.weight)

    def sums(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return the sums of a quantity over each ring."""
        number = len(self.frequency)
        weighted = values.ravel() * self.weight
        return np.bincount(self.index, weighted, number + 2)[1 : number + 1].astype(np.float64)


def half_plane(shape: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the radial frequency, cycles per px, of each sample of a half spectrum, and its weight.

    All columns but the first, and the last of an even size, stand for their mirror, too: weight 2.
    """
    frequency = np.hypot(fft.fftfreq(shape[0])[:, None], fft.rfftfreq(shape[1]))
    weight = np.full(frequency.shape, 2.0)
    weight[:, 0] = 1
    if shape[1] % 2 == 0:
        weight[:, -1] = 1
    return frequency, weight


def tapered(pixels: NDArray[Any], taper_px: tuple[float, float]) -> NDArray[np.float64]:
    """Take off the mean, and bring the borders down to 0 by a cosine so many pixels wide."""
    rows, columns = (
        tukey(n, 2 * width / (n - 1)) for n, width in zip(pixels.shape, taper_px, strict=True)
    )
    window = rows[:, None] * columns
    mean = (pixels * window).sum() / window.sum()
    return (pixels - mean) * window


def spectrum(pixels: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Return the half plane of the Fourier transform."""
    return fft.rfft2(pixels, workers=-1)


def ratio(numerator: NDArray[Any], denominator: NDArray[Any]) -> NDArray[np.float64]:
    """Divide, with 0 where there is nothing to divide by."""
    out = np.zeros(len(numerator))
    np.divide(numerator, denominator, out=out, where=denominator > 0)
    return out


def large_plane(
    image: ImageLike, name: str, min_side_px: int
) -> tuple[Micrograph, NDArray[np.float64]]:
    """Return an image and its grey values, or raise ImageError; also where it is too small."""
    shown, values = grey_plane(as_micrograph(image, name=name))
    if min(values.shape) < min_side_px:
        raise ImageError(
            f"'{shown.name}' is {values.shape[0]} x {values.shape[1]} px: too small to measure on.",
            f"Give a field of {min_side_px} x {min_side_px} px or more.",
        )
    return shown, values

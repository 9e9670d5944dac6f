"""Resolution without a reference: Fourier ring correlation of two images, or of one split in four."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import fft

from ...errors import ImageError
from ..plane import square_pixel_size
from .rings import Rings, large_plane, ratio, spectrum, tapered

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...micrograph import ImageLike

__all__ = ["Resolution", "frc", "frc_single"]

MIN_SIDE_PX = 32
TAPER = 1 / 8
"""Which part of a side is tapered at each end before the transform."""


@dataclass(frozen=True, eq=False)
class Resolution:
    """A resolution, and the curve it was read from. Where the pixel size is unknown, um are px.

    Parameters
    ----------
    resolution : float
        In um: one over the highest frequency carried. nan where the curve shows no limit; inf where the
        images share no detail at all.
    frequency : ndarray
        (n,) spatial frequency, cycles per um, rising.
    curve : ndarray
        (n,) correlation at each frequency, -1..1.
    method : str
        What was computed, in words.
    threshold : ndarray or None
        (n,) what the curve must exceed; None for a method that uses none.
    """

    resolution: float
    frequency: NDArray[np.float64]
    curve: NDArray[np.float64]
    method: str
    threshold: NDArray[np.float64] | None = None


def frc(
    a: ImageLike,
    b: ImageLike,
    pixel_size: float | None = None,
    *,
    threshold: Literal["1/7", "half-bit", "3-sigma"] = "1/7",
) -> Resolution:
    """Fourier ring correlation of two independent acquisitions of the same field.

    The resolution is where the curve, smoothed by a local line over a tenth of the frequency to either
    side, first falls below the threshold. Before the transform the mean is taken off and an eighth of
    each side tapered by a Tukey window. A ring is as wide as one frequency step of the shorter side,
    in cycles per um, so images need not be square.

    The noise of the two must be independent: two exposures, or the odd and even frames of a movie.
    What both share, from fixed patterns of the camera to a network's habits, counts as detail.
    Nothing is aligned here. The real part of the correlation is used, so a shift of d um multiplies
    the curve by about J0(2 pi f d): register to within a tenth of the resolution.

    Parameters
    ----------
    a, b : Micrograph, array or napari Image layer
        (Y, X), or (Y, X, 3), which is turned to grey; of the same shape, 32 px or more.
    pixel_size : float, optional
        Side of a pixel in um. The default is what `a` states, or 1 where it states none: the resolution
        is then in px, and frequencies in cycles per px.
    threshold : "1/7", "half-bit" or "3-sigma"
        1/7 is the usual in microscopy [2]_. The others [1]_ depend on the number n of Fourier samples
        in a ring: half-bit is (0.2071 + 1.9102 / sqrt(n)) / (1.2071 + 0.9102 / sqrt(n)), 3-sigma is
        3 / sqrt(n / 2).

    Returns
    -------
    Resolution
        `.resolution` in um (or px), `.frequency`, `.curve` before smoothing, `.threshold`. The resolution is
        nan where the curve never falls below the threshold: finer than two pixels can show. It is inf
        where the curve never lies above.

    Raises
    ------
    ImageError
        For images of unlike shape, too small, constant, with NaN, stacks; a pixel size or threshold
        that does not exist.

    References
    ----------
    .. [1] M. van Heel and M. Schatz, "Fourier shell correlation threshold criteria", J. Struct. Biol.
       151(3), 250-262 (2005). :doi:`10.1016/j.jsb.2005.05.009`
    .. [2] R. P. J. Nieuwenhuizen et al., "Measuring image resolution in optical nanoscopy", Nat.
       Methods 10, 557-562 (2013). :doi:`10.1038/nmeth.2448`
    """
    first, values = large_plane(a, "a", MIN_SIDE_PX)
    second, other_values = large_plane(b, "b", MIN_SIDE_PX)
    size = square_pixel_size(first, pixel_size)
    if first.shape != second.shape:
        raise ImageError(
            f"One image is {first.shape[0]} x {first.shape[1]} px, the other {second.shape[0]} x "
            f"{second.shape[1]} px.",
            "Give two acquisitions of one field on one grid, registered to a fraction of a pixel.",
        )
    rings = Rings.of(first.shape)
    curve = _correlation(_sums(rings, *(spectrum(_windowed(v)) for v in (values, other_values))))
    limit = _threshold(threshold, rings.count)
    return Resolution(
        resolution=size * _limit_px(rings.frequency, _smoothed(curve), limit),
        frequency=rings.frequency / size,
        curve=curve,
        method=f"Fourier ring correlation of two images, threshold {threshold}",
        threshold=limit,
    )


def frc_single(image: ImageLike, pixel_size: float | None = None) -> Resolution:
    """Fourier ring correlation of one image, split in a checkerboard.

    Pixels of even rows and columns against those of odd rows and columns, and even-odd against
    odd-even [1]_, both pairs summed. Their offset of one pixel along each axis is undone exactly, by a
    phase. A quarter image has a quarter of the signal to noise in power, so the curve c is turned into
    what two whole images would give, 4 c / (1 + 3 c); this replaces the calibration curve fitted to
    microscope images in [1]_. The threshold is 1/7.

    It stands on noise that is independent from pixel to pixel. Interpolated, compressed, filtered or
    network-made images break this, and come out far too good: use two acquisitions for them. Rings end
    at a quarter of a cycle per pixel, so a resolution finer than four pixels is not seen; detail that is
    finer still, much of it, folds back and may come out as a resolution that is coarser than four pixels.

    Parameters
    ----------
    image : Micrograph, array or napari Image layer
        (Y, X), or (Y, X, 3), which is turned to grey; 64 px or more. An odd last row or column is left
        out.
    pixel_size : float, optional
        Side of a pixel in um; by default as for `frc`.

    Returns
    -------
    Resolution
        As for `frc`; nan where the curve never falls below the threshold: finer than four pixels.

    Raises
    ------
    ImageError
        For an image that is too small, constant, with NaN, or a stack; an impossible pixel size.

    References
    ----------
    .. [1] S. Koho et al., "Fourier ring correlation simplifies image restoration in fluorescence
       microscopy", Nat. Commun. 10, 3103 (2019). :doi:`10.1038/s41467-019-11024-z`
    """
    whole, values = large_plane(image, "image", 2 * MIN_SIDE_PX)
    size = 2 * square_pixel_size(whole, pixel_size)
    rows, columns = (n // 2 for n in values.shape)
    pixels = _windowed(values[: 2 * rows, : 2 * columns])
    even, odd, even_odd, odd_even = (
        spectrum(pixels[i::2, j::2]) * _phase((rows, columns), i, j)
        for i, j in ((0, 0), (1, 1), (0, 1), (1, 0))
    )
    rings = Rings.of((rows, columns))
    sums = _sums(rings, even, odd) + _sums(rings, even_odd, odd_even)
    curve = _correlation(sums)
    limit = _threshold("1/7", rings.count)
    return Resolution(
        resolution=size * _limit_px(rings.frequency, _of_whole(_smoothed(curve)), limit),
        frequency=rings.frequency / size,
        curve=_of_whole(curve),
        method="Fourier ring correlation of a single image, checkerboard split, threshold 1/7",
        threshold=limit,
    )


def _windowed(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    rows, columns = pixels.shape
    return tapered(pixels, ((rows - 1) * TAPER, (columns - 1) * TAPER))


def _sums(rings: Rings, a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    """Return the sums over each ring of Re(a b*), |a|^2 and |b|^2, (3, n)."""

    def product(p: NDArray[Any], q: NDArray[Any]) -> NDArray[np.float64]:
        return p.real * q.real + p.imag * q.imag

    return np.array([rings.sums(product(p, q)) for p, q in ((a, b), (a, a), (b, b))])


def _correlation(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    cross, power_a, power_b = sums
    return ratio(cross, np.sqrt(power_a * power_b))


def _phase(shape: tuple[int, int], row: int, column: int) -> NDArray[np.complex128]:
    """Return what moves every second sample, taken from (row, column) on, back to the origin."""
    y, x = fft.fftfreq(shape[0], 2), fft.rfftfreq(shape[1], 2)
    return np.exp(-2j * np.pi * (row * y[:, None] + column * x))


def _of_whole(curve: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn the correlation of quarters into that of two whole images (odd, so that noise stays even)."""
    return 4 * curve / (1 + 3 * np.abs(curve))


def _threshold(name: str, count: NDArray[np.float64]) -> NDArray[np.float64]:
    root = np.sqrt(count)
    if name == "1/7":
        return np.full(len(count), 1 / 7)
    if name == "half-bit":
        return (0.2071 + 1.9102 / root) / (1.2071 + 0.9102 / root)
    if name == "3-sigma":
        return 3 * np.sqrt(2) / root
    raise ImageError(f"There is no threshold '{name}'.", "Use '1/7', 'half-bit' or '3-sigma'.")


def _smoothed(curve: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fit a line around each ring with tricube weights, over a tenth of its radius, 3 rings at least."""
    ring = np.arange(1, len(curve) + 1)
    offset = ring - ring[:, None]
    weight = np.clip(1 - np.abs(offset / np.maximum(3, ring / 10)[:, None]) ** 3, 0, None) ** 3
    total, first, second = ((weight * offset**power).sum(1, keepdims=True) for power in range(3))
    kernel = weight * (second - first * offset) / (total * second - first**2)
    return kernel @ curve


def _limit_px(
    frequency: NDArray[np.float64], curve: NDArray[np.float64], threshold: NDArray[np.float64]
) -> float:
    """Return one over the frequency at which the curve first falls through the threshold.

    nan where it stays above, inf where it never was.
    """
    excess = curve - threshold
    falls = np.flatnonzero((excess[:-1] >= 0) & (excess[1:] < 0))
    if not len(falls):
        return float("nan") if excess[-1] >= 0 else float("inf")
    i = falls[0]
    part = excess[i] / (excess[i] - excess[i + 1])
    return float(1 / (frequency[i] + part * (frequency[i + 1] - frequency[i])))

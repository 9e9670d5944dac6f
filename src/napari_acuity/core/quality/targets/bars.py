"""The bars of the USAF-1951 resolution target: their contrast, and what an ideal lens allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.ndimage import correlate1d, gaussian_filter1d, map_coordinates, maximum_filter

from ...errors import AcuityError, ImageError
from ...micrograph import ImageLike, Micrograph, as_micrograph, grey
from ...simulate.optics import lens_transfer
from ...simulate.targets import usaf_frequency
from ..matching import matched

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "NARROWEST_BAR_PX",
    "bar_contrast",
    "cross_section",
    "cutoff_frequency",
    "diffraction_limit",
    "modulation",
    "unit_grey",
    "usaf_frequency",
]

LENGTH_SHARE = 0.8
"""How much of the bars' length is averaged: of the definition's 80 to 90 % the least, which keeps farthest
from their blurred ends."""
NARROWEST_BAR_PX = 1.5
"""Bars narrower than this, three samples a line pair, are not measured."""
SAMPLES_PER_BAR = 32
REACH = 0.4
"""How far from its place an extremum may stand, in bar widths."""


def bar_contrast(
    image: ImageLike,
    group: int,
    element: int,
    pixel_size: float,
    polarity: Literal["dark", "bright"] = "dark",
) -> float:
    """Contrast of one three-bar pattern, cropped and upright, with its centre in the image's centre.

    The image is averaged along 80 % of the bars' length, and the cross-section is five bar widths
    long, which follow from group, element and pixel size. Dark bars give three minima and two maxima
    between them, bright bars the reverse. Imax and Imin are the means of the maxima and of the
    minima; the contrast is (Imax - Imin) / (Imax + Imin), with intensities counted from the black
    of the image's range, and it is 0 unless every extremum stands within 0.4 bar widths of its place
    and every maximum is above the minima beside it. Values between pixels are those of a cubic spline
    that is kept from swinging beyond the pixels at sharp edges. Which way the bars run is told by the
    modulation.

    Parameters
    ----------
    image : Micrograph, array or napari Image layer
        (Y, X) or (Y, X, 3), at least five bar widths each way; more ground around is no harm.
    group, element : int
        Number on the target.
    pixel_size : float
        Side of a pixel in um.
    polarity : "dark" or "bright"
        Dark bars on a bright ground, or the reverse.

    Returns
    -------
    float
        0 to 1. Bars narrower than 1.5 px have 0.

    Raises
    ------
    ImageError
        When the image is a stack, holds NaN, has no known black and white, or is smaller than the
        pattern.
    AcuityError
        For an element other than 1 to 6, an unknown polarity, or a pixel size that is not positive.

    References
    ----------
    .. [1] Y. Rivenson et al., "Deep learning microscopy", Optica 4(11), 1437-1443 (2017), section 6
       of the supplement. :doi:`10.1364/OPTICA.4.001437`
    """
    if not (np.isfinite(pixel_size) and pixel_size > 0):
        raise AcuityError(
            f"The pixel size {pixel_size} is no length.", "Give the side of a pixel in micrometres."
        )
    if polarity not in ("dark", "bright"):
        raise AcuityError(f"There is no polarity '{polarity}'.", "Use 'dark' or 'bright'.")
    width = 500 / usaf_frequency(group, element) / pixel_size
    pixels, _ = unit_grey(image)
    if width < NARROWEST_BAR_PX:
        return 0.0
    if min(pixels.shape) < 5 * width - 2:
        raise ImageError(
            f"The image is {pixels.shape[0]} x {pixels.shape[1]} px, but element {element} of group "
            f"{group} is {5 * width:.1f} px wide at {pixel_size:g} um.",
            "Crop the whole pattern, or correct the group, element or pixel size.",
        )
    rows, cols = pixels.shape
    centre = complex((cols - 1) / 2, (rows - 1) / 2)
    sections = [cross_section(pixels, centre, angle, width) for angle in (0.0, np.pi / 2)]
    # Along the bars the inner part of the section is flat.
    inner = slice(2 * SAMPLES_PER_BAR, -2 * SAMPLES_PER_BAR)
    return modulation(max(sections, key=lambda section: float(np.ptp(section[inner]))), polarity)


def cutoff_frequency(na: float, wavelength_um: float) -> float:
    """Return the frequency, lp/mm, beyond which an ideal lens shows nothing: 2 NA / wavelength.

    Raises
    ------
    AcuityError
        When NA or wavelength is not positive.
    """
    if not (na > 0 and wavelength_um > 0):
        raise AcuityError(
            f"NA {na:g} and wavelength {wavelength_um:g} um describe no lens.",
            "Give two positive numbers, such as 0.75 and 0.55.",
        )
    return 2000 * na / wavelength_um


def diffraction_limit(
    frequency_lp_per_mm: ArrayLike, na: float, wavelength_um: float, *, square: bool = False
) -> NDArray[np.float64]:
    """Contrast that an ideal lens in incoherent light keeps at given frequencies.

    By default that of a sine grating, the modulation transfer function M. The bars of a target are a
    square wave, whose contrast is higher: Coltman's 4/pi (M(f) - M(3f)/3 + M(5f)/5 - ...) for a
    grating without end, which `square` asks for. Beyond a third of the cutoff only the first term is
    left, 4/pi M(f). Three bars differ from a grating without end by their ends, a few hundredths of
    contrast near the limit.

    Parameters
    ----------
    frequency_lp_per_mm : array_like
        Line pairs per millimetre, not negative.
    na : float
        Numerical aperture.
    wavelength_um : float
        Wavelength in vacuum.
    square : bool
        Of a square wave rather than a sine.

    Returns
    -------
    ndarray
        0 to 1, of the shape of `frequency_lp_per_mm`.

    Raises
    ------
    AcuityError
        When NA or wavelength is not positive, or a frequency is negative.

    References
    ----------
    .. [1] J. W. Coltman, "The specification of imaging properties by response to a sine wave input",
       J. Opt. Soc. Am. 44(6), 468-471 (1954). :doi:`10.1364/JOSA.44.000468`
    """
    frequency = np.asarray(frequency_lp_per_mm, dtype=np.float64)
    cutoff = cutoff_frequency(na, wavelength_um)
    if not (frequency >= 0).all():
        raise AcuityError("A frequency is negative or NaN.", "Give line pairs per mm, 0 or more.")
    if not square:
        return lens_transfer(frequency / 1000, na, wavelength_um)
    # Lower frequencies than this pass as they are, to 1e-3.
    lowest = cutoff / 1000
    orders = np.arange(1, cutoff / lowest + 2, 2)
    signs = 1 - 2 * (np.arange(len(orders)) % 2)
    harmonics = np.maximum(frequency, lowest)[..., None] * orders
    terms = signs / orders * lens_transfer(harmonics / 1000, na, wavelength_um)
    return np.where(frequency < lowest, 1.0, np.minimum(4 / np.pi * terms.sum(-1), 1.0))


def unit_grey(image: ImageLike) -> tuple[NDArray[np.float64], Micrograph]:
    """Return grey values with black at 0 and white at 1, and the image, checked.

    Raises
    ------
    ImageError
        When the image is a stack, holds NaN or infinity, or has no known black and white.
    """
    image = as_micrograph(image, name="image")
    checked, _ = matched(image, image)
    low, high = checked.range()
    return (grey(checked).astype(np.float64) - low) / (high - low), image


def cross_section(
    pixels: NDArray[np.float64], centre: complex, angle: float, width: float
) -> NDArray[np.float64]:
    """Average a pattern along its bars.

    Parameters
    ----------
    pixels : ndarray, (Y, X)
        Grey values.
    centre : complex
        The pattern's centre, col + 1j * row, px.
    angle : float
        Which way the modulation runs, radians from the columns' axis towards the rows' axis.
    width : float
        Of a bar, px.

    Returns
    -------
    ndarray, (6 * SAMPLES_PER_BAR,)
        From -3 to 3 bar widths.
    """
    reach = int(np.ceil(np.hypot(3, 2.5) * width)) + 8
    row, col = round(centre.imag), round(centre.real)
    top, left = max(row - reach, 0), max(col - reach, 0)
    patch = pixels[top : max(row + reach, 0) + 1, left : max(col + reach, 0) + 1]
    across = (np.arange(6 * SAMPLES_PER_BAR) + 0.5) / SAMPLES_PER_BAR - 3
    count = max(9, int(np.ceil(5 * LENGTH_SHARE * width)))
    along = ((np.arange(count) + 0.5) / count - 0.5) * 5 * LENGTH_SHARE
    at = centre + (across + 1j * along[:, None]) * width * np.exp(1j * angle)
    values = map_coordinates(patch, (at.imag - top, at.real - left), order=3, mode="nearest")
    nearest = np.rint([at.imag - top, at.real - left]).astype(int)
    rows, cols = (np.clip(v, 0, n - 1) for v, n in zip(nearest, patch.shape, strict=True))
    return np.clip(values, -_ceiling(-patch)[rows, cols], _ceiling(patch)[rows, cols]).mean(0)


def _ceiling(patch: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how high values between pixels may be.

    A spline swings beyond the pixels at a sharp edge, where nothing is, and between the two highest
    pixels of a crest, where the crest is. Two neighbours that bend alike tell a crest from an edge. It
    rises above them by an eighth of the bend where it is a parabola, by a fifth where it is a sine of
    four pixels.
    """
    crest = np.zeros_like(patch)
    for axis in (0, 1):
        bend = -correlate1d(patch, [1, -2, 1], axis, mode="nearest")
        beside = np.maximum(*(correlate1d(bend, k, axis) for k in ([1, 0, 0], [0, 0, 1])))
        crest = np.maximum(crest, np.minimum(bend, beside))
    return maximum_filter(patch + crest / 5, size=3)


def modulation(section: NDArray[np.float64], polarity: str) -> float:
    """Return the contrast of a cross-section, 0 where the modulation is not there."""
    sign = 1 if polarity == "dark" else -1
    # Where an extremum stands is told by a smoothed copy: noise moves it about on a flat bar.
    smooth = gaussian_filter1d(section, SAMPLES_PER_BAR / 6, mode="nearest")
    half = SAMPLES_PER_BAR // 2
    raw, smooth = (v[half:-half].reshape(5, SAMPLES_PER_BAR) * sign for v in (section, smooth))
    if not all(_stands(window * (-1) ** k) for k, window in enumerate(smooth)):
        return 0.0
    bars, spaces = raw[::2].min(1), raw[1::2].max(1)
    if not (np.maximum(bars[:-1], bars[1:]) < spaces).all():
        return 0.0
    # Values below black count as black.
    dark, bright = np.maximum(sorted((sign * bars.mean(), sign * spaces.mean())), 0)
    return float((bright - dark) / (bright + dark)) if bright > 0 else 0.0


def _stands(window: NDArray[np.float64]) -> bool:
    """Tell whether the minimum of a bar's width of samples is near its middle, flat or not."""
    low, high = window.min(), window.max()
    places = np.flatnonzero(window <= low + 0.02 * (high - low))
    return bool(abs(places.mean() - (len(window) - 1) / 2) <= REACH * len(window))

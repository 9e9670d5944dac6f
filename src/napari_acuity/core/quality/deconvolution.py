"""Richardson-Lucy deconvolution: what computing alone makes of an image, beside what a network does."""

from __future__ import annotations

from dataclasses import replace
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft
from skimage import restoration

from ..errors import ImageError
from ..simulate.optics import lens_transfer, pixel_transfer
from .baselines import bicubic
from .plane import grey_plane, square_pixel_size

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from ..micrograph import ImageLike, Micrograph

    Array = NDArray[np.float64]

__all__ = ["enlarged", "lens_psf", "psf_of", "richardson_lucy"]

_REACH = 3.0
"""How far a point spread function is kept, in wavelengths over NA: 96 percent of its light."""
_MOST_REACH_PX = 256
_COARSEST = 32.0
"""Of a pixel, in wavelengths over NA: far beyond what a camera has, far below a mix-up of nm and um."""
_LARGEST_NA = 1.7
_LOWEST = 0.1
"""Percentile of an image that is taken as its background."""
_TINY = 1e-9


def richardson_lucy(
    image: ImageLike,
    *,
    na: float | None = None,
    wavelength_um: float | None = None,
    psf: ArrayLike | None = None,
    pixel_size: float | None = None,
    scale: float = 1,
    iterations: int = 20,
    background: float | None = None,
) -> Micrograph:
    """Deconvolve an image by the Richardson-Lucy iteration [1]_ [2]_, as scikit-image computes it.

    The blur is that of an ideal lens, from its aperture and wavelength, and of the image's own pixels;
    or the one given. The iteration starts from an even field. The image is mirrored at its borders.
    Every iteration brings out more detail and more noise: few for noisy images, many for clean ones.

    Parameters
    ----------
    image : Micrograph, array or napari Image layer
        (Y, X), grey.
    na, wavelength_um : float, optional
        Numerical aperture and wavelength in vacuum.
    psf : array, optional
        (n, m) of odd sides, the point spread function on the grid of the result; instead of the optics.
    pixel_size : float, optional
        Side of a pixel of the image in um; by default what the image states. A `psf` needs none.
    scale : float
        Output pixels per input pixel, 1 or more; the image is first enlarged by bicubic interpolation.
    iterations : int
        How many, 1 or more.
    background : float, optional
        Grey value of no light, taken off before and put back after. The default is the 0.1st percentile
        of the image.

    Returns
    -------
    Micrograph
        float32 in the units of the image, with its range where that is known, and the pixel size of its
        own grid; no value lies below the background.

    Raises
    ------
    ImageError
        For an image that is RGB, a stack, constant or holds NaN; for optics that are missing or not
        possible; for a point spread function that is no such thing.

    References
    ----------
    .. [1] W. H. Richardson, "Bayesian-based iterative method of image restoration", J. Opt. Soc. Am.
       62(1), 55-59 (1972). :doi:`10.1364/JOSA.62.000055`
    .. [2] L. B. Lucy, "An iterative technique for the rectification of observed distributions", Astron.
       J. 79, 745-754 (1974). :doi:`10.1086/111605`
    """
    whole = isinstance(iterations, Real) and float(iterations).is_integer()
    if isinstance(iterations, bool) or not whole or iterations < 1:
        raise ImageError(f"There cannot be {iterations} iterations.", "Give 1 or more, such as 20.")
    shown, values = grey_plane(image)
    if shown.rgb:
        raise ImageError(
            f"'{shown.name}' is RGB; light is deconvolved one channel at a time.",
            "Give one channel of it.",
        )
    if pixel_size is not None:
        side = square_pixel_size(shown, pixel_size)
        shown = replace(shown, pixel_size=(side, side))
    large = enlarged(shown, scale)
    kernel = psf_of(shown, na, wavelength_um, psf, scale=scale)
    level = float(np.percentile(values, _LOWEST)) if background is None else float(background)
    light = np.clip(large.pixels.astype(np.float64) - level, 0, None)
    if not (np.isfinite(level) and light.max() > 0):
        raise ImageError(
            f"Nothing of '{shown.name}' is brighter than its background, {level:g}.",
            "State the grey value of no light: background=100, say.",
        )
    sharp = _deconvolved(light / light.max(), kernel, int(iterations)) * light.max() + level
    return large.with_pixels(sharp.astype(np.float32))


def lens_psf(na: float, wavelength_um: float, pixel_size: float, camera_um: float) -> Array:
    """Return the point spread function of an ideal lens and a camera's pixels, (n, n), n odd, sum 1.

    Parameters
    ----------
    na, wavelength_um : float
        Numerical aperture and wavelength in vacuum.
    pixel_size : float
        Side of a pixel of the grid, um.
    camera_um : float
        Side of the square that the camera's pixel integrates over, um.

    Raises
    ------
    ImageError
        When it is hundreds of pixels wide, or a small part of one: the units are mixed up.
    """
    reach_px = _REACH * wavelength_um / na / pixel_size
    if not _REACH / _COARSEST <= reach_px <= _MOST_REACH_PX:
        raise ImageError(
            f"A lens of NA {na:g} blurs {wavelength_um:g} um over {2 * reach_px:.4g} pixels of "
            f"{pixel_size:g} um.",
            "Check the units: wavelength and pixel size are in micrometres.",
        )
    half = int(np.ceil(reach_px))
    # Sampled finely enough for every frequency the lens passes; an odd step keeps a sample in the centre.
    step = 2 * int(np.ceil(pixel_size * 4 * na / wavelength_um) // 2) + 1
    fine = pixel_size / step
    # The transform wraps round: four times the width keeps that away.
    frequency = fft.fftfreq(fft.next_fast_len(8 * half * step + 1), fine)
    across, along = frequency[:, None], frequency[None, :]
    transfer = lens_transfer(np.hypot(across, along), na, wavelength_um)
    wide = np.real(fft.ifft2(transfer * pixel_transfer(across, along, camera_um)))
    places = step * np.arange(-half, half + 1)
    psf = np.maximum(wide[np.ix_(places, places)], 0)
    return psf / psf.sum()


def psf_of(
    image: Micrograph,
    na: float | None,
    wavelength_um: float | None,
    psf: ArrayLike | None,
    *,
    pixel_size: float | None = None,
    scale: float = 1,
) -> Array:
    """Return the point spread function that is given, or that of the optics; its sum is 1.

    Raises
    ------
    ImageError
        When neither is known, or what is given is not possible.
    """
    if psf is not None:
        return _checked(psf)
    if na is None or wavelength_um is None:
        raise ImageError(
            f"The optics of '{image.name or 'the image'}' are not stated.",
            "Give na=1.4 and wavelength_um=0.52, say, or the point spread function as psf=.",
        )
    if pixel_size is None and image.pixel_size is None:
        raise ImageError(
            f"The pixel size of '{image.name or 'the image'}' is unknown.",
            "State it in micrometres: pixel_size=0.065, say.",
        )
    if not all(np.isfinite(v) and v > 0 for v in (na, wavelength_um)):
        raise ImageError(
            f"The optics are NA {na} and {wavelength_um} um.",
            "Give two positive numbers, such as na=1.4 and wavelength_um=0.52.",
        )
    if na > _LARGEST_NA:
        raise ImageError(
            f"No objective has the numerical aperture {na:g}.",
            f"Give one of at most {_LARGEST_NA:g}, such as na=1.4.",
        )
    side = square_pixel_size(image, pixel_size)
    return lens_psf(na, wavelength_um, side / scale, side)


def enlarged(image: Micrograph, scale: float, shape: tuple[int, int] | None = None) -> Micrograph:
    """Return a grey image as float32, enlarged by bicubic interpolation and never cut off.

    Raises
    ------
    ImageError
        When the scale is below 1.
    """
    if not (np.isfinite(scale) and scale >= 1):
        raise ImageError(f"The scale is {scale}.", "Give 1 or more, such as 2 or 2.5.")
    pixels = np.asarray(image.pixels, dtype=np.float32)
    if scale == 1:
        return image.with_pixels(pixels, value_range=_known_range(image))
    # The range need not be known: one wide enough for every overshoot does as well.
    low, high = float(pixels.min()), float(pixels.max())
    wide = image.with_pixels(pixels, value_range=(2 * low - high, 2 * high - low))
    large = bicubic(wide, scale, shape)
    return large.with_pixels(large.pixels, value_range=_known_range(image))


def _known_range(image: Micrograph) -> tuple[float, float] | None:
    try:
        return image.range()
    except ImageError:
        return None


def _checked(psf: ArrayLike) -> Array:
    values = np.asarray(psf, dtype=np.float64)
    if values.ndim != 2 or 0 in values.shape or not all(n % 2 for n in values.shape):
        raise ImageError(
            f"The point spread function has the shape {values.shape}.",
            "Give rows and columns, both odd, so that its centre is a pixel.",
        )
    if not np.isfinite(values).all() or values.min() < 0 or values.sum() == 0:
        raise ImageError(
            "The point spread function holds NaN or values below 0, or no light.",
            "Take off its background first, and clip it at 0.",
        )
    return values / values.sum()


def _deconvolved(light: Array, psf: Array, iterations: int) -> Array:
    # Beyond what it is given the iteration sees black; that spreads further than half a blur.
    rows, columns = (n - 1 for n in psf.shape)
    around = np.pad(light, ((rows, rows), (columns, columns)), mode="symmetric")
    sharp: Array = restoration.richardson_lucy(  # type: ignore[no-untyped-call]
        around, psf, num_iter=iterations, clip=False, filter_epsilon=_TINY
    )
    kept = sharp[rows : rows + light.shape[0], columns : columns + light.shape[1]]
    return np.maximum(kept, 0)  # a Fourier transform rounds below 0

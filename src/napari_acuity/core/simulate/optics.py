"""What blurs an image, as transfer functions of spatial frequency (cycles per micrometre)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["gaussian_transfer", "lens_transfer", "pixel_transfer"]


def lens_transfer(frequency: ArrayLike, na: float, wavelength_um: float) -> NDArray[np.float64]:
    """Return the optical transfer function of an ideal lens in incoherent light.

    It is the autocorrelation of a circular pupil [1]_, zero beyond 2 NA / wavelength; its point
    spread function is the Airy pattern, whose width at half maximum is 0.514 wavelength / NA.

    Parameters
    ----------
    frequency : array_like
        Radial spatial frequency, cycles per um, not negative.
    na : float
        Numerical aperture.
    wavelength_um : float
        Wavelength in vacuum.

    Returns
    -------
    ndarray
        Between 0 and 1, of the shape of `frequency`.

    References
    ----------
    .. [1] J. W. Goodman, "Introduction to Fourier Optics", section on the frequency response of
       diffraction-limited incoherent imaging (6.3 in the third edition).
    """
    rho = np.minimum(np.asarray(frequency, dtype=np.float64) * wavelength_um / (2 * na), 1.0)
    return 2 / np.pi * (np.arccos(rho) - rho * np.sqrt(1 - rho**2))


def pixel_transfer(
    fy: NDArray[Any], fx: NDArray[Any], pixel_size: float, rotation_deg: float = 0.0
) -> NDArray[np.float64]:
    """Return the transfer function of a square pixel of `pixel_size` um.

    Parameters
    ----------
    fy, fx : ndarray
        Frequencies along rows and columns, cycles per um; they broadcast.
    pixel_size : float
        Side of the pixel in um.
    rotation_deg : float
        How far the image turns on the camera, counter-clockwise as displayed.

    Returns
    -------
    ndarray
    """
    cos, sin = np.cos(np.deg2rad(rotation_deg)), np.sin(np.deg2rad(rotation_deg))
    along, across = cos * fx + sin * fy, cos * fy - sin * fx
    return np.sinc(along * pixel_size) * np.sinc(across * pixel_size)


def gaussian_transfer(frequency: NDArray[Any], variance_um2: float) -> NDArray[np.float64]:
    """Return the transfer function of a Gaussian blur of a given variance in um^2."""
    return np.exp(-2 * np.pi**2 * variance_um2 * frequency**2)

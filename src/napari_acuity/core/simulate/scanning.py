"""A laser-scanning microscope, confocal or STED: its point spread function from its optics."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import j0, j1

from ..errors import AcuityError
from .optics import lens_transfer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["ScanningMicroscope", "half_width"]

_AIRY_UNIT = 1.21967
"""Diameter of the Airy pattern's first dark ring, in wavelengths over NA."""
_SAMPLES = 2000
"""Of a radial profile; 80 lie within the half width of a confocal microscope."""
_NODES = 200
_MOST_AIRY_UNITS = 5.0
_LIGHT_TO_WIDTH = 6.0
"""A profile reaches so many wavelengths over NA, where less than 1e-5 of its peak is left."""


@dataclass(frozen=True)
class ScanningMicroscope:
    """A confocal microscope and, with `saturation` above 0, a STED microscope.

    The scalar theory of an ideal lens holds: point spread functions are Airy patterns. The confocal one
    is that of the excitation times that of the emission convolved with the pinhole. The depletion beam
    is what a vortex plate makes of an evenly lit pupil, a donut with a dark centre. A fluorophore
    survives it with the probability 2^-(I / Isat), and what survives times the confocal point spread
    function is that of STED. The width falls with the square root law, d / sqrt(1 + saturation) [1]_.

    Parameters
    ----------
    na : float
        Numerical aperture. The default, in scalar theory, is as wide as confocal images of an oil
        objective were measured to be, 290 nm [2]_; an ideal lens of NA 1.4 would give 228 nm.
    excitation_um, emission_um, depletion_um : float
        Wavelengths in vacuum.
    pinhole_airy : float
        Diameter of the pinhole in Airy units of the emission, 1.22 wavelength / NA; up to 5.
    saturation : float
        I / Isat of the square root law: the depletion intensity, over that which halves the
        fluorescence, half a confocal width from the centre, as the parabola of the donut's dark centre
        gives it. 0 is a confocal microscope.

    Raises
    ------
    AcuityError
        For values that no microscope has.

    References
    ----------
    .. [1] B. Harke et al., "Resolution scaling in STED microscopy", Opt. Express 16(6), 4154-4162
       (2008). :doi:`10.1364/OE.16.004154`
    .. [2] H. Wang et al., "Deep learning enables cross-modality super-resolution in fluorescence
       microscopy", Nat. Methods 16, 103-110 (2019). :doi:`10.1038/s41592-018-0239-0`
    """

    na: float = 1.1
    excitation_um: float = 0.633
    emission_um: float = 0.670
    depletion_um: float = 0.775
    pinhole_airy: float = 1.0
    saturation: float = 0.0

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            least_is_allowed = each.name == "saturation" and value == 0
            if not (np.isfinite(value) and (value > 0 or least_is_allowed)):
                raise AcuityError(
                    f"{each.name} of the microscope is {value}.",
                    "Give a positive number; lengths are in micrometres.",
                )
        if self.pinhole_airy > _MOST_AIRY_UNITS:
            raise AcuityError(
                f"A pinhole of {self.pinhole_airy:g} Airy units makes no confocal microscope.",
                f"Give at most {_MOST_AIRY_UNITS:g}; 1 is usual.",
            )

    def profile(self, bead_um: float = 0.0) -> tuple[Array, Array]:
        """Return the image of a bead by the distance from its centre.

        Parameters
        ----------
        bead_um : float
            Diameter of the bead, a sphere filled evenly, in focus; 0 for a point.

        Returns
        -------
        radius_um, value : (n,) float64
            The profile has the same integral over the plane for a bead of any size; that of a point is
            1 at its peak.
        """
        radius, value = _point_profile(self)
        return radius, _of_bead(radius, value, bead_um) if bead_um else value

    def fwhm_um(self, bead_um: float = 0.0) -> float:
        """Return the full width at half maximum of a bead's image, um, from its `profile`."""
        return 2 * half_width(*self.profile(bead_um))

    def psf(self, pixel_size: float) -> Array:
        """Return the point spread function, sampled, (n, n) with n odd and the sum 1.

        Parameters
        ----------
        pixel_size : float
            Side of a pixel in um. A scanning microscope looks at the pixels' centres.
        """
        radius, value = self.profile()
        seen = radius[np.flatnonzero(value > 1e-4 * value[0])[-1]]
        half = int(np.ceil(seen / pixel_size))
        along = np.arange(-half, half + 1) * pixel_size
        sampled: Array = np.interp(np.hypot(along[:, None], along), radius, value, right=0.0)
        return sampled / sampled.sum()


def half_width(radius: Array, value: Array) -> float:
    """Return where a profile first falls to half of its value at the centre."""
    after = int(np.argmax(value < value[0] / 2))
    pair = slice(after - 1, after + 1)
    return float(np.interp(-value[0] / 2, -value[pair], radius[pair]))


@lru_cache(maxsize=32)
def _point_profile(microscope: ScanningMicroscope) -> tuple[Array, Array]:
    na = microscope.na
    longest = max(microscope.excitation_um, microscope.emission_um)
    radius = np.linspace(0, _LIGHT_TO_WIDTH * longest / na, _SAMPLES)
    confocal = _airy(radius, na, microscope.excitation_um) * _detected(radius, microscope)
    confocal /= confocal[0]
    if not microscope.saturation:
        return radius, confocal
    donut = _donut(radius, na, microscope.depletion_um)
    # The parabola, a r^2 close to the centre, is to be 1 half a confocal width away from it.
    at_half = donut[1] / radius[1] ** 2 * half_width(radius, confocal) ** 2
    return radius, confocal * 2.0 ** (-microscope.saturation * donut / at_half)


def _airy(radius: Array, na: float, wavelength_um: float) -> Array:
    return _jinc(2 * np.pi * na / wavelength_um * radius) ** 2


def _jinc(x: Array) -> Array:
    """Return 2 J1(x) / x, 1 at 0."""
    safe = np.where(x == 0, 1, x)
    return np.where(x == 0, 1.0, 2 * j1(safe) / safe)


def _detected(radius: Array, microscope: ScanningMicroscope) -> Array:
    """Return the emission's Airy pattern convolved with the pinhole, by the Hankel transform."""
    wavelength, na = microscope.emission_um, microscope.na
    frequency, weight = _nodes(2 * na / wavelength)
    pinhole = microscope.pinhole_airy * _AIRY_UNIT * wavelength / na / 2
    spectrum = lens_transfer(frequency, na, wavelength) * _jinc(2 * np.pi * frequency * pinhole)
    return _hankel(spectrum * weight, frequency, radius)


def _donut(radius: Array, na: float, wavelength_um: float) -> Array:
    """Return the intensity that a vortex plate in an evenly lit pupil makes."""
    rho, weight = _nodes(1.0)
    field = j1(2 * np.pi * na / wavelength_um * np.outer(radius, rho)) @ (rho * weight)
    return field**2


def _of_bead(radius: Array, value: Array, bead_um: float) -> Array:
    """Average a profile over an evenly filled sphere, seen from above."""
    height, weight = _nodes(1.0, count=12)
    weight = 3 * height**2 * weight
    away = bead_um / 2 * np.sqrt(1 - height**2)
    cosine = np.cos((np.arange(24) + 0.5) * np.pi / 24)
    step = radius[:, None, None]
    square = step**2 + away[:, None] ** 2 - 2 * step * away[:, None] * cosine
    seen = np.interp(np.sqrt(square), radius, value, right=0.0)
    averaged: Array = seen.mean(axis=2) @ weight
    return averaged


def _hankel(weighted: Array, frequency: Array, radius: Array) -> Array:
    return 2 * np.pi * j0(2 * np.pi * np.outer(radius, frequency)) @ (weighted * frequency)


def _nodes(stop: float, count: int = _NODES) -> tuple[Array, Array]:
    """Return places and weights of Gauss and Legendre's quadrature from 0 to `stop`."""
    x, weight = np.polynomial.legendre.leggauss(count)
    return (x + 1) * stop / 2, weight * stop / 2

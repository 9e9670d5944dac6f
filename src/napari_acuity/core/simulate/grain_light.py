"""Grains in transmitted light: absorption, refraction, defocus, the lens and the camera."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import fft
from scipy.special import j1

from .grain_views import FINE, binned
from .optics import lens_transfer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .grain_views import View

    Array = NDArray[np.float64]

__all__ = ["defocus_transfer", "transmission"]

NA = 0.4
WAVELENGTHS_UM = (0.62, 0.54, 0.46)
MEDIUM, GRAIN_TO_MEDIUM = 1.4, 1.06
"""Refractive indices: of the mounting medium, and of grains over it."""

WHITE = (0.93, 0.92, 0.89)
VIGNETTING, PHOTONS = 0.06, 4000.0
"""Of the empty field: its colour on the camera, how much darker its corners are, and what a pixel
counts at full scale."""


def transmission(
    shape: tuple[int, int],
    views: Sequence[View],
    *,
    pixel_size: float,
    focus: float,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Render the field in transmitted light as an objective of NA 0.4 and a colour camera see it.

    Light is absorbed along its way through each grain (Beer-Lambert), and lost where the surface is so
    steep that refraction turns it out of the aperture. Each part of a grain is blurred as far as its
    upper surface is out of focus, then all by the diffraction of the lens; the camera counts photons.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns.
    views : sequence of View
    pixel_size : float
        um.
    focus : float
        Height of the plane in focus, px.
    rng : numpy.random.Generator
        Of the noise.

    Returns
    -------
    ndarray, (H, W, 3), uint8
    """
    field = np.ones((*shape, 3))
    for grain in views:
        _dim(field, grain, focus)
    light = _through_lens(field * _illumination(shape), pixel_size)
    counted = rng.poisson(np.maximum(light, 0) * PHOTONS) / PHOTONS
    return np.clip(np.rint(255 * counted), 0, 255).astype(np.uint8)


def defocus_transfer(frequency: Array, radius: float) -> Array:
    """Return the transfer function of a disc, the geometric blur of a point out of focus.

    Times that of the focused lens it is close to that of the defocused lens [1]_.

    Parameters
    ----------
    frequency : ndarray
        Radial, cycles per unit of `radius`.
    radius : float
        Of the disc.

    References
    ----------
    .. [1] P. A. Stokseth, "Properties of a defocused optical system", J. Opt. Soc. Am. 59, 1314-1321
       (1969). :doi:`10.1364/JOSA.59.001314`
    """
    phase = np.maximum(2 * np.pi * radius * frequency, 1e-6)
    return 2 * j1(phase) / phase


def _dim(field: Array, grain: View, focus: float) -> None:
    """Take the light out of a field that a grain keeps back."""
    spread = np.tan(np.arcsin(NA / MEDIUM))
    levels = grain.height + grain.radius * np.array([0, 0.5, 1])
    radii = spread * np.abs(levels - focus)
    lost = 1 - _transmitted(grain)
    upper = np.clip((grain.surface.top - grain.height) / grain.radius, 0, 1)
    border = int(np.ceil(radii.max())) + 2
    size = [n // FINE + 2 * border for n in upper.shape]
    fast = [fft.next_fast_len(n, real=True) for n in size]
    radial = np.hypot(fft.fftfreq(fast[0])[:, None], fft.rfftfreq(fast[1])[None, :])
    spectrum: Any = 0
    for level, radius in enumerate(radii):
        share = np.maximum(1 - np.abs(2 * upper - level), 0)
        part = binned(lost * share[..., None])
        padded = np.pad(
            part,
            [(border, n - border - m) for n, m in zip(fast, part.shape[:2], strict=True)]
            + [(0, 0)],
        )
        spectrum += fft.rfft2(padded, axes=(0, 1)) * defocus_transfer(radial, radius)[..., None]
    blurred = fft.irfft2(spectrum, s=fast, axes=(0, 1))
    _multiply(field, 1 - blurred, [start - border for start in grain.first])


def _transmitted(grain: View) -> Array:
    """Return the share of light that passes a grain, at each sample, (rows, cols, 3)."""
    seen = grain.surface.seen
    # Small turns on entering and on leaving add up, as in a prism.
    turned = _turned(grain.surface.normals[..., 2]) + _turned(-grain.surface.underside[..., 2])
    # What is left of the cone of light inside the aperture is the overlap of two discs, as in the
    # transfer function of a lens.
    kept = np.where(seen, lens_transfer(np.sin(turned) * MEDIUM, NA, 1.0), 1)
    return kept[..., None] * np.exp(-grain.surface.thickness[..., None] * grain.absorption)


def _turned(upright: Array) -> Array:
    """Return the angle by which a surface refracts vertical light, from the cosine of its tilt."""
    tilt = np.arccos(np.clip(upright, 0, 1))
    return tilt - np.arcsin(np.sin(tilt) / GRAIN_TO_MEDIUM)


def _multiply(field: Array, factor: Array, first: Sequence[int]) -> None:
    """Multiply a part of a field by a factor whose upper left corner lies at `first`, perhaps outside."""
    inside, own = [], []
    for start, n, total in zip(first, factor.shape, field.shape, strict=False):
        inside.append(slice(max(start, 0), min(start + n, total)))
        own.append(slice(max(-start, 0), min(n, total - start)))
    field[inside[0], inside[1]] *= factor[own[0], own[1]]


def _illumination(shape: tuple[int, int]) -> Array:
    y, x = (np.linspace(-1, 1, n) for n in shape)
    radius_squared = (y[:, None] ** 2 + x[None, :] ** 2) / 2
    return (1 - VIGNETTING * radius_squared)[..., None] * np.array(WHITE)


def _through_lens(field: Array, pixel_size: float) -> Array:
    """Blur each colour by the diffraction at the aperture."""
    border = int(np.ceil(8 * max(WAVELENGTHS_UM) / NA / pixel_size))
    padded = np.pad(field, [(border, border), (border, border), (0, 0)], mode="symmetric")
    size = padded.shape[:2]
    radial = np.hypot(
        fft.fftfreq(size[0], pixel_size)[:, None], fft.rfftfreq(size[1], pixel_size)[None, :]
    )
    blurred = [
        fft.irfft2(fft.rfft2(padded[..., k]) * lens_transfer(radial, NA, wavelength), s=size)
        for k, wavelength in enumerate(WAVELENGTHS_UM)
    ]
    return np.stack(blurred, axis=-1)[border:-border, border:-border]

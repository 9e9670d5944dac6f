"""Fields of fluorescent nano-beads as a confocal and as a STED microscope see them, with their truth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import AcuityError
from ..micrograph import Micrograph
from .scanning import ScanningMicroscope
from .targets import beads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["STED", "BeadPair", "bead_pair"]

STED = ScanningMicroscope(saturation=6.3)
"""A microscope that shows beads of 20 nm 290 nm wide as confocal and 110 nm wide as STED."""

_LEAST_BRIGHTNESS = 0.5
_SPACING = 3.0
_ROOM = 2.0
"""Full scale, in peaks of the brightest bead: two of them on top of each other are not cut off."""


@dataclass(frozen=True, eq=False)
class BeadPair:
    """One field of beads seen twice, and what is true of it.

    Parameters
    ----------
    low, high : Micrograph
        (Y, X) of the confocal and of the STED microscope, on the same grid, registered.
    positions : ndarray, (n, 2)
        (row, col) of each bead, px; the beads of pair i are 2 i and 2 i + 1, single ones come after.
    brightness : ndarray, (n,)
        Of each bead, 0.5 to 1.
    distances_um : ndarray, (pairs,)
        Of the beads of each pair.
    low_fwhm_um, high_fwhm_um : float
        Full width at half maximum of one bead's image without noise, its own size included. A Gaussian
        fit, as `quality.fwhm_spots` makes, finds a few per cent less or more: the profile is none.
    low_psf, high_psf : ndarray
        Point spread functions on the grid of the images, of odd sides and sum 1.
    """

    low: Micrograph
    high: Micrograph
    positions: Array
    brightness: Array
    distances_um: Array
    low_fwhm_um: float
    high_fwhm_um: float
    low_psf: Array
    high_psf: Array


def bead_pair(
    shape: tuple[int, int] = (512, 512),
    *,
    pixel_size: float = 0.03,
    microscope: ScanningMicroscope = STED,
    count: int = 60,
    pair_distances_um: Sequence[float] = (),
    bead_um: float = 0.02,
    photons: float | None = 200.0,
    background: float = 0.01,
    bit_depth: int | None = 16,
    seed: int = 0,
    acquisition: int = 0,
) -> BeadPair:
    """Simulate a confocal and a STED image of one field of nano-beads.

    Beads lie in focus at random places, no two nearer than three confocal widths, pairs apart. A pixel
    is looked at in its centre and does not integrate over its area, so widths are those of the optics.
    Both images see the same excitation for the same time: a STED image is darker by the light that
    depletion takes, and its peaks are as high.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns.
    pixel_size : float
        Side of a pixel in um, of both images.
    microscope : ScanningMicroscope
        The STED microscope; the confocal is the same one without depletion.
    count : int
        Single beads.
    pair_distances_um : sequence of float
        For each, two beads are added so far apart, um, in a random direction.
    bead_um : float
        Diameter of the beads, usually 0.02 to 0.1.
    photons : float, optional
        What a pixel counts at the peak of a bead of brightness 1, if it were a point; None for images
        without shot noise.
    background : float
        Light everywhere, as a fraction of that peak.
    bit_depth : 8, 16 or None
        Of unsigned integers, white at two peaks above the background; None for float32, 1 at the peak.
    seed : int
        The same seed gives the same field.
    acquisition : int
        Another number gives the same field with other noise.

    Returns
    -------
    BeadPair

    Raises
    ------
    AcuityError
        When so many beads do not fit, or for a value that is not possible.
    """
    _check(pixel_size, bead_um, photons, background, bit_depth, pair_distances_um)
    confocal = replace(microscope, saturation=0.0)
    width = confocal.fwhm_um(bead_um)
    distances = np.asarray(pair_distances_um, dtype=np.float64)
    positions = _placed(shape, count, distances, pixel_size, width, seed)
    brightness = np.random.default_rng([seed, 3]).uniform(_LEAST_BRIGHTNESS, 1.0, len(positions))
    noise = np.random.default_rng([seed, 4, acquisition])

    def seen(scope: ScanningMicroscope, name: str) -> Micrograph:
        radius, value = scope.profile(bead_um)
        light = _rendered(shape, positions, brightness, radius / pixel_size, value) + background
        if photons is not None:
            light = noise.poisson(light * photons) / photons
        return _digitised(light, background, bit_depth, pixel_size, name)

    return BeadPair(
        low=seen(confocal, "confocal"),
        high=seen(microscope, "STED"),
        positions=positions,
        brightness=brightness,
        distances_um=distances,
        low_fwhm_um=width,
        high_fwhm_um=microscope.fwhm_um(bead_um),
        low_psf=confocal.psf(pixel_size),
        high_psf=microscope.psf(pixel_size),
    )


def _check(
    pixel_size: float,
    bead_um: float,
    photons: float | None,
    background: float,
    bit_depth: int | None,
    distances: Sequence[float],
) -> None:
    lengths = [pixel_size, bead_um, *distances, *([] if photons is None else [photons])]
    if not (np.isfinite(lengths).all() and min(lengths) > 0):
        raise AcuityError(
            "The pixel size, the beads' diameter, a distance or the photons are not above 0.",
            "Give lengths in micrometres: pixel_size=0.03, bead_um=0.02, say.",
        )
    if not (np.isfinite(background) and background >= 0):
        raise AcuityError(
            f"The background is {background}.", "Give 0 or more, as a fraction of a bead's peak."
        )
    if bit_depth not in (8, 16, None):
        raise AcuityError(
            f"A bit depth of {bit_depth} is not offered.", "Use 8, 16, or None for floats."
        )


def _placed(
    shape: tuple[int, int],
    count: int,
    distances_um: Array,
    pixel_size: float,
    width_um: float,
    seed: int,
) -> Array:
    """Return positions, px: two for each distance, then the single beads."""
    if count + len(distances_um) == 0:
        raise AcuityError("The field holds no bead.", "Ask for one or more.")
    if count < 0:
        raise AcuityError(f"There cannot be {count} beads.", "Give 0 or more.")
    # Beads of two pairs keep the distance of single ones, too.
    spacing = _SPACING * width_um + max(distances_um, default=0.0)
    _, centres = beads(
        shape,
        count=count + len(distances_um),
        fwhm_um=width_um,
        pixel_size=pixel_size,
        min_distance_um=spacing,
        seed=seed,
    )
    angle = np.random.default_rng([seed, 2]).uniform(0, 2 * np.pi, len(distances_um))
    step = distances_um[:, None] / 2 / pixel_size * np.stack([np.sin(angle), np.cos(angle)], -1)
    middle = centres[: len(step)]
    paired = np.stack([middle - step, middle + step], axis=1).reshape(-1, 2)
    return np.concatenate([paired, centres[len(step) :]])


def _rendered(
    shape: tuple[int, int], positions: Array, brightness: Array, radius_px: Array, value: Array
) -> Array:
    """Add up the beads' images, each from its profile."""
    light = np.zeros(shape)
    reach = float(radius_px[-1])
    for centre, peak in zip(positions, brightness, strict=True):
        first = np.maximum(np.ceil(centre - reach), 0).astype(int)
        last = np.minimum(np.floor(centre + reach) + 1, shape).astype(int)
        rows, cols = (np.arange(a, b) - c for a, b, c in zip(first, last, centre, strict=True))
        window = light[first[0] : last[0], first[1] : last[1]]
        window += peak * np.interp(np.hypot(rows[:, None], cols), radius_px, value, right=0.0)
    return light


def _digitised(
    light: Array, background: float, bit_depth: int | None, pixel_size: float, name: str
) -> Micrograph:
    """Turn light, 1 at a peak, into what a detector records."""
    white = _ROOM + background
    size = (pixel_size, pixel_size)
    if bit_depth is None:
        pixels: NDArray[Any] = light.astype(np.float32)
        return Micrograph(pixels, pixel_size=size, name=name, value_range=(0.0, white))
    top = 2**bit_depth - 1
    values = np.clip(np.rint(light / white * top), 0, top)
    pixels = values.astype(np.uint8 if bit_depth == 8 else np.uint16)
    return Micrograph(pixels, pixel_size=size, name=name, value_range=(0.0, float(top)))

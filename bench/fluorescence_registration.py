"""Registration of real widefield and SIM pairs after known shifts:  bench/fluorescence_registration.py FOLDER

FOLDER holds actin_WF.tif, actin_SRMSIM.tif and so on. Errors are in px of the SIM grid (32.5 nm), over its
brightest tenth: median, 95th percentile.

simulated   the SIM image through the widefield's lens, bent by up to 3 px, with noise: the truth is known
bent, ...   the real widefield image, bent or shifted: against its own map before, and against one shift
            for the whole field, for both images come from the same exposures of one camera
skimage     phase_cross_correlation, which knows whole-field shifts only, beside it on the shifted ones
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tifffile
from scipy import ndimage
from skimage.registration import phase_cross_correlation

import napari_acuity as acuity
from napari_acuity.core.simulate.optics import lens_transfer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

PIXEL_UM, NA, WAVELENGTH_UM = 0.0325, 1.49, 0.525
SHIFT = (3.37, -5.61)


def bend(side: int) -> Array:
    """Return a smooth field of shifts of up to 3 px, (2, side, side)."""
    waves = np.random.default_rng(3).normal(size=(2, side, side))
    waves = np.array([ndimage.gaussian_filter(each, side / 8, mode="wrap") for each in waves])
    return 3 * waves / np.abs(waves).max()


def moved(image: Array, field: Array) -> Array:
    """Return the image whose value at q is that of the given one at q - field(q)."""
    return ndimage.map_coordinates(image, np.indices(image.shape) - field, order=5, mode="mirror")


def landed(points: Array, field: Array) -> Array:
    """Return where `moved` brings points: q with q - field(q) = point."""
    found = points.copy()
    for _ in range(30):
        shift = [ndimage.map_coordinates(part, found.T, order=1, mode="nearest") for part in field]
        found = points + np.stack(shift, axis=1)
    return found


def camera(light: Array, photons: float) -> NDArray[np.uint16]:
    """Return 12-bit data in 16 bits: shot and read noise, gain 2, an offset, and some hot pixels."""
    rng = np.random.default_rng(0)
    light = np.clip(light, 0, None) / np.percentile(light, 99.9) * photons
    counts = 2 * rng.poisson(light) + rng.normal(200, 4, light.shape)
    counts[tuple(rng.integers(0, light.shape[0], (2, 20)))] = 4095
    return np.rint(counts.clip(0, 4095)).astype(np.uint16)


def through_lens(image: Array) -> Array:
    fy, fx = (np.fft.fftfreq(n, PIXEL_UM) for n in image.shape)
    transfer = lens_transfer(np.hypot(fy[:, None], fx), NA, WAVELENGTH_UM)
    return np.fft.ifft2(np.fft.fft2(image) * transfer).real


def errors(found: Array, truth: Array) -> str:
    miss = np.linalg.norm(found - truth, axis=1)
    return f"{np.median(miss):.3f}, {np.quantile(miss, 0.95):.3f}"


def measured(name: str, folder: Path) -> None:
    widefield, sim = (tifffile.imread(folder / f"{name}_{kind}.tif") for kind in ("WF", "SRMSIM"))
    light, field = widefield.astype(float) - widefield.min(), bend(len(sim))
    constant = np.ones_like(field) * np.array(SHIFT)[:, None, None]
    points = np.argwhere(sim > np.percentile(sim, 90)).astype(float)
    points = points[((points > 24) & (points < len(sim) - 25)).all(1)][::31]

    simulated = camera(moved(through_lens(sim.astype(float)), field), 300)
    found = acuity.register(simulated, sim).map_points(points)
    print(f"{name:8} simulated    {errors(found, landed(points, field))}")
    before = acuity.register(widefield, sim).map_points(points)
    whole = points + np.median(before - points, axis=0)
    print(f"{name:8} as it is     one shift: {errors(before, whole)}")
    for kind, shifts in {"shifted": constant, "bent": field}.items():
        for photons in (None, 800):
            moving = moved(light, shifts)
            moving = camera(moving, photons) if photons else moving.clip(0).astype(np.uint16)
            words = f"{name:8} {kind:8} {photons or '':3}"
            found = acuity.register(moving, sim).map_points(points)
            words += f" before: {errors(found, landed(before, shifts))}"
            words += f"   one shift: {errors(found, landed(whole, shifts))}"
            if kind == "shifted":
                peer, *_ = phase_cross_correlation(sim, moving, upsample_factor=100)
                words += f"   skimage: {errors(points - peer, whole + SHIFT)}"
            print(words, flush=True)


if __name__ == "__main__":
    for name in ("actin", "mito", "tubulin"):
        measured(name, Path(sys.argv[1]))

"""Registration of fluorescence: widefield onto SIM after known shifts, whatever the range and the noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.registration import phase_cross_correlation

from napari_acuity import samples
from napari_acuity.core.registration.hot_pixels import without_hot_pixels
from napari_acuity.core.registration.register import register
from napari_acuity.core.simulate import beads
from napari_acuity.core.simulate.optics import lens_transfer

if TYPE_CHECKING:
    from pathlib import Path

SHIFT = (3.37, -5.61)


@pytest.fixture(scope="module")
def actin() -> tuple[np.ndarray, np.ndarray]:
    """Return real widefield and SIM images of one cell, 512 x 512 px of 32.5 nm."""
    widefield, sim = samples.widefield_sim()
    return widefield.pixels.astype(float), sim.pixels


def bend(side: int, most_px: float = 2.0) -> np.ndarray:
    """Return a smooth field of shifts, (2, side, side)."""
    waves = np.random.default_rng(3).normal(size=(2, side, side))
    waves = np.array([ndimage.gaussian_filter(each, side / 3, mode="wrap") for each in waves])
    return np.asarray(most_px * waves / np.abs(waves).max())


def moved(image: np.ndarray, field: np.ndarray) -> np.ndarray:
    at = np.indices(image.shape) - field
    return np.asarray(ndimage.map_coordinates(image, at, order=5, mode="mirror"))


def landed(points: np.ndarray, field: np.ndarray) -> np.ndarray:
    """Return where `moved` brings points: q with q - field(q) = point."""
    found = points.copy()
    for _ in range(30):
        shift = [ndimage.map_coordinates(part, found.T, order=1, mode="nearest") for part in field]
        found = points + np.stack(shift, axis=1)
    return found


def camera(light: np.ndarray, photons: float, *, gain: float, offset: float) -> np.ndarray:
    """Return what a camera of 16 bits records: shot and read noise."""
    rng = np.random.default_rng(0)
    light = np.clip(light, 0, None) / np.percentile(light, 99.9) * photons
    counts = gain * (rng.poisson(light) + rng.normal(0, 2, light.shape)) + offset
    return np.rint(counts.clip(0, 65535)).astype(np.uint16)


def bright(sim: np.ndarray) -> np.ndarray:
    """Return points of the brightest tenth, away from the border."""
    points = np.argwhere(sim > np.percentile(sim, 90)).astype(float)
    return points[((points > 24) & (points < len(sim) - 25)).all(1)][::31]


def seen_by_widefield(sim: np.ndarray) -> np.ndarray:
    """Blur a SIM image as the widefield's lens (NA 1.49, 525 nm) does: its place is known exactly."""
    frequencies = (np.fft.fftfreq(n, 0.0325) for n in sim.shape)
    fy, fx = np.meshgrid(*frequencies, indexing="ij")
    spectrum = np.fft.fft2(sim.astype(float)) * lens_transfer(np.hypot(fy, fx), 1.49, 0.525)
    return np.asarray(np.fft.ifft2(spectrum).real)


def misses(moving: np.ndarray, sim: np.ndarray, truth: np.ndarray) -> np.ndarray:
    found = register(moving, sim).map_points(bright(sim))
    return np.asarray(np.linalg.norm(found - truth, axis=1))


@pytest.mark.parametrize(("gain", "offset"), [(2, 200), (60, 3000)], ids=["12 bit", "16 bit"])
def test_a_tenth_of_a_pixel_where_the_truth_is_known(
    actin: tuple[np.ndarray, np.ndarray], gain: float, offset: float
) -> None:
    _, sim = actin
    field = bend(len(sim)) + np.array(SHIFT)[:, None, None]
    moving = camera(moved(seen_by_widefield(sim), field), 300, gain=gain, offset=offset)

    miss = misses(moving, sim, landed(bright(sim), field))

    assert np.median(miss) < 0.1
    assert np.quantile(miss, 0.95) < 0.2
    peer, *_ = phase_cross_correlation(sim, moving, upsample_factor=100)
    by_peer = bright(sim) - peer
    assert np.median(miss) < np.median(np.linalg.norm(by_peer - landed(bright(sim), field), axis=1))


def test_two_images_of_one_camera_differ_by_one_shift(
    actin: tuple[np.ndarray, np.ndarray],
) -> None:
    # Both were made from the same exposures. What the shift is no one says, but it is one.
    widefield, sim = actin
    at, field = bright(sim), bend(len(sim))
    before = register(widefield, sim).map_points(at)
    shift = np.median(before - at, axis=0)

    wander = np.linalg.norm(before - at - shift, axis=1)
    bent = misses(moved(widefield, field), sim, landed(before, field))

    assert np.median(wander) < 0.1
    # Against a map that was found, not given: it holds the errors of both.
    assert np.median(bent) < 0.1 * np.sqrt(2)


@pytest.mark.parametrize("scale", [1 / 16, 1e-4])
def test_the_range_need_not_be_known(actin: tuple[np.ndarray, np.ndarray], scale: float) -> None:
    widefield, sim = (image[:256, :256] for image in actin)
    plain = register(widefield, sim, start="none").map_points(bright(sim))

    scaled = register(widefield * scale + 100 * scale, sim, start="none").map_points(bright(sim))

    np.testing.assert_allclose(scaled, plain, atol=0.02)


@pytest.mark.parametrize("count", [8, 250])
def test_hot_pixels_change_nothing(actin: tuple[np.ndarray, np.ndarray], count: int) -> None:
    widefield, sim = (image[:256, :256] for image in actin)
    moving = camera(widefield - widefield.min(), 800, gain=2, offset=200)
    hot = moving.copy()
    hot[tuple(np.random.default_rng(1).integers(0, 256, (2, count)))] = 65535

    plain, found = (register(image, sim).map_points(bright(sim)) for image in (moving, hot))

    assert np.median(np.linalg.norm(found - plain, axis=1)) < 0.02


def test_hot_pixels_become_the_median_of_their_surroundings() -> None:
    image = np.random.default_rng(0).normal(100, 5, (64, 64)).astype(np.float32)
    spoilt = image.copy()
    spoilt[10, 20] = spoilt[0, 63] = 9000
    spoilt[40, 40:42] = 5000  # two beside each other

    clean = without_hot_pixels(spoilt)

    changed = np.argwhere(clean != spoilt).tolist()
    assert changed == [[0, 63], [10, 20], [40, 40], [40, 41]]
    assert clean.max() < 130


def test_small_spots_are_no_hot_pixels() -> None:
    # 1.4 px wide at half maximum, the narrowest a camera is chosen for, and few of them.
    spots, _ = beads((256, 256), count=6, fwhm_um=0.14, pixel_size=0.1, seed=0)

    assert without_hot_pixels(spots.pixels) is spots.pixels


@given(st.integers(0, 1000))
@settings(max_examples=20)
def test_an_image_of_eight_bits_keeps_every_pixel(seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (40, 40)).astype(np.float32)

    assert without_hot_pixels(image) is image


@pytest.mark.slow
@pytest.mark.parametrize("name", ["actin", "mito", "tubulin"])
def test_known_shifts_of_whole_real_fields(name: str, shared_data: Path) -> None:
    folder = shared_data / "fluorescence"
    widefield, sim = (tifffile.imread(folder / f"{name}_{kind}.tif") for kind in ("WF", "SRMSIM"))
    field = bend(len(sim), 3)
    simulated = camera(moved(seen_by_widefield(sim), field), 300, gain=2, offset=200)
    before = register(widefield, sim).map_points(bright(sim))

    exact = misses(simulated, sim, landed(bright(sim), field))
    real = misses(moved(widefield.astype(float), field), sim, landed(before, field))

    assert np.median(exact) < 0.1
    assert np.quantile(exact, 0.95) < 0.2
    assert np.median(real) < 0.1 * np.sqrt(2)

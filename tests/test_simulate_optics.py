"""The simulator's blur against the physics of a lens."""

import numpy as np
import pytest
from scipy.special import j1

from napari_acuity.core.micrograph import Micrograph
from napari_acuity.core.simulate import Microscope, capture
from napari_acuity.core.simulate.optics import gaussian_transfer, lens_transfer, pixel_transfer

NA, WAVELENGTH_UM = 0.5, 0.5


def airy(radius_um: np.ndarray) -> np.ndarray:
    v = 2 * np.pi * NA / WAVELENGTH_UM * np.maximum(radius_um, 1e-12)
    return (2 * j1(v) / v) ** 2


def width_at_half(profile: np.ndarray) -> float:
    """Full width at half maximum of a single peak, in samples."""
    peak, half = int(profile.argmax()), profile.max() / 2
    right = np.interp(-half, -profile[peak:], np.arange(len(profile) - peak))
    left = np.interp(-half, -profile[peak::-1], np.arange(peak + 1))
    return float(left + right)


def point_image(pixel_size: float = 0.05) -> np.ndarray:
    scene = np.zeros((401, 401), np.float32)
    scene[200, 200] = 1
    bright = Micrograph(scene, (pixel_size, pixel_size))
    microscope = Microscope(pixel_size=pixel_size, na=NA, wavelength_um=WAVELENGTH_UM, bit_depth=16)
    return capture(bright, microscope).image.pixels.astype(float)


def test_transfer_is_the_fourier_transform_of_the_airy_pattern() -> None:
    n, step = 1024, 0.06
    axis = (np.arange(n) - n // 2) * step
    spectrum = np.fft.fft2(np.fft.ifftshift(airy(np.hypot(axis[:, None], axis[None, :])))).real
    expected = spectrum[0] / spectrum[0, 0]
    frequency = np.abs(np.fft.fftfreq(n, step))
    # The pattern falls off slowly, so cutting it at 30 um costs about half a percent.
    np.testing.assert_allclose(lens_transfer(frequency, NA, WAVELENGTH_UM), expected, atol=0.008)


def test_transfer_ends_at_the_cutoff() -> None:
    cutoff = 2 * NA / WAVELENGTH_UM
    inside, outside = lens_transfer([0.0, 0.999 * cutoff], NA, WAVELENGTH_UM), cutoff * 1.001
    assert inside[0] == 1
    assert inside[1] > 0
    assert lens_transfer(outside, NA, WAVELENGTH_UM) == 0
    # Half way to the cutoff: 2 / pi (acos 1/2 - 1/2 sqrt 3/4) = 0.391.
    assert lens_transfer(cutoff / 2, NA, WAVELENGTH_UM) == pytest.approx(0.3910, abs=1e-4)


def test_point_is_an_airy_pattern_of_the_right_width() -> None:
    image = point_image()
    assert image.argmax() == 200 * 401 + 200
    measured_um = width_at_half(image[200]) * 0.05
    assert measured_um == pytest.approx(0.5145 * WAVELENGTH_UM / NA, rel=0.01)
    # The first dark ring, 0.61 wavelength / NA from the centre.
    ring = 200 + round(0.61 * WAVELENGTH_UM / NA / 0.05)
    assert image[200, ring] < 0.005 * image.max()


def test_capture_passes_nothing_beyond_the_cutoff() -> None:
    rng = np.random.default_rng(0)
    scene = Micrograph(rng.uniform(0, 1, (256, 256)).astype(np.float32), (0.1, 0.1))
    image = capture(scene, Microscope(pixel_size=0.1, na=NA, wavelength_um=WAVELENGTH_UM)).image
    # A window keeps the edges, where the image does not wrap round, out of the spectrum.
    window = np.hanning(256)[:, None] * np.hanning(256)
    power = np.abs(np.fft.fft2((image.pixels - image.pixels.mean()) * window)) ** 2
    radius = np.hypot(np.fft.fftfreq(256, 0.1)[:, None], np.fft.fftfreq(256, 0.1)[None, :])
    cutoff = 2 * NA / WAVELENGTH_UM
    inside = power[(radius > 0.1 * cutoff) & (radius < 0.5 * cutoff)].mean()
    beyond = power[radius > 1.1 * cutoff].mean()
    # What is left is the rounding to 8 bits: a twelfth of a grey value squared.
    assert beyond == pytest.approx((window**2).sum() / 12, rel=0.2)
    assert inside > 100 * beyond


def test_pixel_transfer_is_a_box_and_turns_with_the_camera() -> None:
    frequency = np.array([0.0, 0.3, 0.5])
    zero = np.zeros(3)
    box = np.sinc(frequency * 2.0)
    np.testing.assert_allclose(pixel_transfer(zero, frequency, 2.0), box)
    np.testing.assert_allclose(pixel_transfer(frequency, zero, 2.0, 90), box, atol=1e-12)
    diagonal = frequency / np.sqrt(2)
    np.testing.assert_allclose(pixel_transfer(-diagonal, diagonal, 2.0, 45), box, atol=1e-12)


def test_gaussian_transfer_has_the_variance_it_claims() -> None:
    x = np.arange(-64, 64) * 0.1
    bell = np.exp(-0.5 * x**2 / 0.49)
    expected = np.abs(np.fft.fft(bell))
    got = gaussian_transfer(np.fft.fftfreq(128, 0.1), 0.49)
    np.testing.assert_allclose(got, expected / expected[0], atol=1e-9)

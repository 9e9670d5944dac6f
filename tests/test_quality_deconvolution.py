"""Richardson-Lucy against a plain iteration, the Airy pattern, conserved light and bad input."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import convolve, gaussian_filter
from scipy.special import j1

from napari_acuity import ImageError, Micrograph
from napari_acuity.core import quality
from napari_acuity.core.quality.deconvolution import lens_psf
from napari_acuity.core.simulate import bead_pair

OPTICS = {"na": 1.4, "wavelength_um": 0.52}


def dots(shape: tuple[int, int] = (64, 72)) -> np.ndarray:
    light = np.zeros(shape)
    light[20, 30], light[40, 33], light[40, 37], light[30, 50] = 5, 3, 4, 2
    return light


def gaussian_psf(sigma: float) -> np.ndarray:
    spike = np.zeros((25, 25))
    spike[12, 12] = 1
    return gaussian_filter(spike, sigma, truncate=6)


def test_the_point_spread_function_is_the_airy_pattern():
    psf = lens_psf(1.2, 0.6, 0.02, 1e-6)
    middle = psf.shape[0] // 2
    v = 2 * np.pi * 1.2 / 0.6 * 0.02 * np.arange(1, 40)
    found = psf[middle, middle + 1 : middle + 40] / psf[middle, middle]
    np.testing.assert_allclose(found, (2 * j1(v) / v) ** 2, atol=2e-3)
    np.testing.assert_allclose(psf, psf[::-1, ::-1])
    np.testing.assert_allclose(psf, psf.T)
    assert psf.sum() == pytest.approx(1)


def test_coarse_pixels_add_up_the_light_of_fine_ones():
    fine = lens_psf(1.4, 0.52, 0.02, 1e-6)
    coarse = lens_psf(1.4, 0.52, 0.14, 0.14)
    reach = coarse.shape[0] // 2
    size = 7 * (2 * min(reach, (fine.shape[0] // 2 - 3) // 7) + 1)
    first = (fine.shape[0] - size) // 2
    window = fine[first : first + size, first : first + size]
    binned = window.reshape(size // 7, 7, -1, 7).sum((1, 3))
    cut = (coarse.shape[0] - len(binned)) // 2
    inner = coarse[cut : cut + len(binned), cut : cut + len(binned)]
    np.testing.assert_allclose(inner / inner.sum(), binned / binned.sum(), atol=2e-3)


@pytest.mark.parametrize("iterations", [1, 7])
def test_it_is_the_plain_iteration(iterations):
    """Lucy's equation 15, with a direct convolution that mirrors the image."""
    psf = gaussian_psf(2.0)
    blurred = gaussian_filter(dots(), 2.0, truncate=6) + 0.01
    padded = np.pad(blurred, 24, mode="symmetric")
    estimate = np.full(padded.shape, 0.5 * blurred.max())
    for _ in range(iterations):
        ratio = padded / convolve(estimate, psf, mode="constant")
        estimate = estimate * convolve(ratio, psf[::-1, ::-1], mode="constant")
    found = quality.richardson_lucy(blurred, psf=psf, iterations=iterations, background=0.0)
    np.testing.assert_allclose(found.pixels, estimate[24:-24, 24:-24], rtol=1e-4)


def test_it_brings_a_blurred_image_closer_to_the_truth():
    field = bead_pair((128, 128), count=6)
    errors = [
        quality.fitted_scores(field.high, image).psnr
        for image in (
            field.low,
            quality.richardson_lucy(field.low, psf=field.low_psf, iterations=5),
            quality.richardson_lucy(field.low, psf=field.low_psf, iterations=20),
        )
    ]
    assert errors[0] + 2 < errors[1] < errors[2] - 2


@settings(max_examples=10)
@given(st.integers(1, 30), st.floats(1.0, 3.0))
def test_light_is_neither_made_nor_lost(iterations, sigma):
    psf = gaussian_psf(sigma)
    blurred = gaussian_filter(dots(), sigma, truncate=6)
    found = quality.richardson_lucy(blurred, psf=psf, iterations=iterations, background=0.0)
    assert found.pixels.sum() == pytest.approx(blurred.sum(), rel=0.01)
    assert found.pixels.min() >= 0


@settings(max_examples=8)
@given(st.floats(0.01, 500.0), st.floats(0.0, 1000.0))
def test_units_do_not_matter(gain, background):
    blurred = gaussian_filter(dots(), 2.0) + 0.001
    plain = quality.richardson_lucy(blurred, psf=gaussian_psf(2.0), background=0.0).pixels
    found = quality.richardson_lucy(
        gain * blurred + background, psf=gaussian_psf(2.0), background=background
    )
    scale = gain * plain.max()
    np.testing.assert_allclose(found.pixels - background, gain * plain, atol=1e-3 * scale + 1e-3)


def test_the_background_is_found_and_put_back():
    blurred = gaussian_filter(dots(), 2.0)
    told = quality.richardson_lucy(blurred + 100, psf=gaussian_psf(2.0), background=100.0)
    found = quality.richardson_lucy(blurred + 100, psf=gaussian_psf(2.0))
    assert found.pixels.min() >= 100 - 1e-4
    np.testing.assert_allclose(found.pixels, told.pixels, atol=2e-3)


def test_borders_show_no_artefact():
    """A smooth field that does not end at the border stays as smooth, up to the border."""
    y, x = np.mgrid[:80, :90]
    smooth = 2 + np.cos(np.pi * y / 79.0) + 0.5 * np.cos(np.pi * x / 89.0)
    found = quality.richardson_lucy(smooth, psf=gaussian_psf(2.0), iterations=20, background=0.0)
    assert np.abs(found.pixels / smooth - 1).max() < 0.03


def test_scale_enlarges_first():
    image = Micrograph(
        (1000 * gaussian_filter(dots(), 2.0)).astype(np.uint16), pixel_size=(0.1, 0.1), name="low"
    )
    found = quality.richardson_lucy(image, scale=2.5, iterations=3, **OPTICS)
    assert found.pixels.shape == (160, 180)
    assert found.pixel_size == (0.04, 0.04)
    stated = quality.richardson_lucy(image, scale=2.0, iterations=1, pixel_size=0.2, **OPTICS)
    assert stated.pixel_size == (0.1, 0.1)
    assert found.pixels.dtype == np.float32
    row, col = np.unravel_index(found.pixels.argmax(), found.pixels.shape)
    assert (row, col) == pytest.approx((20.5 * 2.5 - 0.5, 30.5 * 2.5 - 0.5), abs=1)


def test_the_range_is_kept_where_it_is_known():
    low = gaussian_filter(dots(), 2.0) / 5
    eight = (255 * low / low.max()).astype(np.uint8)
    assert quality.richardson_lucy(eight, psf=gaussian_psf(2.0)).range() == (0, 255)
    twelve = (4095 * low / low.max()).astype(np.uint16)
    assert quality.richardson_lucy(twelve, psf=gaussian_psf(2.0)).value_range is None
    stated = Micrograph(twelve, value_range=(0, 4095))
    assert quality.richardson_lucy(stated, psf=gaussian_psf(2.0)).range() == (0, 4095)


def nan_image() -> np.ndarray:
    image = np.ones((32, 32))
    image[3, 4] = np.nan
    return image


@pytest.mark.parametrize(
    ("image", "options", "words"),
    [
        (skimage.data.immunohistochemistry()[:40, :40], OPTICS, "one channel"),
        (np.ones((3, 32, 32)) * np.arange(32), OPTICS, "stack"),
        (nan_image(), OPTICS, "NaN"),
        (np.ones((32, 32)), OPTICS, "nothing to see"),
        (dots(), {}, "optics"),
        (dots(), {"na": 1.4}, "optics"),
        (dots(), OPTICS, "pixel size"),
        (dots(), {"na": -1.0, "wavelength_um": 0.5, "pixel_size": 0.1}, "positive"),
        (dots(), {**OPTICS, "pixel_size": 0.0}, "positive"),
        (dots(), {**OPTICS, "na": 5.0, "pixel_size": 0.1}, "No objective"),
        (dots(), {"na": 1.4, "wavelength_um": 520.0, "pixel_size": 0.1}, "units"),
        (dots(), {**OPTICS, "pixel_size": 65.0}, "units"),
        (dots(), {**OPTICS, "pixel_size": 1e5}, "units"),
        (dots(), {"psf": np.ones((4, 4))}, "odd"),
        (dots(), {"psf": np.ones(5)}, "odd"),
        (dots(), {"psf": np.full((3, 3), np.nan)}, "NaN"),
        (dots(), {"psf": -np.ones((3, 3))}, "below 0"),
        (dots(), {"psf": np.zeros((3, 3))}, "no light"),
        (dots(), {"psf": np.ones((3, 3)), "iterations": 0}, "iterations"),
        (dots(), {"psf": np.ones((3, 3)), "iterations": 2.5}, "iterations"),
        (dots(), {"psf": np.ones((3, 3)), "iterations": np.nan}, "iterations"),
        (dots(), {"psf": np.ones((3, 3)), "iterations": np.inf}, "iterations"),
        (dots(), {"psf": np.ones((3, 3)), "background": 10.0}, "brighter"),
        (dots(), {"psf": np.ones((3, 3)), "background": np.nan}, "brighter"),
        (dots(), {"psf": np.ones((3, 3)), "scale": 0.5}, "scale"),
        (dots(), {"psf": np.ones((3, 3)), "scale": np.nan}, "scale"),
        (dots(), {**OPTICS, "pixel_size": 0.1, "scale": 0}, "scale"),
    ],
)
def test_what_cannot_be_deconvolved_is_refused(image, options, words):
    with pytest.raises(ImageError, match=words):
        quality.richardson_lucy(image, **options)


def test_small_images_and_wide_blurs_are_no_trouble():
    image = np.arange(20.0).reshape(4, 5)
    found = quality.richardson_lucy(image, psf=gaussian_psf(3.0), iterations=3)
    assert found.pixels.shape == (4, 5)
    assert np.isfinite(found.pixels).all()

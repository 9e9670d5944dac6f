"""The MTF of a slanted edge against closed forms, and on images that have none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from napari_acuity.core.errors import ImageError
from napari_acuity.core.micrograph import Micrograph
from napari_acuity.core.quality.targets.edge import slanted_edge
from napari_acuity.core.simulate.optics import lens_transfer
from napari_acuity.core.simulate.targets import slanted_edge as target

# Leans with a rational tangent (1/4, 1/3, 1/2) meet the fewest phases of the pixel grid.
ANGLES = (1.0, 3.0, -5.0, 5.0, 7.125, 10.0, -14.036, 18.435, 26.565, 33.0)


def truth(frequency, blur_px: float, angle_deg: float):
    """A Gaussian's transfer times that of a square pixel along the edge's normal; cycles per px."""
    angle = np.deg2rad(angle_deg)
    pixel = np.sinc(frequency * np.cos(angle)) * np.sinc(frequency * np.sin(angle))
    return np.exp(-2 * (np.pi * blur_px * frequency) ** 2) * pixel


def crossing(level: float, blur_px: float, angle_deg: float) -> float:
    return brentq(lambda f: truth(f, blur_px, angle_deg) - level, 1e-6, 1)


def edge(angle_deg: float = 5.0, blur_px: float = 1.0, shape=(100, 140)) -> np.ndarray:
    return target(shape, angle_deg=angle_deg, blur_px=blur_px).pixels.astype(np.float64)


@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize("blur", [1.0, 1.5, 2.0])
def test_mtf50_is_that_of_a_gaussian_and_a_pixel(blur, angle):
    found = slanted_edge(edge(angle, blur))
    # The bar is 1 %; what is reached is held.
    assert found.mtf50 == pytest.approx(crossing(0.5, blur, angle), rel=4e-3)
    assert found.mtf10 == pytest.approx(crossing(0.1, blur, angle), rel=4e-3)
    assert found.angle_deg == pytest.approx(angle, abs=0.02)
    assert found.direction == "vertical"


@pytest.mark.parametrize("blur", [0.5, 1.0, 2.0])
def test_the_whole_curve_is_that_of_a_gaussian_and_a_pixel(blur):
    found = slanted_edge(edge(5.0, blur, (200, 200)))
    assert found.frequency[0] == 0 and found.frequency[-1] == 1
    assert found.mtf[0] == 1
    np.testing.assert_allclose(found.mtf, truth(found.frequency, blur, 5.0), atol=3e-3)


def test_the_edge_spread_is_that_of_a_blurred_edge():
    found = slanted_edge(edge(5.0, 2.0))
    assert np.diff(found.position) == pytest.approx(0.25)
    line = np.gradient(found.edge_spread, found.position)
    middle = np.sum(line * found.position) / np.sum(line)
    variance = np.sum(line * (found.position - middle) ** 2) / np.sum(line)
    # Blur, pixel, bin and the central difference over half a pixel.
    expected = 2.0**2 + 1 / 12 + 0.25**2 / 12 + 0.5**2 / 12
    assert middle == pytest.approx(0, abs=0.01)
    assert variance == pytest.approx(expected, rel=2e-3)
    assert found.edge_spread[[0, -1]] == pytest.approx([0, 1], abs=1e-3)


@settings(max_examples=12)
@given(st.floats(2, 12), st.sampled_from([-1, 1]), st.floats(0.8, 2.5), st.data())
def test_turns_polarity_scale_and_offset_change_nothing(lean, side, blur, data):
    image = edge(side * lean, blur, (80, 90))
    plain = slanted_edge(image)
    scale, offset = data.draw(st.floats(0.5, 1e4)), data.draw(st.floats(-1e3, 1e3))
    for turned in (image.T, image[::-1], image[:, ::-1], 1 - image, scale * image + offset):
        assert slanted_edge(turned).mtf50 == pytest.approx(plain.mtf50, rel=1e-3)
    assert slanted_edge(image.T).direction == "horizontal"
    # Mirrored about the diagonal, a lean to one side becomes one to the other.
    assert slanted_edge(image.T).angle_deg == pytest.approx(-plain.angle_deg, abs=1e-6)
    assert slanted_edge(np.rot90(image)).angle_deg == pytest.approx(plain.angle_deg, abs=1e-6)


@pytest.mark.parametrize(("sigma", "scatter"), [(0.01, 0.01), (0.02, 0.02), (0.05, 0.05)])
def test_noise_scatters_mtf50_and_does_not_shift_it(sigma, scatter):
    rng = np.random.default_rng(4)
    clean, expected = edge(5.0, 1.5, (200, 200)), crossing(0.5, 1.5, 5.0)
    errors = [
        slanted_edge(clean + rng.normal(0, sigma, clean.shape)).mtf50 / expected - 1
        for _ in range(12)
    ]
    assert np.std(errors) < scatter
    assert abs(np.mean(errors)) < scatter


def test_frequencies_are_in_cycles_per_um():
    image = edge()
    per_px = slanted_edge(image)
    assert slanted_edge(image, 0.25).mtf50 == pytest.approx(4 * per_px.mtf50)
    assert slanted_edge(image, pixel_size=0.25).position == pytest.approx(per_px.position / 4)
    known = Micrograph(image, pixel_size=(0.5, 0.5))
    assert slanted_edge(known).mtf50 == pytest.approx(2 * per_px.mtf50)
    assert slanted_edge(known, 1.0).mtf50 == pytest.approx(per_px.mtf50)


def test_an_ideal_lens_shows_its_own_transfer_function():
    """An Airy line spread, its tails beyond any window, sampled by pixels far finer than it."""
    cutoff = 0.4  # cycles per px
    shape, angle = (160, 300), np.deg2rad(5)
    y, x = (np.arange(n) - (n - 1) / 2 for n in shape)
    distance = x * np.cos(angle) - y[:, None] * np.sin(angle)
    # The step response is 1/2 + the integral of M(f) sin(2 pi f d) / (pi f).
    at = np.linspace(-170, 170, 6801)
    f = (np.arange(4000) + 0.5) / 4000 * cutoff
    kernel = lens_transfer(f, cutoff / 2, 1.0) / (np.pi * f) * (cutoff / 4000)
    step = np.array([0.5 + kernel @ np.sin(2 * np.pi * f * d) for d in at])
    found = slanted_edge(np.interp(distance, at, step))
    expected = brentq(lambda f: float(lens_transfer(f, cutoff / 2, 1.0)) - 0.5, 1e-6, cutoff)
    # Light beyond ten widths of the edge is not seen.
    assert expected < found.mtf50 < 1.015 * expected


def test_an_mtf_that_never_falls_is_nan():
    # A step sampled at points: no pixel has integrated over it.
    y, x = np.mgrid[:100, :120]
    found = slanted_edge(np.where(x - 60.2 > 0.0875 * (y - 50), 7.0, 3.0))
    assert found.mtf.min() > 0.5
    assert np.isnan(found.mtf50) and np.isnan(found.mtf10)


def test_sharpening_lifts_the_mtf_above_one():
    image = edge(5.0, 0.5)
    sharp = image - 0.5 * (np.roll(image, 1, 1) - 2 * image + np.roll(image, -1, 1))
    found = slanted_edge(sharp[:, 5:-5])
    # The mask's own transfer along the normal, all but upright.
    gain = 1 + 1 - np.cos(2 * np.pi * found.frequency * np.cos(np.deg2rad(5)))
    np.testing.assert_allclose(found.mtf, truth(found.frequency, 0.5, 5.0) * gain, atol=5e-3)
    assert found.mtf.max() > 1.2


def test_rgb_is_taken_as_grey_and_cut_plateaus_are_noted():
    grey = np.round(edge() * 200 + 20).astype(np.uint8)
    found = slanted_edge(np.stack([grey] * 3, -1))
    assert found.mtf50 == pytest.approx(slanted_edge(grey).mtf50, rel=1e-6)
    assert found.saturated == 0
    clipped = np.clip(edge(blur_px=2.0) * 400 - 70, 0, 255).astype(np.uint8)
    worse = slanted_edge(clipped)
    assert worse.saturated > 0.5
    assert worse.mtf50 > 1.3 * crossing(0.5, 2.0, 5.0)
    assert slanted_edge(Micrograph(edge(), value_range=(0.0, 1.0))).saturated > 0.5


BAD = {
    "constant": (np.ones((50, 50)), "nothing to see"),
    "NaN": (np.where(edge() > 0.9, np.nan, edge()), "NaN"),
    "a stack": (np.stack([edge()] * 4), "stack"),
    "small": (edge(shape=(15, 60)), "too small"),
    "noise": (np.random.default_rng(0).normal(size=(90, 90)), "No straight edge"),
    "a corner": (np.kron([[0, 1], [1, 0]], np.ones((40, 50))), "No straight edge"),
    "upright": (np.tile(np.arange(60) > 30, (50, 1)), "too few places"),
    "hardly slanted": (edge(0.5, 1.0, (80, 80)), "too few places"),
    "diagonal": (edge(45.0, 1.0, (80, 120)), "too few places"),
    "flat where it is fitted": (
        (np.arange(16) > 0.12 * np.arange(400)[:, None] - 16).astype(float),
        "alike",
    ),
    "leaves": (edge(22.0, 0.0, (100, 40)), "leaves the image"),
    "near the side": (edge(5.0, 3.0, (80, 100))[:, 40:], "only"),
    "too blurred": (edge(5.0, 14.0, (64, 64)), "larger crop"),
    "a bar": (edge(5.0, 1.0, (80, 200))[:, 30:] - edge(5.0, 1.0, (80, 200))[:, :-30], "alike"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_edge_is_refused_with_a_cure(name):
    image, cause = BAD[name]
    with pytest.raises(ImageError, match=cause):
        slanted_edge(image)


@pytest.mark.parametrize("size", [0, -1.0, float("nan"), (0.5, 0.5)])
def test_a_pixel_size_that_is_none_is_refused(size):
    with pytest.raises(ImageError, match="pixel size"):
        slanted_edge(edge(), size)


def test_pixels_that_are_not_square_are_refused():
    with pytest.raises(ImageError, match="not square"):
        slanted_edge(Micrograph(edge(), pixel_size=(0.5, 0.6)))


def test_real_noise_and_eight_bits_do_little_to_a_good_edge():
    image = np.random.default_rng(0).poisson(edge(4.0, 1.5, (150, 150)) * 150 + 20)
    found = slanted_edge(image.clip(0, 255).astype(np.uint8))
    assert found.mtf50 == pytest.approx(crossing(0.5, 1.5, 4.0), rel=0.05)


def test_slopes_that_only_rounding_leaves_are_none():
    image = edge(2.0, 1.0, (80, 90))

    found = slanted_edge(image + 7.496690749896372e-307)

    assert found.mtf50 == pytest.approx(slanted_edge(image).mtf50, rel=1e-9)

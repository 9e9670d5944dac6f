"""Scores against independent implementations, closed forms and bad input."""

from __future__ import annotations

from dataclasses import replace

import colour
import numpy as np
import pytest
import skimage.color
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

import napari_acuity as acuity
from napari_acuity import ImageError, Micrograph
from napari_acuity.core import quality
from napari_acuity.core.quality.colour import srgb_to_lab

SSIM = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}

small_images = hnp.arrays(np.uint8, st.tuples(st.integers(11, 16), st.integers(11, 16)))


def stain(size: int = 128) -> np.ndarray:
    return skimage.data.immunohistochemistry()[:size, : size + 16]


def noisy(image: np.ndarray, sigma: float = 9.0) -> np.ndarray:
    noise = np.random.default_rng(3).normal(0, sigma, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def test_ssim_is_the_mean_over_channels_of_scikit_images():
    truth, image = stain(), noisy(stain())
    expected, full = structural_similarity(truth, image, channel_axis=-1, full=True, **SSIM)
    found = quality.ssim(truth, image)
    assert found.mean == pytest.approx(expected, abs=1e-9)
    assert found.map.shape == (truth.shape[0] - 10, truth.shape[1] - 10)
    np.testing.assert_allclose(found.map, full[5:-5, 5:-5].mean(-1), atol=1e-9)
    assert found.std == pytest.approx(found.map.std())


def direct_ssim(a: np.ndarray, b: np.ndarray, width: float) -> np.ndarray:
    """Wang's equations, window by window, with no filter routine."""
    offset = np.arange(-5, 6)
    profile = np.exp(-(offset**2) / (2 * 1.5**2))
    weights = np.outer(profile, profile) / profile.sum() ** 2
    c1, c2 = (0.01 * width) ** 2, (0.03 * width) ** 2
    out = np.empty((a.shape[0] - 10, a.shape[1] - 10))
    for i, j in np.ndindex(out.shape):
        x, y = a[i : i + 11, j : j + 11], b[i : i + 11, j : j + 11]
        mx, my = (weights * x).sum(), (weights * y).sum()
        vx, vy = (weights * (x - mx) ** 2).sum(), (weights * (y - my) ** 2).sum()
        cov = (weights * (x - mx) * (y - my)).sum()
        out[i, j] = (2 * mx * my + c1) * (2 * cov + c2)
        out[i, j] /= (mx**2 + my**2 + c1) * (vx + vy + c2)
    return out


def test_ssim_follows_the_published_equations_window_by_window():
    truth = stain(32)[..., 1]
    image = noisy(truth)
    expected = direct_ssim(truth.astype(float), image.astype(float), 255.0)
    np.testing.assert_allclose(quality.ssim(truth, image).map, expected, atol=1e-9)


def test_ssim_of_constant_images_is_its_defined_value():
    dark, bright = np.full((16, 16), 50, np.uint8), np.full((16, 16), 100, np.uint8)
    c1 = (0.01 * 255) ** 2
    expected = (2 * 50 * 100 + c1) / (50**2 + 100**2 + c1)
    assert quality.ssim(dark, bright).mean == pytest.approx(expected, abs=1e-9)
    assert quality.ssim(dark, dark).mean == pytest.approx(1.0, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(small_images)
def test_an_image_is_like_itself(image):
    assert quality.ssim(image, image).mean == pytest.approx(1.0, abs=1e-9)
    assert quality.psnr(image, image) == float("inf")
    assert quality.difference(image, image).mean == 0


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_psnr_ssim_and_difference_are_symmetric(data):
    first = data.draw(small_images)
    second = data.draw(hnp.arrays(np.uint8, first.shape))
    for score in (quality.ssim, quality.difference):
        assert score(first, second).mean == pytest.approx(score(second, first).mean, abs=1e-12)
    assert quality.psnr(first, second) == pytest.approx(quality.psnr(second, first))


def test_psnr_agrees_with_scikit_image():
    truth, image = stain(), noisy(stain())
    expected = peak_signal_noise_ratio(truth, image)
    assert quality.psnr(truth, image) == pytest.approx(expected, abs=1e-9)


@given(st.integers(0, 255), st.integers(0, 255))
def test_difference_of_constants_is_percent_of_the_range(a, b):
    found = quality.difference(np.full((3, 4), a, np.uint8), np.full((3, 4), b, np.uint8))
    assert found.mean == pytest.approx(100 * abs(a - b) / 255)
    assert found.std == pytest.approx(0, abs=1e-12)
    assert found.map.shape == (3, 4)


def test_difference_of_rgb_averages_the_channels():
    black = np.zeros((4, 5, 3), np.uint8)
    red = black + np.array([255, 0, 0], np.uint8)
    assert quality.difference(black, red).mean == pytest.approx(100 / 3)


def test_cie94_is_colour_sciences_formula_on_the_same_lab():
    truth, image = stain() / 255.0, noisy(stain(), 30) / 255.0
    lab = srgb_to_lab(truth), srgb_to_lab(image)
    expected = colour.difference.delta_E_CIE1994(*lab, textiles=False)
    np.testing.assert_allclose(quality.cie94(truth, image).map, expected, atol=1e-9)


@pytest.mark.parametrize("seed", [0, 1])
def test_cie94_agrees_with_colour_science_from_srgb(seed):
    truth, image = np.random.default_rng(seed).integers(0, 256, (2, 40, 50, 3), dtype=np.uint8)
    labs = [colour.XYZ_to_Lab(colour.sRGB_to_XYZ(x / 255.0)) for x in (truth, image)]
    expected = colour.difference.delta_E_CIE1994(*labs, textiles=False)
    found = quality.cie94(truth, image)
    np.testing.assert_allclose(found.map, expected, atol=2e-3)


def test_lab_is_that_of_scikit_image_but_for_its_constants():
    np.testing.assert_allclose(
        srgb_to_lab(stain() / 255.0), skimage.color.rgb2lab(stain()), atol=0.05
    )
    np.testing.assert_allclose(srgb_to_lab(np.ones((1, 3))), [[100, 0, 0]], atol=0.02)


def test_cie94_weighs_by_the_chroma_of_its_first_argument():
    grey = np.full((2, 2, 3), 128, np.uint8)
    red = np.broadcast_to(np.array([255, 0, 0], np.uint8), (2, 2, 3))
    assert quality.cie94(grey, red).mean > 2 * quality.cie94(red, grey).mean


def test_cie94_refuses_grey_images_and_names_the_cure():
    with pytest.raises(ImageError, match=r"grey\. Give RGB images"):
        quality.cie94(stain()[..., 0], stain()[..., 0])


@pytest.mark.parametrize("score", [quality.ssim, quality.psnr, quality.difference, quality.cie94])
def test_the_range_and_the_dtype_do_not_change_a_score(score):
    truth, image = stain(32), noisy(stain(32))
    value = mean_of(score(truth, image))
    assert mean_of(score(truth.astype(np.uint16) * 257, image)) == pytest.approx(value, abs=1e-9)
    assert mean_of(score(truth / 255.0, image / 255.0)) == pytest.approx(value, abs=1e-9)
    twelve = [x.astype(np.uint16) * 10 for x in (truth, image)]
    assert mean_of(score(*twelve, data_range=2550)) == pytest.approx(value, abs=1e-9)
    assert mean_of(score(*(x + 7 for x in twelve), data_range=(7, 2557))) == pytest.approx(
        value, abs=1e-9
    )
    stated = Micrograph(twelve[0], rgb=True, value_range=(0, 2550))
    assert mean_of(score(stated, twelve[1])) == pytest.approx(value, abs=1e-9)


def mean_of(result):
    return result if isinstance(result, float) else result.mean


def test_a_dim_image_is_judged_on_the_range_of_its_reference():
    truth = np.linspace(0, 65535, 400).reshape(20, 20).astype(np.uint16)
    assert quality.difference(truth, truth // 20).mean == pytest.approx(47.5, abs=0.1)


def test_floats_beyond_0_to_1_must_state_their_range():
    inside, beyond = np.linspace(0, 1, 400).reshape(20, 20), np.linspace(0, 2, 400).reshape(20, 20)
    for pair in ((beyond, inside), (inside, beyond)):
        with pytest.raises(ImageError, match="black and white are unknown"):
            quality.ssim(*pair)
    assert quality.psnr(beyond, beyond / 2, data_range=2) > 0


@pytest.mark.parametrize("wrong", ["white", (0, 1, 2), (0, "white"), {"white": 1}])
def test_a_range_that_is_none_is_told(wrong):
    image = np.linspace(0, 1, 400).reshape(20, 20)
    with pytest.raises(ImageError, match="is no range"):
        quality.ssim(image, image, data_range=wrong)


def test_twelve_bits_in_sixteen_must_be_stated():
    image = np.linspace(0, 4095, 400).reshape(20, 20).astype(np.uint16)
    with pytest.raises(ImageError, match=r"12-bit data.*value_range=\(0, 4095\)"):
        quality.psnr(image, image)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_are_refused(bad):
    image = np.zeros((20, 20))
    image[3, 4] = bad
    with pytest.raises(ImageError, match="'image' holds 1 values that are NaN or infinite"):
        quality.difference(np.zeros((20, 20)), image)


def test_unlike_shapes_name_both_and_the_cure():
    with pytest.raises(ImageError, match=r"20 x 30 px, grey.*'image' is 20 x 31 px, grey.*bicubic"):
        quality.psnr(np.zeros((20, 30)), np.zeros((20, 31)))
    with pytest.raises(ImageError, match="convert the RGB image to grey"):
        quality.psnr(np.zeros((20, 30)), np.zeros((20, 30, 3)))
    with pytest.raises(ImageError, match="one plane at a time"):
        quality.psnr(np.zeros((5, 20, 30)), np.zeros((5, 20, 30)))


def test_ssim_needs_room_for_its_window():
    with pytest.raises(ImageError, match="10 x 30 px: smaller than SSIM's window, 11 x 11 px"):
        quality.ssim(np.zeros((10, 30)), np.zeros((10, 30)))


class Layer:
    """What is known of a napari Image layer."""

    def __init__(self, data):
        self.data, self.rgb, self.name = data, data.shape[-1] == 3, "phone"
        self.scale, self.units, self.metadata = (1.0, 1.0), ("pixel", "pixel"), {}


def test_layers_are_measured_as_they_are():
    truth, image = stain(32), noisy(stain(32))
    report = acuity.measure(Layer(truth), replace(Micrograph(image, rgb=True), name="enhanced"))
    assert report.ssim == quality.ssim(truth, image).mean
    assert report.reference.name == "phone"


def test_ranges_regions_and_elements_of_a_wrong_kind_are_refused(tissue):
    grey = tissue[:40, :40, 0]
    with pytest.raises(ImageError, match="is no range"):
        quality.ssim(grey, grey, (0, 255, 3))
    for region in ((0, 0, 20), (0, 0, 20.5, 20)):
        with pytest.raises(ImageError, match="is no box"):
            acuity.measure(grey, grey, region=region)
        with pytest.raises(ImageError, match="is no box"):
            quality.fitted_scores(grey, grey, region=region)
    for at in ((1, 1, 4.5, 1), (1, 1), (1, 1, np.nan, 1)):
        with pytest.raises(ImageError, match="names no element"):
            quality.mtf_usaf(grey, at=at)
    holes = np.where(grey > 100, np.nan, grey.astype(float))
    with pytest.raises(ImageError, match="NaN or infinite"):
        Micrograph(holes).range()

"""MS-SSIM, NRMSE, Pearson, colours, offsets, fits and profiles, each against another implementation."""

from __future__ import annotations

import colour
import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, shift
from skimage.color import deltaE_ciede2000
from skimage.measure import profile_line
from skimage.metrics import normalized_root_mse

import napari_acuity as acuity
from napari_acuity import ImageError, Micrograph
from napari_acuity.core import quality
from napari_acuity.core.quality.colour import cie94_of_labs

# L*a*b* of two colours and their CIEDE2000 difference: table 1 of Sharma, Wu and Dalal (2005), built of
# pairs on both sides of every branch of the formula.
SHARMA = np.array(
    [
        [50.0, 2.6772, -79.7751, 50.0, 0.0, -82.7485, 2.0425],
        [50.0, 3.1571, -77.2803, 50.0, 0.0, -82.7485, 2.8615],
        [50.0, 2.8361, -74.02, 50.0, 0.0, -82.7485, 3.4412],
        [50.0, -1.3802, -84.2814, 50.0, 0.0, -82.7485, 1.0],
        [50.0, -1.1848, -84.8006, 50.0, 0.0, -82.7485, 1.0],
        [50.0, -0.9009, -85.5211, 50.0, 0.0, -82.7485, 1.0],
        [50.0, 0.0, 0.0, 50.0, -1.0, 2.0, 2.3669],
        [50.0, -1.0, 2.0, 50.0, 0.0, 0.0, 2.3669],
        [50.0, 2.49, -0.001, 50.0, -2.49, 0.0009, 7.1792],
        [50.0, 2.49, -0.001, 50.0, -2.49, 0.001, 7.1792],
        [50.0, 2.49, -0.001, 50.0, -2.49, 0.0011, 7.2195],
        [50.0, 2.49, -0.001, 50.0, -2.49, 0.0012, 7.2195],
        [50.0, -0.001, 2.49, 50.0, 0.0009, -2.49, 4.8045],
        [50.0, -0.001, 2.49, 50.0, 0.001, -2.49, 4.8045],
        [50.0, -0.001, 2.49, 50.0, 0.0011, -2.49, 4.7461],
        [50.0, 2.5, 0.0, 50.0, 0.0, -2.5, 4.3065],
        [50.0, 2.5, 0.0, 73.0, 25.0, -18.0, 27.1492],
        [50.0, 2.5, 0.0, 61.0, -5.0, 29.0, 22.8977],
        [50.0, 2.5, 0.0, 56.0, -27.0, -3.0, 31.9030],
        [50.0, 2.5, 0.0, 58.0, 24.0, 15.0, 19.4535],
        [50.0, 2.5, 0.0, 50.0, 3.1736, 0.5854, 1.0],
        [50.0, 2.5, 0.0, 50.0, 3.2972, 0.0, 1.0],
        [50.0, 2.5, 0.0, 50.0, 1.8634, 0.5757, 1.0],
        [50.0, 2.5, 0.0, 50.0, 3.2592, 0.3350, 1.0],
        [60.2574, -34.0099, 36.2677, 60.4626, -34.1751, 39.4387, 1.2644],
        [63.0109, -31.0961, -5.8663, 62.8187, -29.7946, -4.0864, 1.2630],
        [61.2901, 3.7196, -5.3901, 61.4292, 2.2480, -4.9620, 1.8731],
        [35.0831, -44.1164, 3.7933, 35.0232, -40.0716, 1.5901, 1.8645],
        [22.7233, 20.0904, -46.6940, 23.0331, 14.9730, -42.5619, 2.0373],
        [36.4612, 47.8580, 18.3852, 36.2715, 50.5065, 21.2231, 1.4146],
        [90.8027, -2.0831, 1.4410, 91.1528, -1.6435, 0.0447, 1.4441],
        [90.9257, -0.5406, -0.9208, 88.6381, -0.8985, -0.7239, 1.5381],
        [6.7747, -0.2908, -2.4247, 5.8714, -0.0985, -2.2286, 0.6377],
        [2.0776, 0.0795, -1.1350, 0.9033, -0.0636, -0.5514, 0.9082],
    ]
)


def stain(size: int = 256) -> np.ndarray:
    return skimage.data.immunohistochemistry()[:size, : size + 16]


def noisy(image: np.ndarray, sigma: float = 9.0) -> np.ndarray:
    noise = np.random.default_rng(3).normal(0, sigma, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


# MS-SSIM


def slow_ms_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Wang's equations with scipy's filters, scale by scale, of one grey pair on unit range."""
    product = 1.0
    for scale, weight in enumerate([0.0448, 0.2856, 0.3001, 0.2363, 0.1333]):
        if scale:
            even = [x[: x.shape[0] // 2 * 2, : x.shape[1] // 2 * 2] for x in (a, b)]
            a, b = (x.reshape(x.shape[0] // 2, 2, -1, 2).mean((1, 3)) for x in even)

        def mean(values: np.ndarray) -> np.ndarray:
            return gaussian_filter(values, 1.5, truncate=5 / 1.5)[5:-5, 5:-5]

        mean_a, mean_b = mean(a), mean(b)
        cov = mean(a * b) - mean_a * mean_b
        structure = (2 * cov + 0.03**2) / (
            mean(a * a) - mean_a**2 + mean(b * b) - mean_b**2 + 0.03**2
        )
        if scale == 4:
            structure *= (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
        product *= structure.mean() ** weight
    return product


@pytest.mark.parametrize("size", [176, 233])
def test_ms_ssim_follows_wangs_equations(size):
    truth, image = stain(size), noisy(stain(size))
    expected = [slow_ms_ssim(truth[..., c] / 255, image[..., c] / 255) for c in range(3)]
    assert quality.ms_ssim(truth, image) == pytest.approx(np.mean(expected), abs=1e-9)
    assert quality.ms_ssim(truth[..., 0], image[..., 0]) == pytest.approx(expected[0], abs=1e-9)
    assert quality.ms_ssim(truth, truth) == pytest.approx(1, abs=1e-12)


def test_ms_ssim_of_an_inverted_image_is_zero_and_of_a_small_one_refused():
    grey = stain()[..., 0]
    assert quality.ms_ssim(grey, 255 - grey) == 0
    with pytest.raises(ImageError, match=r"175 x 200 px: MS-SSIM halves .* Measure a larger field"):
        quality.ms_ssim(grey[:175, :200], grey[:175, :200])


# NRMSE and Pearson


def test_nrmse_and_pearson_agree_with_other_implementations():
    truth, image = stain(), noisy(stain())
    expected = normalized_root_mse(truth, image, normalization="euclidean")
    assert quality.nrmse(truth, image) == pytest.approx(expected, abs=1e-9)
    expected = np.corrcoef(truth.ravel(), image.ravel())[0, 1]
    assert quality.pearson(truth, image) == pytest.approx(expected, abs=1e-9)


def test_constant_images_have_stated_values():
    flat, black, truth = (
        np.full((20, 20), 7, np.uint8),
        np.zeros((20, 20), np.uint8),
        stain()[:20, :20, 0],
    )
    assert np.isnan(quality.pearson(flat, truth)) and np.isnan(quality.pearson(truth, flat))
    assert quality.nrmse(black, truth) == np.inf and np.isnan(quality.nrmse(black, black))
    assert quality.nrmse(flat, flat) == 0
    assert all(np.isnan(quality.offset(truth, flat)))


@given(st.floats(0.1, 3), st.floats(-0.4, 0.4))
@settings(max_examples=20)
def test_pearson_sees_neither_gain_nor_offset(gain: float, added: float):
    truth = stain(64)[..., 0] / 255
    image = Micrograph(gain * truth + added, value_range=(-2.0, 5.0))
    assert quality.pearson(truth, image) == pytest.approx(1, abs=1e-9)


# Colour


@pytest.mark.parametrize("swap", [False, True])
def test_sharmas_pairs(swap):
    first, second = SHARMA[:, :3], SHARMA[:, 3:6]
    if swap:
        first, second = second, first
    np.testing.assert_allclose(deltaE_ciede2000(first, second), SHARMA[:, 6], atol=5e-5)
    expected = colour.difference.delta_E_CIE1994(first, second, textiles=False)
    np.testing.assert_allclose(cie94_of_labs(first, second), expected, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float64])
def test_colour_differences_from_srgb_agree_with_colour_science(dtype):
    scale = 1 if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max
    truth, image = ((x / 255 * scale).astype(dtype) for x in (stain(96), noisy(stain(96))))
    labs = [
        colour.XYZ_to_Lab(
            colour.sRGB_to_XYZ(x.astype(np.float64) / scale),
            colour.CCS_ILLUMINANTS["CIE 1931 2 Degree Standard Observer"]["D65"],
        )
        for x in (truth, image)
    ]
    expected = colour.difference.delta_E_CIE1994(*labs, textiles=False)
    np.testing.assert_allclose(quality.cie94(truth, image).map, expected, atol=2e-3)
    expected = colour.difference.delta_E_CIE2000(*labs)
    np.testing.assert_allclose(quality.ciede2000(truth, image).map, expected, atol=2e-3)


def test_integers_beyond_a_stated_range_keep_their_colours():
    """The table that decodes integers holds their whole type, stated range or not."""
    truth, image = stain(64), noisy(stain(64))
    stated = [Micrograph(x, value_range=(10.0, 240.0), rgb=True) for x in (truth, image)]
    floats = [
        Micrograph(x.astype(np.float64), value_range=(10.0, 240.0), rgb=True)
        for x in (truth, image)
    ]
    np.testing.assert_allclose(quality.cie94(*stated).map, quality.cie94(*floats).map, atol=1e-9)


def test_grey_images_have_no_colour_difference():
    with pytest.raises(ImageError, match="but the images are grey"):
        quality.ciede2000(stain()[..., 0], stain()[..., 0])


# Offset


@given(st.floats(-6, 6), st.floats(-6, 6))
@settings(max_examples=15)
def test_an_offset_is_measured_to_a_few_hundredths(dy: float, dx: float):
    truth = gaussian_filter(stain(256)[..., 1].astype(np.float64), 1.0) / 255
    moved = shift(truth, (dy, dx), order=5, mode="reflect")
    found = quality.offset(truth[10:-10, 10:-10], np.clip(moved, 0, 1)[10:-10, 10:-10])
    assert found == pytest.approx((dy, dx), abs=0.06)


def test_blur_and_noise_are_no_offset():
    truth = stain()
    image = noisy(gaussian_filter(truth, (2.0, 2.0, 0)))
    assert quality.offset(truth, image) == pytest.approx((0, 0), abs=0.05)


def test_a_large_image_is_judged_by_its_middle():
    truth = np.tile(stain(), (5, 5, 1))
    assert min(truth.shape[:2]) > 1024
    assert quality.offset(truth[3:-3, 3:-3], truth[1:-5, 4:-2]) == pytest.approx((2, -1), abs=0.03)


def test_measure_warns_of_an_offset():
    truth = stain()
    report = acuity.measure(truth[2:, 1:], Micrograph(truth[:-2, :-1], rgb=True, name="late"))
    assert report.offsets["late"] == pytest.approx((2, 1), abs=0.05)
    (warning,) = report.warnings
    assert "late is shifted by (+2.0" in warning and "Register it first" in warning
    assert acuity.measure(truth, noisy(truth)).warnings == []


# Fits


def test_an_intensity_fit_takes_gain_and_offset_of_each_channel_out():
    truth = stain(96) / 255
    image = truth * [0.5, 0.8, 0.3] + [0.2, 0.0, 0.4]
    plain, fitted = (acuity.measure(truth, image, fit=fit) for fit in ("none", "intensity"))
    assert plain.psnr < 20 and fitted.psnr > 100
    assert (plain.fit, fitted.fit) == ("none", "intensity")
    matrix = quality.fit_intensity([(image, truth)]).matrix
    np.testing.assert_allclose(matrix[:, :3], np.diag([2, 1.25, 1 / 0.3]), atol=1e-5)
    np.testing.assert_allclose(matrix[:, 3], [-0.4, 0, -0.4 / 0.3], atol=1e-5)


def test_an_intensity_fit_is_least_squares():
    truth, image = stain(64)[..., 0] / 255, noisy(stain(64))[..., 0] / 255
    matrix = quality.fit_intensity([(image, truth)]).matrix
    expected = np.polyfit(image.ravel(), truth.ravel(), 1)
    np.testing.assert_allclose(matrix, [expected], atol=1e-6)
    flat = np.full(truth.shape, 0.3)
    np.testing.assert_allclose(
        quality.fit_intensity([(flat, truth)]).matrix, [[0, truth.mean()]], atol=1e-6
    )


def test_a_colour_fit_undoes_a_mixture():
    truth = stain(96) / 255
    mixed = truth @ np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.2], [0.1, 0.1, 0.7]]) + 0.02
    intensity, mixture = (acuity.measure(truth, mixed, fit=fit) for fit in ("intensity", "colour"))
    assert mixture.psnr > intensity.psnr + 10
    with pytest.raises(ImageError, match="no fit 'gamma'"):
        acuity.measure(truth, mixed, fit="gamma")


# What the input alone reaches


def test_the_input_stands_beside_the_image_enlarged_and_fitted():
    truth = stain(200)[:, :200]
    low = Micrograph(
        truth.reshape(100, 2, 100, 2, 3).mean((1, 3)).astype(np.uint8), rgb=True, name="low"
    )
    plain = acuity.measure(truth, noisy(truth), low=low)
    assert list(plain.scores) == ["low, bicubic", "image"]
    assert plain.scores["low, bicubic"].psnr == pytest.approx(
        quality.psnr(truth, quality.bicubic(low, 2, (200, 200)))
    )
    cast = low.with_pixels((low.pixels * [0.8, 0.7, 0.9]).astype(np.uint8))
    both = acuity.measure(truth, noisy(truth), low=cast)
    assert list(both.scores) == ["low, bicubic", "low, bicubic, colour fitted", "image"]
    enlarged, fitted = list(both.scores.values())[:2]
    assert fitted.psnr > enlarged.psnr + 3
    # With all columns fitted so, it would be the same column twice.
    refitted = acuity.measure(truth, noisy(truth), low=cast, fit="colour")
    assert list(refitted.scores) == ["low, bicubic", "image"]
    assert refitted.scores["low, bicubic"].psnr == pytest.approx(fitted.psnr, abs=0.1)
    with pytest.raises(ImageError, match="No plain enlargement brings the 99 x 100 px of 'input'"):
        acuity.measure(truth, truth, low=low.pixels[:99])


# Profiles


@pytest.mark.parametrize(
    "ends", [((10, 20), (90, 140)), ((50, 5), (50, 100)), ((90, 60), (20, 60))]
)
@pytest.mark.parametrize("width", [1, 5])
def test_a_profile_agrees_with_scikit_images(ends, width):
    grey = gaussian_filter(stain()[..., 1].astype(np.float64), 1)
    found = quality.line_profile(grey, *ends, width_px=width)
    expected = profile_line(grey, *ends, linewidth=width, order=1, mode="nearest")
    np.testing.assert_allclose(found.values, expected, atol=1e-9)
    assert found.unit == "px" and found.distance[-1] == pytest.approx(np.hypot(*np.subtract(*ends)))


def test_a_profile_knows_micrometres_colours_and_where_the_image_ends():
    image = Micrograph(stain(), pixel_size=(0.5, 0.25), rgb=True)
    found = quality.line_profile(image, (10, 10), (10, 30))
    assert found.unit == "um" and found.distance[-1] == pytest.approx(5)
    np.testing.assert_allclose(found.values, image.pixels[10, 10:31], atol=1e-9)
    beyond = quality.line_profile(image, (10, -10), (10, 10)).values
    assert np.isnan(beyond[:9]).all() and np.isfinite(beyond[10:]).all()


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        (((5, 5), (5, 5)), "no length"),
        (((-9, -9), (-9, 40)), "outside"),
        (((5, 5), (np.nan, 9)), "no length"),
    ],
)
def test_lines_that_cannot_be_sampled(ends, words):
    with pytest.raises(ImageError, match=words):
        quality.line_profile(stain(), *ends)
    with pytest.raises(ImageError, match="width of 1 px or more"):
        quality.line_profile(stain(), (1, 1), (5, 5), width_px=np.nan)
    with pytest.raises(ImageError, match="is a stack"):
        quality.line_profile(np.zeros((3, 9, 9)), (1, 1), (5, 5))

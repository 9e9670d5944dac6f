"""Bicubic enlargement against PIL, and the colour fit against known casts."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import skimage.data
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from napari_acuity import ImageError, Micrograph
from napari_acuity.core import quality


def cells(rows: int = 48, columns: int = 60) -> np.ndarray:
    return skimage.data.cell()[300 : 300 + rows, 250 : 250 + columns]


def by_pil(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """PIL's bicubic: also a = -0.5, aligned centres, weights normalised at the border."""
    resized = Image.fromarray(image.astype(np.float32)).resize(
        shape[::-1], Image.Resampling.BICUBIC
    )
    return np.asarray(resized)


@pytest.mark.parametrize("scale", [1, 2, 2.5, 3, 0.5, 0.4])
def test_bicubic_agrees_with_pil(scale):
    image = cells(50, 60).astype(np.float32) / 300 + 0.1
    found = quality.bicubic(image, scale).pixels
    assert found.shape == (int(50 * scale), int(60 * scale))
    np.testing.assert_allclose(found, by_pil(image, found.shape), atol=2e-6)


@pytest.mark.parametrize("scale", [2, 2.5, 1.1, Fraction(7, 3)])
def test_bicubic_samples_a_ramp_at_aligned_centres(scale):
    ramp = np.tile(np.linspace(0.1, 0.9, 40), (20, 1))
    found = quality.bicubic(ramp, scale).pixels
    centres = (np.arange(found.shape[1]) + 0.5) / float(scale) - 0.5
    inside = (centres > 1) & (centres < 38)
    expected = np.interp(centres, np.arange(40), ramp[0])
    np.testing.assert_allclose(found[5, inside], expected[inside], atol=1e-6)


def test_bicubic_leaves_an_image_at_scale_1_as_it_is_and_takes_any_float():
    image = skimage.data.immunohistochemistry()[:31, :33]
    np.testing.assert_array_equal(quality.bicubic(image, 1).pixels, image)
    one = quality.bicubic(image, np.float32(2.5)).pixels
    np.testing.assert_array_equal(one, quality.bicubic(image, 2.5).pixels)


@given(st.integers(1, 40), st.fractions(Fraction(1, 3), 5, max_denominator=12))
def test_bicubic_has_ceil_of_scale_times_size_and_keeps_a_flat_image(size, scale):
    flat = np.full((size, 3), 77, np.uint8)
    found = quality.bicubic(flat, float(scale)).pixels
    assert found.shape == (-(-size * scale // 1), -(-3 * scale // 1))
    assert (found == 77).all()


def test_bicubic_keeps_dtype_range_and_pixel_size():
    edge = np.zeros((20, 20), np.uint16)
    edge[:, 10:] = 4095
    image = Micrograph(edge, pixel_size=(0.5, 1.0), value_range=(0, 4095), name="edge")
    found = quality.bicubic(image, 2.5)
    assert found.pixels.dtype == np.uint16
    assert found.pixels.max() == 4095
    assert found.pixel_size == pytest.approx((0.2, 0.4))
    assert (found.name, found.value_range) == ("edge", (0, 4095))


def test_bicubic_of_a_stack_works_plane_by_plane():
    stack = np.stack([cells(), cells()[::-1]])
    found = quality.bicubic(stack, 2).pixels
    np.testing.assert_array_equal(found[1], quality.bicubic(stack[1], 2).pixels)


def test_bicubic_gives_the_leading_part_of_a_smaller_shape():
    whole = quality.bicubic(cells(), 2.5).pixels
    part = quality.bicubic(cells(), 2.5, shape=(119, 149)).pixels
    np.testing.assert_array_equal(part, whole[:119, :149])


@pytest.mark.parametrize("scale", [0, -1, np.nan, np.inf])
def test_bicubic_refuses_scales_that_are_none(scale):
    with pytest.raises(ImageError, match="positive number"):
        quality.bicubic(cells(), scale)


def test_bicubic_refuses_shapes_beyond_the_image():
    with pytest.raises(ImageError, match="at most 96 x 120"):
        quality.bicubic(cells(), 2, shape=(97, 120))


def test_a_known_colour_cast_is_undone():
    truth = skimage.data.immunohistochemistry()[:64, :64] / 255.0
    mix = np.array([[0.7, 0.1, 0.05], [0.0, 0.6, 0.1], [0.05, 0.1, 0.8]])
    cast = truth @ mix.T + 0.05
    halves = [(cast[:32], truth[:32]), (cast[32:], truth[32:])]
    fit = quality.fit_colour(iter(halves))
    inverse = np.linalg.inv(mix)
    np.testing.assert_allclose(fit.matrix[:, :3], inverse, atol=1e-4)
    np.testing.assert_allclose(fit.matrix[:, 3], inverse @ np.full(3, -0.05), atol=1e-4)
    np.testing.assert_allclose(fit.apply(cast).pixels, truth, atol=1e-4)


def test_the_fit_of_grey_images_is_a_straight_line():
    truth = cells() / 255.0
    fit = quality.fit_colour([(0.5 * truth + 0.2, truth)])
    np.testing.assert_allclose(fit.matrix, [[2.0, -0.4]], atol=1e-4)


def test_the_fit_never_makes_the_squared_error_worse_and_keeps_the_image():
    truth = skimage.data.immunohistochemistry()[:64, :64]
    image = Micrograph(truth[::-1, ::-1].copy(), rgb=True, pixel_size=(1, 1), name="turned")
    fitted = quality.fit_colour([(image, truth)]).apply(image)
    assert quality.psnr(truth, fitted) >= quality.psnr(truth, image)
    assert fitted.pixels.dtype == np.uint8
    assert (fitted.name, fitted.pixel_size) == ("turned", (1, 1))


def test_a_flat_image_is_fitted_by_the_mean_of_its_reference():
    fitted = quality.fit_colour([(np.full((48, 60), 0.5), cells() / 255.0)])
    found = fitted.apply(np.full((4, 4), 0.5)).pixels
    np.testing.assert_allclose(found, cells().mean() / 255, atol=1e-5)


def test_colour_fits_name_what_is_wrong_with_their_pairs():
    grey, rgb = np.zeros((4, 4)), np.zeros((4, 4, 3))
    with pytest.raises(ImageError, match="no pair"):
        quality.fit_colour([])
    with pytest.raises(ImageError, match="some are grey"):
        quality.fit_colour([(grey, grey), (rgb, rgb)])
    with pytest.raises(ImageError, match="4 x 5 px"):
        quality.fit_colour([(grey, np.zeros((4, 5)))])
    with pytest.raises(ImageError, match="3 channels, not for 1"):
        quality.fit_colour([(rgb, rgb)]).apply(grey)

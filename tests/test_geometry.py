"""Maps and the one resampling, against closed forms and scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.transform import ProjectiveTransform

from napari_acuity import RegistrationError
from napari_acuity.core.geometry import (
    apply_homography,
    dense_map,
    map_points,
    resample,
    resize_homography,
    scale_at_centre,
)
from napari_acuity.core.scales import ratio

HOMOGRAPHY = np.array([[0.41, 0.03, 5.0], [-0.02, 0.39, 7.0], [1e-5, -2e-5, 1.0]])


def smooth_shift(height: int, width: int, amplitude: float = 3.0) -> np.ndarray:
    y, x = np.mgrid[:height, :width] / 40.0
    return (amplitude * np.stack([np.sin(y) * np.cos(x), np.cos(y + 0.5 * x)])).astype(np.float32)


def test_homography_agrees_with_skimage() -> None:
    points = np.random.default_rng(0).uniform(0, 300, (50, 2))
    expected = ProjectiveTransform(HOMOGRAPHY)(points[:, ::-1])[:, ::-1]
    np.testing.assert_allclose(apply_homography(HOMOGRAPHY, points), expected, atol=1e-9)


def test_points_beyond_the_horizon_have_no_image() -> None:
    wild = np.array([[1, 0, 0], [0, 1, 0], [-0.01, 0, 1.0]])
    mapped = apply_homography(wild, np.array([[0.0, 50.0], [0.0, 150.0]]))
    assert np.isfinite(mapped[0]).all()
    assert np.isnan(mapped[1]).all()


@pytest.mark.parametrize("moving_shape", [(100, 100), (50, 200), (81, 33)])
def test_resize_lays_edges_on_edges(moving_shape: tuple[int, int]) -> None:
    plane = resize_homography((120, 90), moving_shape)
    corners = np.array([[-0.5, -0.5], [119.5, 89.5]])
    expected = np.array([[-0.5, -0.5], [moving_shape[0] - 0.5, moving_shape[1] - 0.5]])
    np.testing.assert_allclose(apply_homography(plane, corners), expected, atol=1e-9)


def test_scale_is_the_determinant_of_an_affine() -> None:
    affine = np.array([[0.3, 0.1, 4], [-0.1, 0.5, 2], [0, 0, 1]])
    expected = np.sqrt(np.linalg.det(affine[:2, :2]))
    assert scale_at_centre(affine, (64, 80)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("scale", [1, 1.5, 2, 2.5, 4 / 3, 3, 4])
def test_ratio_of_small_numbers(scale: float) -> None:
    assert float(ratio(scale)) == pytest.approx(scale, abs=1e-12)
    assert ratio(scale).denominator <= 3


@pytest.mark.parametrize("homography", [None, HOMOGRAPHY])
def test_dense_map_is_what_points_map_to(homography: np.ndarray | None) -> None:
    shift = smooth_shift(60, 80)
    dense = dense_map(homography, torch.from_numpy(shift)).numpy()
    grid = np.mgrid[:60, :80].reshape(2, -1).T
    points = map_points(grid, homography, shift)
    np.testing.assert_allclose(dense.reshape(2, -1).T, points, atol=1e-6)


@pytest.mark.parametrize("scale", [2, 2.5])
def test_coarse_map_sits_on_coarse_pixel_centres(scale: float) -> None:
    shift = smooth_shift(100, 125)
    coarse = dense_map(HOMOGRAPHY, torch.from_numpy(shift), scale=scale).numpy()
    assert coarse.shape == (2, int(100 / scale), int(125 / scale))
    rows, cols = ((np.arange(n) + 0.5) * scale - 0.5 for n in coarse.shape[1:])
    points = np.stack(np.meshgrid(rows, cols, indexing="ij"), -1).reshape(-1, 2)
    expected = map_points(points, HOMOGRAPHY, shift)
    np.testing.assert_allclose(coarse.reshape(2, -1).T, expected, atol=1e-4)


@settings(max_examples=30)
@given(dy=st.floats(-20, 20), dx=st.floats(-20, 20))
def test_bicubic_is_exact_on_planes(dy: float, dx: float) -> None:
    """Cubic convolution reproduces linear images wherever its 4 x 4 support lies inside."""
    y, x = np.mgrid[:64, :64].astype(np.float32)
    image = 0.01 * y - 0.02 * x + 1
    grid = np.mgrid[24:40, 24:40].astype(np.float64) + np.array([dy, dx])[:, None, None]
    found, inside = resample(image, torch.from_numpy(grid))
    np.testing.assert_allclose(found, 0.01 * grid[0] - 0.02 * grid[1] + 1, atol=2e-5)
    assert inside.all()


def test_resampling_agrees_with_splines_on_a_smooth_image(tissue: np.ndarray) -> None:
    image = ndimage.gaussian_filter(tissue[..., 1].astype(np.float32), 2)
    mapping = np.mgrid[20:180, 20:180] + np.array([0.37, -0.61])[:, None, None]
    found, _ = resample(image, torch.from_numpy(mapping))
    expected = ndimage.map_coordinates(image, mapping, order=3)
    assert np.abs(found - expected).max() < 0.02 * np.ptp(image)


def test_identity_keeps_every_pixel(tissue: np.ndarray) -> None:
    found, inside = resample(tissue, torch.from_numpy(np.mgrid[:512, :512].astype(float)))
    assert found.dtype == tissue.dtype
    np.testing.assert_array_equal(found, tissue)
    assert inside.all()


def test_outside_is_told() -> None:
    mapping = np.mgrid[:10, :10].astype(float) - 5
    _, inside = resample(np.ones((10, 10), np.float32), torch.from_numpy(mapping))
    assert inside.sum() == 25  # rows and columns 5..9 look at 0..4


def test_integers_are_rounded_and_clipped() -> None:
    edge = np.zeros((20, 20), np.uint8)
    edge[:, 10:] = 255
    mapping = np.mgrid[:20, :20].astype(float) + np.array([0, 0.5])[:, None, None]
    found, _ = resample(edge, torch.from_numpy(mapping))
    assert found.dtype == np.uint8
    assert found[5, 9] in (127, 128)
    assert found[5, 7] == 0  # overshoot of the kernel must not wrap round
    assert found[5, 12] == 255


def half_a_pixel_on(pixels: np.ndarray) -> np.ndarray:
    rows, cols = pixels.shape
    mapping = np.mgrid[:rows, :cols].astype(float) + np.array([0, 0.3])[:, None, None]
    return resample(pixels, torch.from_numpy(mapping))[0]


def test_a_mask_keeps_its_size() -> None:
    mask = np.zeros((60, 60), bool)
    mask[20:40, 20:40] = True
    np.testing.assert_array_equal(half_a_pixel_on(mask), mask)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint32, np.int64, np.uint64])
def test_long_integers_are_clipped_too(dtype: type) -> None:
    limits = np.iinfo(dtype)
    edge = np.full((20, 20), limits.min, dtype)
    edge[:, 10:] = limits.max
    found = half_a_pixel_on(edge)
    assert found.dtype == dtype
    # As nearly as float64 tells such numbers apart.
    np.testing.assert_allclose(found[:, :8].astype(float), float(limits.min), rtol=1e-15)
    np.testing.assert_allclose(found[:, 12:].astype(float), float(limits.max), rtol=1e-15)


@pytest.mark.parametrize("dtype", [np.uint32, np.int64, np.float64])
def test_small_steps_far_from_zero_are_kept(dtype: type) -> None:
    pixels = (np.random.default_rng(0).integers(0, 9, (20, 20)) + 2**31).astype(dtype)
    still = torch.from_numpy(np.mgrid[:20, :20].astype(float))
    np.testing.assert_array_equal(resample(pixels, still)[0], pixels)


@pytest.mark.parametrize(("dtype", "white"), [(np.float32, 1), (np.float64, 1), (np.uint16, 4095)])
def test_black_and_white_stay_as_known_as_they_were(dtype: type, white: int) -> None:
    """A cubic overshoots edges: floats beyond 0..1, or more than 12 bits, would tell another range."""
    edge = np.zeros((20, 20), dtype)
    edge[:, 10:] = white
    found = half_a_pixel_on(edge)
    assert (found.min(), found.max()) == (0, white)
    beyond = half_a_pixel_on(edge * dtype(2))
    assert beyond.max() > 2 * white


@pytest.mark.parametrize("points", [np.zeros((4, 3)), np.zeros(3), np.zeros((2, 2, 2))])
def test_points_of_a_stack_are_refused(points: np.ndarray) -> None:
    with pytest.raises(RegistrationError, match="no points of an image"):
        map_points(points, None, np.zeros((2, 9, 9), np.float32))


def test_shrinking_does_not_alias() -> None:
    """Stripes finer than the coarse grid holds come out grey, not as moire."""
    x = np.arange(400)
    stripes = np.tile(np.cos(2 * np.pi * x / 3).astype(np.float32), (400, 1))
    still = torch.zeros((2, 400, 400))
    found, _ = resample(stripes, dense_map(None, still, scale=4))
    assert np.abs(found[5:-5, 5:-5]).max() < 0.02
    slow = np.tile(np.cos(2 * np.pi * x / 100).astype(np.float32), (400, 1))
    found, _ = resample(slow, dense_map(None, still, scale=4))
    assert np.ptp(found[5:-5, 5:-5]) > 1.8


def test_channels_are_resampled_alike(tissue: np.ndarray) -> None:
    mapping = torch.from_numpy(np.mgrid[:50, :50] * 1.01 + 3.3)
    whole, _ = resample(tissue, mapping)
    for channel in range(3):
        alone, _ = resample(tissue[..., channel], mapping)
        np.testing.assert_array_equal(whole[..., channel], alone)

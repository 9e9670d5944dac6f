"""Extended depth of field: the wavelets against their properties, fusion against known sharp images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage import data

from napari_acuity.core.errors import AcuityError, FileError, ImageError
from napari_acuity.core.fusion import Fused, fuse, fuse_steps
from napari_acuity.core.io import write
from napari_acuity.core.jobs import run
from napari_acuity.core.micrograph import Micrograph
from napari_acuity.core.quality import psnr
from napari_acuity.core.wavelets import Coefficients, forward, inverse, most_levels, places

SIZE, PLANES = 192, 7
WINDOWS = (5, 9, 15, 21, 31, 45)


def surface(kind: str) -> np.ndarray:
    """Return which plane is in focus at each pixel, fractions included."""
    r, c = np.meshgrid(*2 * [np.linspace(0, 1, SIZE)], indexing="ij")
    height = (r + c) / 2 if kind == "tilted" else 0.5 + 0.5 * np.sin(2 * np.pi * r) * np.cos(3 * c)
    return height * (PLANES - 1)


def defocused(sharp: np.ndarray, depth: np.ndarray, noise: float) -> np.ndarray:
    """Return a focus stack: Gaussian blur of 1.5 px a plane of distance, and a camera's noise."""
    step = 0.375  # px of blur between the images that are interpolated
    sigmas = np.arange(0, 1.5 * PLANES + step, step)
    blurred = np.stack(
        [ndimage.gaussian_filter(sharp.astype(float), (s, s, 0)[: sharp.ndim]) for s in sigmas]
    )
    rng, rows_columns = np.random.default_rng(5), np.indices(depth.shape)
    planes = []
    for k in range(PLANES):
        at = 1.5 * np.abs(k - depth) / step
        part = (at % 1)[(...,) + (None,) * (sharp.ndim - 2)]
        first = at.astype(int)
        seen = (1 - part) * blurred[first, *rows_columns] + part * blurred[first + 1, *rows_columns]
        planes.append(seen + rng.normal(0, noise, seen.shape))
    return np.clip(np.rint(planes), 0, 255).astype(np.uint8)


def by_variance(stack: np.ndarray, window: int) -> np.ndarray:
    """Take each pixel from the plane of largest variance around it."""
    grey = stack.astype(float) if stack.ndim == 3 else stack @ np.array([0.299, 0.587, 0.114])
    mean = [ndimage.uniform_filter(plane, window) for plane in grey]
    square = [ndimage.uniform_filter(plane**2, window) for plane in grey]
    best = np.argmax(np.array(square) - np.array(mean) ** 2, 0)
    return stack[best, *np.indices(best.shape)]


def tissue_part(colour: str) -> np.ndarray:
    part = data.immunohistochemistry()[:SIZE, :SIZE]
    return part if colour == "rgb" else part[..., 1]


def some_stack(dtype: type = np.uint8, colour: str = "grey") -> np.ndarray:
    """Return three planes, quick to fuse: the left half in focus in the first, the right in the last."""
    sharp = tissue_part(colour)[:64, :70].astype(float)
    depth = np.repeat([[0.0, 2.0]], 35, 1).repeat(64, 0)
    planes = []
    for k in range(3):
        blurred = [ndimage.gaussian_filter(sharp, (s, s, 0)[: sharp.ndim]) for s in (0, 1.5, 3)]
        near = np.abs(k - depth).astype(int)
        planes.append(np.array(blurred)[near, *np.indices(depth.shape)])
    scale = {"f": 1 / 255, "u": 257 if dtype == np.uint16 else 1}[np.dtype(dtype).kind]
    return (np.array(planes) * scale).astype(dtype)


# The transform


@pytest.mark.parametrize("shape", [(64, 64), (65, 127), (101, 37), (3, 5), (1, 1), (1, 200)])
@pytest.mark.parametrize("levels", [1, 4])
def test_the_inverse_returns_the_image(shape, levels):
    image = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    found = inverse(forward(image, levels))
    assert found.shape == shape
    assert found.dtype == torch.float32
    assert float((found - image).abs().max()) < 1e-6


@settings(max_examples=6)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 4))
def test_the_filters_reconstruct_perfectly_to_their_digits(rows, columns, levels):
    image = torch.rand(rows, columns, dtype=torch.float64)
    assert float((inverse(forward(image, levels)) - image).abs().max()) < 5e-7


def test_the_transform_is_linear_and_a_constant_has_no_detail():
    one, two = torch.rand(2, 50, 60, dtype=torch.float64)
    both, first, second = forward(2 * one - two, 3), forward(one, 3), forward(two, 3)
    for mixed, a, b in zip(both.bands, first.bands, second.bands, strict=True):
        torch.testing.assert_close(mixed, 2 * a - b)
    # The published filters have eight digits, and a high-pass sums them with the low-pass of 2^3 px.
    flat = forward(torch.ones(50, 60, dtype=torch.float64), 3)
    assert max(float(band.abs().max()) for band in flat.bands) < 1e-5


def energy_of_an_impulse(row: int, column: int) -> np.ndarray:
    """Return energy by (level, tree or magnitude): the complex coefficients, and one real part alone."""
    image = torch.zeros(224, 224)  # so large that the mirrored impulses lie outside the margin
    image[row, column] = 1
    bands = forward(image, 4).bands
    whole = [[float(b.abs().square().sum()) for b in band] for band in bands]
    # (z1 + z2).real / sqrt(2) is the first tree alone: a plain wavelet transform.
    plain = [[float((b[i] + b[i + 3]).real.square().sum()) for i in range(3)] for b in bands]
    return np.array([[*w, *p] for w, p in zip(whole, plain, strict=True)])


def test_magnitudes_hardly_change_with_a_shift_and_those_of_one_tree_do():
    energy = np.array([energy_of_an_impulse(100 + d, 90 + 3 * d) for d in range(16)])
    spread = energy.min(0) / energy.max(0)
    # In one dimension the filters' own spread is 0.90 at worst, and it counts twice along a diagonal.
    assert spread[:, :6].min() > 0.8
    assert spread[1:, 6:].max() < 0.3


def test_a_wave_lands_in_the_orientation_it_runs_along():
    r, c = torch.meshgrid(*2 * [torch.arange(128.0)], indexing="ij")
    strongest = []
    # Level 3 passes 1/16 to 1/8 of a cycle a pixel along the rows, the columns, or both.
    waves = ((25, 10.7), (45, 7.5), (65, 10.7), (115, 10.7), (135, 7.5), (155, 10.7))
    for angle, length in waves:
        phase = np.cos(np.deg2rad(angle)) * c + np.sin(np.deg2rad(angle)) * r
        band = forward(torch.cos(2 * np.pi * phase / length), 3).bands[2]
        # Not in the margin: the wave runs the other way in a mirror.
        energy = band[:, 12:20, 12:20].abs().square().sum((1, 2))
        assert float(energy.max() / energy.sum()) > 0.85
        strongest.append(int(energy.argmax()))
    assert len(set(strongest)) == 6


@pytest.mark.parametrize("level", [1, 2, 3])
def test_coefficients_lie_where_places_says(level):
    image = torch.zeros(224, 200)
    image[101, 110] = 1
    energy = forward(image, 3).bands[level - 1].abs().square().sum(0).numpy()
    centre = ndimage.center_of_mass(energy)
    for found, length, pixel in zip(centre, (224, 200), (101, 110), strict=True):
        assert found == pytest.approx(float(places(length, level, 3)[pixel]), abs=0.6)


def test_coefficients_hold_their_shape():
    found = forward(torch.rand(50, 70), most_levels((50, 70)))
    assert isinstance(found, Coefficients)
    assert found.shape == (50, 70)
    assert len(found.bands) == 3
    assert all(band.shape[0] == 6 and band.is_complex() for band in found.bands)


# Fusion


@pytest.mark.parametrize("colour", ["grey", "rgb"])
@pytest.mark.parametrize("kind", ["tilted", "curved"])
def test_fusion_beats_the_best_plane_by_3_db_and_variance_at_its_best_window(colour, kind):
    sharp, depth = tissue_part(colour), surface(kind)
    stack = defocused(sharp, depth, noise=2)
    fused = fuse(stack, device="cpu")
    reached = psnr(sharp, fused.image)
    assert reached > max(psnr(sharp, plane) for plane in stack) + 3
    # The window is chosen with the truth at hand, which no user has.
    assert reached > max(psnr(sharp, by_variance(stack, window)) for window in WINDOWS)
    textured = ndimage.generic_gradient_magnitude(stack.max(0).astype(float), ndimage.sobel)
    textured = textured.max(-1) if colour == "rgb" else textured
    errors = np.abs(fused.depth - depth)[textured > 30]
    assert errors.size > 1000
    assert np.median(errors) < 0.5
    assert np.percentile(errors, 95) < 1


@pytest.mark.parametrize("colour", ["grey", "rgb"])
def test_every_pixel_is_one_of_the_stacks(colour):
    stack = some_stack(colour=colour)
    found = fuse(stack).image.pixels
    same = stack == found
    assert (same.all(-1) if colour == "rgb" else same).any(0).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_dtype_range_pixel_size_and_name_are_kept(dtype):
    stack = Micrograph(some_stack(dtype), (0.5, 0.25), name="slide", value_range=(0, 300))
    fused = fuse(stack)
    assert isinstance(fused, Fused)
    assert fused.image.pixels.dtype == dtype
    assert fused.image.pixels.shape == fused.depth.shape == (64, 70)
    assert (fused.image.pixel_size, fused.image.name) == ((0.5, 0.25), "slide")
    assert fused.image.value_range == (0, 300)
    assert fused.planes == 3
    assert 0 <= fused.depth.min() <= fused.depth.max() <= 2
    assert np.median(fused.depth[:, :25]) < 0.5
    assert np.median(fused.depth[:, -25:]) > 1.5


def test_the_unit_does_not_matter():
    stack = some_stack(np.float64)
    expected = fuse(stack)
    for factor in (2.0**-60, 2.0**200):
        np.testing.assert_array_equal(
            fuse(factor * stack).image.pixels / factor, expected.image.pixels
        )


@pytest.mark.parametrize("colour", ["grey", "rgb"])
def test_an_offset_does_not_matter(colour):
    stack = some_stack(np.uint8, colour).astype(np.uint32)
    far = fuse(stack + 4_000_000_000).image.pixels - 4_000_000_000
    assert np.mean(far == fuse(stack).image.pixels) > 0.99


def test_contrast_of_equal_luma_is_seen():
    texture = some_stack(np.float32)
    # 0.299 red + 0.587 green stays the same, so a grey by luma would show nothing.
    coloured = np.stack([texture, 0.8 - texture * 0.299 / 0.587, np.zeros_like(texture)], -1)
    np.testing.assert_allclose(fuse(coloured).depth, fuse(texture).depth, atol=0.3)


def test_the_order_of_planes_does_not_matter():
    stack = defocused(tissue_part("grey"), surface("curved"), noise=2)[:, :96, :96]
    up, down = fuse(stack), fuse(stack[::-1])
    assert np.mean(up.image.pixels == down.image.pixels) > 0.99
    np.testing.assert_allclose(up.depth, PLANES - 1 - down.depth, atol=0.2)


def test_a_sequence_of_planes_and_files_is_a_stack(tmp_path):
    stack = some_stack(colour="rgb")
    files = [tmp_path / f"{k}.tif" for k in range(3)]
    for plane, file in zip(stack, files, strict=True):
        write(Micrograph(plane, rgb=True, pixel_size=(0.5, 0.5)), file)
    expected = fuse(stack).image.pixels
    np.testing.assert_array_equal(fuse(list(stack)).image.pixels, expected)
    from_files = fuse(files).image
    np.testing.assert_array_equal(from_files.pixels, expected)
    assert from_files.pixel_size == (0.5, 0.5)
    with pytest.raises(FileError):
        fuse([files[0], tmp_path / "missing.tif"])


def test_a_single_plane_is_returned_with_depth_0():
    plane = some_stack()[:1]
    fused = fuse(plane)
    np.testing.assert_array_equal(fused.image.pixels, plane[0])
    assert not np.shares_memory(fused.image.pixels, plane)
    assert fused.planes == 1
    assert not fused.depth.any()


@pytest.mark.parametrize("shape", [(2, 1, 1), (3, 2, 5), (2, 1, 40), (4, 7, 3), (2, 3, 4, 3)])
def test_tiny_images_are_fused(shape):
    stack = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    given = Micrograph(stack, rgb=len(shape) == 4)
    fused = fuse(given)
    assert fused.image.pixels.shape == shape[1:]
    assert np.isfinite(fused.depth).all()


def test_planes_with_nothing_to_see_have_a_depth_all_the_same():
    flat = np.full((3, 40, 40), 7, np.uint16)
    fused = fuse(flat)
    np.testing.assert_array_equal(fused.image.pixels, flat[0])
    np.testing.assert_array_equal(fused.depth, 0)
    one_seen = np.stack([flat[0], tissue_part("grey")[:40, :40].astype(np.uint16), flat[0]])
    fused = fuse(one_seen)
    np.testing.assert_allclose(fused.depth, 1, atol=1e-3)
    assert np.mean(fused.image.pixels == one_seen[1]) > 0.99
    assert not fuse(np.zeros((2, 9, 9))).image.pixels.any()


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (np.zeros((8, 9)), "no stack"),
        (np.zeros((8, 9, 3), np.uint8), "RGB: it is no stack"),
        (np.zeros((2, 2, 8, 9)), "no stack"),
        ([], "no planes"),
        ([np.zeros((8, 9)), np.zeros((9, 8))], "first plane"),
        ([np.zeros((8, 9)), np.zeros((8, 9), np.uint8)], "first plane"),
        ([np.zeros((8, 9)), np.zeros((8, 9, 3))], "first plane"),
        ([np.zeros((2, 8, 9)), np.zeros((2, 8, 9))], "not one plane"),
        (np.where(np.arange(2 * 64).reshape(2, 8, 8) == 70, np.nan, 0.5), "1 values that are NaN"),
        (np.full((2, 8, 8), np.inf), "128 values that are NaN or infinite"),
    ],
)
def test_what_is_no_stack_is_refused(bad, words):
    with pytest.raises(ImageError, match=words):
        fuse(bad)


def test_an_unknown_device_is_refused():
    with pytest.raises(AcuityError, match="cuda:77"):
        fuse(some_stack(), device="cuda:77")


def test_steps_tell_of_every_pass_and_end_at_1():
    steps, fractions, stages = fuse_steps(some_stack()), [], []
    while True:
        try:
            event = next(steps)
        except StopIteration as end:
            found = end.value
            break
        fractions.append(event.fraction)
        stages.append(event.stage)
    assert fractions == sorted(fractions)
    assert fractions[0] == 0
    assert fractions[-1] == 1
    assert {"focus, plane 1 of 3", "fusion, plane 3 of 3", "pixels, plane 2 of 3"} <= set(stages)
    np.testing.assert_array_equal(found.image.pixels, run(fuse_steps(some_stack())).image.pixels)

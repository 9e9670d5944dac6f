"""The error map against a blunt search, planted errors, and what it cannot see."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from napari_acuity import ImageError
from napari_acuity.core.quality.resolution.error_map import _ratio, error_map


def scene(shape: tuple[int, int] = (160, 200), seed: int = 0, blur: float = 1.0) -> np.ndarray:
    """Dense structure with detail down to a few pixels."""
    values = np.random.default_rng(seed).exponential(size=shape)
    return 100 * gaussian_filter(values, blur, mode="reflect")


def seen(image: np.ndarray, sigma: float, up: int, down: int) -> np.ndarray:
    """Blur an image and average it over pixels up / down times as wide."""
    blurred = gaussian_filter(image, sigma, mode="reflect", truncate=8)
    fine = blurred.repeat(down, axis=0).repeat(down, axis=1)
    rows, columns = (n // up for n in fine.shape)
    return fine[: rows * up, : columns * up].reshape(rows, up, columns, up).mean((1, 3))


def blunt(reference: np.ndarray, image: np.ndarray, up: int, down: int, sigmas: np.ndarray):
    """Try every blur, with scale and offset from linear least squares."""
    best = None
    for sigma in sigmas:
        model = seen(image, sigma, up, down)
        terms = np.stack([model.ravel(), np.ones(model.size)], axis=1)
        (alpha, beta), *_ = np.linalg.lstsq(terms, reference.ravel(), rcond=None)
        rmse = np.sqrt(np.mean((reference - alpha * model - beta) ** 2))
        if best is None or rmse < best[0]:
            best = rmse, np.corrcoef(model.ravel(), reference.ravel())[0, 1], sigma, alpha, beta
    return best


@pytest.mark.parametrize(("up", "down"), [(1, 1), (2, 1), (5, 2), (4, 1)])
def test_error_map_is_what_a_blunt_search_finds(up, down):
    image = scene((120, 160))
    rng = np.random.default_rng(1)
    reference = seen(image, 2.7, up, down)
    reference = 3 * reference + 40 + rng.normal(0, 0.3 * reference.std(), reference.shape)
    found = error_map(reference, image)
    coarse = blunt(reference, image, up, down, np.arange(1, 5, 0.1))[2]
    fine = np.arange(coarse - 0.1, coarse + 0.1, 0.005)
    rmse, pearson, sigma, alpha, beta = blunt(reference, image, up, down, fine)
    assert found.rse == pytest.approx(rmse, rel=1e-4)
    assert found.rsp == pytest.approx(pearson, rel=1e-4)
    assert found.sigma_px == pytest.approx(sigma, abs=0.01)
    assert found.alpha == pytest.approx(alpha, rel=0.01)
    assert found.beta == pytest.approx(beta, abs=0.02 * reference.mean())
    assert found.rse_normalised == pytest.approx(rmse / np.ptp(reference), rel=1e-4)
    assert found.map.shape == found.blurred.shape == reference.shape
    np.testing.assert_allclose(found.map, np.abs(reference - found.blurred), atol=1e-9)
    assert found.rse == pytest.approx(np.sqrt((found.map**2).mean()))


@pytest.mark.parametrize(("up", "down"), [(1, 1), (2, 1), (5, 2), (3, 1)])
@pytest.mark.parametrize("sigma", [1.0, 2.0, 6.0])
def test_an_image_that_explains_the_reference_leaves_no_error(up, down, sigma):
    image = scene((180, 150))
    reference = 0.02 * seen(image, sigma, up, down) + 7
    found = error_map(reference, image)
    assert found.rsp == pytest.approx(1, abs=1e-5)
    assert found.rse_normalised < 1e-3
    assert found.sigma_px == pytest.approx(sigma, rel=0.01)
    assert found.alpha == pytest.approx(0.02, rel=0.01)
    assert found.beta == pytest.approx(7, rel=0.01)


def test_an_image_as_coarse_as_the_reference_needs_no_blur():
    image = scene((90, 70))
    found = error_map(image, image)
    assert found.sigma_px == 0
    assert found.rsp == pytest.approx(1, abs=1e-9)
    assert found.rse_normalised < 1e-6
    averaged = image.reshape(45, 2, 35, 2).mean((1, 3))
    assert error_map(averaged, image).sigma_px == 0


@settings(max_examples=15, deadline=None)
@given(
    gain=st.floats(0.01, 100),
    offset=st.floats(-1000, 1000),
    other_gain=st.floats(0.01, 100),
    other_offset=st.floats(-1000, 1000),
)
def test_scale_and_offset_of_the_intensity_do_not_matter(gain, offset, other_gain, other_offset):
    image = scene((64, 80))
    reference = seen(scene((64, 80), seed=0) + 0.3 * scene((64, 80), seed=9), 2, 2, 1)
    plain = error_map(reference, image)
    found = error_map(gain * reference + offset, other_gain * image + other_offset)
    assert found.rsp == pytest.approx(plain.rsp, abs=1e-5)
    assert found.rse == pytest.approx(gain * plain.rse, rel=1e-3)
    assert found.rse_normalised == pytest.approx(plain.rse_normalised, rel=1e-3)
    np.testing.assert_allclose(found.map / gain, plain.map, atol=2e-3 * plain.map.max())
    np.testing.assert_allclose(
        found.blurred, gain * plain.blurred + offset, atol=0.01 * gain + 1e-3
    )


def disc(shape: tuple[int, int], centre: tuple[int, int], radius: float) -> np.ndarray:
    y, x = np.indices(shape)
    return np.hypot(y - centre[0], x - centre[1]) <= radius


@pytest.mark.parametrize("change", [60, -60])
def test_what_was_invented_or_lost_shows_at_its_place(change):
    truth = scene((200, 240))
    reference = seen(truth, 3, 2, 1)
    place = disc(truth.shape, (130, 60), 6)
    found = error_map(reference, truth + change * place)
    there = disc(reference.shape, (65, 30), 5)
    near = disc(reference.shape, (65, 30), 12)
    assert np.unravel_index(found.map.argmax(), found.map.shape) == pytest.approx((65, 30), abs=1)
    assert found.map[there].mean() > 10 * found.map[~near].mean()
    assert found.rsp < error_map(reference, truth).rsp


def test_detail_below_the_references_resolution_leaves_no_trace():
    truth = scene((200, 240))
    stripes = 50 * (np.indices(truth.shape).sum(0) % 2)
    plain, invented = (error_map(seen(truth, 3, 2, 1), v) for v in (truth, truth + stripes))
    assert invented.rsp == pytest.approx(plain.rsp, abs=1e-4)
    assert invented.rse_normalised < 1e-3


def test_a_shift_shows_as_an_error():
    truth = scene((200, 240))
    reference = seen(truth, 3, 2, 1)
    shifts = [error_map(reference, np.roll(truth, k, axis=1)).rse for k in (0, 1, 2, 4)]
    assert shifts == sorted(shifts)
    assert shifts[1] > 20 * shifts[0]


def test_inverted_contrast_is_no_match():
    truth = scene((100, 100))
    reference = seen(truth, 2, 2, 1)
    found = error_map(reference, -truth)
    assert found.rsp < 0
    assert found.alpha == 0
    np.testing.assert_allclose(found.blurred, reference.mean())
    assert found.rse == pytest.approx(reference.std())


def test_an_image_flat_at_the_references_scale_correlates_with_nothing():
    line = np.tile([-1, 1, 1, -1], 16)
    found = error_map(scene((32, 32)), np.outer(line, line))
    assert found.rsp == 0
    assert found.alpha == 0
    assert np.isfinite(found.map).all()


def test_a_real_image_through_a_modest_microscope():
    image = skimage.data.camera()[:300, :350].astype(np.float32)
    reference = seen(image, 2.2, 5, 2)
    noisy = reference + np.random.default_rng(0).normal(0, 2, reference.shape)
    found = error_map(noisy, image)
    # All that is left is the noise.
    assert found.rse == pytest.approx(2, rel=0.02)
    assert found.sigma_px == pytest.approx(2.2, abs=0.1)


@pytest.mark.parametrize(
    ("low", "fine", "ratio"),
    [
        ((100, 80), (100, 80), 1),
        ((100, 80), (250, 200), 2.5),
        ((101, 77), (253, 193), 2.5),
        ((101, 78), (253, 195), 2.5),
        ((30, 40), (48, 64), 1.6),
        ((64, 64), (66, 66), 66 / 64),
        ((512, 512), (1024, 1024), 2),
        ((512, 500), (1127, 1100), 2.2),
        ((100, 80), (314, 251), 47 / 15),
        ((1000, 800), (3137, 2510), 3137 / 1000),
    ],
)
def test_the_ratio_of_the_grids_follows_from_the_shapes(low, fine, ratio):
    assert _ratio(low, fine) == pytest.approx(ratio)


def test_a_last_pixel_that_is_only_partly_needed_is_weighed_by_its_part():
    image = scene((103, 128))
    found = error_map(seen(image, 2, 5, 2), image[:102, :126])
    assert found.map.shape == (41, 51)
    whole = error_map(seen(np.pad(image, ((0, 2), (0, 2)), mode="symmetric"), 2, 5, 2), image)
    assert whole.map.shape == (42, 52)


@pytest.mark.parametrize(
    ("low", "fine", "words"),
    [((40, 40), (80, 90), "no one ratio"), ((80, 80), (40, 40), "coarser than the reference")],
)
def test_shapes_that_do_not_fit_are_refused(low, fine, words):
    with pytest.raises(ImageError, match=words):
        error_map(scene(low), scene(fine))


def test_images_that_cannot_be_compared_say_why():
    good = scene((40, 40))
    with_nan = good.copy()
    with_nan[3, 4] = np.nan
    for bad, words in (
        (with_nan, "NaN"),
        (np.full((40, 40), 7), "nothing to see"),
        (good[:5], "too small"),
        (np.stack([good] * 5), "stack"),
    ):
        with pytest.raises(ImageError, match=words):
            error_map(bad, good)
        with pytest.raises(ImageError, match=words):
            error_map(good, bad)
    with pytest.raises(ImageError, match="'reference' is a stack"):
        error_map(np.stack([good] * 5), good)


def test_rgb_is_measured_as_grey():
    image = scene((60, 80))
    reference = seen(image, 2, 2, 1) + scene((30, 40), seed=5)
    plain = error_map(reference, image)
    colour = error_map(np.stack([reference] * 3, axis=-1), np.stack([image] * 3, axis=-1))
    assert colour.rse == pytest.approx(plain.rse, rel=1e-4)
    assert colour.rsp == pytest.approx(plain.rsp, rel=1e-4)

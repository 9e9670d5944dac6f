"""The guard: what an output shows that its input denies, and where the model guesses."""

from __future__ import annotations

import math
from dataclasses import asdict, replace

import numpy as np
import pytest

import napari_acuity as acuity
from napari_acuity import ImageError, Micrograph, Model, ModelError, Pair
from napari_acuity.core.inference.capture import Capture, fit_capture
from napari_acuity.core.inference.guard import guard

COLOURS = ((0.8, 0.1, 0.0, 0.05), (0.0, 0.9, 0.05, 0.02), (0.1, 0.0, 0.7, 0.1))


def seen(sharp: Micrograph, capture: Capture, scale: float = 2.5) -> Micrograph:
    shape = tuple(round(n / scale) for n in sharp.shape)
    low = capture.see(sharp, shape, scale)
    low = low + np.random.default_rng(0).normal(0, capture.noise, low.shape)
    return Micrograph(np.clip(np.rint(255 * low), 0, 255).astype(np.uint8), rgb=True)


@pytest.fixture(scope="module")
def sharp(tissue: np.ndarray) -> Micrograph:
    return Micrograph(tissue[:400, :400], rgb=True)


def test_blur_colours_and_noise_are_found_again(sharp: Micrograph) -> None:
    truth = Capture(1.9, COLOURS, 0.02)

    found = fit_capture([Pair(seen(sharp, truth), sharp, 2.5)])

    assert found.sigma_px == pytest.approx(1.9, abs=0.1)
    # The colours of a section are nearly one colour: what they look like is known, not each number.
    again = [capture.see(sharp, (160, 160), 2.5) for capture in (found, truth)]
    np.testing.assert_allclose(*again, atol=0.015)
    assert found.noise == pytest.approx(0.02, rel=0.1)
    assert Capture.from_table(asdict(found)) == found


def test_a_structure_that_the_input_denies_stands_out(sharp: Micrograph) -> None:
    capture = Capture(1.5, COLOURS, 0.01)
    low = seen(sharp, capture)
    model = Model.new("brightfield")
    model = replace(model, header=replace(model.header, capture=asdict(capture)))
    invented = sharp.pixels.copy()
    invented[200:215, 100:115] = (60, 20, 90)

    honest = guard(low, sharp, model, device="cpu").consistency.pixels
    false = guard(low, sharp.with_pixels(invented), model, device="cpu").consistency.pixels

    assert np.quantile(honest, 0.95) < 1.6
    assert false[200:215, 100:115].mean() > 5
    far = np.s_[:150, 200:]
    np.testing.assert_allclose(false[far], honest[far], atol=1e-4)


@pytest.mark.parametrize("shape", [(60, 141), (61, 140)])
def test_a_grid_that_is_rounded_up_does_not_drift(
    sharp: Micrograph, shape: tuple[int, int]
) -> None:
    capture = Capture(1.5, COLOURS, 0.01)
    model = Model.new("brightfield")
    model = replace(model, header=replace(model.header, capture=asdict(capture)))
    high = sharp.with_pixels(sharp.pixels[tuple(slice(math.ceil(2.5 * n)) for n in shape)])
    low = Micrograph(np.clip(capture.see(high, shape, 2.5), 0, 1), value_range=(0, 1), rgb=True)

    found = guard(low, high, model, device="cpu").consistency.pixels

    assert found.shape == high.shape
    assert found.max() < 0.1


def test_the_grid_of_iterations_is_rounded_up_twice(tissue: np.ndarray) -> None:
    image = Micrograph(tissue[:21, :40], rgb=True)
    model = acuity.load("default")
    output = acuity.enhance(image, model, iterations=2)

    maps = guard(image, output, model, iterations=2)

    assert maps.consistency.shape == output.shape == (133, 250)


@pytest.mark.parametrize("shape", [(41, 36), (30, 33)])
def test_maps_lie_on_the_output_and_turn_with_the_image(
    tissue: np.ndarray, shape: tuple[int, int]
) -> None:
    image = Micrograph(tissue[100 : 100 + shape[0], : shape[1]], rgb=True)
    model = acuity.load("default")
    output = acuity.enhance(image, model)

    maps = guard(image, output, model)

    for found in (maps.consistency, maps.disagreement):
        assert found.shape == output.shape
        assert found.pixels.dtype == np.float32
        assert np.isfinite(found.pixels).all()
    assert 0 < np.median(maps.disagreement.pixels) < 0.05
    if all(n % 2 == 0 for n in shape):
        return
    even = Micrograph(tissue[100:140, :36], rgb=True)
    turned = even.with_pixels(np.rot90(even.pixels).copy())
    straight, other = (
        guard(one, acuity.enhance(one, model), model).disagreement.pixels for one in (even, turned)
    )
    np.testing.assert_allclose(np.rot90(straight), other, atol=1e-5)


def test_stacks_are_guarded_plane_by_plane(tissue: np.ndarray) -> None:
    stack = Micrograph(tissue[:60, :20].reshape(3, 20, 20, 3), rgb=True)
    model = acuity.load("default")

    maps = guard(stack, acuity.enhance(stack, model), model)

    assert maps.consistency.pixels.shape == maps.disagreement.pixels.shape == (3, 50, 50)


def test_a_model_that_tells_no_capture_is_refused(tissue: np.ndarray) -> None:
    with pytest.raises(ModelError, match="does not tell how its captures came about"):
        guard(tissue[:20, :20], tissue[:50, :50], Model.new("brightfield"))


def test_an_output_that_was_made_otherwise_is_refused(tissue: np.ndarray) -> None:
    image, model = tissue[:20, :22], acuity.load("default")
    once, twice = (acuity.enhance(image, model, iterations=n) for n in (1, 2))

    assert guard(image, twice, model, iterations=2).consistency.shape == twice.shape
    for output in (twice, once.pixels[..., 0], once.pixels[:40]):
        with pytest.raises(ImageError, match=r"makes \(50, 55, 3\) of 'image' in 1 iteration"):
            guard(image, output, model)
    for option in ({"dtype": "uint8"}, {"stop_below": 0.1}):
        with pytest.raises(ImageError, match=f"depend on no {next(iter(option))}"):
            guard(image, once, model, **option)


def test_a_dark_plane_of_16_bits_and_plain_floats_are_guarded(sharp: Micrograph) -> None:
    """Black and white are those of the whole stack; a plain array's are those of what it was made of."""
    model = acuity.load("default")
    bright = sharp.pixels[:60, :60].astype(np.uint16) * 257
    for stack in (np.stack([bright, bright // 20]), np.stack([bright, bright // 20]) / 65535):
        output = acuity.enhance(stack, model)
        found = guard(stack, output, model).consistency.pixels
        again = guard(stack, output.pixels, model).consistency.pixels
        assert found.shape == (2, 150, 150)
        np.testing.assert_array_equal(again, found)

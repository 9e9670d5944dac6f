"""The way of pixels to a device and back, against the formulas written out in NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import napari_acuity as acuity
from napari_acuity.core.inference import planes
from napari_acuity.core.inference.many import enhance_many
from napari_acuity.core.inference.planes import from_device, leaving, to_device
from napari_acuity.core.micrograph import Micrograph, to_unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
KINDS = [
    (np.uint8, (0, 255)),
    (np.uint8, (30, 200)),
    (np.uint16, (0, 65535)),
    (np.uint16, (100, 4095)),
    (np.float32, (0, 1)),
    (np.float32, (-3, 5)),
    (np.float16, (0, 1)),
    (np.float64, (0, 1)),
    (np.int32, (-70000, 70000)),
    (np.bool_, (0, 1)),
]
Range = tuple[float, float]


def in_unit(pixels: NDArray[Any], low: float, high: float) -> NDArray[np.float32]:
    wide = np.float32 if np.can_cast(pixels.dtype, np.float32) else np.float64
    return (pixels.astype(wide) - wide(low)).astype(np.float32) / np.float32(high - low)


def in_range(unit: NDArray[np.float32], low: float, high: float, dtype: type) -> NDArray[Any]:
    wide = np.float32 if np.can_cast(dtype, np.float32) else np.float64
    values = unit.astype(wide) * (high - low) + low
    if np.issubdtype(dtype, np.floating):
        return values.astype(dtype)
    if dtype is np.bool_:
        return values >= 0.5
    limits = np.iinfo(dtype)
    return np.clip(np.rint(values), max(low, limits.min), min(high, limits.max)).astype(dtype)


def some(dtype: type, channels: int, *, interleaved: bool, part: bool) -> NDArray[Any]:
    """Return (channels, h, w) pixels over all of a type, or a part of such."""
    shape = (41, 37, channels) if interleaved else (channels, 41, 37)
    values = np.random.default_rng(0).random(shape)
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        values = limits.min + values * (float(limits.max) - limits.min)
    pixels = (values > 0.5 if dtype is np.bool_ else values).astype(dtype)
    pixels = np.moveaxis(pixels, -1, 0) if interleaved else pixels
    return pixels[:, 3:30, 5:31] if part else pixels


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("part", [False, True])
@pytest.mark.parametrize(
    ("channels", "interleaved"), [(1, False), (3, True), (3, False), (4, False)]
)
@pytest.mark.parametrize(("dtype", "limits"), KINDS)
def test_pixels_come_to_a_device_with_black_0_and_white_1(
    dtype: type, limits: Range, channels: int, interleaved: bool, part: bool, device: str
) -> None:
    pixels = some(dtype, channels, interleaved=interleaved, part=part)
    before = pixels.copy()

    found = to_device(pixels, Micrograph(pixels, value_range=limits), device)

    assert (found.dtype, found.device.type) == (torch.float32, device)
    assert found.shape == (1, *pixels.shape)
    expected = in_unit(pixels, *limits)
    if device == "cpu":
        np.testing.assert_array_equal(found[0].numpy(), expected)
    else:
        np.testing.assert_allclose(found[0].cpu().numpy(), expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("change", [lambda x: x, lambda x: x[:, ::-1], lambda x: x[..., ::-1]])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_pixels_that_cannot_be_written_or_run_backwards_are_taken(
    dtype: type, change: Any, device: str
) -> None:
    pixels = change(some(dtype, 3, interleaved=True, part=False))
    pixels.flags.writeable = False
    white = 1.0 if dtype is np.float32 else float(np.iinfo(dtype).max)

    found = to_device(pixels, Micrograph(pixels, value_range=(0, white)), device)

    expected = in_unit(pixels, 0, white)
    np.testing.assert_allclose(found[0].cpu().numpy(), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("part", [False, True])
@pytest.mark.parametrize(
    ("channels", "interleaved"), [(1, False), (3, True), (3, False), (4, False)]
)
@pytest.mark.parametrize(("dtype", "limits"), KINDS)
def test_an_output_comes_back_in_its_type_and_range(
    dtype: type,
    limits: Range,
    channels: int,
    interleaved: bool,
    part: bool,
    last: bool,
    device: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(planes, "_CACHED_VALUES", 200)
    target = some(dtype, channels, interleaved=interleaved, part=part)
    unit = np.random.default_rng(1).normal(0.5, 0.6, target.shape).astype(np.float32)
    unit.flat[:300] = np.linspace(0, 1, 511, dtype=np.float32)[:300]  # halves, too
    output = torch.from_numpy(unit)[None].to(device)
    if last:
        output = output.contiguous(memory_format=torch.channels_last)
    like = Micrograph(np.zeros((1, 1), dtype), value_range=limits)

    with torch.inference_mode():
        output = output.clone()
    from_device(output, like, target)

    np.testing.assert_array_equal(target, in_range(unit, *limits, dtype))


@pytest.mark.parametrize("device", DEVICES)
def test_only_the_target_is_written(device: str) -> None:
    whole = np.full((20, 30, 3), 7, np.uint16)
    like = Micrograph(whole, rgb=True, value_range=(0, 65535))

    copy = leaving(
        torch.ones(1, 3, 4, 5, device=device), like, np.moveaxis(whole, -1, 0)[:, 2:6, 3:8]
    )
    copy()

    expected = np.full((20, 30, 3), 7, np.uint16)
    expected[2:6, 3:8] = 65535
    np.testing.assert_array_equal(whole, expected)


@pytest.mark.parametrize(("dtype", "limits"), KINDS)
def test_units_are_what_their_formula_gives(dtype: type, limits: Range) -> None:
    pixels = some(dtype, 3, interleaved=True, part=True)

    found = to_unit(Micrograph(pixels, value_range=limits))

    np.testing.assert_array_equal(found, in_unit(pixels, *limits))
    assert not np.shares_memory(found, pixels)


@pytest.mark.gpu
def test_too_large_for_locked_memory_is_copied_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(planes, "_MOST_LOCKED_BYTES", 0)
    pixels = some(np.uint16, 3, interleaved=True, part=True)
    image = Micrograph(pixels, value_range=(0, 65535))
    target = np.empty_like(pixels)

    from_device(to_device(pixels, image, "cuda"), image, target)

    np.testing.assert_array_equal(target, pixels)


@pytest.mark.gpu
def test_all_results_of_a_stream_can_be_kept(tissue: NDArray[np.uint8]) -> None:
    model = acuity.load("default")
    images = [np.roll(tissue, n, axis=0) for n in range(8)]

    kept = list(enhance_many(iter(images), model, device="cuda"))

    for image, output in zip(images, kept, strict=True):
        expected = acuity.enhance(image, model, device="cuda").pixels
        np.testing.assert_array_equal(output.pixels, expected)
        assert not torch.from_numpy(output.pixels).is_pinned()

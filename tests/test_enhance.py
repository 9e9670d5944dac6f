"""Enhancing: tiles equal the whole, and dtype, range, axes and pixel size come out as they should."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import napari_acuity as acuity
from napari_acuity import AcuityError, ImageError, Micrograph, Model, ModelError
from napari_acuity.core.inference import model_steps as module
from napari_acuity.core.inference.enhance import enhance_steps
from napari_acuity.core.inference.model_steps import Generation
from napari_acuity.core.inference.pixel_size import at_size_of
from napari_acuity.core.inference.tiles import Grid, TileDone, output_shape

SCALES = [1, 1.5, 2, 2.5, 4, 4 / 3]


def model_of(scale: float = 2.5, channels: int = 3, *, blocks: int = 1, **arguments: Any) -> Model:
    """Return a small model with weights as lively as a trained one's."""
    arguments = {"init": "published", "width": 6, "growth": 3, **arguments}
    model = Model.new(scale=scale, channels=channels, blocks=blocks, **arguments)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.network.named_parameters():
            spread = 0.1 if name.endswith("bias") else 0.5 * parameter[0].numel() ** -0.5
            parameter += spread * torch.randn(parameter.shape, generator=generator)
    return model


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def relative_difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max() / np.ptp(a))


@settings(max_examples=150)
@given(
    shape=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    tile=st.integers(1, 80),
    scale=st.sampled_from(SCALES),
    channels=st.sampled_from([1, 3]),
    init=st.sampled_from(["published", "interpolation"]),
    blocks=st.sampled_from([1, 3]),
)
def test_tiles_give_what_the_whole_image_gives(shape, tile, scale, channels, init, blocks):
    tile = max(tile, min(shape) // 6, 1)  # not thousands of them
    model = model_of(scale, channels, init=init, blocks=blocks)
    image = Micrograph(noise(*shape, 3)[..., : 3 if channels == 3 else 1], value_range=(-1, 2))
    image = (
        replace(image, pixels=image.pixels[..., 0]) if channels == 1 else replace(image, rgb=True)
    )
    if np.ptp(image.pixels) == 0:
        return

    whole = acuity.enhance(image, model, tile=None, device="cpu").pixels
    tiled = acuity.enhance(image, model, tile=tile, device="cpu").pixels

    assert whole.shape[:2] == tuple(math.ceil(scale * n - 1e-9) for n in shape)
    assert np.ptp(whole) > 1e-2
    assert np.abs(tiled - whole).max() < 1e-5 * max(1, np.abs(whole).max())


def test_the_published_network_is_exact_in_tiles_too(tissue):
    model = model_of(blocks=5, width=32, growth=10)
    image = tissue[:91, :120]

    whole = acuity.enhance(image / 255, model, tile=None).pixels

    assert np.ptp(whole) > 0.1
    for tile in (20, 33, 64):
        tiled = acuity.enhance(image / 255, model, tile=tile).pixels
        assert relative_difference(whole, tiled) < 1e-5


def test_an_odd_start_would_show(tissue):
    """The oracle of the tests above: tiles off the stride differ by far more than rounding."""
    model = model_of()
    image = torch.from_numpy(tissue[:64, :64].copy()).movedim(-1, 0)[None].float() / 255

    with torch.inference_mode():
        whole, odd = model.network(image), model.network(image[..., 1:])

    step = [2, 3]
    assert (
        min(
            float((whole[..., 40:100, 40 + s : 100 + s] - odd[..., 40:100, 40:100]).abs().max())
            for s in step
        )
        > 1e-2
    )


@given(
    st.integers(1, 200),
    st.integers(1, 200),
    st.sampled_from(SCALES),
    st.integers(1, 5),
    st.integers(1, 90),
)
def test_tiles_cover_the_output_once(height, width, scale, halos, tile):
    stride = {1.5: 2, 2.5: 2, 4 / 3: 3}.get(scale, 1)
    tile = max(tile, 10)
    seen = np.zeros(output_shape((height, width), scale), int)

    for cut in Grid((height, width), scale, stride, halos * stride).tiles(tile):
        seen[cut.write] += 1
        assert all(part.start % stride == 0 for part in cut.read)
        assert [s.stop - s.start for s in cut.keep] == [s.stop - s.start for s in cut.write]

    assert (seen == 1).all()


def test_auto_tiles_follow_the_free_memory(tissue, monkeypatch):
    model = model_of()
    image = tissue[:150, :140] / 255
    whole = acuity.enhance(image, model, tile=None).pixels
    events = list(enhance_steps(image, model))
    monkeypatch.setattr(module, "free_memory", lambda _: 1)

    tight = list(enhance_steps(image, model))

    assert len(events) == 1
    assert len(tight) == 9  # of 64 px, the least
    assert relative_difference(whole, acuity.enhance(image, model).pixels) < 1e-5


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64, np.float16, bool])
def test_the_dtype_and_range_are_kept(tissue, dtype):
    factor = {np.uint8: 1, np.uint16: 257, bool: 1}.get(dtype, 1 / 255)
    pixels = (
        tissue[:30, :31] > 128
        if dtype is bool
        else (tissue[:30, :31] * float(factor)).astype(dtype)
    )
    reference = acuity.enhance(tissue[:30, :31] / 255.0, Model.new()).pixels

    found = acuity.enhance(pixels, Model.new())

    assert found.pixels.dtype == dtype
    assert found.shape == (75, 78)
    if dtype is bool:
        assert found.notes[0].startswith("the image is of black and white alone")
    else:
        scaled = found.pixels.astype(float) / (1 if factor < 1 else 255 * factor)
        assert np.abs(scaled - reference).max() < 0.005


def test_12_bit_data_are_asked_for_their_range_and_stay_within(tissue):
    pixels = tissue[:30, :30].astype(np.uint16) * 16
    model = model_of()

    with pytest.raises(ImageError, match="looks like 12-bit data"):
        acuity.enhance(pixels, model)
    found = acuity.enhance(Micrograph(pixels, rgb=True, value_range=(0, 4095)), model)

    eight = acuity.enhance(np.float32(pixels / 4095), model).pixels
    np.testing.assert_allclose(found.pixels, np.clip(eight, 0, 1) * 4095, atol=0.51)
    assert found.range() == (0, 4095)


def test_integers_are_clipped_and_floats_are_not():
    model = model_of(channels=1)
    with torch.no_grad():
        model.network.down.bias += 5

    image = noise(20, 20)
    assert (acuity.enhance((image * 255).astype(np.uint8), model).pixels == 255).all()
    assert acuity.enhance(image, model).pixels.min() > 1


@pytest.mark.parametrize("axes", [(3,), (2, 2), (1,)])
@pytest.mark.parametrize("channels", [1, 3])
def test_stacks_are_done_plane_by_plane(axes, channels):
    shape = (*axes, 21, 18, 3) if channels == 3 else (*axes, 21, 18)
    stack = Micrograph(noise(*shape), rgb=channels == 3)
    model = model_of(channels=channels)

    found = acuity.enhance(stack, model).pixels

    assert found.shape[: len(axes)] == axes
    for index in np.ndindex(*axes):
        plane = acuity.enhance(stack.with_pixels(stack.pixels[index]), model).pixels
        np.testing.assert_allclose(found[index], plane, atol=1e-6)


@pytest.mark.parametrize(("size", "wanted"), [((1.0, 0.5), (0.4, 0.2)), (None, None)])
def test_the_pixel_size_is_divided_by_the_scale(tissue, size, wanted):
    image = Micrograph(tissue[:20, :20], rgb=True, pixel_size=size, name="field")

    found = acuity.enhance(image, model_of())

    assert found.pixel_size == (None if wanted is None else pytest.approx(wanted))
    assert found.name == "field"


def test_iterations_feed_the_output_back(tissue):
    model = model_of()
    image = Micrograph(tissue[:20, :21] / 255.0, rgb=True, pixel_size=(1, 1), value_range=(0, 1))

    twice = acuity.enhance(image, model, iterations=2)
    by_hand = acuity.enhance(acuity.enhance(image, model), model)

    assert twice.shape == (125, 133)
    assert twice.pixel_size == pytest.approx((0.16, 0.16))
    assert relative_difference(by_hand.pixels, twice.pixels) < 1e-5


def test_the_callers_model_stays_as_it_was(tissue):
    model = model_of()
    model.network.train()
    before = {key: value.clone() for key, value in model.network.state_dict().items()}

    acuity.enhance(tissue[:20, :20], model)

    assert model.network.training
    for key, value in model.network.state_dict().items():
        assert torch.equal(value, before[key])
        assert value.device.type == "cpu"


def test_models_are_taken_from_files(tmp_path, tissue):
    model = model_of()
    path = model.save(tmp_path / "model")

    np.testing.assert_array_equal(
        acuity.enhance(tissue[:20, :20], path).pixels,
        acuity.enhance(tissue[:20, :20], model).pixels,
    )


def test_events_carry_tiles_and_never_fall(tissue):
    image, model = tissue[:60, :50], model_of()
    steps, events = enhance_steps(image, model, tile=20, iterations=2), []
    with pytest.raises(StopIteration) as end:
        while True:
            events.append(next(steps))

    fractions = [event.fraction for event in events]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert "iteration 1 of 2, tile 1 of 9" in events[0].stage
    result, canvas = end.value.value, np.zeros_like(end.value.value.pixels)
    for event in events:
        if isinstance(event.new, TileDone):
            canvas[event.new.index[1:]] = event.new.pixels
    made = [event.new for event in events if isinstance(event.new, Generation)]
    assert [generation.number for generation in made] == [1, 2]
    assert made[-1].image is result
    np.testing.assert_array_equal(canvas, result.pixels)


def test_closing_ends_the_work(tissue):
    steps = enhance_steps(tissue[:60, :60], model_of(), tile=20)
    next(steps)

    steps.close()

    with pytest.raises(StopIteration):
        next(steps)


def test_it_is_told_that_planes_were_taken_for_colours(tissue):
    planes = np.moveaxis(tissue[:20, :20], -1, 0)
    model = model_of()
    channels = replace(model, header=replace(model.header, rgb=False))

    assert "taken for red, green and blue" in acuity.enhance(planes, model).notes[0]
    assert acuity.enhance(planes, channels).notes == ()
    assert acuity.enhance(tissue[:20, :20], model).notes == ()


def test_colour_and_grey_do_not_mix(tissue):
    with pytest.raises(
        ModelError, match=r"takes RGB images, and 'image' is grey\. Choose a grey model"
    ):
        acuity.enhance(tissue[..., 0], model_of())
    with pytest.raises(
        ModelError, match=r"takes grey images, and 'image' is RGB.*convert .* to grey"
    ):
        acuity.enhance(tissue, model_of(channels=1))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((20, 20, 3), 9, np.uint8), "'image' has nothing to see: every pixel is 9"),
        (np.full((20, 20, 3), np.nan), "holds 1200 values that are NaN"),
        (np.zeros((0, 20, 3)), "shape"),
        (noise(20, 20, 3) * 300, "black and white are unknown"),
        (noise(20, 20, 3) - 0.5, "black and white are unknown"),
        (np.dstack([noise(20, 20, 3), np.zeros((20, 20), np.float32)]), "transparent"),
    ],
)
def test_bad_images_are_refused(image, message):
    with pytest.raises(ImageError, match=message):
        acuity.enhance(image, model_of())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iterations": 0}, "0 iterations cannot be done. Use a whole number"),
        ({"tile": 0}, "tile of 0 pixels cannot be cut"),
        ({"tile": -3}, "tile of -3 pixels cannot be cut"),
        ({"device": "abacus"}, "device 'abacus' is not here.*Choose 'auto'"),
    ],
)
def test_bad_options_are_refused(tissue, options, message):
    with pytest.raises(AcuityError, match=message):
        acuity.enhance(tissue[:20, :20], model_of(), **options)


@pytest.mark.gpu
def test_the_gpu_gives_what_the_cpu_gives(tissue):
    model = model_of(blocks=5, width=32, growth=10)
    cpu, gpu = (acuity.enhance(tissue / 255, model, device=d).pixels for d in ("cpu", "cuda"))

    assert relative_difference(cpu, gpu) < 2e-3  # TF32


def test_generations_are_kept_also_of_one_iteration(tissue):
    pixels = (tissue[:20, :21] / 255).astype(np.float32)
    model, image = model_of(), Micrograph(pixels, rgb=True, pixel_size=(1, 1))
    header = replace(model.header, pixel_size=(0.5, 0.5))
    model = replace(model, header=header)

    (once,) = acuity.generations(image, model, iterations=1)
    kept = acuity.generations(image, model, iterations=2)

    assert [each.number for each in kept] == [1, 2] and once.number == 1
    np.testing.assert_array_equal(once.image.pixels, kept[0].image.pixels)
    assert once.change == pytest.approx(kept[0].change, rel=0.01)
    assert "2 times" in once.image.notes[0] and kept[1].image.notes == once.image.notes


def test_a_model_for_another_pixel_size_is_noted_with_ratio_and_cure(tissue):
    model = model_of()
    model = replace(model, header=replace(model.header, pixel_size=(0.5, 0.5)))
    image = Micrograph(tissue[:20, :21], rgb=True, pixel_size=(1.25, 1.25))

    (note,) = acuity.enhance(image, model).notes

    assert "2.5 times those that the model was trained on" in note
    assert "to 2.5 times as many pixels a side" in note
    same = at_size_of(model, image)
    assert same.shape == (50, 53)
    for fitting in (same, replace(image, pixel_size=None), replace(image, pixel_size=(0.55, 0.55))):
        assert acuity.enhance(fitting, model).notes == ()
    for stretched in ((0.2, 1.25), (1.25, 0.2)):  # of the right area, not of the right shape
        (note,) = acuity.enhance(replace(image, pixel_size=stretched), model).notes
        assert "2.5 times" in note or "0.4 times" in note
    with pytest.raises(ImageError, match="none to resample to"):
        at_size_of(model, replace(image, pixel_size=None))


def test_zarr_pixels_are_read(tissue):
    zarr = pytest.importorskip("zarr")
    image = Micrograph(zarr.array(tissue[:20, :21]), rgb=True)

    np.testing.assert_array_equal(
        acuity.enhance(image, model_of()).pixels,
        acuity.enhance(tissue[:20, :21], model_of()).pixels,
    )

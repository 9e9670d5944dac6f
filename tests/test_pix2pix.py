"""The neural lens's network and discriminator: as published, deterministic, and honest about tiles."""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import napari_acuity as acuity
from napari_acuity.core.errors import ModelError, TrainingError
from napari_acuity.core.inference.enhance import enhance_steps
from napari_acuity.core.inference.tiles import TileDone
from napari_acuity.core.inference.windows import _ramps, _spans
from napari_acuity.core.jobs import run
from napari_acuity.core.micrograph import Micrograph, to_unit
from napari_acuity.core.model import Header, Model
from napari_acuity.core.networks.discriminator import PatchDiscriminator
from napari_acuity.core.networks.pix2pix import Pix2Pix
from napari_acuity.core.pairs.extended import extended
from napari_acuity.core.recipe import RECIPES
from napari_acuity.core.training.schedule import rate_at
from napari_acuity.core.training.train import train_steps

if TYPE_CHECKING:
    from pathlib import Path


def small(*, size: int = 32, channels: int = 3, seed: int = 0) -> Model:
    arguments = {"channels": channels, "scale": 1.0, "size": size, "width": 4}
    return Model.build(Header("pix2pix", arguments, 1.0, channels), name="small", seed=seed)


def picture(*shape: int, seed: int = 0) -> Micrograph:
    pixels = np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)
    return Micrograph(pixels, (0.5, 0.5), rgb=True, name="picture")


def through(model: Model, image: Micrograph) -> np.ndarray[Any, Any]:
    batch = torch.from_numpy(np.moveaxis(to_unit(image), -1, 0).copy())[None]
    with torch.inference_mode():
        return np.moveaxis(model.network(batch)[0].numpy(), 0, -1)


def parts_of(network: nn.Module, kind: type[nn.Module]) -> list[Any]:
    return [part for part in network.modules() if isinstance(part, kind)]


# As published


def test_the_network_has_the_weights_of_the_published_one():
    # The public code tells 54.414 M for 256 px, and 2.769 M for the discriminator.
    assert sum(p.numel() for p in Pix2Pix().parameters()) == 54_413_955
    assert sum(p.numel() for p in PatchDiscriminator().parameters()) == 2_768_705


@pytest.mark.parametrize(("size", "levels", "dropouts"), [(256, 8, 3), (512, 9, 4), (1024, 10, 5)])
def test_levels_dropout_and_norms_follow_the_size(size: int, levels: int, dropouts: int):
    network = Pix2Pix(size=size, width=2)

    assert len(parts_of(network, nn.Conv2d)) == len(parts_of(network, nn.ConvTranspose2d)) == levels
    assert [part.p for part in parts_of(network, nn.Dropout)] == [0.5] * dropouts
    # Not at the first block, the last one, and where one pixel is left.
    assert len(parts_of(network, nn.InstanceNorm2d)) == 2 * levels - 3
    assert not parts_of(network.down[-1], nn.InstanceNorm2d)
    seen = []
    network.down[-1].register_forward_hook(lambda _m, _i, output: seen.append(output.shape))
    with torch.inference_mode():
        network.eval()(torch.rand(1, 3, size, size))
    assert seen[0][-2:] == (1, 1)


def test_its_statistics_are_those_of_batch_normalisation_at_a_batch_of_one():
    network = Pix2Pix(size=64, width=4, dropout=0.0)
    other = copy.deepcopy(network)
    for parent in [*other.modules()]:
        for name, part in parent.named_children():
            if isinstance(part, nn.InstanceNorm2d):
                batch = nn.BatchNorm2d(part.num_features)
                batch.weight, batch.bias = part.weight, part.bias
                setattr(parent, name, batch)
    image = torch.rand(1, 3, 64, 64)

    torch.testing.assert_close(network.train()(image), other.train()(image))
    # What they are here for: use, and a larger batch, give what training gave.
    torch.testing.assert_close(network.eval()(image), network.train()(image))
    both = torch.cat([image, torch.rand(1, 3, 64, 64)])
    torch.testing.assert_close(network.eval()(both)[:1], network(image), atol=1e-5, rtol=1e-4)
    assert (other.eval()(image) - network(image)).abs().max() > 0.01


def test_dropout_is_of_training_alone():
    network, image = Pix2Pix(size=256, width=2), torch.rand(1, 3, 256, 256)

    assert not torch.equal(network.train()(image), network(image))
    assert torch.equal(network.eval()(image), network(image))


def test_the_discriminator_sees_70_px_of_input_and_image():
    judge = PatchDiscriminator(width=2).double()
    for part in parts_of(judge, nn.InstanceNorm2d):  # statistics reach over the whole image
        part.forward = lambda x: x
    for parameter in judge.parameters():
        parameter.data.uniform_(0.1, 1.0)
    low, image = (torch.rand(1, 3, 256, 256, dtype=torch.float64) + 1 for _ in range(2))
    low.requires_grad_(True)
    image.requires_grad_(True)

    judged = judge(image, low)
    assert judged.shape == (1, 30, 30)
    judged[0, 15, 15].backward()

    for seen in (low, image):
        rows = seen.grad[0].abs().sum((0, 2)).nonzero().flatten()
        assert rows.max() - rows.min() + 1 == 70


def test_the_recipe_is_the_published_one():
    recipe = RECIPES["pix2pix-2017"]

    assert (recipe.batch, recipe.learning_rate, recipe.beta_1) == (1, 2e-4, 0.5)
    assert recipe.losses["mae"] == 100
    # Constant for half of the run, then down to zero along a line.
    rates = [rate_at(done, recipe.schedule) for done in (0, 0.3, 0.5, 0.75, 1)]
    assert rates == [1, 1, 1, 0.5, 0]


@pytest.mark.parametrize(
    "wrong",
    [
        *({"size": 200}, {"size": 16}, {"size": 256.0}, {"width": 0}, {"channels": 0}),
        *({"dropout": 1.0}, {"scale": 2.0}),
    ],
)
def test_impossible_networks_say_so(wrong: dict[str, Any]):
    with pytest.raises(ModelError, match="pix2pix network"):
        Pix2Pix(**wrong)


# In use


def test_an_image_of_the_training_size_is_what_the_network_gives():
    model, image = small(), picture(32, 32)

    found = acuity.enhance(image, model, dtype="float32", exact=True)

    np.testing.assert_allclose(found.pixels, through(model, image), atol=1e-5)
    assert found.notes == ()
    assert found.pixel_size == image.pixel_size


@pytest.mark.parametrize("shape", [(20, 32), (7, 9), (1, 32), (31, 30)])
def test_a_smaller_image_is_mirrored_and_cut(shape: tuple[int, int]):
    model, image = small(), picture(*shape)

    found = acuity.enhance(image, model, dtype="float32", exact=True)

    sides = [(0, 32 - shape[0]), (0, 32 - shape[1]), (0, 0)]
    whole = image.with_pixels(np.pad(image.pixels, sides, mode="symmetric"))
    wanted = through(model, whole)[: shape[0], : shape[1]]
    np.testing.assert_allclose(found.pixels, wanted, atol=1e-5)
    assert "mirrored from" in found.notes[-1]


def test_a_larger_image_is_blended_of_windows_and_says_so():
    model, image = small(), picture(32, 56)
    left, right = (
        through(model, image.with_pixels(image.pixels[:, part]))
        for part in (slice(0, 32), slice(24, 56))
    )

    found = acuity.enhance(image, model, dtype="float32", exact=True)

    assert "blended of 2 windows of 32 x 32 px" in found.notes[-1]
    np.testing.assert_allclose(found.pixels[:, :24], left[:, :24], atol=1e-5)
    np.testing.assert_allclose(found.pixels[:, 32:], right[:, 8:], atol=1e-5)
    # Between, a mean of both that goes from one to the other.
    share = np.arange(8, 0, -1)[None, :, None] / 9
    wanted = share * left[:, 24:] + (1 - share) * right[:, :8]
    np.testing.assert_allclose(found.pixels[:, 24:32], wanted, atol=1e-5)
    assert np.abs(left[:, 24:] - right[:, :8]).max() > 0.01  # not exact, as the note says


def test_the_whole_at_once_is_one_pass():
    model, image = small(), picture(64, 64)

    found = acuity.enhance(image, model, tile=None, dtype="float32", exact=True)

    np.testing.assert_allclose(found.pixels, through(model, image), atol=1e-5)


def test_windows_are_shown_as_they_are_made_and_end_as_the_result():
    model, image = small(), picture(60, 50)
    shown = np.zeros((60, 50, 3), np.uint8)

    def following() -> Any:
        steps = enhance_steps(image, model)
        while True:
            try:
                event = next(steps)
            except StopIteration as end:
                return end.value
            if isinstance(event.new, TileDone):
                _, rows, cols = event.new.index
                shown[rows, cols] = event.new.pixels
            yield event

    made = run(following())
    np.testing.assert_array_equal(made.pixels, shown)


@given(length=st.integers(1, 500), side=st.sampled_from([32, 64, 256]))
def test_windows_cover_an_axis_and_overlap_by_a_quarter(length: int, side: int):
    spans = _spans(length, side)

    assert (spans[0].start, spans[-1].stop) == (0, length)
    assert all(span.stop - span.start == min(length, side) for span in spans)
    for one, other in pairwise(spans):
        assert one.stop - other.start >= side // 4
    weight = np.zeros(length)
    for span in spans:
        weight[span] += _ramps(span, length)
    assert (weight > 0).all()


def test_a_stack_is_done_plane_by_plane():
    model = small(channels=1)
    stack = np.random.default_rng(0).integers(0, 255, (3, 40, 32), dtype=np.uint8)

    found = acuity.enhance(stack, model, exact=True)

    for plane, made in zip(stack, found.pixels, strict=True):
        np.testing.assert_array_equal(acuity.enhance(plane, model, exact=True).pixels, made)


def test_ways_that_need_exact_tiles_refuse_it():
    dask_array = pytest.importorskip("dask.array")
    lazy = dask_array.from_array(np.zeros((64, 64), np.uint8), chunks=32)

    with pytest.raises(ModelError, match="statistics over its whole image"):
        acuity.enhance(lazy, small(channels=1))


def test_notes_are_kept_in_the_file(tmp_path: Path):
    import tifffile

    found = acuity.enhance(picture(40, 40), small())
    acuity.write(found, tmp_path / "made.tif")

    with tifffile.TiffFile(tmp_path / "made.tif") as file:
        assert "blended of 4 windows" in file.ome_metadata


def test_a_saved_model_gives_the_same(tmp_path: Path):
    model, image = small(), picture(32, 32)

    again = acuity.load(model.save(tmp_path / "p.safetensors"))

    np.testing.assert_array_equal(
        acuity.enhance(image, model).pixels, acuity.enhance(image, again).pixels
    )


# Training


def pairs(count: int = 4, side: int = 48) -> list[acuity.Pair]:
    made = []
    for number in range(count):
        low = picture(side, side, seed=number)
        made.append(acuity.Pair(low, low.with_pixels(255 - low.pixels), 1.0, name=f"pair {number}"))
    return made


QUICK = replace(
    RECIPES["pix2pix-2017"],
    name="quick",
    network_arguments={"width": 2},
    patch=32,
    augmentation={"turns": False, "translation": 8},
    adversarial={"judges": "patches", "width": 2, "blocks": 1, "learning_rate": 2e-4, "every": 1},
    batch=64,
    epochs=1,
)
# Five levels have no block with dropout; six have one.
CHANCY = replace(QUICK, network_arguments={"width": 2}, patch=64, epochs=2)


def test_network_and_discriminator_take_turns():
    events = list(train_steps(pairs(), QUICK, device="cpu", test=0.0))
    (epoch,) = (event.new for event in events if event.new is not None)

    assert epoch.terms.keys() == {"adversarial", "mae"}
    assert 0 <= epoch.critic["discriminator_accuracy"] <= 1


def test_a_run_that_is_gone_on_with_drops_the_same_features(tmp_path: Path):
    whole = acuity.train(pairs(side=80), CHANCY, tmp_path / "whole", device="cpu", test=0.0)
    steps = train_steps(pairs(side=80), CHANCY, tmp_path / "part", device="cpu", test=0.0)
    while next(steps).new is None:  # one of two epochs
        pass
    next(steps)
    steps.close()
    torch.manual_seed(99)

    again = acuity.resume(tmp_path / "part", pairs=pairs(side=80), device="cpu")

    for one, other in zip(whole.network.parameters(), again.network.parameters(), strict=True):
        assert torch.equal(one, other)


def test_training_leaves_the_callers_random_numbers_alone():
    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    acuity.train(pairs(side=80), CHANCY, device="cpu", epochs=1, test=0.0)
    assert torch.equal(torch.rand(2), wanted)


def test_the_network_is_built_for_the_size_of_the_patches():
    model = acuity.train(pairs(), replace(QUICK, epochs=1), device="cpu", test=0.0)
    assert model.header.arguments["size"] == 32
    with pytest.raises(ModelError, match="for 40 px"):
        acuity.train(pairs(), replace(QUICK, patch=40), device="cpu", test=0.0)
    other = replace(QUICK, patch=40, network_arguments={"size": 32, "width": 2})
    with pytest.raises(TrainingError, match="statistics over 32 px"):
        acuity.train(pairs(), other, device="cpu", test=0.0)
    with pytest.raises(TrainingError, match="smaller than a cell"):
        acuity.train(pairs(side=24), replace(QUICK, augmentation={}), device="cpu", test=0.0)


@settings(max_examples=20, deadline=None)
@given(margin=st.integers(0, 9), scale=st.sampled_from([1.0, 1.5, 2.0, 2.5]))
def test_a_field_is_extended_alike_in_both_images(margin: int, scale: float):
    low = picture(20, 22)
    high = picture(*(int(np.ceil(scale * n)) for n in low.shape), seed=1)
    pair = acuity.Pair(low, high, scale, similarity_map=np.array([[0.2, 0.8], [0.4, 0.6]]))

    wide = extended(pair, margin)

    added = (wide.low.shape[0] - 20) // 2
    assert margin <= added < margin + 2 or margin == added == 0
    more = round(added * scale)
    inner = wide.high.pixels[more : more + high.shape[0], more : more + high.shape[1]]
    np.testing.assert_array_equal(inner, high.pixels)
    np.testing.assert_array_equal(wide.low.pixels[added, added], low.pixels[0, 0])
    if margin:
        np.testing.assert_array_equal(wide.low.pixels[0, 0], low.pixels[0, 0])
        assert wide.similarity_map is not None
        assert wide.similarity_map.min() >= 0.2
        assert wide.similarity_map.max() <= 0.8


def test_a_package_takes_images_of_the_training_size_and_shows_the_network_no_others(
    tmp_path: Path,
) -> None:
    """Readers extend an image by the halo that a package states: the statistics would be others."""
    core = pytest.importorskip("bioimageio.core")
    header = Header("pix2pix", {"scale": 1.0, "channels": 1, "size": 64, "width": 2}, 1.0, 1)
    model = Model.build(header, seed=1)
    path = acuity.export(model, tmp_path / "lens.bioimageio.zip", authors="Ada", license="MIT")
    description = core.load_model_description(path)
    image = np.random.default_rng(0).integers(0, 256, (1, 1, 64, 64), dtype=np.uint8)

    planes = core.Tensor.from_numpy(image, dims=description.inputs[0].axes)
    (output,) = core.predict(model=description, inputs={"input": planes}).members.values()

    size = description.inputs[0].axes[2].size
    assert (size.min, size.step) == (64, 64)
    with torch.inference_mode():
        wanted = 255 * model.network(torch.from_numpy(image) / 255).clamp(0, 1)
    np.testing.assert_allclose(np.asarray(output.data), wanted.numpy(), rtol=0, atol=2e-3)

"""A model a channel, and one coloured image of all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import napari_acuity as acuity
from napari_acuity import Channel, ChannelMap, ImageError, Micrograph, Model, ModelError
from napari_acuity.core.inference.channels import merge_colours

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def mapping(tmp_path: Path) -> ChannelMap:
    for seed, name in enumerate(("dapi", "fitc")):
        Model.new("brightfield", channels=1, width=6, blocks=1, seed=seed).save(tmp_path / name)
    channels = (
        Channel("DAPI", "dapi.safetensors", "#0000ff", white=1.0),
        Channel("FITC", "fitc.safetensors", "#00ff00", white=0.5),
    )
    return ChannelMap(channels, tmp_path)


@pytest.fixture
def image(tissue: np.ndarray) -> Micrograph:
    return Micrograph(np.moveaxis(tissue[:30, :32, :2], -1, 0).copy(), (0.5, 0.5))


def test_each_channel_is_what_its_model_makes_of_it(mapping: ChannelMap, image: Micrograph) -> None:
    found = acuity.enhance_channels(image, mapping)

    for plane, channel, made in zip(image.pixels, mapping.channels, found.channels, strict=True):
        alone = acuity.enhance(plane, mapping.folder / channel.model)
        np.testing.assert_array_equal(made.pixels, alone.pixels)
    dapi, fitc = (made.pixels.astype(float) for made in found.channels)
    merged = found.merged
    assert merged.rgb
    assert merged.pixel_size == pytest.approx((0.2, 0.2))
    np.testing.assert_allclose(merged.pixels[..., 2], dapi, atol=0.51)
    np.testing.assert_allclose(merged.pixels[..., 1], np.clip(2 * fitc, 0, 255), atol=0.51)
    assert not merged.pixels[..., 0].any()


def test_white_is_found_where_it_is_not_given(image: Micrograph) -> None:
    channels = ChannelMap((Channel("a", "", "#ff0000"), Channel("b", "", "#ff0000", white=1.0)))
    dim = Micrograph(np.linspace(0, 0.2, 10_000, dtype=np.float32).reshape(100, 100))

    merged = merge_colours([dim, dim], channels).pixels

    assert merged[..., 0].max() == 255
    assert merged[50, 0, 0] == pytest.approx(255 * (0.1 / 0.1998 + 0.1), abs=1.5)


def test_a_mapping_comes_back_from_its_file(mapping: ChannelMap) -> None:
    path = mapping.save(mapping.folder / "map.toml")

    assert ChannelMap.load(path) == mapping


def test_wrong_inputs_are_refused(
    mapping: ChannelMap, image: Micrograph, tissue: np.ndarray, tmp_path: Path
) -> None:
    with pytest.raises(ImageError, match="mapping is of 2 channels"):
        acuity.enhance_channels(tissue, mapping)
    with pytest.raises(ModelError, match="#rrggbb"):
        Channel("DAPI", "m", "blue")
    with pytest.raises(ModelError, match="white at 2"):
        Channel("DAPI", "m", "#0000ff", white=2)
    with pytest.raises(ModelError, match="There is no model file"):
        acuity.enhance_channels(image, ChannelMap(mapping.channels, tmp_path / "nowhere"))
    Model.new("brightfield", channels=1, scale=2, width=6, blocks=1).save(tmp_path / "fitc")
    with pytest.raises(ModelError, match=r"unlike scales: DAPI x2\.5, FITC x2"):
        acuity.enhance_channels(image, mapping)
    for text in ("", "[[channel]]\nname = 'x'", "no toml"):
        (tmp_path / "bad.toml").write_text(text)
        with pytest.raises(ModelError, match="no mapping of channels"):
            ChannelMap.load(tmp_path / "bad.toml")
    (tmp_path / "bad.toml").write_text("[[channel]]\nname = 'x'\nmodel = 5\ncolour = '#0000ff'")
    with pytest.raises(ModelError, match="name 'x' and the model 5"):
        ChannelMap.load(tmp_path / "bad.toml")


def test_one_channel_may_be_blank(mapping: ChannelMap, image: Micrograph) -> None:
    image.pixels[1] = 0

    found = acuity.enhance_channels(image, mapping)

    alone = acuity.enhance(image.pixels[0], mapping.folder / "dapi.safetensors")
    np.testing.assert_array_equal(found.channels[0].pixels, alone.pixels)
    assert found.merged.pixels[..., 2].any()
    image.pixels[:] = 0
    with pytest.raises(ImageError, match="nothing to see"):
        acuity.enhance_channels(image, mapping)

"""Models as files: what comes back, what is refused, and that nothing in a file is run."""

from __future__ import annotations

import errno
import json
import math
import os
import pickle
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import napari_acuity as acuity
from napari_acuity import FileError, Model, ModelError, TrainingError
from napari_acuity.core.model import Header

if TYPE_CHECKING:
    from pathlib import Path

SMALL: dict[str, Any] = {"width": 8, "blocks": 2}


def parameters(model: Model) -> int:
    return sum(parameter.numel() for parameter in model.network.parameters())


def output(model: Model) -> torch.Tensor:
    image = torch.rand(1, model.channels, 20, 23, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        result: torch.Tensor = model.network(image)
    return result


def saved(folder: Path, name: str = "model", **changes: Any) -> Path:
    """Save a small model; changes are made in its header, None removes an entry."""
    path = Model.new("brightfield-2017", **SMALL).save(folder / name)
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["napari-acuity"])
        weights = {key: file.get_tensor(key) for key in file.keys()}
    header = {key: value for key, value in {**header, **changes}.items() if value is not None}
    save_file(weights, path, metadata={"napari-acuity": json.dumps(header)})
    return path


@pytest.mark.parametrize("recipe", ["brightfield", "brightfield-2017"])
def test_the_bright_field_network_has_203787_parameters(recipe):
    assert parameters(Model.new(recipe)) == 203_787


def test_a_seed_makes_a_model_and_leaves_the_callers_dice_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    models = [Model.new("brightfield-2017", seed=seed, **SMALL) for seed in (1, 1, 2)]

    torch.testing.assert_close(torch.rand(3), expected)
    assert torch.equal(output(models[0]), output(models[1]))
    assert not torch.equal(output(models[0]), output(models[2]))


@pytest.mark.parametrize(
    "changes", [{}, {"channels": 1}, {"scale": 4 / 3}, {"scale": 2, "blocks": 1}]
)
def test_a_model_comes_back_from_its_file_to_the_bit(tmp_path, changes):
    model = Model.new("brightfield-2017", seed=3, **{**SMALL, **changes})
    header = replace(
        model.header,
        pixel_size=(1.1, 0.9),
        recipe={"name": "mine", "epochs": 3},
        data={"train": {"a": ["0f", "1e"]}},
        scores={"psnr": 31.25},
        versions={"torch": "2.13.0"},
    )

    found = acuity.load(replace(model, header=header).save(tmp_path / "lung"))

    assert torch.equal(output(found), output(model))
    assert found.header == header
    assert (found.name, found.scale, found.channels) == ("lung", model.scale, model.channels)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("a", "a.safetensors"),
        ("a.safetensors", "a.safetensors"),
        ("lung.v2", "lung.v2.safetensors"),
    ],
)
def test_the_suffix_is_added_and_nothing_cut_off(tmp_path, name, file):
    assert Model.new(**SMALL).save(tmp_path / name) == tmp_path / file


def test_a_failed_save_keeps_the_old_file_and_leaves_nothing(tmp_path, monkeypatch):
    path = Model.new(**SMALL).save(tmp_path / "model")
    before = path.read_bytes()

    def full(target: Path, content: bytes) -> int:
        with target.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(FileError, match="no space left"):
        Model.new(seed=1, **SMALL).save(path)

    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_saving_into_a_folder_that_is_missing_is_refused(tmp_path):
    with pytest.raises(FileError, match=r"There is no folder .*nowhere\. Make it first"):
        Model.new(**SMALL).save(tmp_path / "nowhere" / "model")


@pytest.mark.parametrize("share", [0, 0.001, 0.01, 0.5, 0.999])
def test_a_file_cut_short_is_refused(tmp_path, share):
    path = saved(tmp_path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])

    with pytest.raises(
        ModelError, match=r"model\.safetensors is damaged or no model.*Copy it again"
    ):
        acuity.load(path)


def test_a_pickle_is_refused_and_not_run(tmp_path):
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    path = tmp_path / "model.safetensors"
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ModelError, match="damaged or no model"):
        acuity.load(path)
    torch.save({"weights": Trap()}, path)
    with pytest.raises(ModelError, match="damaged or no model"):
        acuity.load(path)

    assert not (tmp_path / "sprung").exists()
    pickle.loads(pickle.dumps(Trap()))  # the trap does work
    assert (tmp_path / "sprung").exists()


def test_weights_of_another_project_are_refused(tmp_path):
    save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors")

    with pytest.raises(
        ModelError, match=r"holds weights, but not of a napari-acuity model\. Choose"
    ):
        acuity.load(tmp_path / "other.safetensors")


def test_a_missing_file_or_one_that_may_not_be_read_says_so(tmp_path, monkeypatch):
    with pytest.raises(ModelError, match=r"no model file .*none\.safetensors\. Choose"):
        acuity.load(tmp_path / "none.safetensors")

    def forbidden(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    path = saved(tmp_path)
    monkeypatch.setattr("pathlib.Path.stat", forbidden)
    with pytest.raises(ModelError, match=r"cannot be read: Permission denied. Check its name and"):
        acuity.load(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"format": 99},
            r"written by a newer version \(format 99, here 1\)\. Update napari-acuity",
        ),
        ({"network": "transformer"}, "network 'transformer' is unknown here. Update napari-acuity"),
        ({"network": ["pyramid_resnet"]}, "header of model.safetensors cannot be read"),
        ({"format": None}, "header of model.safetensors cannot be read"),
        ({"scale": None}, "header of model.safetensors cannot be read.*'scale'"),
        ({"scale": 4}, "it contradicts itself"),
        ({"channels": 1}, "it contradicts itself"),
        ({"arguments": [1]}, "header of model.safetensors cannot be read"),
        (
            {"arguments": {"scale": 2.5, "channels": 3, "wdith": 8}},
            "wdith must be left out: known are channels, scale, width",
        ),
        ({"arguments": {"scale": 2.5, "channels": 3, "width": 9}}, "do not fit its network"),
        (
            {"arguments": {"scale": 2.5, "channels": 3, "blocks": "2"}},
            "blocks must be a whole number",
        ),
        ({"arguments": {"scale": 2.5, "channels": 3, "blocks": 10**5}}, "1 to 1000 blocks"),
        ({"pixel_size": 3}, "header of model.safetensors cannot be read"),
        ({"pixel_size": ["a", "b"]}, "header of model.safetensors cannot be read"),
        ({"pixel_size": [0.5]}, "header of model.safetensors cannot be read"),
        ({"pixel_size": [0, 0.5]}, "its pixel size is"),
        ({"pixel_size": [math.nan, 0.5]}, "its pixel size is"),
        ({"pixel_size": [0.5, math.nan]}, "its pixel size is"),
        ({"pixel_size": [10**400, 1]}, "header of model.safetensors cannot be read"),
        ({"recipe": 3}, "its 'recipe' is no table"),
        ({"scores": [1]}, "its 'scores' is no table"),
        ({"versions": "3"}, "its 'versions' is no table"),
        ({"rgb": "no"}, "its 'rgb' is neither true nor false"),
        ({"newer": 1}, r"model.safetensors says what this version does not know: newer\. Update"),
    ],
)
def test_headers_that_do_not_fit_are_refused(tmp_path, changes, message):
    with pytest.raises(ModelError, match=message):
        acuity.load(saved(tmp_path, **changes))


@pytest.mark.parametrize(
    "size",
    [{"width": 60_000}, {"width": 8, "blocks": 100_000}, {"width": 10**9}, {"width": 2**40}],
)
def test_a_header_that_asks_for_more_weights_than_there_are_takes_no_memory(tmp_path, size):
    arguments = {"scale": 2.5, "channels": 3, **size}
    header = {"format": 1, "network": "pyramid_resnet", **arguments, "arguments": arguments}
    for name in size:
        del header[name]
    path = tmp_path / "model.safetensors"
    save_file({}, path, metadata={"napari-acuity": json.dumps(header)})

    with pytest.raises(ModelError, match=r"do not fit its network|cannot be built"):
        acuity.load(path)


@pytest.mark.parametrize(
    ("network", "arguments"),
    [
        ("pyramid_resnet", {"scale": 2.5, "channels": 1, "width": 1, "blocks": 1}),
        ("unet", {"scale": 1.0, "channels": 1, "width": 1, "depth": 1}),
        ("compact_unet", {"scale": 1.0, "channels": 1, "width": 1, "depth": 1}),
        ("compact_unet", {"scale": 1.5, "channels": 2, "width": 1, "depth": 3, "norm": True}),
        ("pix2pix", {"scale": 1.0, "channels": 1, "size": 32, "width": 1}),
    ],
)
def test_every_network_comes_back_from_its_file(tmp_path, network, arguments):
    header = Header(network, arguments, arguments["scale"], arguments["channels"])
    model = Model.build(header, seed=3)

    assert acuity.load(model.save(tmp_path / "model")).digest() == model.digest()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_no_numbers_are_refused(tmp_path, value):
    model = Model.new("brightfield-2017", **SMALL)
    with torch.no_grad():
        next(model.network.parameters())[0, 0, 0, 0] = value

    with pytest.raises(ModelError, match=r"is damaged.*NaN or infinite\. Copy it again"):
        acuity.load(model.save(tmp_path / "model"))


@pytest.mark.parametrize("kind", [torch.int32, torch.bool, torch.complex64])
def test_weights_that_are_no_fractions_are_refused(tmp_path, kind):
    path = saved(tmp_path)
    with safe_open(path, framework="pt") as file:
        weights = {name: file.get_tensor(name).to(kind) for name in file.keys()}
        metadata = file.metadata()
    save_file(weights, path, metadata=metadata)

    with pytest.raises(ModelError, match="do not fit its network"):
        acuity.load(path)


def test_a_name_too_long_for_the_disk_is_not_blamed_on_the_file(tmp_path):
    with pytest.raises(ModelError, match=r"File name too long\. Check its name"):
        acuity.load(tmp_path / f"{'n' * 300}.safetensors")


@pytest.mark.parametrize("text", ["{", "[1]", "3", "null", '"text"', "[" * 10**5 + "]" * 10**5])
def test_headers_that_are_no_table_are_refused(tmp_path, text):
    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.zeros(3)}, path, metadata={"napari-acuity": text})

    with pytest.raises(ModelError, match=r"header of model\.safetensors cannot be read"):
        acuity.load(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"scale": 0},
        {"scale": 0.5},
        {"scale": 2.51},
        {"scale": math.nan},
        {"scale": math.inf},
        {"scale": 1e300},
        {"scale": "2"},
        {"channels": 0},
        {"width": 0},
        {"width": 1, "init": "interpolation"},
        {"blocks": 0},
        {"growth": -1},
        {"init": "zeros"},
        {"depth": 3},
    ],
)
def test_arguments_that_make_no_network_are_refused(changes):
    with pytest.raises(ModelError, match=r"cannot (be built|carry)"):
        Model.new(**changes)


@pytest.mark.parametrize(
    ("recipe", "changes", "words"),
    [
        ("crossmodality", {"width": 10**30}, "width must be a whole number from 1 to 1000000"),
        ("crossmodality", {"width": True}, "width must be a whole number"),
        ("crossmodality", {"depth": 2.0}, "depth must be a whole number"),
        ("lens", {"norm": 1}, "norm must be true or false"),
        ("brightfield", {"growth": math.inf}, "growth must be a number from 0 to 1000000"),
        ("pix2pix-2017", {"dropout": "half"}, "dropout must be a number"),
        ("crossmodality", {"width": 10**5}, "it would have more than 300000000 weights"),
        ("brightfield", {"growth": 10**6}, "it would have more than 300000000 weights"),
        ("pix2pix-2017", {"width": 10**6}, "it would have more than 300000000 weights"),
    ],
)
def test_absurd_arguments_are_named_before_memory_is_taken(recipe, changes, words):
    with pytest.raises(ModelError, match=rf"cannot be built from .*: {words}"):
        Model.new(recipe, **changes)


def test_a_recipe_of_an_unknown_network_makes_no_model(tmp_path):
    (tmp_path / "new.toml").write_text('network = "transformer"')

    with pytest.raises(ModelError, match="network 'transformer' is unknown here"):
        Model.new(str(tmp_path / "new.toml"))


def test_an_unknown_recipe_is_refused_and_the_known_ones_named():
    with pytest.raises(
        TrainingError, match=r"no recipe 'darkfield'.*brightfield, brightfield-2017"
    ):
        Model.new("darkfield")


@pytest.mark.parametrize("scale", [1, 2, 2.5, 3, 4, 1.5])
def test_the_untrained_model_interpolates_bilinearly(tissue, scale):
    """Away from the border, on aligned centres, where q input subpixels have a middle one."""
    from scipy import ndimage

    model = Model.new("brightfield", scale=scale)
    low = tissue[:40, :41].astype(np.float64) / 255
    side = [math.ceil(scale * n) for n in low.shape[:2]]
    p, q = (round(scale * 2), 2) if scale % 1 else (round(scale), 1)
    # The network blends the q subpixels of an output pixel; each is a bilinear sample of its own.
    rows, cols = ((np.add.outer(np.arange(n) * q, np.arange(q)) + 0.5) / p - 0.5 for n in side)
    at = np.broadcast_arrays(rows[:, :, None, None], cols[None, None])
    expected = np.stack(
        [ndimage.map_coordinates(low[..., c], at, order=1).mean((1, 3)) for c in range(3)], axis=-1
    )

    found = acuity.enhance(low, model).pixels

    np.testing.assert_allclose(found[8:-8, 8:-8], expected[8:-8, 8:-8], atol=2e-6)

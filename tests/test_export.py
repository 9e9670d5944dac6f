"""Exported models: other programs compute from them what we compute."""

from __future__ import annotations

import json
import sys
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest
import tifffile
import torch
import yaml
from bioimageio.core import Tensor, load_model_description, predict
from bioimageio.core import test_model as zoo_test
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import napari_acuity as acuity
from napari_acuity import FileError, ImageError, Model, ModelError
from napari_acuity.cli import main
from napari_acuity.core.exporting.zoo_package import _spacings
from napari_acuity.core.model import Header

if TYPE_CHECKING:
    from pathlib import Path

WHO: dict[str, Any] = {"authors": ["Ada Lovelace", "Alan Turing"], "license": "CC-BY-4.0"}
FACTS: dict[str, Any] = {
    "pixel_size": (0.65, 0.65),
    "recipe": {"name": "lung-recipe", "learning_rate": 1e-3},
    "data": {"train": {"field-a": ["12ab", "34cd"]}, "validation": {"field-b": ["56ef", "78ab"]}},
    "scores": {"field-c": {"psnr": 29.71, "bicubic_psnr": 27.74}},
    "versions": {"torch": "2.13.0"},
}


def small(scale: float = 2.5, channels: int = 3, **facts: Any) -> Model:
    """Return a model whose every weight counts, bright enough to be seen."""
    model = Model.new(
        "brightfield", scale=scale, channels=channels, width=8, blocks=2, init="published"
    )
    generator = torch.Generator().manual_seed(1)
    for parameter in model.network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
    model.network.get_parameter("down.bias").data[:] = 0.5
    return replace(model, header=replace(model.header, **facts), name="lung")


@pytest.fixture(scope="module")
def package(tmp_path_factory, tissue) -> tuple[Path, Model]:
    model = small(**FACTS)
    target = tmp_path_factory.mktemp("zoo") / "lung.bioimageio.zip"
    return acuity.export(model, target, example=tissue, **WHO), model


def member(path: Path, name: str) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return archive.read(name)


@pytest.mark.parametrize(("scale", "channels"), [(2.5, 3), (1, 1), (1.5, 1), (4, 3)])
def test_onnx_runtime_gives_what_torch_gives_at_any_size(tmp_path, scale, channels) -> None:
    model = small(scale, channels)

    path = acuity.export(model, tmp_path / "model.onnx")

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    for shape in ((1, channels, 37, 90), (3, channels, 64, 21), (1, channels, 2, 1)):
        image = torch.rand(shape, generator=generator)
        with torch.inference_mode():
            wanted = model.network(image).numpy()
        (output,) = session.run(["output"], {"input": image.numpy()})
        assert output.shape == wanted.shape
        np.testing.assert_allclose(output, wanted, rtol=0, atol=1e-5)
    assert sorted(tmp_path.iterdir()) == [path]


def test_an_onnx_file_says_what_it_holds_and_not_where_it_was_made(tmp_path) -> None:
    model = small(**FACTS)

    graph = onnx.load(acuity.export(model, tmp_path / "lung.onnx", **WHO))

    assert [opset.version for opset in graph.opset_import] == [18]
    for values, names in (
        (graph.graph.input, ["batch", 3, "height", "width"]),
        (graph.graph.output, ["batch", 3, "output_height", "output_width"]),
    ):
        (value,) = values
        assert [n.dim_param or n.dim_value for n in value.type.tensor_type.shape.dim] == names
    facts = {entry.key: entry.value for entry in graph.metadata_props}
    assert facts["model_author"] == "Ada Lovelace, Alan Turing"
    assert facts["model_license"] == "CC-BY-4.0"
    header = json.loads(facts["napari-acuity"])
    assert (header["scale"], header["channels"], header["scores"]) == (2.5, 3, FACTS["scores"])
    assert "value / 255 for 8 bit" in header["input"]
    assert b".py" not in (tmp_path / "lung.onnx").read_bytes()


def test_a_package_passes_the_test_of_the_zoo(package) -> None:
    summary = zoo_test(package[0], weight_format="onnx", devices=["cpu"])

    assert summary.status == "passed"


def test_a_package_is_valid_whatever_its_model_is_called_and_magnifies(tmp_path) -> None:
    model = replace(small(8 / 3, channels=1), name="µ/2.5 – " + "x" * 200)

    path = acuity.export(model, tmp_path / "grey.bioimageio.zip", authors="Ada", license="MIT")

    assert load_model_description(path).name == f"2-5 - {'x' * 33} super-resolution x2_66667"


def test_a_runs_best_model_is_called_after_its_run(tmp_path, monkeypatch) -> None:
    (tmp_path / "lung").mkdir()
    small().save(tmp_path / "lung" / "best")
    monkeypatch.chdir(tmp_path / "lung")

    path = acuity.export("best.safetensors", "out.bioimageio.zip", authors="Ada", license="MIT")

    assert load_model_description(path).name == "lung super-resolution x2_5"


def test_a_package_says_what_its_model_is(package) -> None:
    description = yaml.safe_load(member(package[0], "rdf.yaml"))

    assert description["name"] == "lung super-resolution x2_5"
    assert [author["name"] for author in description["authors"]] == WHO["authors"]
    assert description["license"] == "CC-BY-4.0"
    assert [entry["doi"] for entry in description["cite"]] == ["10.1364/OPTICA.4.001437"]
    assert list(description["weights"]) == ["onnx"]
    y_in, y_out = (description[part][0]["axes"][2] for part in ("inputs", "outputs"))
    assert y_in["unit"] == y_out["unit"] == "micrometer"
    assert y_in["scale"] == pytest.approx(0.65, rel=1e-6)
    assert y_out["scale"] == pytest.approx(0.26, rel=1e-6)
    page = member(package[0], "README.md").decode()
    for fact in ("0.65 x 0.65 µm", "lung-recipe", "field-a", "field-b", "29.71", "27.74", "2.13.0"):
        assert fact in page
    assert "12ab" not in page


def test_a_package_shows_the_example(package, tmp_path, tissue) -> None:
    (tmp_path / "cover.png").write_bytes(member(package[0], "cover.png"))
    (tmp_path / "input.npy").write_bytes(member(package[0], "test_input.npy"))

    with Image.open(tmp_path / "cover.png") as cover:
        assert (cover.size, cover.mode) == ((512, 256), "RGB")
    middle = np.moveaxis(np.load(tmp_path / "input.npy")[0], 0, -1)
    np.testing.assert_array_equal(middle, tissue[192:320, 192:320])


def test_the_zoo_computes_in_blocks_what_enhance_computes_at_once(package, tissue) -> None:
    image, (path, model) = tissue[:230, :270], package
    description = load_model_description(path)
    planes = Tensor.from_numpy(np.moveaxis(image, -1, 0)[None], dims=description.inputs[0].axes)

    sample = predict(model=description, inputs={"input": planes}, blocksize_parameter=8)

    output = np.moveaxis(np.asarray(next(iter(sample.members.values())).data)[0], 0, -1)
    wanted = 255 * np.clip(acuity.enhance(image / np.float32(255), model, tile=None).pixels, 0, 1)
    assert output.shape == wanted.shape
    border = int(model.network.halo * model.scale)  # there it depends on the padding
    inside = np.s_[border:-border, border:-border]
    np.testing.assert_allclose(output[inside], wanted[inside], rtol=0, atol=2e-3)


@given(
    scale=st.sampled_from([1, 1.25, 1.5, 2, 2.5, 3, 8 / 3, 4]),
    pixel_size=st.none() | st.tuples(*[st.floats(1e-3, 1e3)] * 2),
    blocks=st.integers(1, 100_000),
)
def test_readers_find_the_size_of_the_output(scale, pixel_size, blocks) -> None:
    header = Header("pyramid_resnet", {}, scale=scale, channels=1, pixel_size=pixel_size)
    ratios = {1: (1, 1), 1.25: (5, 4), 1.5: (3, 2), 2.5: (5, 2), 8 / 3: (8, 3)}
    p, q = ratios.get(scale, (int(scale), 1))

    for low, high in _spacings(Model(torch.nn.Identity(), header)).values():
        # As bioimageio.spec computes the size, and the halo, which must be whole.
        assert int(blocks * q * low["scale"] / high["scale"]) == blocks * p
        assert blocks * p * high["scale"] / low["scale"] == blocks * q


class Crooked(torch.nn.Module):
    """A network that becomes another one as it is written."""

    stride, halo = 1, 1

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image + (1e-3 if torch.compiler.is_exporting() else 0)


@pytest.mark.parametrize("name", ["model.onnx", "model.zip"])
def test_a_file_that_computes_something_else_does_not_appear(tmp_path, name) -> None:
    model = Model(Crooked().eval(), Header("crooked", {}, scale=1, channels=1))
    (tmp_path / name).write_text("what was there")

    with pytest.raises(ModelError, match=r"differs by 0\.001 of the range"):
        acuity.export(model, tmp_path / name, **WHO)

    assert [path.read_text() for path in tmp_path.iterdir()] == ["what was there"]


@pytest.mark.parametrize("missing", ["onnxscript", "bioimageio.spec"])
def test_a_missing_library_is_named_with_its_cure(tmp_path, monkeypatch, missing) -> None:
    for module in ("onnx_file", "zoo_package"):
        monkeypatch.delitem(sys.modules, f"napari_acuity.core.exporting.{module}", raising=False)
    monkeypatch.setitem(sys.modules, missing, None)

    with pytest.raises(ModelError, match=r"pip install 'napari-acuity\[export\]'") as error:
        acuity.export(small(), tmp_path / "model.zip", **WHO)

    assert missing in error.value.cause
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "options", "kind", "words"),
    [
        ("model.pt", {}, FileError, "no format"),
        ("model.zip", {}, FileError, "authors and its licence"),
        ("model.zip", {"authors": ["Ada"]}, FileError, "authors and its licence"),
        ("model.zip", {**WHO, "license": "be nice"}, ModelError, "spdx.org"),
        ("model.zip", {**WHO, "authors": ["Ada/Alan"]}, ModelError, "without a slash"),
        ("nowhere/model.onnx", {}, FileError, "no folder"),
        ("model.onnx", {"example": np.eye(99)}, ImageError, "1 channels"),
        ("model.onnx", {"example": np.tile(np.eye(50), (3, 1, 1)).T}, ImageError, "at least 64"),
    ],
)
def test_what_cannot_be_exported_is_refused(tmp_path, name, options, kind, words) -> None:
    with pytest.raises(kind, match=words):
        acuity.export(small(), tmp_path / name, **options)

    assert not list(tmp_path.iterdir())


def test_the_command_exports_and_replaces_nothing_unasked(tmp_path, monkeypatch, capsys) -> None:
    saved, out = small().save(tmp_path / "lung"), tmp_path / "lung.onnx"
    monkeypatch.setattr(sys, "argv", ["acuity", "export", str(saved), str(out)])

    codes = []
    for _ in range(2):
        with pytest.raises(SystemExit) as end:
            main()
        codes.append(end.value.code)

    printed = capsys.readouterr()
    assert codes == [0, 1]
    assert printed.out.strip() == str(out)
    assert "exists already" in printed.err


def test_the_command_exports_what_ships_and_reads_an_example_in_channels(
    cli, tmp_path, tissue
) -> None:
    four = np.dstack([tissue[:64, :64], tissue[:64, :64, 0]])  # called red, green, blue and alpha
    tifffile.imwrite(tmp_path / "four.tif", four, photometric="rgb")
    model = small(2, 4, rgb=False).save(tmp_path / "stains")

    example = cli("export", model, "stains.onnx", "--example", "four.tif")
    shipped = cli("export", "default", "shipped.onnx")

    assert (example.code, example.err) == (0, "")
    assert (shipped.code, shipped.err) == (0, "")
    assert (tmp_path / "shipped.onnx").exists()

"""A model as a package for the bioimage.io model zoo; needs the extra ``napari-acuity[export]``.

Its weights are ONNX only: they run without our package, and nothing in them is executed as Python. The format
is that of https://github.com/bioimage-io/spec-bioimage-io.
"""

from __future__ import annotations

import importlib.util
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import pydantic
from bioimageio.spec import save_bioimageio_package
from bioimageio.spec.common import FileDescr
from bioimageio.spec.model import v0_5 as zoo
from PIL import Image

from ..errors import ModelError
from ..micrograph import kind_of
from ..scales import ratio
from .documentation import CITATIONS, documentation
from .example import least_side
from .onnx_file import OPSET, write_onnx

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..model import Model

__all__ = ["write_package"]

_COVER_SIDE = 256  # of each half; the zoo asks for less than 500 KB


def write_package(
    model: Model, path: Path, example: NDArray[np.uint8], authors: Sequence[str], license: str
) -> None:
    """Write a model as a bioimage.io package and test it.

    It takes 8-bit images, scales them to 0..1 for the network, clips what comes out to 0..1 and returns it
    times 255, as float32.

    Parameters
    ----------
    model : Model
    path : path
    example : (C, S, S) uint8
        The test image; S a multiple of the model's stride.
    authors, license
        Names, and an SPDX identifier.

    Raises
    ------
    ModelError
        When authors or licence cannot be stated so, or the package gives another output than the model.
    """
    people, terms = _authors(authors), _license(license)
    with tempfile.TemporaryDirectory(prefix="acuity-export-") as name:
        folder = Path(name)
        write_onnx(model, folder / "model.onnx", example, authors, license)
        output = _run(folder / "model.onnx", example)
        np.save(folder / "test_input.npy", example[None])
        np.save(folder / "test_output.npy", output[None])
        _cover(example, output).save(folder / "cover.png")
        (folder / "README.md").write_text(documentation(model), encoding="utf-8")
        description = _describe(model, folder, people, terms)
        save_bioimageio_package(description, output_path=path)
    _test(path)


def _run(path: Path, example: NDArray[np.uint8]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    unit = example[None].astype(np.float32) * np.float32(1 / 255)
    output: NDArray[np.float32] = session.run(["output"], {"input": unit})[0][0]
    return np.clip(output, 0, 1) * np.float32(255)


def _cover(example: NDArray[np.uint8], output: NDArray[np.float32]) -> Image.Image:
    """Show the example's middle, its pixels enlarged, beside what the model makes of it."""
    cover = Image.new("RGB", (2 * _COVER_SIDE, _COVER_SIDE))
    for place, planes in enumerate((example, np.rint(output).astype(np.uint8))):
        side = planes.shape[-1]
        middle = planes[:, side // 4 : side - side // 4, side // 4 : side - side // 4]
        shown = middle if len(middle) == 3 else np.repeat(middle[:1], 3, axis=0)
        picture = Image.fromarray(np.ascontiguousarray(np.moveaxis(shown, 0, -1)))
        size = (_COVER_SIDE, _COVER_SIDE)
        cover.paste(picture.resize(size, Image.Resampling.NEAREST), (place * _COVER_SIDE, 0))
    return cover


def _describe(
    model: Model, folder: Path, authors: list[zoo.Author], license: zoo.LicenseId
) -> zoo.ModelDescr:
    header = model.header
    network: Any = model.network
    count = sum(parameter.numel() for parameter in network.parameters())
    config = zoo.BioimageioConfig(
        architecture_type=header.network[:32], task="super-resolution", model_parameter_count=count
    )
    cited = CITATIONS.get(header.network)
    return zoo.ModelDescr(
        name=_name(model),
        description=f"Super-resolution: {model.scale:g} times as many pixels a side.",
        authors=authors,
        license=license,
        cite=[zoo.CiteEntry(text=cited[0], doi=zoo.Doi(cited[1]))] if cited else [],
        tags=["2d", "pytorch", "super-resolution", "image-restoration", "napari-acuity"],
        covers=[FileDescr(source=folder / "cover.png")],
        documentation=FileDescr(source=folder / "README.md"),
        inputs=[_input(model, folder / "test_input.npy")],
        outputs=[_output(model, folder / "test_output.npy")],
        weights=zoo.WeightsDescr(
            onnx=zoo.OnnxWeightsDescr(source=folder / "model.onnx", opset_version=OPSET)
        ),
        config=zoo.Config(bioimageio=config),
    )


def _name(model: Model) -> str:
    """Return the model's name in the letters that the zoo allows."""
    allowed = re.sub(r"[^A-Za-z0-9_+\- ()]+", "-", model.name)[:40].strip(" -")
    factor = f"{model.scale:g}".replace(".", "_")
    return f"{allowed} super-resolution x{factor}"


def _input(model: Model, test: Path) -> zoo.InputTensorDescr:
    network: Any = model.network
    size = zoo.ParameterizedSize(min=least_side(network), step=network.stride)
    tiled = model.window_px is None
    return zoo.InputTensorDescr(
        id=zoo.TensorId("input"),
        axes=[
            zoo.BatchAxis(),
            _channels(model),
            *(
                zoo.SpaceInputAxis(id=zoo.AxisId(name), size=size, concatenable=tiled, **low)
                for name, (low, _) in _spacings(model).items()
            ),
        ],
        test_tensor=FileDescr(source=test),
        data=zoo.IntervalOrRatioDataDescr(type="uint8", range=(0, 255)),
        preprocessing=[
            zoo.EnsureDtypeDescr(kwargs=zoo.EnsureDtypeKwargs(dtype="float32")),
            zoo.ScaleLinearDescr(kwargs=zoo.ScaleLinearKwargs(gain=1 / 255)),
            zoo.EnsureDtypeDescr(kwargs=zoo.EnsureDtypeKwargs(dtype="float32")),
        ],
    )


def _output(model: Model, test: Path) -> zoo.OutputTensorDescr:
    network: Any = model.network
    # Readers extend images by the halo: never those over whose whole a network takes its statistics. Else an
    # exact whole number: the halo is a multiple of the stride.
    halo = {"halo": int(network.halo * ratio(model.scale))} if model.window_px is None else {}
    space: Any = zoo.SpaceOutputAxisWithHalo if halo else zoo.SpaceOutputAxis
    return zoo.OutputTensorDescr(
        id=zoo.TensorId("output"),
        axes=[
            zoo.BatchAxis(),
            _channels(model),
            *(
                space(
                    id=zoo.AxisId(name),
                    size=zoo.SizeReference(
                        tensor_id=zoo.TensorId("input"), axis_id=zoo.AxisId(name)
                    ),
                    **halo,
                    **high,
                )
                for name, (_, high) in _spacings(model).items()
            ),
        ],
        test_tensor=FileDescr(source=test),
        data=zoo.IntervalOrRatioDataDescr(type="float32", range=(0, 255)),
        postprocessing=[
            zoo.ClipDescr(kwargs=zoo.ClipKwargs(min=0, max=1)),
            zoo.ScaleLinearDescr(kwargs=zoo.ScaleLinearKwargs(gain=255)),
        ],
    )


def _channels(model: Model) -> zoo.ChannelAxis:
    names = [f"channel{n}" for n in range(1, model.channels + 1)]
    names = {"grey": ["grey"], "RGB": ["red", "green", "blue"]}.get(
        kind_of(model.channels, rgb=model.rgb), names
    )
    return zoo.ChannelAxis(channel_names=[zoo.Identifier(name) for name in names])


def _spacings(model: Model) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Return `scale` and `unit` of the axes y and x, of input and output.

    Readers find the output's size as size * input scale / output scale, cut to a whole number. With p and q
    times one number of 24 bits both products are exact, and so is the quotient.
    """
    p, q = ratio(model.scale).as_integer_ratio()
    sizes, unit = model.header.pixel_size, {"unit": "micrometer"}
    if sizes is None:
        sizes, unit = (p, p), {}
    steps = (float(np.float32(size / p)) for size in sizes)
    return {
        name: ({"scale": p * step, **unit}, {"scale": q * step, **unit})
        for name, step in zip("yx", steps, strict=True)
    }


def _authors(names: Sequence[str]) -> list[zoo.Author]:
    try:
        return [zoo.Author(name=name) for name in names]
    except pydantic.ValidationError as error:
        raise ModelError(
            f"A bioimage.io package cannot name these authors: {', '.join(names)}.",
            "Give each as a plain name, without a slash.",
        ) from error


def _license(identifier: str) -> zoo.LicenseId:
    try:
        return zoo.LicenseId(identifier)
    except pydantic.ValidationError as error:
        raise ModelError(
            f"'{identifier}' is no SPDX identifier of a licence.",
            "Use one of https://spdx.org/licenses, such as CC-BY-4.0 or CC0-1.0.",
        ) from error


def _test(path: Path) -> None:
    """Run the zoo's own test where it is installed."""
    if importlib.util.find_spec("bioimageio.core") is None:
        return
    from bioimageio.core import test_model

    summary = test_model(path, weight_format="onnx", devices=["cpu"])
    if summary.status != "passed":
        words = "; ".join(error.msg for detail in summary.details for error in detail.errors)
        raise ModelError(
            f"The package does not pass the test of bioimageio.core: {words or summary.status}.",
            "Report it, with the versions that acuity info prints.",
        )

"""The form a model is used in: the same function, as fast as the device at hand allows.

| device | engine |
|---|---|
| CPU | the folded network, strip by strip, its blocks in bfloat16 where the CPU has it |
| CUDA GPU | the folded network in half precision, convolutions with bias and ReLU in one kernel |
| others | the folded network |

U-Nets do not fold: they are used as they were trained, on CUDA GPUs in half precision, and on CPUs large
images of theirs by OpenVINO, where the extra ``fast`` is installed.

What a device lacks is done by the plain network. Where a CPU computes in bfloat16, the engine is tried first:
one that is off by more than a grey level computes in float32. Engines are built once and kept.
"""

from __future__ import annotations

import copy
import threading
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..device import Device, half_precision, place
from ..networks.folded import Folded
from ..networks.pyramid_resnet import PyramidResNet
from .openvino_engine import has_openvino, openvino_engine
from .strips import in_strips

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..model import Model

__all__ = ["Engine", "engine_for"]

# On an H200 a convolution of 64 channels takes half as long as one of 40; processors gain nothing.
_MULTIPLE_ON_GPU = 32
_MOST_KEPT = 8
# Values of an image from which OpenVINO wins back the one or two seconds of conversion: a quarter of what a
# U-Net takes layer by layer. It takes longer than strips, which are never converted.
_WORTH_CONVERTING = 3 * 700 * 700
_GREY_LEVEL = 1 / 255
_NOISE_PX = 64


@dataclass(frozen=True, eq=False)
class Engine:
    """A model ready to be used on a device.

    Parameters
    ----------
    run : function of a tensor
        (1, C, h, w) float32 in 0..1 -> (1, C, ceil(scale h), ceil(scale w)) float32; both on `device`.
        Several threads may call it at once on a CPU, one at a time on a GPU.
    device : str
        torch's name of it.
    words : str
        What computes, and in which precision.
    """

    run: Callable[[torch.Tensor], torch.Tensor]
    device: str
    words: str


_lock = threading.Lock()
_kept: dict[tuple[int, str, bool, bool], tuple[Model, Engine]] = {}


def engine_for(
    model: Model, device: Device, *, exact: bool = False, work: int | None = None
) -> Engine:
    """Return a model's engine for a device, built when it is first asked for.

    Parameters
    ----------
    model : Model
    device : Device
    exact : bool
        Compute in float32 throughout: to 1e-5 of the range what the network gives. Otherwise in half
        precision where the device is faster in it: to 1/255 of the range.
    work : int, optional
        How many values there are to enhance, where they may be too few to win back what it takes to
        convert the model for OpenVINO.
    """
    worth = work is None or work >= _WORTH_CONVERTING
    converted = (id(model), device.name, exact, True) in _kept
    convert = (worth or converted) and not isinstance(model.network, PyramidResNet)
    # A model is frozen: it is told by its identity, and kept, so that the identity stays its own.
    key = (id(model), device.name, exact, convert)
    with _lock:
        if key not in _kept:
            while len(_kept) >= _MOST_KEPT:
                _kept.pop(next(iter(_kept)))
            _kept[key] = model, _built(model, device, exact, convert)
        return _kept[key][1]


def _built(model: Model, device: Device, exact: bool, convert: bool) -> Engine:
    run, words = _runner(model, device, exact, convert)
    return Engine(torch.inference_mode()(run), device.name, words)


def _runner(
    model: Model, device: Device, exact: bool, convert: bool
) -> tuple[Callable[[torch.Tensor], torch.Tensor], str]:
    network = model.network
    if device.name == "cpu":
        half = None if exact else half_precision(device)
        return _on_processor(model, device, half, convert)
    if not isinstance(network, PyramidResNet):
        return _as_trained(network, device, exact)
    if device.name.startswith("cuda"):
        return _on_gpu(network, device, exact)
    return _channels_last(place(Folded(network), device)), "folded, float32"


def _on_processor(
    model: Model, device: Device, half: torch.dtype | None, convert: bool
) -> tuple[Callable[[torch.Tensor], torch.Tensor], str]:
    network = model.network
    if isinstance(network, PyramidResNet):
        folded = Folded(network)
        place(folded, device)
        run = in_strips(folded, half)
        words = f"folded, {str(half or torch.float32).removeprefix('torch.')}"
    elif convert and has_openvino():
        run, words = openvino_engine(network, model.channels, half=half is not None)
    else:
        return _as_trained(network, device, exact=True)
    if half is None or _largest_error(run, model) <= _GREY_LEVEL:
        return run, words
    run, words = _on_processor(model, device, None, convert)
    return run, f"{words} ({str(half).removeprefix('torch.')} is off by more than a grey level)"


@torch.inference_mode()
def _largest_error(run: Callable[[torch.Tensor], torch.Tensor], model: Model) -> float:
    """Return how far an engine is from the network for an image of noise, harsher than a micrograph."""
    some = torch.Generator().manual_seed(0)
    noise = torch.rand(1, model.channels, _NOISE_PX, _NOISE_PX, generator=some)
    return float((run(noise) - model.network(noise)).abs().max())


def _as_trained(
    network: nn.Module, device: Device, exact: bool
) -> tuple[Callable[[torch.Tensor], torch.Tensor], str]:
    plain = place(_fused(copy.deepcopy(network).eval()), device)
    if not device.name.startswith("cuda"):
        return _channels_last(plain), "the network as trained, float32"
    if exact:
        return _exactly(plain), "the network as trained, float32"
    return _in_half(plain), "the network as trained, float16"


def _fused(network: nn.Module) -> nn.Module:
    """Take the constants of batch normalisation into the convolutions before."""
    for block in network.modules():
        if isinstance(block, nn.Sequential):
            for number, (conv, norm) in enumerate(pairwise([*block])):
                if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    block[number] = fuse_conv_bn_eval(conv, norm)
                    block[number + 1] = nn.Identity()
    return network


def _channels_last(network: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    def run(image: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = network(image.contiguous(memory_format=torch.channels_last))
        return output

    return run


def _in_half(network: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    network = network.half()

    def run(image: torch.Tensor) -> torch.Tensor:
        image = image.half().contiguous(memory_format=torch.channels_last)
        output: torch.Tensor = network(image)
        return output.float()

    return run


def _on_gpu(
    network: PyramidResNet, device: Device, exact: bool
) -> tuple[Callable[[torch.Tensor], torch.Tensor], str]:
    from .gpu import graphed, half_runner

    wide = Folded(network, multiple=_MULTIPLE_ON_GPU)
    place(wide, device)
    if exact:
        return _exactly(wide), "folded, float32"
    return graphed(half_runner(wide.half())), "folded, float16"


def _exactly(network: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """Compute in float32 proper: TF32, which torch allows for convolutions, has 10 bits."""
    plain = _channels_last(network)

    def run(image: torch.Tensor) -> torch.Tensor:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            return plain(image)

    return run

"""The bright-field network on a CUDA GPU: half precision, few kernels, few launches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from ..networks.folded import Folded

__all__ = ["graphed", "half_runner"]

# Larger images keep the GPU busy anyway, and a graph holds all their feature maps.
_LARGEST_GRAPH_PX = 512 * 512
_MOST_GRAPHS = 4
_TAIL_MULTIPLE = 8


def half_runner(network: Folded) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a function that computes a folded network with bias and ReLU inside the convolutions.

    As kernels of their own they take as long as the convolutions: all of them move feature maps, and the
    memory is what a GPU waits for here.

    Parameters
    ----------
    network : Folded
        float16, channels last, on the GPU.
    """
    tail, outputs = _without_bias(network.tail), len(network.tail.weight)
    bias = network.tail.bias[:, None, None]  # type: ignore[index]

    def run(image: torch.Tensor) -> torch.Tensor:
        features = _conv_relu(_ready(image), network.head)
        for block in network.blocks:
            features = _block(features, block)
        blocks = functional.conv2d(features, tail, stride=network.stride, padding=2)[:, :outputs]
        return network.finished(blocks.add_(bias), features).float()

    return run if network.symmetric else lambda image: network(_ready(image)).float()


def _ready(image: torch.Tensor) -> torch.Tensor:
    return image.half().contiguous(memory_format=torch.channels_last)


def _block(features: torch.Tensor, block: nn.Module) -> torch.Tensor:
    """Compute x + ReLU(conv(ReLU(conv(x))))."""
    first, second = block.get_submodule("first"), block.get_submodule("second")
    residual = _conv_relu(_conv_relu(features, first), second)
    if residual.shape == features.shape:
        return residual.add_(features)
    residual[:, : features.shape[1]] += features
    return residual


def _conv_relu(image: torch.Tensor, conv: nn.Module) -> torch.Tensor:
    weight, bias = conv.parameters()
    output: torch.Tensor = torch.cudnn_convolution_relu(
        image, weight, bias, (1, 1), (1, 1), (1, 1), 1
    )
    return output


@torch.no_grad()
def _without_bias(conv: nn.Conv2d) -> torch.Tensor:
    """Return a convolution's kernel with its outputs made a multiple of 8, which is faster."""
    more = -len(conv.weight) % _TAIL_MULTIPLE
    wide = functional.pad(conv.weight, (0, 0, 0, 0, 0, 0, 0, more))
    return wide.contiguous(memory_format=torch.channels_last)


def graphed(run: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    """Replay what a function launches as one CUDA graph, for small images of a size seen before.

    Parameters
    ----------
    run : function of a CUDA tensor
        Its launches may depend on the tensor's shape alone.
    """
    graphs: dict[
        tuple[int, ...], tuple[torch.cuda.CUDAGraph, torch.Tensor, torch.Tensor] | None
    ] = {}

    def replayed(image: torch.Tensor) -> torch.Tensor:
        shape = tuple(image.shape)
        if shape[-1] * shape[-2] > _LARGEST_GRAPH_PX:
            return run(image)
        if shape not in graphs:
            while len(graphs) >= _MOST_GRAPHS:
                graphs.pop(next(iter(graphs)))
            graphs[shape] = None
            return run(image)
        known = graphs[shape] or _captured(run, image)
        graphs[shape] = known
        graph, given, output = known
        given.copy_(image)
        graph.replay()
        return output.clone()

    return replayed


def _captured(
    run: Callable[[torch.Tensor], torch.Tensor], image: torch.Tensor
) -> tuple[torch.cuda.CUDAGraph, torch.Tensor, torch.Tensor]:
    given = image.clone()
    aside: torch.cuda.Stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            run(given)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    # Threads of other GPUs may allocate meanwhile.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        output = run(given)
    return graph, given, output

"""The bright-field network on a CUDA GPU: half precision, few kernels, few launches."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from ..graphs import Graph
from ..networks.by_blocks import enlarge_by_blocks, weight_of_blocks
from ..networks.multiples import in_whole_blocks

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from ..networks.folded import Folded

__all__ = ["graphed", "half_runner"]

# Larger images keep the GPU busy anyway, and a graph holds all their feature maps.
_LARGEST_GRAPH_PX = 512 * 512
_MOST_GRAPHS = 4
# Up to here the tail is computed block by block, in few kernels; above folded, in fewer operations.
_MOST_BY_BLOCKS_PX = 512 * 512
_TAIL_MULTIPLE = 8


def half_runner(network: Folded) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a function that computes a folded network with bias and ReLU inside the convolutions.

    As kernels of their own they take as long as the convolutions: all of them move feature maps, and the
    memory is what a GPU waits for here.

    Parameters
    ----------
    network : Folded
        float16, channels last, on the GPU. It is altered, and computes the same as before.
    """
    one = _one(network)
    by_blocks, folded = _tail_by_blocks(network, one), _folded_tail(network, one)

    def run(image: torch.Tensor) -> torch.Tensor:
        ready = image.to(network.head.weight.dtype, memory_format=torch.channels_last)
        features = _conv_relu(ready, network.head)
        for block in network.blocks:
            features = _block(features, block)
        small = image.shape[-1] * image.shape[-2] <= _MOST_BY_BLOCKS_PX
        return (by_blocks if small or not network.symmetric else folded)(features)

    return partial(in_whole_blocks, run, enlarged=network.shuffle, shrunk=network.stride)


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
def _one(network: Folded) -> int | None:
    """Make one of the added channels of the features 1 everywhere; return which, None if none was added.

    Nothing reads it but the tail's first convolution, which takes its bias from there: added by a kernel of
    its own, a bias costs a third of the convolution.
    """
    if not network.spare:
        return None
    last = network.up.in_channels - 1
    makers = [network.head, *(block.get_submodule("second") for block in network.blocks)]
    biases = (conv.get_parameter("bias") for conv in makers)
    next(bias for bias in biases if len(bias) > last)[last] = 1
    return last


def _tail_by_blocks(network: Folded, one: int | None) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the last three layers as two convolutions and a shuffle."""
    channels, p, q = network.down.out_channels, network.shuffle, network.stride
    count = channels * p * p
    values = -(-(count + 1) // _TAIL_MULTIPLE) * _TAIL_MULTIPLE
    # The value after the last is 1, for the bias of the convolution of blocks.
    up = functional.pad(network.up.weight, (0, 0, 0, 0, 0, 0, 0, values - count))
    up_bias = functional.pad(network.up.bias, (0, values - count))  # type: ignore[arg-type]
    up_bias[count] = 1
    up, some = _with_bias(up, up_bias, one, at=1)
    weight, bias = weight_of_blocks(network.down, shuffle=p, values=values)
    kernel = _with_bias(weight, bias, count, at=1)

    def tail(features: torch.Tensor) -> torch.Tensor:
        made = functional.conv2d(features, up, some, padding=1)
        fine = enlarge_by_blocks(made, *kernel, channels=channels, shuffle=p, stride=q)
        return fine.float()

    return tail


def _folded_tail(network: Folded, one: int | None) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the last three layers as one convolution and a shuffle; the border is mended."""
    channels, p, q = network.down.out_channels, network.shuffle, network.stride
    more = -channels * p * p % _TAIL_MULTIPLE
    wide = functional.pad(network.tail.weight, (0, 0, 0, 0, 0, 0, 0, more))
    bias = functional.pad(network.tail.bias, (0, more))  # type: ignore[arg-type]
    weight, some = _with_bias(wide, bias, one, at=2)

    def tail(features: torch.Tensor) -> torch.Tensor:
        blocks = functional.conv2d(features, weight, some, stride=q, padding=2)
        count, _, rows, cols = blocks.shape
        fine = blocks[:, : channels * p * p].view(count, channels, p, p, rows, cols)
        fine = fine.permute(0, 1, 4, 2, 5, 3)
        # Shuffled and made float32 in one pass.
        whole = fine.new_empty(fine.shape, dtype=torch.float32).copy_(fine)
        height, width = (-(-p * n // q) for n in features.shape[-2:])
        output = whole.view(count, channels, p * rows, p * cols)[..., :height, :width]
        network.mend(output, features)
        return output

    return tail


@torch.no_grad()
def _with_bias(
    weight: torch.Tensor, bias: torch.Tensor, one: int | None, *, at: int
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return a kernel whose tap `at` takes the bias from a channel that is 1, and the bias still to add."""
    weight = weight.clone(memory_format=torch.channels_last)
    if one is None:
        return weight, bias
    weight[:, one, at, at] += bias
    return weight, None


def graphed(run: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    """Replay what a function launches as one CUDA graph, for small images of a size seen before.

    Parameters
    ----------
    run : function of a CUDA tensor
        Its launches may depend on the tensor's shape alone.
    """
    graphs: dict[tuple[int, ...], Graph[torch.Tensor] | None] = {}

    def replayed(image: torch.Tensor) -> torch.Tensor:
        shape = tuple(image.shape)
        if shape[-1] * shape[-2] > _LARGEST_GRAPH_PX:
            return run(image)
        if shape not in graphs:
            while len(graphs) >= _MOST_GRAPHS:
                graphs.pop(next(iter(graphs)))
            graphs[shape] = None
            return run(image)
        graph = graphs[shape] = graphs[shape] or Graph(run, (image,))
        return graph(image).clone()

    return replayed

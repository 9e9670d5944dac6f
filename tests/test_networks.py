"""The bright-field network: sizes, receptive field, and the published shape."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_acuity.core.model import load
from napari_acuity.core.networks import NETWORKS
from napari_acuity.core.networks.pyramid_resnet import PyramidResNet

SCALES = [1, 1.5, 2, 2.5, 3, 4, 4 / 3]


def dense(scale: float = 2.5, **arguments: int) -> PyramidResNet:
    """Build a network whose every weight is positive, so that no influence is cut off or cancels."""
    network = PyramidResNet(
        channels=1, scale=scale, width=4, growth=2, **{"blocks": 2, **arguments}
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=generator) + 0.1)
    return network.double().eval()


def test_the_published_network_has_203787_parameters_and_its_widths():
    network = PyramidResNet()

    assert sum(parameter.numel() for parameter in network.parameters()) == 203_787
    assert [block.second.out_channels for block in network.blocks] == [34, 38, 44, 52, 62]
    assert (network.up.out_channels, network.shuffle, network.stride) == (75, 5, 2)
    assert not [part for part in network.modules() if "Norm" in type(part).__name__]
    assert list(NETWORKS) == ["pyramid_resnet", "unet", "compact_unet", "pix2pix"]


def test_the_published_start_is_a_truncated_normal_and_no_bias():
    torch.manual_seed(0)
    network = PyramidResNet(init="published")
    kernels = torch.cat([p.detach().flatten() for p in network.parameters() if p.ndim == 4])
    biases = torch.cat([p.detach().flatten() for p in network.parameters() if p.ndim == 1])

    assert kernels.abs().max() <= 0.1
    # A normal of deviation 0.05, cut at two deviations, has 0.8796 of it left.
    assert kernels.std().item() == pytest.approx(0.8796 * 0.05, rel=0.01)
    assert abs(kernels.mean().item()) < 3e-4
    assert biases.abs().max() == 0


@settings(max_examples=60)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from(SCALES), st.sampled_from([1, 3]))
def test_the_output_has_ceil_of_scale_times_the_sides(height, width, scale, channels):
    network = PyramidResNet(channels=channels, scale=scale, width=4, growth=2, blocks=1)

    with torch.inference_mode():
        output = network(torch.zeros(2, channels, height, width))

    sides = (math.ceil(scale * n - 1e-9) for n in (height, width))
    assert output.shape == (2, channels, *sides)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("blocks", [1, 2, 5])
def test_the_halo_is_the_receptive_field_rounded_up_to_the_stride(scale, blocks):
    """One pixel is changed; what changes in the output tells how far an output px looks."""
    network = dense(scale, blocks=blocks)
    image = torch.rand(
        1, 1, 1, 101, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    reach = 0
    with torch.inference_mode():
        before = network(image)[0, 0, 0]
        for centre in range(50, 50 + network.stride):
            changed = image.clone()
            changed[..., centre] += 1
            columns = (network(changed)[0, 0, 0] - before).abs().gt(1e-9).nonzero().flatten()
            first, last = int(columns.min()), int(columns.max())
            # The input px that an output px falls into, as tiles count it.
            seen_by = [math.floor(column / scale + 1e-9) for column in (first, last)]
            reach = max(reach, centre - seen_by[0], seen_by[1] - centre)

    assert network.halo % network.stride == 0
    assert reach <= network.halo < reach + network.stride + 1


@pytest.mark.parametrize("scale", SCALES)
def test_a_shift_by_a_stride_shifts_the_output_by_whole_pixels(scale):
    network = dense(scale)
    shift = network.stride
    image = torch.rand(
        1, 1, 60, 60, dtype=torch.float64, generator=torch.Generator().manual_seed(2)
    )

    with torch.inference_mode():
        whole, cut = network(image), network(image[..., shift:, shift:])

    step, edge = round(shift * scale), math.ceil(network.halo * scale)
    torch.testing.assert_close(
        whole[..., step + edge : -edge, step + edge : -edge], cut[..., edge:-edge, edge:-edge]
    )


@pytest.mark.parametrize("sides", [(61, 60), (60, 61), (61, 61)])
def test_an_odd_side_has_no_dark_border(sides: tuple[int, int]) -> None:
    """Bare glass is bright to its last row and column."""
    glass = 244 / 255
    with torch.inference_mode():
        output = load("default").network(torch.full((1, 3, *sides), glass))
    middle = slice(20, 130)
    for border in (output[..., -3:, middle], output[..., middle, -3:]):
        assert float((border - glass).abs().max()) < 3 / 255


@settings(max_examples=40)
@given(st.integers(1, 20), st.integers(1, 20), st.sampled_from(SCALES))
def test_blocks_that_are_not_whole_are_filled_up_by_repeating(
    height: int, width: int, scale: float
) -> None:
    network = dense(scale)
    image = torch.rand(1, 1, height, width, dtype=torch.float64)
    below, right = (-n % network.stride for n in (height, width))
    filled = torch.nn.functional.pad(image, (0, right, 0, below), mode="replicate")
    with torch.inference_mode():
        output, whole = network(image), network(filled)
    torch.testing.assert_close(output, whole[..., : output.shape[-2], : output.shape[-1]])

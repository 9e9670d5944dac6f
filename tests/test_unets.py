"""The cross-modality networks: shapes, receptive fields, levels, and the discriminator."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

import napari_acuity as acuity
from napari_acuity.core.device import choose_device
from napari_acuity.core.errors import ModelError
from napari_acuity.core.inference.deploy import engine_for
from napari_acuity.core.inference.openvino_engine import has_openvino
from napari_acuity.core.inference.tiles import Grid
from napari_acuity.core.model import Header, Model
from napari_acuity.core.networks.compact_unet import CompactUNet
from napari_acuity.core.networks.discriminator import Discriminator
from napari_acuity.core.networks.unet import UNet

SCALES = [1, 1.5, 2, 2.5, 4 / 3]
SMALL: list[tuple[type[nn.Module], dict[str, int]]] = [
    (UNet, {"width": 2, "depth": 1}),
    (UNet, {"width": 2, "depth": 2}),
    (CompactUNet, {"width": 2, "depth": 1}),
    (CompactUNet, {"width": 2, "depth": 2}),
    (CompactUNet, {"width": 2, "depth": 2, "norm": True}),
]


def dense(kind: type[nn.Module], **arguments: Any) -> Any:
    """Build a network whose every weight is positive, so that no influence is cut off or cancels."""
    network = kind(**arguments).double().eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.rand(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_((noise + 0.1) / max(parameter[0].numel(), 1))
    return network


def random(*shape: int) -> torch.Tensor:
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_published_networks_have_the_channels_we_read_from_the_figure():
    network = UNet()

    assert [block.convolutions[0].out_channels for block in network.down] == [64, 128, 256, 512]
    assert (network.stride, network.last.features.out_channels) == (16, 1)
    assert network.last.strided is None
    assert [
        layer.negative_slope for layer in network.modules() if isinstance(layer, nn.LeakyReLU)
    ] == [0.1] * 24
    judge = Discriminator()
    convolutions = [layer for layer in judge.convolutions if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions[::2]] == [64, 128, 256, 512, 1024, 2048]
    assert [layer.stride[0] for layer in convolutions] == [1] + [1, 2] * 5


def test_a_block_on_the_way_down_adds_its_input_padded_with_zero_channels():
    network = UNet(width=6, depth=1)
    block = network.down[0]
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.zero_()

    image = torch.rand(1, 1, 8, 8)

    torch.testing.assert_close(block(image)[:, :1], image)
    assert block(image)[:, 1:].abs().max() == 0


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from(SCALES), st.sampled_from(SMALL))
def test_the_output_has_ceil_of_scale_times_the_sides(height, width, scale, small):
    kind, arguments = small
    network = kind(scale=scale, **arguments)

    with torch.inference_mode():
        output = network(torch.zeros(2, 1, height, width))

    assert output.shape == (2, 1, *(math.ceil(scale * n - 1e-9) for n in (height, width)))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("kind", "arguments"), SMALL)
def test_the_halo_is_the_receptive_field_rounded_up_to_the_stride(kind, arguments, scale):
    """One pixel is no number; what becomes none tells how far an output px looks."""
    network = kind(scale=scale, **arguments).double().eval()
    length = 6 * (network.halo + network.stride)
    image = random(1, 1, 1, length)
    reach, stride = 0, network.stride
    with torch.inference_mode():
        start = length // 2 // stride * stride
        for centre in range(start, start + stride):
            changed = image.clone()
            changed[..., centre] = math.nan
            columns = network(changed)[0, 0].isnan().any(0).nonzero().flatten()
            # A tile begins and ends with a cell, so that it needs what any px of its first and last one sees.
            first, last = (
                math.floor(float(at) / scale + 1e-9) // stride * stride
                for at in (columns.min(), columns.max())
            )
            reach = max(reach, centre - (first + stride - 1), last - centre)

    assert network.halo % stride == 0
    assert reach <= network.halo < reach + stride


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.sampled_from(SCALES),
    st.sampled_from(SMALL),
    st.integers(1, 40),
)
def test_tiles_give_what_the_whole_image_gives(height, width, scale, small, side):
    kind, arguments = small
    network = dense(kind, scale=scale, **arguments)
    image = random(1, 1, height, width)
    with torch.inference_mode():
        whole = network(image)
        tiled = torch.full_like(whole, math.nan)
        for tile in Grid((height, width), scale, network.stride, network.halo).tiles(side):
            tiled[(..., *tile.write)] = network(image[(..., *tile.read)])[(..., *tile.keep)]

    torch.testing.assert_close(tiled, whole, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", [UNet, CompactUNet])
def test_levels_are_undone_at_the_output(kind):
    torch.manual_seed(0)
    plain = kind(width=2, depth=1)
    levelled = kind(width=2, depth=1, levels=((0.1, 0.3), (0.2, 0.6)))
    levelled.load_state_dict(plain.state_dict())
    image = torch.rand(1, 1, 16, 16)

    with torch.inference_mode():
        expected = plain((image - 0.1) / 0.2) * 0.4 + 0.2

        torch.testing.assert_close(levelled(image), expected)


@pytest.mark.parametrize(
    "levels",
    [((0.3, 0.1), (0, 1)), ((0, 0), (0, 1)), ((0, math.inf), (0, 1)), ((-math.inf, 1), (0, 1)), 3],
)
def test_levels_that_do_not_rise_are_refused(levels):
    header = acuity.Model.new("crossmodality").header
    header.arguments["levels"] = levels

    with pytest.raises(ModelError, match=r"levels|iterable"):
        acuity.Model.build(header)


@pytest.mark.parametrize("kind", [UNet, CompactUNet])
@pytest.mark.parametrize(
    "wrong",
    [
        *({"channels": 0}, {"width": 0}, {"depth": 0}, {"depth": 9}),
        *({"scale": 0.5}, {"scale": 2.51}, {"scale": 1e300}),
    ],
)
def test_a_network_that_cannot_be_built_is_refused(kind, wrong):
    with pytest.raises(ModelError, match="cannot be built"):
        kind(**wrong)


def test_normalisation_is_made_or_not_and_never_many_times():
    one, many = (len([*CompactUNet(width=1, norm=norm).modules()]) for norm in (True, 10**6))

    assert one == many


def test_the_compact_network_starts_near_black_and_passes_its_signals_on():
    """With torch's usual start the last features of an image are a hundredth of what goes in."""
    torch.manual_seed(0)
    network = CompactUNet()
    features: list[torch.Tensor] = []
    network.up[0].register_forward_hook(lambda _part, _given, made: features.append(made))
    image = torch.randn(1, 1, 64, 64)

    with torch.inference_mode():
        output = network(image)

    assert 0.3 < features[0].std().item() < 3
    assert output.std().item() < 0.5


def test_the_discriminator_judges_a_patch_of_any_size_and_logits_are_its_sigmoid():
    torch.manual_seed(0)
    judge = Discriminator(width=4, blocks=2).double()
    for side in (1, 7, 32):
        logits = judge(random(3, 1, side, side) * 20)
        probability = torch.sigmoid(logits)

        assert logits.shape == (3,)
        torch.testing.assert_close(functional.softplus(-logits), -torch.log(probability))
        torch.testing.assert_close(functional.softplus(logits), -torch.log(1 - probability))


@pytest.mark.parametrize("wrong", [{"channels": 0}, {"width": 0}, {"blocks": 0}, {"blocks": 9}])
def test_a_discriminator_that_cannot_be_built_is_refused(wrong):
    with pytest.raises(ModelError, match="discriminator"):
        Discriminator(**wrong)


def test_enhance_uses_levels_and_tiles_exactly():
    rng = np.random.default_rng(0)
    image = acuity.Micrograph(
        rng.integers(0, 60000, (150, 131)).astype(np.uint16), value_range=(0, 65535)
    )
    header = acuity.Model.new("crossmodality", width=4).header
    header.arguments["levels"] = [[0.01, 0.5], [0.02, 0.3]]
    model = acuity.Model.build(header)

    whole = acuity.enhance(image, model, tile=None, device="cpu")
    tiled = acuity.enhance(image, model, tile=40, device="cpu")

    assert whole.pixels.dtype == np.uint16
    # A value that lies half-way between two levels may be rounded either way.
    differences = np.abs(whole.pixels.astype(int) - tiled.pixels)
    assert differences.max() <= 1
    assert differences.mean() < 0.01


@pytest.mark.skipif(not has_openvino(), reason="needs the extra fast")
@pytest.mark.parametrize("recipe", ["crossmodality", "crossmodality-2019"])
def test_openvino_gives_what_the_network_gives_at_any_size(recipe):
    model = acuity.Model.new(recipe, width=4)
    run = engine_for(model, choose_device("cpu"), exact=True).run
    for shape in ((64, 64), (33, 77), (1, 5)):
        image = torch.rand(1, 1, *shape)
        with torch.inference_mode():
            torch.testing.assert_close(run(image), model.network(image), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scale", [1, 1.5])
def test_the_compact_network_is_exported_for_images_of_any_size(tmp_path, scale):
    onnxruntime = pytest.importorskip("onnxruntime")
    header = acuity.Model.new("crossmodality", width=4, scale=scale).header
    header.arguments["levels"] = [[0.1, 0.5], [0.0, 0.3]]
    model = acuity.Model.build(header)

    session = onnxruntime.InferenceSession(acuity.export(model, tmp_path / "model.onnx"))

    for shape in ((40, 48), (33, 77)):
        image = torch.rand(1, 1, *shape)
        (output,) = session.run(None, {"input": image.numpy()})
        with torch.inference_mode():
            np.testing.assert_allclose(output, model.network(image).numpy(), atol=1e-5)


def test_the_constants_of_normalisation_go_into_the_convolutions():
    arguments = {"channels": 3, "scale": 1.0, "width": 4, "depth": 2, "norm": True}
    model = Model.build(Header("compact_unet", arguments, 1.0, 3))
    image = torch.rand(1, 3, 40, 40)
    with torch.no_grad():
        for _ in range(20):  # statistics other than 0 and 1
            model.network.train()(torch.rand(2, 3, 40, 40) * 3)
        wanted = model.network.eval()(image)
    engine = engine_for(model, choose_device("cpu"), exact=True, work=1)

    torch.testing.assert_close(engine.run(image), wanted, atol=1e-5, rtol=1e-4)
    assert any(isinstance(part, nn.BatchNorm2d) for part in model.network.modules())

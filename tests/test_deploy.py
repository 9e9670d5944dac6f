"""The form a model is used in: the same function on every device, and never a missing tile."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import napari_acuity as acuity
from napari_acuity import AcuityError, Model, samples
from napari_acuity.core.device import choose_device
from napari_acuity.core.inference import deploy, gpu, many, strips
from napari_acuity.core.inference.deploy import engine_for
from napari_acuity.core.inference.enhance import with_notes
from napari_acuity.core.inference.many import enhance_many
from napari_acuity.core.inference.openvino_engine import has_openvino
from napari_acuity.core.inference.strips import in_strips
from napari_acuity.core.networks.folded import Folded
from napari_acuity.core.networks.pyramid_resnet import PyramidResNet

CPU = choose_device("cpu")


def lively(scale: float, channels: int = 3, **arguments: Any) -> PyramidResNet:
    arguments = {"width": 6, "growth": 3, "blocks": 2, **arguments}
    network = PyramidResNet(scale=scale, channels=channels, **arguments).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.3)
    return network


@settings(max_examples=60, deadline=None)
@given(
    scale=st.sampled_from([1, 1.25, 1.5, 5 / 3, 2, 7 / 3, 2.5, 3, 4]),
    shape=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    channels=st.sampled_from([1, 3, 4]),
    multiple=st.sampled_from([1, 8]),
)
def test_the_folded_network_is_the_network_to_the_last_border_pixel(
    scale: float, shape: tuple[int, int], channels: int, multiple: int
) -> None:
    network = lively(scale, channels)
    image = torch.rand(1, channels, *shape)

    with torch.inference_mode():
        plain, folded = network(image), Folded(network, multiple=multiple)(image)

    assert folded.shape == plain.shape
    assert float((folded - plain).abs().max()) < 1e-5 * float(plain.abs().max())


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    scale=st.sampled_from([1, 1.25, 1.5, 5 / 3, 2, 7 / 3, 2.5, 3, 4]),
    shape=st.tuples(st.integers(1, 60), st.integers(1, 30)),
    channels=st.sampled_from([1, 3, 4]),
    growth=st.sampled_from([0, 3]),
    blocks=st.integers(1, 6),
    strip_bytes=st.sampled_from([1, 4000, 2**22]),
)
def test_strips_give_the_network_to_the_last_border_pixel(
    scale: float,
    shape: tuple[int, int],
    channels: int,
    growth: int,
    blocks: int,
    strip_bytes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(strips, "_BYTES_A_THREAD", strip_bytes)
    network = lively(scale, channels, growth=growth, blocks=blocks)
    # Below 0, too: what a model takes for black is not the darkest there is.
    image = torch.randn(1, channels, *shape)

    with torch.inference_mode():
        plain, found = network(image), in_strips(Folded(network))(image)

    assert found.shape == plain.shape
    assert float((found - plain).abs().max()) < 1e-5 * float(plain.abs().max())


@pytest.mark.parametrize("most_by_blocks_px", [0, 1000])
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    scale=st.sampled_from([1, 1.25, 1.5, 5 / 3, 2, 7 / 3, 2.5, 3, 4]),
    shape=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    channels=st.sampled_from([1, 3, 4]),
    width=st.sampled_from([3, 6, 13]),
    growth=st.sampled_from([0, 3]),
    multiple=st.sampled_from([1, 8]),
)
def test_what_a_gpu_runs_is_the_network_to_the_last_border_pixel(
    most_by_blocks_px: int,
    scale: float,
    shape: tuple[int, int],
    channels: int,
    width: int,
    growth: int,
    multiple: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def conv_relu(image: torch.Tensor, conv: Any) -> torch.Tensor:
        return torch.nn.functional.conv2d(image, conv.weight, conv.bias, padding=1).relu()

    monkeypatch.setattr(gpu, "_conv_relu", conv_relu)  # cuDNN's
    monkeypatch.setattr(gpu, "_MOST_BY_BLOCKS_PX", most_by_blocks_px)
    network = lively(scale, channels, width=width, growth=growth)
    image = torch.rand(1, channels, *shape)

    run = gpu.half_runner(Folded(network, multiple=multiple))
    with torch.inference_mode():
        plain, found = network(image), run(image)

    assert (found.shape, found.dtype) == (plain.shape, torch.float32)
    assert float((found - plain).abs().max()) < 1e-5 * float(plain.abs().max())


def test_exact_turns_tf32_off_and_leaves_cudnn_on() -> None:
    seen: list[tuple[bool, bool]] = []

    class Looking(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            seen.append((torch.backends.cudnn.enabled, torch.backends.cudnn.allow_tf32))
            return image

    deploy._exactly(Looking())(torch.zeros(1, 3, 4, 4))

    assert seen == [(True, False)]


@pytest.mark.parametrize("shape", [(64, 64), (63, 65), (1, 1), (1, 50), (37, 2)])
def test_openvino_computes_the_same_at_any_size(shape: tuple[int, int]) -> None:
    if not has_openvino():
        pytest.skip("needs OpenVINO")
    model = Model.new("crossmodality", width=4)
    engine = engine_for(model, CPU, exact=True)
    assert "OpenVINO" in engine.words
    image = torch.rand(1, 1, *shape)

    with torch.inference_mode():
        difference = engine.run(image) - model.network(image)

    assert float(difference.abs().max()) < 1e-5


def test_a_result_of_openvino_outlives_the_next_one() -> None:
    if not has_openvino():
        pytest.skip("needs OpenVINO")
    engine = engine_for(Model.new("crossmodality", width=4), CPU, exact=True)
    first = engine.run(torch.zeros(1, 1, 20, 20))
    before = first.clone()

    engine.run(torch.ones(1, 1, 20, 20))

    assert torch.equal(first, before)


def test_half_precision_on_a_processor_that_has_it_is_right_to_a_grey_level(
    tissue: np.ndarray,
) -> None:
    if deploy.half_precision(CPU) is None:
        pytest.skip("needs a processor with bfloat16")
    model = acuity.load("default")

    half, exact = (acuity.enhance(tissue, model, exact=e).pixels for e in (False, True))

    assert np.abs(half.astype(int) - exact).max() <= 1


def test_bfloat16_in_strips_is_right_to_a_grey_level(
    tissue: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deploy, "half_precision", lambda device: torch.bfloat16)
    model = replace(acuity.load("default"))
    engine = engine_for(model, CPU)
    assert engine.words == "folded, bfloat16"
    image = torch.tensor(tissue[:64, :64]).permute(2, 0, 1)[None] / 255
    # Features kept as they are, not less those of grey, are off by more here.
    hard = torch.tensor(samples.slide().pixels[1496:1592, 1342:1438]).permute(2, 0, 1)[None] / 255

    with torch.inference_mode():
        for sample in (image, hard, torch.rand(1, 3, 40, 40), torch.ones(1, 3, 40, 40)):
            off = float((engine.run(sample) - model.network(sample)).abs().max())
            assert 1e-5 < off < 1 / 255


def test_a_network_that_bfloat16_is_too_coarse_for_computes_in_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deploy, "half_precision", lambda device: torch.bfloat16)
    network = lively(2.5)
    engine = engine_for(replace(acuity.load("default"), network=network), CPU)
    assert engine.words == "folded, float32 (bfloat16 is off by more than a grey level)"
    image = torch.rand(1, 3, 20, 20)

    with torch.inference_mode():
        plain = network(image)

    assert float((engine.run(image) - plain).abs().max()) < 1e-5 * float(plain.abs().max())


def test_openvino_reports_to_nobody() -> None:
    if not has_openvino():
        pytest.skip("needs OpenVINO")
    lines = (
        "import sys, napari_acuity as a",
        "from napari_acuity.core.device import choose_device",
        "from napari_acuity.core.inference.deploy import engine_for",
        "model = a.Model.new('crossmodality', width=4)",
        "print(engine_for(model, choose_device('cpu'), exact=True).words)",
        "print(sys.modules['openvino_telemetry'])",
    )
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False
    )

    assert done.stdout.split()[0] == "OpenVINO", done.stderr
    assert done.stdout.split()[-1] == "None"


def test_a_small_image_does_not_wait_for_a_conversion() -> None:
    model = Model.new("crossmodality")

    assert "OpenVINO" not in engine_for(model, CPU, exact=True, work=200**2).words
    words = engine_for(model, CPU, exact=True, work=2000**2).words
    assert ("OpenVINO" in words) == has_openvino()


def test_strips_are_not_converted_and_built_once_for_small_and_large_images() -> None:
    model = replace(acuity.load("default"))

    engine = engine_for(model, CPU, exact=True, work=100)

    assert engine.words == "folded, float32"
    assert engine_for(model, CPU, exact=True) is engine


def test_engines_are_built_once() -> None:
    model = acuity.load("default")

    assert engine_for(model, CPU, exact=True) is engine_for(model, CPU, exact=True)
    assert engine_for(model, CPU, exact=True) is not engine_for(Model.new(), CPU, exact=True)


def test_a_network_of_another_kind_is_used_as_it_is() -> None:
    model: Any = SimpleNamespace(network=torch.nn.Conv2d(3, 3, 1), channels=3)
    run, words = deploy._runner(model, CPU, True, False)

    assert "as trained" in words
    assert run(torch.zeros(1, 3, 4, 4)).shape == (1, 3, 4, 4)


class Tight:
    """A network that a memory of so many pixels does not hold."""

    def __init__(self, most_px: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        real = deploy._runner

        def runner(*given: Any) -> Any:
            run, words = real(*given)

            def tight(image: torch.Tensor) -> torch.Tensor:
                self.sizes.append(image.shape[-1] * image.shape[-2])
                if self.sizes[-1] > most_px:
                    raise torch.OutOfMemoryError("too large")
                return run(image)

            return tight, words

        monkeypatch.setattr(deploy, "_runner", runner)


def test_where_memory_is_short_tiles_are_halved_and_none_is_missing(
    tissue: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = tissue[:90, :101]
    whole = acuity.enhance(image, Model.new(width=6, growth=3, blocks=1), tile=None, exact=True)
    tight = Tight(40 * 40, monkeypatch)

    found = acuity.enhance(image, Model.new(width=6, growth=3, blocks=1), tile=None, exact=True)

    assert min(tight.sizes) <= 40 * 40 < max(tight.sizes)
    assert np.abs(found.pixels.astype(int) - whole.pixels).max() <= 1


def test_a_memory_that_holds_nothing_is_an_error(
    tissue: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    Tight(0, monkeypatch)

    with pytest.raises(AcuityError, match="does not hold the smallest tile"):
        acuity.enhance(tissue[:20, :20], Model.new(width=6, growth=3, blocks=1))


def test_many_images_are_done_in_turn(tissue: np.ndarray) -> None:
    model = acuity.load("default")
    images = [tissue[n : n + 30, :40] for n in (0, 50, 100)]

    found = list(enhance_many(iter(images), model))

    for image, output in zip(images, found, strict=True):
        np.testing.assert_array_equal(output.pixels, acuity.enhance(image, model).pixels)


def test_many_images_are_cut_where_the_memory_does_not_hold_them(
    tissue: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(many, "_overlaps", lambda *_: True)
    monkeypatch.setattr(many, "_start", full)
    model, image = acuity.load("default"), tissue[:30, :40]

    (found,) = enhance_many([image], model, device="cpu")

    np.testing.assert_array_equal(found.pixels, acuity.enhance(image, model).pixels)


def test_notes_are_the_same_whatever_the_way(tissue: np.ndarray) -> None:
    model = acuity.load("default")
    large = tuple(3 * um for um in model.header.pixel_size)
    image = acuity.Micrograph(tissue[:30, :40], large, rgb=True, value_range=(30, 200))

    made = acuity.enhance(image, model)

    assert len(made.notes) == 2
    assert with_notes(replace(made, notes=()), image, model).notes == made.notes


@pytest.mark.gpu
@pytest.mark.parametrize("side", [31, 160, 600])
def test_a_gpu_is_right_to_a_grey_level_and_exact_on_request(side: int) -> None:
    model, cuda = acuity.load("default"), choose_device("cuda")
    half, exact = engine_for(model, cuda), engine_for(model, cuda, exact=True)
    for seed, _ in product(range(2), range(3)):  # the second and third calls replay a graph
        image = torch.rand(1, 3, side, side + 1, generator=torch.Generator().manual_seed(seed))
        with torch.inference_mode():
            truth = model.network(image)
        assert float((half.run(image.cuda()).cpu() - truth).abs().max()) < 1 / 255
        assert float((exact.run(image.cuda()).cpu() - truth).abs().max()) < 1e-5


@pytest.mark.gpu
def test_a_gpu_streams_what_it_gives_one_by_one(tissue: np.ndarray) -> None:
    model = acuity.load("default")
    images = [np.roll(tissue, n, axis=0) for n in range(4)]

    for image, output in zip(images, enhance_many(images, model, device="cuda"), strict=True):
        np.testing.assert_array_equal(
            output.pixels, acuity.enhance(image, model, device="cuda").pixels
        )


@pytest.mark.gpu
def test_a_gpu_that_streams_tells_the_same_notes(tissue: np.ndarray) -> None:
    model = acuity.load("default")
    large = tuple(3 * um for um in model.header.pixel_size)
    image = acuity.Micrograph(tissue, large, rgb=True, value_range=(30, 200))
    expected = acuity.enhance(image, model, device="cuda")
    assert len(expected.notes) == 2

    (found,) = enhance_many([image], model, device="cuda")
    assert (found.notes, found.pixel_size) == (expected.notes, expected.pixel_size)
    assert found.value_range == expected.value_range


@pytest.mark.gpu
@pytest.mark.parametrize("recipe", ["crossmodality", "crossmodality-2019"])
def test_a_u_net_on_a_gpu_is_right_to_a_grey_level_and_exact_on_request(recipe: str) -> None:
    header = acuity.Model.new(recipe, width=8).header
    header.arguments["levels"] = ((0.1, 0.8), (0.05, 0.6))
    model, cuda = acuity.Model.build(header), choose_device("cuda")
    image = torch.rand(1, 1, 90, 101, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = model.network(image)

    half = engine_for(model, cuda).run(image.to(cuda.name)).cpu()
    exact = engine_for(model, cuda, exact=True).run(image.to(cuda.name)).cpu()

    assert (half - expected).abs().max() < 1 / 255
    assert (exact - expected).abs().max() < 1e-5

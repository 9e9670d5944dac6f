"""The form a network is trained in: the plain network's function, gradients and weights."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from napari_acuity import Model
from napari_acuity.core.device import Device, choose_device
from napari_acuity.core.networks.pyramid_resnet import PyramidResNet, fit, padded, trim
from napari_acuity.core.recipe import recipe_by_name
from napari_acuity.core.training.fast import autocast, optimiser_of, training_form
from napari_acuity.core.training.steps import Trainee
from napari_acuity.core.training.world import World

CPU = Device("cpu", "CPU", "tests")


@pytest.fixture(params=[torch.bfloat16, None], ids=["bfloat16", "float32"])
def precisions(request, monkeypatch):
    """What "auto" computes in, whatever the processor likes."""
    monkeypatch.setattr(
        "napari_acuity.core.training.fast.half_precision", lambda device: request.param
    )


def batch(side: int = 16, count: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    low = torch.rand(count, 3, side, side, generator=generator)
    return low, functional.interpolate(low, scale_factor=2.5, mode="bilinear")


def learn(network: torch.nn.Module, steps: int, precision: str = "float32", device: Device = CPU):
    low, high = (part.to(device.name) for part in batch())
    optimiser = optimiser_of(network.parameters(), 1e-3, device)
    for _ in range(steps):
        optimiser.zero_grad()
        with autocast(device, precision):
            output = network(low)
        functional.mse_loss(output.float(), high).backward()
        optimiser.step()
    return optimiser


def added(wide: torch.nn.Module, network: torch.nn.Module) -> list[torch.Tensor]:
    """Return all weights of a padded network that the plain one does not have."""
    found = []
    for weight, plain in zip(wide.parameters(), network.parameters(), strict=True):
        ours = torch.ones_like(weight, dtype=torch.bool)
        ours[tuple(map(slice, plain.shape))] = False
        found.append(weight.detach()[ours])
    return found


@settings(max_examples=25, deadline=None)
@given(
    st.integers(3, 20),
    st.sampled_from([0, 3, 10]),
    st.integers(1, 4),
    st.sampled_from([1, 1.5, 2, 2.5]),
    st.sampled_from([8, 16]),
)
def test_a_padded_network_is_the_same_function_and_comes_back_bit_for_bit(
    width, growth, blocks, scale, multiple
):
    network = PyramidResNet(width=width, growth=growth, blocks=blocks, scale=scale)
    wide = padded(network, multiple)
    back = PyramidResNet(width=width, growth=growth, blocks=blocks, scale=scale)
    trim(wide, back)
    image = torch.rand(1, 3, 11, 14)

    with torch.inference_mode():
        torch.testing.assert_close(wide(image), network(image), rtol=0, atol=1e-6)
    for name, weight in network.state_dict().items():
        assert torch.equal(back.state_dict()[name], weight), name


def test_the_published_widths_are_padded_to_multiples_of_8():
    wide = padded(PyramidResNet())

    assert wide.head.out_channels == 32
    assert [block.second.out_channels for block in wide.blocks] == [40, 40, 48, 56, 64]
    assert wide.up.out_channels == 75


def test_padding_draws_no_random_numbers():
    network = PyramidResNet()
    before = torch.random.get_rng_state()
    padded(network)

    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.usefixtures("precisions")
def test_the_added_weights_stay_exactly_zero_while_the_others_learn():
    network = PyramidResNet()
    form = training_form(network, CPU)
    optimiser = learn(form, 20, "auto")

    assert sum(part.numel() for part in added(form, network)) > 10_000
    assert all((part == 0).all() for part in added(form, network))
    moments = copy.deepcopy(form)
    for name in ("exp_avg", "exp_avg_sq"):
        for moment, weight in zip(moments.parameters(), form.parameters(), strict=True):
            moment.data = optimiser.state[weight][name]
        assert all((part == 0).all() for part in added(moments, network))
    assert not torch.equal(form.up.weight[:, :62], network.up.weight)


def test_training_in_the_fast_form_gives_the_plain_network_s_weights():
    """In float64, where the order of sums does not show."""
    torch.manual_seed(0)
    network = PyramidResNet(width=12, growth=5, blocks=2).double()
    form = training_form(network, CPU)
    low, high = (part.double() for part in batch())
    trained = copy.deepcopy(network)
    for module, optimiser in (
        (trained, torch.optim.Adam(trained.parameters(), lr=1e-3)),
        (form, optimiser_of(form.parameters(), 1e-3, CPU)),
    ):
        for _ in range(5):
            optimiser.zero_grad()
            functional.mse_loss(module(low), high).backward()
            optimiser.step()
    trim(form, network)

    for name, weight in trained.state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], weight, rtol=0, atol=1e-9)


def test_the_form_is_a_copy_and_a_running_mean_of_it_can_be_written_back():
    network = PyramidResNet(width=12, growth=5, blocks=2)
    before = copy.deepcopy(network.state_dict())
    form = training_form(network, CPU)
    mean = copy.deepcopy(form)
    learn(form, 2)
    for name, weight in network.state_dict().items():
        assert torch.equal(weight, before[name]), name
    trim(mean, network)

    assert all(torch.equal(w, before[name]) for name, w in network.state_dict().items())


def test_a_network_that_cannot_be_padded_is_trained_as_it_is():
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3), torch.nn.Conv2d(5, 3, 3))
    form = training_form(network, CPU)

    assert [w.shape for w in form.parameters()] == [w.shape for w in network.parameters()]
    assert all(
        torch.equal(a, b) for a, b in zip(form.parameters(), network.parameters(), strict=True)
    )


def test_float32_computes_in_float32_and_auto_as_the_device_likes(monkeypatch):
    conv, image = torch.nn.Conv2d(1, 1, 3), torch.zeros(1, 1, 4, 4)
    monkeypatch.setattr(
        "napari_acuity.core.training.fast.half_precision", lambda device: torch.bfloat16
    )

    with autocast(CPU, "float32"):
        assert conv(image).dtype == torch.float32
    with autocast(CPU, "auto"):
        assert conv(image).dtype == torch.bfloat16


# Block by block, and what only GPUs do


@pytest.mark.parametrize("scale", [1, 1.5, 2, 2.5, 4, 4 / 3])
def test_block_by_block_the_last_layers_learn_what_the_plain_ones_do(scale):
    """Output, gradients and weights after some steps, in float64; sides that are no multiples, too."""
    torch.manual_seed(0)
    network = PyramidResNet(width=6, growth=3, blocks=1, scale=scale).double()
    plain, blocks = copy.deepcopy(network), padded(network, 8, by_blocks=16)
    low = torch.rand(2, 3, 11, 14, dtype=torch.double)
    high = torch.rand_like(plain(low))
    assert blocks.up.out_channels % 16 == 0
    for _ in range(5):
        for form in (plain, blocks):
            form.zero_grad()
            functional.mse_loss(form(low), high).backward()
        torch.testing.assert_close(blocks(low), plain(low), rtol=0, atol=1e-9)
        for wide, narrow in zip(blocks.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(fit(wide.grad, narrow), narrow.grad, rtol=0, atol=1e-9)
            wide.data -= 0.1 * wide.grad
            narrow.data -= 0.1 * narrow.grad

    assert all((part == 0).all() for part in added(blocks, network))


@pytest.mark.usefixtures("precisions")
def test_block_by_block_the_added_weights_stay_exactly_zero():
    network = PyramidResNet()
    wide = padded(network, 32, by_blocks=32)
    learn(wide, 10, "auto")

    assert wide.up.weight.shape == (96, 64, 3, 3)
    assert all((part == 0).all() for part in added(wide, network))
    assert not torch.equal(wide.up.weight[:75, :62], network.up.weight)
    assert not torch.equal(wide.down.weight, network.down.weight)


def trainee(device: Device = CPU, **changes: object) -> Trainee:
    recipe = replace(recipe_by_name("brightfield"), precision="float32", **changes)
    arguments = {} if device.name != "cpu" else {"width": 12, "growth": 5, "blocks": 2}
    return Trainee(Model.new("brightfield", **arguments), recipe, World(0, 1, device))


def weights_of(one: Trainee) -> torch.Tensor:
    return torch.cat([value.flatten() for value in one.model().network.state_dict().values()])


def test_a_state_of_one_form_goes_on_in_another(monkeypatch):
    """As a run does that was begun on a GPU and goes on on a processor, and back."""
    low, high = batch()
    whole = trainee()
    for number in range(6):
        whole.step(low, high, 1e-3, 1.0, number=number)
        whole.follow(0.5)
    parts = trainee()
    for number in range(6):
        if number == 2:
            monkeypatch.setattr(
                "napari_acuity.core.training.fast.padded",
                lambda network, _multiple, by_blocks: padded(network, 16, by_blocks=32),
            )
        if number == 4:
            monkeypatch.undo()
        if number in (2, 4):
            state, parts = parts.state(), trainee()
            parts.restore(state)
        parts.step(low, high, 1e-3, 1.0, number=number)
        parts.follow(0.5)

    torch.testing.assert_close(weights_of(parts), weights_of(whole), rtol=0, atol=1e-4)


def test_a_state_of_its_own_form_comes_back_bit_for_bit():
    low, high = batch()
    first, second = trainee(), trainee()
    first.step(low, high, 1e-3, 1.0)
    second.restore(first.state())
    for one in (first, second):
        one.step(low, high, 1e-3, 1.0)
        one.follow(0.5)

    assert torch.equal(weights_of(first), weights_of(second))


@pytest.mark.parametrize("losses", [{"mse": 1.0}, {"mse": 1.0, "ssim": 0.1, "gradient": 0.01}])
def test_a_step_that_is_compiled_is_the_plain_one(losses, monkeypatch):
    """Traced whole and run by torch itself; where it cannot be compiled, the plain one goes on."""
    low, high = batch()
    calls = []

    def traced(function, **options):
        calls.append(options)
        return compiled(function, backend="eager", fullgraph=True, **options)

    def broken(_function, **_options):
        def run(*_given):
            raise RuntimeError("no compiler")

        return run

    compiled, found = torch.compile, []
    monkeypatch.setattr("napari_acuity.core.training.steps.can_compile", lambda device: True)
    for way in (None, traced, broken):
        one = trainee(losses=losses)
        if way is not None:
            monkeypatch.setattr("torch.compile", way)
            one.quicken()
        for number in range(2):
            terms = one.step(low, high, 1e-3, 1.0, number=number)
        one.follow(0.0)
        assert set(terms) == set(losses)
        found.append(torch.cat([weights_of(one), torch.stack([*terms.values()])]))

    assert calls == [{"dynamic": False}]
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=1e-6)
    assert torch.equal(found[2], found[0])


@pytest.mark.gpu
@pytest.mark.parametrize("losses", [{"mse": 1.0}, {"mse": 1.0, "ssim": 0.1, "gradient": 0.01}])
def test_on_a_gpu_a_step_kept_as_a_graph_is_the_plain_one(losses, monkeypatch):
    device = choose_device("cuda")
    low, high = (part.cuda() for part in batch())
    # What is compiled is of no interest here.
    monkeypatch.setattr("napari_acuity.core.training.steps.can_compile", lambda device: False)
    plain, kept = trainee(device, losses=losses), trainee(device, losses=losses)
    kept.quicken()
    for number in range(20):
        given = low.roll(number, -1), high.roll(number, -1)
        expected = plain.step(*given, 1e-4, 1.0, number=number)
        found = kept.step(*given, 1e-4, 1.0, number=number)
        assert kept._graph is not None
        for name, term in expected.items():
            torch.testing.assert_close(found[name], term, rtol=1e-2, atol=1e-5)
    # Its state goes on, and so do other sizes.
    kept.restore(kept.state())
    kept.step(low, high, 1e-4, 1.0)
    kept.step(low[:1], high[:1], 1e-4, 1.0)


@pytest.mark.gpu
def test_on_a_gpu_the_form_is_the_same_function_and_added_weights_stay_zero():
    device = choose_device("cuda")
    network = PyramidResNet()
    form = training_form(network, device)
    low, _ = batch()
    with torch.inference_mode():
        torch.testing.assert_close(form(low.cuda()).cpu(), network(low), rtol=0, atol=1e-4)
    learn(form, 20, "auto", device)

    assert all((part == 0).all() for part in added(form, network))

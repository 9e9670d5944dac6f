"""Networks with batch normalisation: whose statistics a model has, and that runs go on bit for bit."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn

import napari_acuity as acuity
from napari_acuity.core.device import choose_device
from napari_acuity.core.model import Model
from napari_acuity.core.recipe import RECIPES
from napari_acuity.core.training import plan
from napari_acuity.core.training.steps import Trainee
from napari_acuity.core.training.train import train_steps
from napari_acuity.core.training.world import World

if TYPE_CHECKING:
    from pathlib import Path

QUICK = replace(
    RECIPES["lens"],
    name="quick",
    network_arguments={"channels": 3, "width": 2, "depth": 1, "norm": True},
    patch=32,
    batch=8,
    epochs=2,
    precision="float32",
)


def pairs() -> list[acuity.Pair]:
    made = []
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        low = acuity.Micrograph(pixels, rgb=True)
        made.append(acuity.Pair(low, low.with_pixels(255 - pixels), 1.0, name=f"pair {number}"))
    return made


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "_LEAST_PATCHES_AN_EPOCH", 32)


def test_the_running_mean_has_statistics_of_its_own_weights() -> None:
    world = World(0, 1, choose_device("cpu"))
    model = Model.new("lens", width=2, depth=1)
    trainee = Trainee(model, QUICK, world)
    batches = [torch.rand(4, 3, 32, 32) for _ in range(5)]
    for batch in batches:
        trainee.step(batch, 1 - batch, 1e-2, 1.0)
        trainee.follow(0.9)
    seen: list[torch.Tensor] = []
    first = next(part for part in trainee.average.modules() if isinstance(part, nn.BatchNorm2d))
    hook = first.register_forward_pre_hook(lambda _m, given: seen.append(given[0].detach()))

    trainee.settle(batches)
    hook.remove()

    assert not first.training
    together = torch.cat(seen)
    torch.testing.assert_close(first.running_mean, together.mean((0, 2, 3)), atol=1e-5, rtol=1e-4)
    each = torch.stack([part.var((0, 2, 3)) for part in seen]).mean(0)
    torch.testing.assert_close(first.running_var, each, atol=1e-5, rtol=1e-4)
    # What is saved has them.
    kept = next(
        part for part in trainee.model().network.modules() if isinstance(part, nn.BatchNorm2d)
    )
    assert torch.equal(kept.running_mean, first.running_mean)


def test_a_run_that_is_gone_on_with_ends_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    whole = acuity.train(pairs(), QUICK, tmp_path / "whole", device="cpu", test=0.0)
    steps = train_steps(pairs(), QUICK, tmp_path / "part", device="cpu", test=0.0)
    while next(steps).new is None:  # one of two epochs
        pass
    next(steps)
    steps.close()

    again = acuity.resume(tmp_path / "part", pairs=pairs(), device="cpu")

    assert again.digest() == whole.digest()

"""Memory that is used up: tiles are halved, and what cannot be helped is told as a cause and a cure."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from napari_acuity import Event, run
from napari_acuity.core.errors import AcuityError
from napari_acuity.core.memory import memory_errors

if TYPE_CHECKING:
    from napari_acuity.core.jobs import Steps

TOO_MANY = 10**15

# All of an image at once would take several times the memory that is left.
TIGHT = """
import resource
from dataclasses import replace
import numpy as np, torch
import napari_acuity as acuity
from napari_acuity.core.device import choose_device
from napari_acuity.core.inference import model_steps

torch.set_num_threads(1)
pixels = np.random.default_rng(0).integers(0, 256, (2000, 2000, 3), dtype=np.uint8)
image = acuity.Micrograph(pixels, rgb=True)
model = acuity.Model.new("mobile-2018", width=8, growth=2, blocks=1)
whole = acuity.enhance(image, model, tile=None, device="cpu", exact=True).pixels
engine = model_steps.engine_for(model, choose_device("cpu"), exact=True)
ran = []
seen = replace(engine, run=lambda tile: (ran.append(tile.shape), engine.run(tile))[1])
model_steps.engine_for = lambda *_, **__: seen
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
most = used + 380 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (most, most))
parts = acuity.enhance(image, model, tile=None, device="cpu", exact=True).pixels
print(np.array_equal(whole, parts), len(ran))
"""


def test_torch_and_numpy_have_one_error_for_it() -> None:
    for allocate in (torch.empty, np.empty):
        with pytest.raises(MemoryError), memory_errors():
            allocate(TOO_MANY)


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="size of tensor"), memory_errors():
        torch.zeros(2) + torch.zeros(3)


@pytest.mark.parametrize("allocate", [torch.empty, np.empty])
def test_a_job_tells_of_it_with_a_cure(allocate: type) -> None:
    def greedy() -> Steps[None]:
        yield Event("growing", 0.0)
        allocate(TOO_MANY)

    with pytest.raises(AcuityError, match=r"The memory does not hold .*\. Close other programs"):
        run(greedy())


def test_an_error_that_says_nothing_is_told_too() -> None:
    def short() -> Steps[None]:
        yield Event("growing", 0.0)
        raise MemoryError

    with pytest.raises(AcuityError, match=r"all of this: it is used up\. Close other programs"):
        run(short())


@pytest.mark.skipif(sys.platform != "linux", reason="other systems know no such limit")
def test_a_processor_without_memory_for_the_whole_does_it_in_parts() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TIGHT], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    same, runs = done.stdout.split()
    assert same == "True"
    assert int(runs) > 1

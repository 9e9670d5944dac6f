"""Training: it learns, it can be repeated and stopped, and it refuses what cannot be trained."""

from __future__ import annotations

import csv
import errno
import math
import os
import subprocess
import sys
import tomllib
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

import napari_acuity as acuity
from napari_acuity import (
    FileError,
    ImageError,
    Micrograph,
    Model,
    ModelError,
    Pair,
    PairError,
    PairSet,
    Recipe,
    TrainingError,
)
from napari_acuity.core.device import choose_device
from napari_acuity.core.micrograph import fingerprint
from napari_acuity.core.recipe import RECIPES, recipe_by_name
from napari_acuity.core.training import session as session_module
from napari_acuity.core.training.fit import check_batch, check_scale
from napari_acuity.core.training.losses import TERMS, gradient_energy, loss_terms
from napari_acuity.core.training.plan import make_plan
from napari_acuity.core.training.process import Watch
from napari_acuity.core.training.run_folder import RunFolder
from napari_acuity.core.training.schedule import Bound
from napari_acuity.core.training.session import Epoch, Session
from napari_acuity.core.training.steps import Trainee
from napari_acuity.core.training.train import train_steps
from napari_acuity.core.training.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_acuity import Event

QUICK = Recipe(
    name="quick",
    patch=24,
    learning_rate=3e-3,
    averaging=0.9,
    network_arguments={"init": "interpolation", "width": 12, "blocks": 1},
)


def field(tissue: np.ndarray, row: int, col: int, **facts: Any) -> Pair:
    """See a real field through a blurring objective and a coarse camera."""
    high = tissue[row : row + 250, col : col + 250]
    blurred = cv2.GaussianBlur(high, (0, 0), 2.0)
    low = cv2.resize(blurred, (100, 100), interpolation=cv2.INTER_AREA)
    image = Micrograph(low, rgb=True, pixel_size=(1.25, 1.25), name=f"field {row} {col}")
    return Pair(image, high, 2.5, **facts)


@pytest.fixture(scope="module")
def pairs(tissue: np.ndarray) -> list[Pair]:
    return [field(tissue, row, col) for row in (0, 256) for col in (0, 256)]


def drained(steps: Any) -> tuple[list[Event], Model]:
    events = []
    while True:
        try:
            events.append(next(steps))
        except StopIteration as end:
            return events, end.value


def epochs_of(events: list[Event]) -> list[Epoch]:
    return [event.new for event in events if isinstance(event.new, Epoch)]


@pytest.fixture(scope="module")
def trained(pairs, tmp_path_factory) -> tuple[list[Event], Model, Path]:
    out = tmp_path_factory.mktemp("runs") / "run"
    return *drained(train_steps(pairs, QUICK, out, epochs=3, device="cpu")), out


# It learns


def test_seconds_of_training_beat_bicubic(trained, pairs):
    events, model, _ = trained
    last = epochs_of(events)[-1]

    assert last.psnr > last.bicubic_psnr + 1
    assert last.validation_loss == pytest.approx(10 ** (-last.psnr / 10))
    held = [pair for pair in pairs if pair.name in model.header.data["validation"]]
    assert len(held) == 1
    truth = held[0].high.pixels / 255.0
    output = acuity.enhance(held[0].low.pixels / 255.0, model).pixels.clip(0, 1)
    assert -10 * math.log10(((output - truth) ** 2).mean()) == pytest.approx(last.psnr, abs=0.05)
    bicubic = acuity.quality.bicubic(held[0].low, 2.5).pixels / 255.0
    assert -10 * math.log10(((bicubic - truth) ** 2).mean()) == pytest.approx(
        last.bicubic_psnr, abs=0.3
    )


def test_the_best_model_is_kept(trained):
    events, model, out = trained
    with (out / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    losses = [float(row["validation_loss"]) for row in rows]
    best = [epoch for epoch in epochs_of(events) if epoch.best][-1]

    assert [row["number"] for row in rows] == ["1", "2", "3"]
    assert best.validation_loss == min(losses)
    image = np.random.default_rng(0).random((20, 20, 3), np.float32)
    expected = acuity.enhance(image, model).pixels
    np.testing.assert_array_equal(acuity.enhance(image, out / "best.safetensors").pixels, expected)
    np.testing.assert_array_equal(acuity.enhance(image, best.best).pixels, expected)


def test_a_worse_epoch_does_not_replace_the_best(pairs, tmp_path):
    """At a wild rate the loss goes up and down; what is returned is the lowest point."""
    wild = replace(QUICK, learning_rate=0.05, averaging=0.0, batch=64)

    events, model = drained(train_steps(pairs, wild, tmp_path / "run", epochs=6, device="cpu"))

    epochs = epochs_of(events)
    losses = [epoch.validation_loss for epoch in epochs]
    kept = [epoch for epoch in epochs if epoch.best]
    assert len(kept) < len(epochs)
    assert kept[-1].validation_loss == min(losses)
    assert model.network is kept[-1].best.network


def test_the_run_folder_holds_recipe_log_and_model(trained):
    _, _, out = trained

    assert sorted(path.name for path in out.iterdir()) == [
        ".lock",
        "best.safetensors",
        "checkpoint.pt",
        "command",
        "events.jsonl",
        "log.csv",
        "preview.npz",
        "recipe.toml",
        "run.json",
    ]
    assert Recipe.load(out / "recipe.toml") == QUICK


def test_the_model_knows_where_it_comes_from(trained, pairs):
    header = trained[1].header

    assert (header.scale, header.channels, header.pixel_size) == (2.5, 3, (1.25, 1.25))
    assert header.recipe == asdict(QUICK)
    names = {part: set(entries) for part, entries in header.data.items()}
    assert sorted(len(part) for part in names.values()) == [1, 1, 2]
    assert set.union(*names.values()) == {pair.name for pair in pairs}
    first = next(pair for pair in pairs if pair.name in names["train"])
    assert header.data["train"][first.name] == [fingerprint(first.low), fingerprint(first.high)]
    assert "torch" in header.versions


def test_events_never_fall_and_end_at_one(trained):
    events = trained[0]
    fractions = [event.fraction for event in events]

    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0, 1)
    assert events[0].stage == "reading pairs"
    assert events[1].stage.startswith("2 pairs to train on, 1 to validate on")
    preview = epochs_of(events)[0].preview
    assert preview.input.shape == preview.output.shape == preview.truth.shape == (250, 250, 3)
    assert all(0 <= image.min() and image.max() <= 1 for image in (preview.input, preview.output))


def test_training_by_the_clock_ends_in_time_and_at_one(pairs, tmp_path):
    events, _ = drained(train_steps(pairs, QUICK, tmp_path / "run", minutes=0.01, device="cpu"))

    fractions = [event.fraction for event in events]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert (tmp_path / "run" / "best.safetensors").exists()


def test_one_seed_gives_one_model(pairs):
    def weights(seed: int) -> torch.Tensor:
        recipe = replace(QUICK, seed=seed, batch=32)
        model = acuity.train(pairs, recipe, epochs=1, device="cpu")
        return torch.cat([value.flatten() for value in model.network.state_dict().values()])

    first = weights(0)

    torch.manual_seed(99)
    assert torch.equal(first, weights(0))
    assert not torch.equal(first, weights(1))


def test_pairs_come_from_a_folder_as_from_a_list(pairs, tmp_path):
    folder = PairSet.open(tmp_path / "pairs")
    for pair in pairs:
        folder.add(pair)

    by_path = acuity.train(tmp_path / "pairs", replace(QUICK, batch=64), epochs=1, device="cpu")
    by_list = acuity.train(list(folder), replace(QUICK, batch=64), epochs=1, device="cpu")

    assert by_path.header == by_list.header
    for ours, theirs in zip(
        by_path.network.parameters(), by_list.network.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("scale", [1, 2, 4 / 3])
@pytest.mark.parametrize("rgb", [True, False])
def test_other_scales_and_grey_images_train(tissue, scale, rgb):
    side = round(120 * scale)
    high = tissue[:side, :side] if rgb else tissue[:side, :side, 1].astype(np.uint16) * 257
    low = cv2.resize(high, (120, 120), interpolation=cv2.INTER_AREA)

    model = acuity.train([Pair(low, high, scale)], replace(QUICK, batch=64), epochs=1, device="cpu")

    assert (model.scale, model.channels) == (pytest.approx(scale), 3 if rgb else 1)
    assert acuity.enhance(low, model).shape == (side, side)


def test_all_fields_are_for_training_where_others_are_the_test(pairs):
    model = acuity.train(pairs, replace(QUICK, batch=64), epochs=1, device="cpu", test=0)

    assert [len(part) for part in model.header.data.values()] == [3, 1, 0]
    assert model.header.scores["fields"] == {}


def test_a_lone_field_is_cut_and_the_user_is_told(tissue):
    steps = train_steps([field(tissue, 0, 0)], replace(QUICK, batch=64), epochs=1, device="cpu")

    events, model = drained(steps)

    assert "one group" in events[1].stage
    parts = [[*part.values()] for part in model.header.data.values()]
    assert len({str(part) for part in parts}) == len(parts) == 3


def test_fields_with_a_dark_or_an_empty_middle_train(tissue):
    def dark(row: int) -> Pair:
        """A 16-bit field whose one bright corner tells black and white."""
        low = tissue[row : row + 96, :96, 0].astype(np.uint16) * 8
        low[:4, :4] = 60_000
        return Pair(low, low.repeat(2, 0).repeat(2, 1), 2, name=f"dark {row}")

    def empty(row: int) -> Pair:
        low = tissue[row : row + 400, :400, 0].copy()
        low[60:-60, 60:-60] = 0
        return Pair(low, low.repeat(2, 0).repeat(2, 1), 2, name=f"empty {row}")

    for fields in ([dark(row) for row in (0, 100, 200)], [empty(row) for row in (0, 50, 100)]):
        model = acuity.train(fields, QUICK, epochs=1, device="cpu")
        assert all(model.header.data.values())


def test_scores_on_held_out_fields_go_into_the_model(trained, pairs):
    scores = trained[1].header.scores

    (name,) = scores["fields"]
    assert name in trained[1].header.data["test"]
    assert {"bicubic", "output"} <= scores["fields"][name].keys()


# It can be stopped


def test_closing_keeps_what_was_learnt(pairs, tmp_path):
    steps = train_steps(pairs, QUICK, tmp_path / "run", epochs=50, device="cpu")
    for event in steps:
        if isinstance(event.new, Epoch):
            break
    next(steps)

    steps.close()

    model = acuity.load(tmp_path / "run" / "best.safetensors")
    assert model.header.recipe["name"] == "quick"
    assert len((tmp_path / "run" / "log.csv").read_text().splitlines()) == 2


def test_closing_before_the_first_epoch_leaves_no_folder(pairs, tmp_path):
    steps = train_steps(pairs, QUICK, tmp_path / "run", epochs=50, device="cpu")
    for event in steps:
        if event.stage == "epoch 1":
            break

    steps.close()

    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_does_not_end_the_run(pairs, tmp_path, monkeypatch):
    steps = train_steps(pairs, QUICK, tmp_path / "run", epochs=3, device="cpu")
    for event in steps:
        if isinstance(event.new, Epoch):
            break
    before = (tmp_path / "run" / "best.safetensors").read_bytes()
    write = type(tmp_path).write_bytes

    def full(path: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    for event in steps:
        if isinstance(event.new, Epoch) and event.new.best:
            break
    assert "no space left to write" in next(steps).stage
    assert (tmp_path / "run" / "best.safetensors").read_bytes() == before
    monkeypatch.setattr("pathlib.Path.write_bytes", write)
    drained(steps)
    assert (tmp_path / "run" / "best.safetensors").read_bytes() != before


def test_a_best_model_that_could_not_be_written_is_written_later(pairs, tmp_path, monkeypatch):
    """Though no epoch is better: and no checkpoint tells of it before."""
    # The first one is bicubic's.
    losses, out = iter([0.9, 0.5, 0.1, 0.2]), tmp_path / "run"
    monkeypatch.setattr(session_module, "validate", lambda *_: (next(losses), 20.0))
    steps, save = train_steps(pairs, QUICK, out, epochs=3, device="cpu"), Model.save
    epochs = (event.new for event in steps if isinstance(event.new, Epoch))
    first = next(epochs)

    def full(_model: Model, path: Path) -> Path:
        raise FileError("There is no space left to write it.", "Free some.")

    monkeypatch.setattr(Model, "save", full)
    second = next(epochs)
    assert first.best and second.best and second.validation_loss == 0.1
    assert torch.load(out / "checkpoint.pt", weights_only=True)["progress"]["best_loss"] > 0.1
    monkeypatch.setattr(Model, "save", save)
    assert next(epochs).best is None

    kept = acuity.load(out / "best.safetensors").network.state_dict()
    expected = second.best.network.state_dict()
    assert all(torch.equal(kept[name], values) for name, values in expected.items())
    assert torch.load(out / "checkpoint.pt", weights_only=True)["progress"]["best_loss"] == 0.1


def test_a_disk_that_is_full_at_the_end_is_waited_out(pairs, tmp_path, monkeypatch):
    steps = train_steps(pairs, replace(QUICK, batch=64), tmp_path / "run", epochs=1, device="cpu")
    write = type(tmp_path).write_bytes

    def full(path: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    for event in steps:
        if event.stage.startswith("scored"):
            monkeypatch.setattr("pathlib.Path.write_bytes", full)
        if "no space left to write" in event.stage:
            break
    assert "no space left to write" in next(steps).stage
    assert not acuity.load(tmp_path / "run" / "best.safetensors").header.scores
    monkeypatch.setattr("pathlib.Path.write_bytes", write)
    _, model = drained(steps)

    assert model.header.scores
    assert acuity.load(tmp_path / "run" / "best.safetensors").header.scores == model.header.scores


def test_after_a_full_disk_log_and_state_are_those_of_the_end(pairs, tmp_path, monkeypatch):
    out = tmp_path / "run"
    steps = train_steps(pairs, replace(QUICK, batch=64), out, epochs=2, device="cpu")

    def full(path: Path, *_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        for event in steps:
            if isinstance(event.new, Epoch):
                patched.setattr("pathlib.Path.write_bytes", full)
                patched.setattr("pathlib.Path.write_text", full)
            if event.fraction == 1 and "no space left to write" in event.stage:
                break
    assert (out / "log.csv").read_text().count("\n") == 2
    drained(steps)

    assert (out / "log.csv").read_text().count("\n") == 3
    assert torch.load(out / "checkpoint.pt", weights_only=True)["progress"]["epoch"] == 2
    assert acuity.load(out / "best.safetensors").header.scores


def test_a_stop_ends_the_wait_for_a_full_disk_unless_it_came_before(pairs, tmp_path, monkeypatch):
    out = tmp_path / "run"
    steps = train_steps(pairs, replace(QUICK, batch=64), out, epochs=9, device="cpu")
    for event in steps:
        if isinstance(event.new, Epoch):
            RunFolder(out).ask("stop")
        if event.stage.startswith("scored"):
            break

    def full(path: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    for event in steps:
        if "no space left to write" in event.stage:
            break
    assert "no space left to write" in next(steps).stage
    RunFolder(out).ask("stop")
    with pytest.raises(FileError, match=r"no space left to write .*best.safetensors"):
        next(steps)

    assert Watch(out).events()[-1]["kind"] == "failed"
    assert acuity.load(out / "best.safetensors")


def test_a_model_that_cannot_be_written_for_another_reason_ends_the_run(
    pairs, tmp_path, monkeypatch
):
    def refused(path: Path, content: bytes) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    steps = train_steps(pairs, replace(QUICK, batch=64), tmp_path / "run", epochs=1, device="cpu")
    with pytest.raises(FileError, match="may not be written"):
        for event in steps:
            if event.stage.startswith("scored"):
                monkeypatch.setattr("pathlib.Path.write_bytes", refused)


def test_a_preview_that_cannot_be_written_costs_no_checkpoint(pairs, tmp_path, monkeypatch):
    def full(_folder: RunFolder, _shown: object) -> None:
        raise FileError("There is no space left to write it.", "Free some.")

    monkeypatch.setattr(RunFolder, "show", full)
    events, _ = drained(train_steps(pairs, replace(QUICK, batch=64), tmp_path / "run", epochs=1))

    assert any("no space left" in event.stage for event in events)
    assert (
        torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["progress"]["epoch"] == 1
    )


@pytest.mark.skipif(os.name != "posix", reason="limits the size of files as POSIX does")
def test_a_full_disk_is_told_as_one_where_the_state_is_written(tmp_path):
    code = (
        "import resource, signal, torch\n"
        "from pathlib import Path\n"
        "from napari_acuity import FileError\n"
        "from napari_acuity.core.training.checkpoint import save_state\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "try:\n"
        f"    save_state({{'a': torch.zeros(100_000)}}, Path({str(tmp_path / 'state.pt')!r}))\n"
        "except FileError as error:\n"
        "    print(error)\n"
    )

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "state.pt could not be written" in said.stdout


# It refuses


def test_a_scale_of_the_recipe_that_the_pairs_do_not_have_is_refused(pairs):
    stated = {**QUICK.network_arguments, "scale": 2}

    with pytest.raises(
        TrainingError, match=r"of scale 2\.5, and the recipe 'quick' states 2\. Take"
    ):
        acuity.train(pairs, replace(QUICK, network_arguments=stated), epochs=1)
    check_scale(2, replace(QUICK, network_arguments=stated))


def test_a_folder_of_pairs_without_black_and_white_says_where_to_state_them(pairs, tmp_path):
    folder = PairSet.open(tmp_path / "set")
    for pair in pairs:
        low, high = (
            Micrograph(np.asarray(image.pixels, np.uint16) * 4, rgb=True, name=pair.name)
            for image in (pair.low, pair.high)
        )
        folder.add(replace(pair, low=low, high=high))

    with pytest.raises(
        PairError, match=r'10-bit data.* State "low_range" and "high_range" in .*\.json'
    ):
        acuity.train(folder, QUICK, tmp_path / "run", epochs=1, device="cpu")

    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("frozen", [1.5, "2", True, None, -1, 99])
def test_a_count_of_frozen_layers_that_is_none_is_refused(pairs, frozen):
    arguments = {"width": 12, "blocks": 1, "init": "interpolation"}
    start = Model.new("brightfield", scale=2.5, channels=3, **arguments)

    with pytest.raises(TrainingError, match=r"layers cannot be frozen: .*Freeze 0 to 3"):
        acuity.train(pairs, QUICK, epochs=1, device="cpu", start=start, frozen=frozen)


def test_what_is_no_model_is_not_started_from(pairs):
    with pytest.raises(ModelError, match=r"A int is no model\. Give a Model"):
        acuity.train(pairs, QUICK, epochs=1, device="cpu", start=3)


@pytest.mark.parametrize("channels", ["3", None, [3], 1.5, -1, True])
def test_channels_of_a_recipe_that_are_no_count_are_refused(pairs, channels):
    recipe = replace(QUICK, network_arguments={"channels": channels})

    with pytest.raises(TrainingError, match=r"states channels = .*the pairs decide it"):
        acuity.train(pairs, recipe, epochs=1, device="cpu")


def test_a_discriminator_of_absurdly_many_weights_is_refused(pairs):
    losses = {"mse": 1.0, "adversarial": 1.0}
    recipe = replace(QUICK, losses=losses, adversarial={"width": 10**5})

    with pytest.raises(TrainingError, match="discriminator of the recipe 'quick' would have more"):
        acuity.train(pairs, recipe, epochs=1, device="cpu")


def test_fields_are_not_moved_out_of_their_patches(pairs):
    recipe = replace(QUICK, augmentation={"translation": 25})

    with pytest.raises(TrainingError, match=r"by up to 25 px, quite out of patches of 24 px\. Set"):
        acuity.train(pairs, recipe, epochs=1, device="cpu")


def test_a_mean_of_gradients_that_forgets_at_once_trains(pairs):
    """As TOML has it: a whole number, which torch does not take."""
    acuity.train(pairs, replace(QUICK, beta_1=0, batch=64), epochs=1, device="cpu")


def test_layers_without_a_model_to_start_from_cannot_be_frozen(pairs):
    with pytest.raises(TrainingError, match="Layers that were never trained cannot be frozen"):
        acuity.train(pairs, QUICK, epochs=1, frozen=1)


def test_a_batch_is_not_shared_by_more_processes_than_it_has_patches():
    check_batch(replace(QUICK, batch=2), 2)
    with pytest.raises(TrainingError, match="A batch of 1 cannot be shared by 2 processes"):
        check_batch(replace(QUICK, batch=1), 2)


def test_a_loss_that_explodes_in_the_first_epoch_is_taken_back(pairs):
    wild = replace(QUICK, learning_rate=1.0, losses={"mse": 1.0})

    events, _ = drained(train_steps(pairs, wild, epochs=1, device="cpu"))

    told = [event.stage for event in events if event.stage.startswith("the loss exploded")]
    assert told and set(told) == {"the loss exploded: back to step 0, steps half as large"}
    (epoch,) = (event.new for event in events if isinstance(event.new, Epoch))
    assert epoch.train_loss < 100


def test_a_loss_that_explodes_is_taken_back(pairs, tmp_path, monkeypatch):
    step, spoilt = session_module.Session.step, []

    def spoiling(self: Any, done: float) -> None:
        if len(self.progress.rows) == 1 and not spoilt:
            spoilt.append(self.progress.step)
            with torch.no_grad():
                for weight in self._trainee.network.parameters():
                    weight.mul_(10)
        step(self, done)

    monkeypatch.setattr(session_module.Session, "step", spoiling)

    events, _ = drained(train_steps(pairs, QUICK, tmp_path / "run", epochs=3, device="cpu"))

    words = f"the loss exploded: back to step {spoilt[0]}, steps half as large"
    assert words in [event.stage for event in events]
    losses = [epoch.train_loss for epoch in epochs_of(events)]
    assert len(losses) == 3 and max(losses[1:]) < 2 * losses[0]


def test_weights_that_the_last_step_of_an_epoch_spoils_are_not_kept(pairs, monkeypatch):
    """The loss tells of them one step later; a state that holds them is none to go back to."""
    learn, spoilt = Trainee.step, []

    def spoiling(self: Any, *given: Any, number: int) -> Any:
        terms = learn(self, *given, number=number)
        if number == 15 and not spoilt:  # an epoch has eight steps
            spoilt.append(number)
            with torch.no_grad():
                next(self.network.parameters()).fill_(math.nan)
        return terms

    monkeypatch.setattr(Trainee, "step", spoiling)
    recipe = replace(QUICK, batch=64)

    events, _ = drained(train_steps(pairs, recipe, epochs=3, device="cpu"))

    words = "the loss exploded: back to step 8, steps half as large"
    assert words in [event.stage for event in events]
    assert [epoch.number for epoch in epochs_of(events)] == [1, 2, 3]
    assert all(math.isfinite(epoch.validation_loss) for epoch in epochs_of(events))


def test_all_processes_keep_the_state_of_one_step_to_go_back_to(pairs, monkeypatch):
    """When, the first one's clock tells; of the losses each process has its part."""
    world = World(0, 1, choose_device("cpu"))
    plan = make_plan(pairs, QUICK, Bound(1, None), world)
    session = Session(plan, world, None)
    session.step(0.5)
    monkeypatch.setattr(World, "agree", lambda _self, _value: 1.0)  # "it is time"
    session.keep(None)
    loss = sum(session._means().values())
    session.step(0.5)
    session.go_back()
    assert session.progress.step == 1

    # Of two processes that lose alike: what one has kept, one or two of them go on with.
    monkeypatch.setattr(World, "sum", lambda self, sums: [s.mul_(self.size) for s in sums])
    both = Session(plan, replace(world, size=2), None, state=session._state())
    assert sum(both._means().values()) == pytest.approx(loss)
    one = Session(plan, world, None, state=both._state())
    assert sum(one._means().values()) == pytest.approx(loss)


def test_a_loss_that_stays_no_number_says_what_to_change(pairs, tmp_path):
    recipe = replace(RECIPES["brightfield-2017"], learning_rate=1e30, patch=24, batch=4)
    words = []

    with pytest.raises(TrainingError, match=r"however small.*Lower the recipe's learning_rate"):
        for event in train_steps(pairs, recipe, tmp_path / "run", epochs=2, device="cpu"):
            words.append(event.stage)
    assert any("steps half as large" in said for said in words)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "Training for 0 epochs is no training. Give a number above 0"),
        ({"epochs": -1}, "Training for -1 epochs"),
        ({"minutes": 0}, "Training for 0 minutes"),
        ({"minutes": -0.5}, "Training for -0.5 minutes"),
        ({"minutes": math.nan}, "Training for nan minutes"),
        ({"minutes": math.inf}, "Training for inf minutes"),
        ({"epochs": 3, "minutes": 0}, "Training for 0 minutes"),
        ({"epochs": "3"}, "Training for '3' epochs is no training"),
    ],
)
def test_training_for_no_time_is_refused(pairs, tmp_path, options, message):
    with pytest.raises(TrainingError, match=message):
        acuity.train(pairs, QUICK, tmp_path / "run", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_refused_and_untouched(pairs, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for out in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(TrainingError, match=r"holds something already\. Give each run a new"):
            acuity.train(pairs, QUICK, out, epochs=1)

    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_folder_that_cannot_be_made_is_refused(pairs, tmp_path, monkeypatch):
    def forbidden(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("pathlib.Path.mkdir", forbidden)
    with pytest.raises(FileError, match=r"run cannot be made: Permission denied\. Choose another"):
        acuity.train(pairs, QUICK, tmp_path / "run", epochs=1)


def test_levels_that_a_network_does_not_keep_are_refused_by_name(pairs):
    recipe = replace(QUICK, levels="percentiles")

    with pytest.raises(TrainingError, match=r"does not keep.* or network to one of: unet, comp"):
        acuity.train(pairs, recipe, epochs=1)


def test_a_discriminator_that_takes_no_part_is_told(pairs):
    steps = train_steps(pairs, replace(QUICK, adversarial={"width": 8}), epochs=1, device="cpu")

    told = [next(steps).stage for _ in range(4)]

    assert "no discriminator takes part: the recipe's losses name no adversarial" in told


def test_a_wrong_folder_start_or_network_is_told_before_the_pairs_are_read(tmp_path):
    (tmp_path / "file").touch()

    def unread() -> Iterator[Pair]:
        pytest.fail("a pair was read")
        yield

    with pytest.raises(FileError, match=r"run cannot be made: Not a directory"):
        acuity.train(unread(), QUICK, tmp_path / "file" / "run", epochs=1)
    with pytest.raises(ModelError, match=r"There is no model file .*none\.safetensors"):
        acuity.train(unread(), QUICK, epochs=1, start=tmp_path / "none.safetensors")
    for wrong in ({"wdith": 8}, {"width": 0}, {"init": "ones"}):
        with pytest.raises(
            ModelError, match=r"width must be|init 'ones' cannot be built|wdith must"
        ):
            acuity.train(unread(), replace(QUICK, network_arguments=wrong), epochs=1)


def small_fields(tissue: np.ndarray) -> list[Pair]:
    return [Pair(tissue[:6, :6], tissue[:15, :15], 2.5, name=name) for name in "ab"]


@pytest.mark.parametrize("kind", ["none", "missing folder", "small", "range"])
def test_pairs_that_cannot_be_trained_on_are_refused_and_leave_no_folder(
    pairs, tissue, tmp_path, kind
):
    wide = tissue[:64, :64, 0].astype(np.float32)
    chosen, error, message = {
        "none": ([], PairError, "There are no pairs to train on. Add some"),
        "missing folder": (tmp_path / "nowhere", PairError, r"There is no folder .*nowhere"),
        "small": (small_fields(tissue), PairError, "cannot be cut"),
        "range": ([Pair(wide, wide, 1)], ImageError, "black and white are unknown"),
    }[kind]

    with pytest.raises(error, match=message):
        acuity.train(chosen, QUICK, tmp_path / "run", epochs=1)
    assert list(tmp_path.iterdir()) == []


def test_a_pair_of_another_scale_is_named_and_the_rest_is_trained_on(pairs, tissue):
    other = Pair(tissue, tissue, 1, name="stray")

    events, model = drained(train_steps([*pairs, other], replace(QUICK, batch=64), epochs=1))

    assert any(event.stage.startswith("left out stray") for event in events)
    assert "stray" not in str(model.header.data)


def test_a_network_that_cannot_be_built_is_refused(pairs, tmp_path):
    unknown = replace(QUICK, network="transformer")
    misspelt = replace(QUICK, network_arguments={"wdith": 8})

    with pytest.raises(ModelError, match="network 'transformer' is unknown"):
        acuity.train(pairs, unknown, tmp_path / "run", epochs=1)
    with pytest.raises(ModelError, match="wdith must be left out: known are channels, scale"):
        acuity.train(pairs, misspelt, tmp_path / "run", epochs=1)
    assert list(tmp_path.iterdir()) == []


# Recipes


def test_recipes_by_name():
    published = RECIPES["brightfield-2017"]

    assert recipe_by_name("brightfield-2017") is published
    assert recipe_by_name(QUICK) is QUICK
    assert (published.patch, published.batch, published.learning_rate) == (60, 64, 1e-4)
    assert published.losses == {"mse": 1, "gradient": 1e-3}
    assert (published.crops, published.network_arguments) == ("grid", {"init": "published"})
    mobile = RECIPES["mobile-2018"]
    assert (mobile.patch, mobile.batch, mobile.learning_rate) == (60, 32, 2e-4)
    with pytest.raises(TrainingError, match=r"no recipe 'darkfield'.*or a \.toml file"):
        recipe_by_name("darkfield")
    with pytest.raises(TrainingError, match="no recipe"):
        recipe_by_name({"patch": 60})


@given(
    st.builds(
        Recipe,
        name=st.text(st.characters(exclude_categories=["C"]), max_size=20),
        patch=st.integers(1, 500),
        batch=st.integers(1, 500),
        learning_rate=st.floats(1e-9, 1),
        losses=st.dictionaries(st.sampled_from(sorted(TERMS)), st.floats(1e-6, 10), min_size=1),
        augmentation=st.fixed_dictionaries({"jpeg": st.just([50, 95]), "turns": st.booleans()}),
        averaging=st.floats(0, 0.9999),
        seed=st.integers(0, 2**31),
        network_arguments=st.fixed_dictionaries({"init": st.sampled_from(["published", "x"])}),
    )
)
def test_a_recipe_comes_back_from_toml(tmp_path_factory, recipe):
    path = tmp_path_factory.getbasetemp() / "recipe.toml"

    recipe.save(path)

    assert Recipe.load(path) == recipe == recipe_by_name(str(path))
    assert tomllib.loads(path.read_text(encoding="utf-8")) == asdict(recipe)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3", "unknown key 'epoch'. Known are: adversarial, augmentation"),
        ("epochs = ", "no recipe that can be read"),
        ("epochs = 0", r"epochs = 0\. epochs must be a whole number from 1"),
        ("epochs = 2.5", r"epochs = 2\.5"),
        ('epochs = "ten"', "epochs = 'ten'"),
        ("learning_rate = nan", "learning_rate = nan"),
        ("learning_rate = -1e-4", "learning_rate = -0.0001"),
        ("averaging = 1.0", r"averaging = 1\.0"),
        ('schedule = "square"', "schedule = 'square'"),
        ("seed = -1", "seed = -1"),
        ('network_arguments = "wide"', "network_arguments = 'wide'"),
        ("losses = {gradient = inf}", r"losses\.gradient = inf.* a number from 0 to"),
        (f"losses = {{mse = {10**30}}}", r"losses\.mse = 10+\. "),
        ("losses = {perceptual = 1}", r"losses\.perceptual = 1\. .* left out: known are mse, mae"),
        ("losses = {mse = 0}", "losses = {'mse': 0}.* a table with a weight above 0"),
        ("losses = 3", "losses = 3. losses must be a table"),
        (
            "network_arguments = {levels = [[0, 1], [0, 1]]}",
            r"network_arguments\.levels = .* left out: the recipe's own levels decide",
        ),
        ('patch_filter = {least_similarity = "high"}', "least_similarity = 'high'"),
        ("patch_filter = {least_contrast = -0.5}", r"least_contrast = -0\.5.* number from 0 to 1"),
        ("adversarial = {blocks = 9}", r"adversarial\.blocks = 9\. .* number from 1 to 8"),
        ("adversarial = {learning_rate = nan}", r"adversarial\.learning_rate = nan"),
        ('crops = "all"', "crops must be one of random, grid"),
        (f"learning_rate = 1{'0' * 400}", "learning_rate must be a number above 0"),
        (f"batch = {10**9}", "batch = 1000000000. batch must be a whole number from 1 to 65536"),
        (f"patch = {10**6}", "patch = 1000000. patch must be a whole number from 1 to 4096"),
        ("patience = -1", "patience = -1"),
        ("batch = true", "batch = True"),
        (f"seed = {2**63}", "seed = 9223372036854775808.*seed must be a whole number from 0"),
    ],
)
def test_recipes_that_cannot_be_are_refused(tmp_path, text, message):
    path = tmp_path / "recipe.toml"
    path.write_text(text)

    with pytest.raises(TrainingError, match=message):
        Recipe.load(path)


def test_a_recipe_without_a_name_is_called_after_its_file(tmp_path):
    (tmp_path / "lung.toml").write_text("patch = 64")
    (tmp_path / "named.toml").write_text('name = "liver"')

    assert Recipe.load(tmp_path / "lung.toml") == Recipe(name="lung", patch=64)
    assert Recipe.load(tmp_path / "named.toml").name == "liver"


def test_recipe_files_that_cannot_be_read_are_refused(tmp_path):
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(TrainingError, match=r"There is no recipe .*none\.toml\. Check its name"):
        Recipe.load(tmp_path / "none.toml")
    (tmp_path / "deep.toml").write_text("seed = " + "[" * 10**5)
    (tmp_path / "long.toml").write_text("seed = " + "9" * 5000)
    for name in ("bytes", "deep", "long"):
        with pytest.raises(TrainingError, match="no recipe that can be read"):
            Recipe.load(tmp_path / f"{name}.toml")
    for path in (tmp_path, tmp_path / f"{'n' * 300}.toml"):
        with pytest.raises(TrainingError, match=r"cannot be read: .*Check its name and the perm"):
            Recipe.load(path)


# Losses


def test_gradient_energy_is_the_mean_square_of_scipys_sobel(tissue):
    image = tissue[:40, :50] / 255.0
    planes = torch.from_numpy(np.moveaxis(image, -1, 0).copy())[None]
    expected = np.mean(
        [
            sum(ndimage.sobel(image[..., c], axis=axis)[1:-1, 1:-1] ** 2 for axis in (0, 1))
            for c in range(3)
        ]
    )

    assert gradient_energy(planes).item() == pytest.approx(expected, rel=1e-12)


def test_gradient_energy_of_a_ramp():
    """A ramp of slope s along one axis: Sobel gives 8 s there, 0 across."""
    ramp = 0.01 * torch.arange(10.0, dtype=torch.float64).repeat(8, 1)[None, None]

    assert gradient_energy(ramp).item() == pytest.approx(0.08**2)
    assert gradient_energy(ramp.mT).item() == pytest.approx(0.08**2)


def test_the_published_loss_by_hand():
    """A ramp of slope 0.01 against itself raised by 0.1: MSE 0.01, and 0.001 of the energy above."""
    ramp = 0.01 * torch.arange(10.0, dtype=torch.float64).repeat(8, 1)[None, None]

    terms = loss_terms(ramp, ramp + 0.1, RECIPES["brightfield-2017"].losses)

    assert terms["mse"].item() == pytest.approx(0.1**2)
    assert terms["gradient"].item() == pytest.approx(1e-3 * 0.08**2)
    assert loss_terms(ramp, ramp + 0.1, {"mae": 2.0})["mae"].item() == pytest.approx(0.2)


def test_a_term_of_weight_0_is_not_computed():
    """SSIM's window is larger than these patches."""
    small = torch.zeros(1, 1, 8, 8)
    assert set(loss_terms(small, small, {"mse": 1.0, "ssim": 0.0})) == {"mse"}


def test_a_recipe_knows_every_term():
    Recipe(losses=dict.fromkeys(TERMS, 1.0))

"""TensorBoard's curves: what the event log says, each epoch once, whatever happened to the run."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

import napari_acuity as acuity
from napari_acuity import TrainingError
from napari_acuity.core.training import tensorboard as board_module
from napari_acuity.core.training.run_folder import RunFolder, discard_run
from napari_acuity.core.training.session import Epoch
from napari_acuity.core.training.tensorboard import Board
from napari_acuity.core.training.train import resume_steps, train_steps
from test_training import drained
from test_training_run import RECIPE, folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["folder"]

reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def curves(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Return what TensorBoard shows: tag -> (epoch, value), in the order in which it draws them."""
    shown = reader.EventAccumulator(str(run / "tensorboard")).Reload()
    return {
        tag: [(point.step, point.value) for point in shown.Scalars(tag)]
        for tag in shown.Tags()["scalars"]
    }


def logged(run: Path, name: str) -> list[tuple[int, float]]:
    lines = (run / "events.jsonl").read_text().splitlines()
    epochs = [event for event in map(json.loads, lines) if event["kind"] == "epoch"]
    return [(event["number"], pytest.approx(event[name], rel=1e-6)) for event in epochs]


def test_curves_are_those_of_the_log_and_go_on_after_a_stop(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    steps = train_steps(folder, RECIPE, out, epochs=3, device="cpu", tensorboard=True)
    for event in steps:
        if isinstance(event.new, Epoch) and event.new.number == 2:
            break
    steps.close()
    assert [number for number, _ in curves(out)["loss/train"]] == [1, 2]

    drained(resume_steps(out, device="cpu"))

    found = curves(out)
    assert set(found) == {
        *("loss/train", "loss/validation", "loss terms/mse", "loss terms/ssim"),
        *("PSNR (dB)/output", "PSNR (dB)/bicubic"),
    }
    assert found["loss/validation"] == logged(out, "validation_loss")
    assert found["PSNR (dB)/output"] == logged(out, "psnr")
    assert found["loss terms/mse"] == logged(out, "loss_mse")
    assert found["loss terms/ssim"] == logged(out, "loss_ssim")
    assert len(found["loss/train"]) == 3


def test_epochs_that_a_run_went_back_behind_are_not_shown(tmp_path: Path) -> None:
    run, event = RunFolder(tmp_path), acuity.Event("", 0.0, Epoch(*[None] * 11))  # type: ignore[arg-type]

    others = dict.fromkeys(("validation_loss", "psnr", "bicubic_psnr", "seconds"), 1.0)

    def said(*numbers: int, loss: float) -> None:
        for number in numbers:
            facts = {"number": number, "step": number, "train_loss": loss, **others}
            run.say("epoch", **facts, discriminator_accuracy=0.5)

    with Board(run) as board:  # went back while it ran
        said(1, 2, 3, loss=1.0)
        board.seen(event)
        said(2, loss=2.0)
        board.seen(event)
    assert curves(tmp_path)["loss/train"] == [(1, 1.0), (2, 2.0)]
    assert curves(tmp_path)["discriminator/accuracy"] == [(1, 0.5), (2, 0.5)]

    said(3, 4, loss=3.0)
    with Board(run) as board:  # was killed, and had come further than its checkpoint
        said(4, loss=4.0)
        board.seen(event)
    assert curves(tmp_path)["loss/train"] == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)]


def test_a_full_disk_costs_the_curves_and_not_the_run(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(board_module.Board, "_write", full)

    acuity.train(folder, RECIPE, tmp_path / "run", epochs=1, device="cpu", tensorboard=True)

    assert (tmp_path / "run" / "best.safetensors").exists()


def test_without_the_package_the_cure_is_told_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Callable[..., Any]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)

    with pytest.raises(TrainingError, match=r"cannot be written.*napari-acuity\[tensorboard\]"):
        acuity.train("nowhere", RECIPE, tmp_path / "run", tensorboard=True)
    assert not (tmp_path / "run").exists()
    failed = cli("train", "nowhere", "--out", "run", "--tensorboard")
    assert failed.code == 1
    assert "pip install 'napari-acuity[tensorboard]'" in failed.err


def test_without_a_folder_there_is_no_place_for_curves(folder: Path) -> None:
    with pytest.raises(TrainingError, match=r"no place for TensorBoard's curves.*Give out"):
        acuity.train(folder, RECIPE, epochs=1, tensorboard=True)


def test_a_discarded_run_leaves_no_curves(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    acuity.train(folder, RECIPE, out, epochs=1, device="cpu", tensorboard=True)
    assert [*(out / "tensorboard").iterdir()]

    discard_run(out)
    assert not out.exists()

    steps = train_steps(folder, RECIPE, out, epochs=1, device="cpu", tensorboard=True)
    for event in steps:
        if event.stage == "epoch 1":
            break
    steps.close()
    assert not out.exists()


def test_the_command_asks_for_curves(folder: Path, tmp_path: Path, cli: Callable[..., Any]) -> None:
    RECIPE.save(tmp_path / "quick.toml")
    words = ("--recipe", "quick.toml", "--out", "run", "--epochs", 1, "--device", "cpu")

    done = cli("train", folder, *words, "--tensorboard")

    assert done.code == 0, done.err
    assert len(curves(tmp_path / "run")["loss/train"]) == 1

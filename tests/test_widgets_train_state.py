"""What Train model understands of a run's folder and says of it; no process and no window needed."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from napari_acuity.widgets._training.run_reader import RunReader
from napari_acuity.widgets._training.run_results import table_of
from napari_acuity.widgets._training.run_state import RunState
from napari_acuity.widgets._training.run_words import (
    outcome_words,
    stage_words,
    time_words,
    why_it_ended,
)

if TYPE_CHECKING:
    from pathlib import Path

EPOCH = {
    "kind": "epoch",
    "train_loss": 0.01,
    "validation_loss": 0.02,
    "psnr": 25.0,
    "bicubic_psnr": 24.0,
    "loss_mse": 0.01,
    "best": True,
}


def told(*events: dict[str, Any]) -> RunState:
    """Return what is known after events, a second apart."""
    state = RunState()
    for second, event in enumerate(events):
        state.take({"time": 1000.0 + second, **event})
    return state


def epoch(number: int, **facts: Any) -> dict[str, Any]:
    return {**EPOCH, "number": number, "step": 8 * number, "seconds": 10.0 * number, **facts}


def step(fraction: float) -> dict[str, Any]:
    return {"kind": "step", "step": 1, "epoch": 1, "fraction": fraction}


BEGUN = {"kind": "begun", "pid": 1, "host": "bench", "device": "cpu", "words": "2 pairs; 9 patches"}


def test_a_run_is_told_from_begin_to_end() -> None:
    state = told(BEGUN)
    assert (state.phase, state.notes) == ("running", ["2 pairs", "9 patches"])
    state = told(BEGUN, epoch(1), epoch(2, validation_loss=0.03, best=False))
    assert (state.best, state.best_row["number"], len(state.rows)) == (1, 1, 2)  # type: ignore[index]
    scores = {"mean": {"output": {"psnr": 30.0}}}
    state = told(BEGUN, epoch(1), {"kind": "done", "scores": scores})
    assert (state.phase, state.scores, state.going) == ("done", scores, False)


def test_epochs_that_are_told_again_after_a_resume_count_once() -> None:
    state = told(BEGUN, epoch(1), epoch(2), epoch(3, psnr=20.0), BEGUN, epoch(3), epoch(4))
    assert [row["number"] for row in state.rows] == [1, 2, 3, 4]
    assert state.rows[2]["psnr"] == 25.0


def test_the_time_left_follows_the_pace_since_it_began_or_went_on() -> None:
    assert told(BEGUN, step(0.1)).seconds_left is None
    # 0.1 of the run in a second leaves eight.
    assert told(BEGUN, step(0.1), step(0.2)).seconds_left == pytest.approx(8)
    pause, go = {"kind": "paused"}, {"kind": "going on"}
    state = told(BEGUN, step(0.1), pause, pause, pause, go, step(0.1), step(0.2))
    assert state.seconds_left == pytest.approx(8)
    assert told(BEGUN, step(0.1), step(0.2), pause).seconds_left is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, ""), (0.2, "1 s left"), (89, "89 s left"), (90, "2 min left"), (7200, "2.0 h left")],
)
def test_time_in_words(seconds: float | None, words: str) -> None:
    assert time_words(seconds) == words


@pytest.mark.parametrize(
    ("bound", "complete"),
    [
        ({"epochs": 2}, True),
        ({"epochs": 3}, False),
        ({"minutes": 0.34}, True),
        ({"minutes": 1}, False),
    ],
)
def test_a_run_is_complete_at_its_bound(bound: dict[str, float], complete: bool) -> None:
    state = told(BEGUN, epoch(1), epoch(2), {"kind": "done", "scores": {}})
    for name, value in bound.items():
        setattr(state, name, value)
    assert state.complete == complete


def test_the_stage_in_words() -> None:
    assert stage_words(told()) == "starting a process, reading the pairs"
    state = told(BEGUN, epoch(1), {**step(0.3), "step": 1234, "epoch": 2})
    state.epochs = 5
    assert stage_words(state) == "epoch 2 of 5, step 1,234; best 25.00 dB at 1"
    assert stage_words(state, "pause") == "pausing, epoch 2 of 5, step 1,234"
    assert "scoring" in stage_words(state, "stop")
    assert stage_words(told(BEGUN, {"kind": "done"})) == ""


def test_the_outcome_in_words(tmp_path: Path) -> None:
    worse = told(BEGUN, epoch(1, psnr=23.0), {"kind": "done"})
    assert "no better than plain enlargement" in outcome_words(worse, tmp_path)
    better = told(BEGUN, epoch(1), {"kind": "done"})
    assert "no better" not in outcome_words(better, tmp_path)
    stopped = told(BEGUN, step(0.1), {"kind": "stopped"})
    assert "before its first epoch was done. Resume goes on" in outcome_words(stopped, tmp_path)


@pytest.mark.parametrize(
    ("event", "printed", "words"),
    [
        (
            {"kind": "failed", "words": "It diverged. Lower the rate."},
            "",
            "It diverged. Lower the rate.",
        ),
        ({}, "noise\nacuity: No pairs.\nAdd some.\n", "No pairs. Add some."),
        ({}, "Traceback:\nMemoryError: 9 GB", "The process ended: MemoryError: 9 GB."),
        ({}, "", "The process ended without a word: it was killed"),
    ],
)
def test_why_a_run_ended(event: dict[str, Any], printed: str, words: str, tmp_path: Path) -> None:
    state = told(BEGUN, epoch(1), *([event] if event else []))
    said = why_it_ended(state, printed, tmp_path)
    assert said.startswith(words)
    assert "The best model is kept: epoch 1, 25.00 dB" in said
    assert "Resume" not in why_it_ended(told(BEGUN), printed, tmp_path)


@pytest.mark.parametrize(
    "scores",
    [
        None,
        *("good", [3], {"mean": 3}, {"mean": {"output": 3}}, {"mean": {"output": {"psnr": "x"}}}),
        *({"mean": {}, "sd": []}, {"mean": {}, "fields": 3}, {"mean": {}, "failed": "all"}),
    ],
)
def test_damaged_scores_are_none(scores: object) -> None:
    state = told(BEGUN, epoch(1), {"kind": "done", "scores": scores})
    assert (state.phase, state.scores) == ("done", {})
    assert table_of(state.scores)[0] == []


def test_terms_of_the_loss_that_are_no_numbers_are_left_out() -> None:
    row = told(BEGUN, epoch(1, loss_mse="x", loss_ssim=None)).rows[0]
    assert row["psnr"] == 25.0
    assert not {"loss_mse", "loss_ssim"} & row.keys()


def test_a_run_whose_folder_is_gone_is_told_as_such(tmp_path: Path) -> None:
    state = told(BEGUN, epoch(1))
    state.phase = "crashed"
    said = why_it_ended(state, "", tmp_path / "gone")
    assert said.startswith("The folder of the run was moved or removed.")
    assert "The best model is kept" not in said


def begun_by(folder: Path, pid: int, host: str) -> RunReader:
    line = f'{{"kind": "begun", "pid": {pid}, "host": "{host}", "time": {time.time()}}}\n'
    (folder / "events.jsonl").write_text(line)
    return RunReader(folder)


def test_whether_a_process_is_at_a_run(tmp_path: Path) -> None:
    here, nobody = socket.gethostname(), 2**22 + 1  # above the largest id Linux gives
    assert begun_by(tmp_path, os.getpid(), here).read().alive
    assert not begun_by(tmp_path, nobody, here).read().alive
    # Of a process on another machine nothing is known but its words.
    assert begun_by(tmp_path, nobody, "elsewhere").read().alive
    reader = begun_by(tmp_path, os.getpid(), here)
    # A process that began after the run is another one with its number.
    text = (tmp_path / "events.jsonl").read_text()
    (tmp_path / "events.jsonl").write_text(text.replace('"time": 1', '"time": 0.1'))
    assert not reader.read().alive


def test_a_discarded_run_spares_what_others_put_there(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "pairs").mkdir(parents=True)
    for name in ("log.csv", ".checkpoint-x1y2.pt", "notes.txt", ".my-notes"):
        (folder / name).write_text("x")
    words = RunReader(folder).discard()
    assert sorted(path.name for path in folder.iterdir()) == [".my-notes", "notes.txt", "pairs"]
    assert ".my-notes, notes.txt, pairs" in words
    assert "nothing of this run is left" in RunReader(tmp_path / "gone").discard()


def test_the_test_table() -> None:
    scores = {
        "mean": {
            "bicubic": {"psnr": 26.4, "ssim": 0.731, "cie94": 4.43},
            "bicubic, colour fitted": {"psnr": 26.9, "ssim": 0.731, "cie94": 2.1},
            "output": {"psnr": None, "ssim": 0.856, "cie94": 2.89},
        },
        "sd": {"bicubic": {"psnr": 0.31, "ssim": 0.01, "cie94": 0.2}},
    }
    names, table = table_of(scores)
    assert names == ["psnr", "ssim", "cie94"]
    assert table.rows[0] == ["bicubic", "26.40 ± 0.31", "0.731 ± 0.010", "4.43 ± 0.20"]
    assert table.rows[2][:2] == ["this model", "identical"]
    # Higher is better but for the colour difference.
    assert table.emphasis == {(2, 1), (2, 2), (1, 3)}
    assert table_of({})[0] == []

"""A run and its folder: killed, resumed, steered, watched, shared by processes."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import napari_acuity as acuity
from napari_acuity import Micrograph, Pair, PairSet, Recipe, TrainingError
from napari_acuity.core.networks.levels import NO_LEVELS
from napari_acuity.core.recipe import RECIPES
from napari_acuity.core.training import session as session_module
from napari_acuity.core.training.interrupts import Interrupts
from napari_acuity.core.training.process import Watch, launch, relaunch, start_process
from napari_acuity.core.training.run_folder import RunFolder, discard_run, new_run
from napari_acuity.core.training.session import Epoch
from napari_acuity.core.training.train import resume_steps, train_steps
from napari_acuity.core.training.validation import Preview
from test_training import QUICK, drained, field

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_acuity import Model

RECIPE = replace(QUICK, precision="float32")


@pytest.fixture(scope="module")
def folder(tissue: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four pairs."""
    path = tmp_path_factory.mktemp("pairs") / "set"
    pairs = PairSet.open(path)
    for row in (0, 256):
        for col in (0, 256):
            pairs.add(field(tissue, row, col))
    return path


def weights(model: Model) -> torch.Tensor:
    return torch.cat([value.flatten() for value in model.network.state_dict().values()])


def log_of(run: Path) -> list[dict[str, str]]:
    with (run / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        del row["seconds"]
    return rows


@pytest.fixture(scope="module")
def unbroken(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Path]:
    """A run of four epochs that nothing disturbed."""
    out = tmp_path_factory.mktemp("unbroken") / "run"
    return acuity.train(folder, RECIPE, out, epochs=4, device="cpu"), out


# Resuming


@pytest.mark.parametrize("stop_after", [1, 70, 128, 150])
def test_a_stopped_run_goes_on_as_if_it_never_stopped(
    folder: Path, tmp_path: Path, unbroken: tuple, monkeypatch: pytest.MonkeyPatch, stop_after: int
) -> None:
    """Bit for bit, wherever it stops: an epoch has 64 steps."""
    monkeypatch.setattr(session_module, "_CHECKPOINT_S", 0.0)  # after every step
    out = tmp_path / "run"
    steps = train_steps(folder, RECIPE, out, epochs=4, device="cpu")
    while not (out / "checkpoint.pt").exists():
        next(steps)
    while torch.load(out / "checkpoint.pt", weights_only=True)["progress"]["step"] < stop_after:
        next(steps)
    if stop_after < 64:
        (out / "log.csv").touch()  # as if killed: one that is closed so early is removed
    steps.close()
    monkeypatch.setattr(session_module, "_CHECKPOINT_S", 30.0)

    model = acuity.resume(out, device="cpu")

    assert torch.equal(weights(model), weights(unbroken[0]))
    assert model.header == unbroken[0].header
    assert log_of(out) == log_of(unbroken[1])


def begun_until(
    kind: str, out: Path, folder: Path
) -> tuple[subprocess.Popen[bytes], Watch, list[dict[str, Any]]]:
    """Launch a run and wait for a kind of event; also return what watches it, and what came."""
    process = launch(out, folder, RECIPE, epochs=4, device="cpu")
    watch, seen = Watch(out), list[dict[str, Any]]()
    while not any(event["kind"] == kind for event in seen):
        assert process.poll() is None, watch.last_lines()
        seen += watch.events()
        time.sleep(0.01)
    return process, watch, seen


def test_kill_9_loses_no_more_than_the_last_interval(
    folder: Path, tmp_path: Path, unbroken: tuple
) -> None:
    out = tmp_path / "run"
    process, watch, _ = begun_until("epoch", out, folder)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    assert not RunFolder(out).running
    acuity.load(out / "best.safetensors")
    again = relaunch(out, device="cpu")
    assert again.wait() == 0, watch.last_lines()
    assert torch.equal(weights(acuity.load(out / "best.safetensors")), weights(unbroken[0]))
    assert log_of(out) == log_of(unbroken[1])
    assert [event["kind"] for event in Watch(out).events()][-1] == "done"


def test_sigterm_loses_nothing(folder: Path, tmp_path: Path, unbroken: tuple) -> None:
    """As a cluster's scheduler sends it before it kills: bit for bit, too."""
    out = tmp_path / "run"
    process, watch, seen = begun_until("step", out, folder)
    process.terminate()

    assert process.wait() == 130
    assert watch.events()[-1]["kind"] == "stopped"
    assert f"stopped; to go on: acuity resume {out}" in watch.last_lines()
    assert (
        torch.load(out / "checkpoint.pt", weights_only=True)["progress"]["step"] >= seen[-1]["step"]
    )
    model = acuity.resume(out, device="cpu")
    assert torch.equal(weights(model), weights(unbroken[0]))
    assert log_of(out) == log_of(unbroken[1])


@pytest.fixture
def usual_interrupt() -> Iterator[None]:
    """What Python does at Ctrl+C, also where the tests run in the background and ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("usual_interrupt")
def test_ctrl_c_ends_a_run_after_the_step_and_twice_at_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, step = tmp_path / "run", session_module.Session.step

    def interrupted(session: session_module.Session, done: float) -> None:
        signal.raise_signal(signal.SIGINT)
        step(session, done)

    monkeypatch.setattr(session_module.Session, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        acuity.train(folder, RECIPE, out, epochs=1, device="cpu")
    assert Watch(out).events()[-1]["kind"] == "stopped"
    assert torch.load(out / "checkpoint.pt", weights_only=True)["progress"]["step"] == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    with Interrupts() as interrupts:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)  # from the scheduler and from torchrun
        assert interrupts.came
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.usefixtures("usual_interrupt")
def test_an_interrupt_in_the_last_step_is_no_less_heeded(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end_epoch = session_module.Session.end_epoch

    def interrupted(session: session_module.Session) -> Epoch:
        signal.raise_signal(signal.SIGTERM)
        session.ended = True
        return end_epoch(session)

    monkeypatch.setattr(session_module.Session, "end_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        acuity.train(folder, RECIPE, tmp_path / "run", epochs=1, device="cpu")
    assert [event["kind"] for event in Watch(tmp_path / "run").events()][-2:] == [
        "epoch",
        "stopped",
    ]


@pytest.mark.usefixtures("usual_interrupt")
def test_where_another_thread_ends_a_run_the_next_interrupt_is_as_ever() -> None:
    interrupts = Interrupts().__enter__()
    thread = threading.Thread(target=interrupts.__exit__, args=(None, None, None))
    thread.start()
    thread.join()

    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def test_what_a_program_makes_of_signals_is_left_to_it() -> None:
    def theirs(_number: int, _frame: Any) -> None: ...

    before = signal.signal(signal.SIGINT, signal.SIG_IGN), signal.signal(signal.SIGTERM, theirs)
    try:
        with Interrupts():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is theirs
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])


def test_a_run_that_lost_its_patience_is_over(folder: Path, tmp_path: Path) -> None:
    """Killed while it is scored, it trains no further epoch."""
    out = tmp_path / "run"
    still = replace(RECIPE, batch=64, learning_rate=1e-30, averaging=0.0, patience=1)
    model = acuity.train(folder, still, out, epochs=9, device="cpu")
    log = log_of(out)
    assert len(log) == 2

    again = acuity.resume(out, device="cpu")

    assert log_of(out) == log
    assert torch.equal(weights(again), weights(model))


def test_a_checkpoint_of_the_first_epoch_outlasts_an_interrupt(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "_CHECKPOINT_S", 0.0)  # after every step
    out = tmp_path / "run"
    steps = train_steps(folder, replace(RECIPE, batch=64), out, epochs=1, device="cpu")
    while not (out / "checkpoint.pt").exists():
        next(steps)
    steps.close()

    assert acuity.resume(out, device="cpu").header.scores
    assert len(log_of(out)) == 1


def test_what_a_kill_leaves_is_discarded_too(tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    for name in ("recipe.toml", ".checkpoint-x1_z.pt", ".run-a2.json", ".best-b3.safetensors"):
        (out / name).touch()
    (out / ".mine").touch()

    discard_run(out)

    assert [path.name for path in out.iterdir()] == [".mine"]


def test_a_stop_and_a_resume_that_comes_to_nothing_do_not_make_a_run_done(
    folder: Path, tmp_path: Path
) -> None:
    """A run that was asked to stop says that it is done: a lens in training must not take it for whole."""
    out = begun(folder, tmp_path / "run")
    run = RunFolder(out)
    for event in resume_steps(out, device="cpu"):
        if event.stage.startswith("epoch"):
            run.ask("stop")
    assert [event["kind"] for event in Watch(out).events()][-1] == "done"
    steps = resume_steps(out, device="cpu")
    while not next(steps).stage.startswith("3 pairs") and run.command() == "stop":
        pass
    steps.close()
    assert [event["kind"] for event in Watch(out).events()][-2:] == ["begun", "stopped"]
    with pytest.raises(acuity.PairError):
        acuity.resume(out, pairs=tmp_path / "nowhere", device="cpu")
    last = Watch(out).events()[-1]
    assert last["kind"] == "failed" and "There is no folder" in last["words"]


def test_an_event_that_fits_in_half_swallows_none_that_follows(tmp_path, monkeypatch):
    """As on a disk that fills up, and is freed."""
    run, write = RunFolder(tmp_path), os.write
    run.say("begun")
    monkeypatch.setattr("os.write", lambda handle, line: write(handle, line[:9]))
    run.say("step")
    monkeypatch.undo()
    run.say("done")

    assert [event["kind"] for event in Watch(tmp_path).events()] == ["begun", "done"]


def test_what_cannot_be_resumed_says_so(
    folder: Path, tmp_path: Path, unbroken: tuple, tissue: np.ndarray
) -> None:
    with pytest.raises(TrainingError, match=r"There is no run in .*nowhere"):
        acuity.resume(tmp_path / "nowhere")
    with pytest.raises(TrainingError, match=r"File name too long\. Check the name of the folder"):
        acuity.resume(tmp_path / ("n" * 300))
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "run.json").write_text("[" * 10**5)
    with pytest.raises(TrainingError, match=r"run\.json is damaged\. Begin another"):
        acuity.resume(tmp_path / "deep")
    out = tmp_path / "run"
    list(zip(range(70), train_steps(folder, RECIPE, out, epochs=4, device="cpu"), strict=False))
    whole = (out / "checkpoint.pt").read_bytes()
    (out / "checkpoint.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TrainingError, match=r"checkpoint .* is damaged.*from this one's best"):
        acuity.resume(out)
    (out / "checkpoint.pt").write_bytes(whole)
    with pytest.raises(acuity.PairError):
        acuity.resume(out, pairs=[field(tissue, 0, 0)])
    with pytest.raises(TrainingError, match="holds something already"):
        acuity.train(folder, replace(RECIPE, batch=4), out, epochs=1)


def begun(folder: Path, out: Path) -> Path:
    """Train for an epoch, and stop."""
    steps = train_steps(folder, replace(RECIPE, batch=64), out, epochs=2, device="cpu")
    while not isinstance(next(steps).new, Epoch):
        pass
    next(steps)
    steps.close()
    return out


def test_a_recipe_that_was_changed_is_refused_and_named(folder: Path, tmp_path: Path) -> None:
    out = begun(folder, tmp_path / "run")
    changed = replace(RunFolder(out).recipe, learning_rate=0.1, seed=99)
    changed.save(out / "recipe.toml")

    words = (
        r"changed since the run began: learning_rate was 0\.003 and is 0\.1, seed was 0 and is 99\."
    )
    with pytest.raises(TrainingError, match=words + " Put back what it was"):
        acuity.resume(out, device="cpu")


@pytest.mark.parametrize(
    "change",
    [
        *({"epochs": "two"}, {"division": None}, {"frozen": None}, {"data": []}, None),
        {"epochs": None, "minutes": None},
    ],
)
def test_facts_that_lack_something_are_refused(
    folder: Path, tmp_path: Path, change: dict[str, Any] | None
) -> None:
    out = begun(folder, tmp_path / "run")
    facts = {} if change is None else {**json.loads((out / "run.json").read_text()), **change}
    (out / "run.json").write_text(json.dumps(facts))

    with pytest.raises(TrainingError, match=r"run\.json is damaged: it does not tell ('|how)"):
        acuity.resume(out, device="cpu")


@pytest.mark.parametrize("file", ["run.json", "checkpoint.pt"])
def test_what_a_newer_version_wrote_is_refused(folder: Path, tmp_path: Path, file: str) -> None:
    out = begun(folder, tmp_path / "run")
    if file == "run.json":
        facts = json.loads((out / file).read_text()) | {"format": 99}
        (out / file).write_text(json.dumps(facts))
    else:
        torch.save(torch.load(out / file, weights_only=True) | {"format": 99}, out / file)

    words = rf"{file} was written by a newer version \(format 99, here 1\)\. Update"
    with pytest.raises(TrainingError, match=words):
        acuity.resume(out, device="cpu")


def test_a_checkpoint_that_lacks_something_is_refused(folder: Path, tmp_path: Path) -> None:
    out = begun(folder, tmp_path / "run")
    whole = torch.load(out / "checkpoint.pt", weights_only=True)
    for state in (
        *({}, {**whole, "recipe": None}, {**whole, "format": "one"}, {**whole, "draws": None}),
        *({**whole, "progress": 3}, {**whole, "sums": []}, {**whole, "trainee": {}}),
    ):
        torch.save(state, out / "checkpoint.pt")
        with pytest.raises(TrainingError, match=r"is damaged"):
            acuity.resume(out, device="cpu")


def test_without_its_best_model_a_run_goes_on_from_its_checkpoint(
    folder: Path, tmp_path: Path
) -> None:
    out = begun(folder, tmp_path / "run")
    whole = (out / "best.safetensors").read_bytes()
    (out / "best.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TrainingError, match=r"damaged.*Remove that file: the run goes on"):
        acuity.resume(out, device="cpu")
    (out / "best.safetensors").unlink()

    events, model = drained(resume_steps(out, device="cpu"))

    assert any("best.safetensors is missing: the run goes on" in event.stage for event in events)
    assert torch.equal(weights(acuity.load(out / "best.safetensors")), weights(model))
    assert [row["number"] for row in log_of(out)] == ["1", "2"]


def test_a_best_model_that_is_another_one_is_told_and_left(folder: Path, tmp_path: Path) -> None:
    whole = acuity.train(folder, replace(RECIPE, batch=64), epochs=2, device="cpu")
    out = begun(folder, tmp_path / "run")
    other = {"scale": 2.5, "channels": 3, "width": 4, "blocks": 1}
    acuity.Model.new("brightfield-2017", **other).save(out / "best.safetensors")

    events, model = drained(resume_steps(out, device="cpu"))

    assert any("best.safetensors is not the model that the ch" in event.stage for event in events)
    assert torch.equal(weights(model), weights(whole))
    assert torch.equal(weights(acuity.load(out / "best.safetensors")), weights(whole))


def test_a_run_that_was_over_gives_its_model_once_more(folder: Path, tmp_path: Path) -> None:
    """Of the checkpoint, where the best one is lost."""
    out = tmp_path / "run"
    model = acuity.train(folder, RECIPE, out, epochs=1, device="cpu")
    log = (out / "log.csv").read_text()
    for name in ("best.safetensors", "log.csv"):
        (out / name).unlink()

    again = acuity.resume(out, device="cpu")

    assert (out / "log.csv").read_text() == log
    assert torch.equal(weights(again), weights(model))
    assert acuity.load(out / "best.safetensors").header.scores == model.header.scores


def test_pairs_that_changed_meanwhile_are_named(tissue: np.ndarray, tmp_path: Path) -> None:
    pairs = [field(tissue, row, col) for row in (0, 256) for col in (0, 256)]
    steps = train_steps(pairs, RECIPE, tmp_path / "run", epochs=2, device="cpu")
    while not isinstance(next(steps).new, Epoch):
        pass
    next(steps)
    steps.close()
    darker = [replace(pair, low=pair.low.with_pixels(pair.low.pixels // 2)) for pair in pairs]

    events, _ = drained(resume_steps(tmp_path / "run", pairs=darker, device="cpu"))

    assert any("some pairs have changed" in event.stage for event in events)


def test_a_damaged_pair_of_an_earlier_run_is_named_with_its_damage(
    tissue: np.ndarray, tmp_path: Path
) -> None:
    pairs = PairSet.open(tmp_path / "set")
    for row in (0, 128, 256):
        pairs.add(field(tissue, row, 0))
    out = begun(pairs.folder, tmp_path / "run")
    (tmp_path / "set" / "low" / "field 0 0.tif").write_bytes(b"II*")

    with pytest.raises(
        acuity.PairError, match=r"with 'field 0 0', no longer .*0\.tif cannot be read"
    ):
        acuity.resume(out, device="cpu")


def test_pairs_that_were_moved_are_missed_with_the_way_to_say_where_they_are(
    tissue: np.ndarray, tmp_path: Path
) -> None:
    pairs = PairSet.open(tmp_path / "set")
    for row in (0, 128, 256):
        pairs.add(field(tissue, row, 0))
    out = begun(pairs.folder, tmp_path / "run")
    pairs.folder.rename(tmp_path / "moved")

    words = (
        r"pairs of the run in .*run are no longer in .*set\. .* acuity resume RUN --pairs FOLDER"
    )
    with pytest.raises(acuity.PairError, match=words):
        acuity.resume(out, device="cpu")
    assert acuity.resume(out, pairs=tmp_path / "moved", device="cpu").header.scores


def test_a_checkpoint_executes_nothing(tmp_path: Path, folder: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return os.system, (f"touch {tmp_path / 'executed'}",)

    out = tmp_path / "run"
    acuity.train(folder, replace(RECIPE, batch=64), out, epochs=1, device="cpu")
    torch.save({"progress": Evil()}, out / "checkpoint.pt")

    with pytest.raises(TrainingError, match="is damaged"):
        acuity.resume(out)
    assert not (tmp_path / "executed").exists()


def test_a_run_varied_by_no_compression_goes_on(folder: Path, tmp_path: Path) -> None:
    """TOML has no None, which is the default of jpeg."""
    recipe = replace(RECIPE, batch=64, augmentation={"jpeg": None, "brightness": 0.1})
    steps = train_steps(folder, recipe, tmp_path / "run", epochs=2, device="cpu")
    next(event for event in steps if isinstance(event.new, Epoch))
    steps.close()

    assert RunFolder(tmp_path / "run").recipe.augmentation == {"brightness": 0.1}
    acuity.resume(tmp_path / "run", device="cpu")
    assert len(log_of(tmp_path / "run")) == 2


# Steering and watching


def test_a_run_is_paused_goes_on_and_stops_when_asked(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    steps = train_steps(folder, RECIPE, out, epochs=100, device="cpu")
    while not isinstance(next(steps).new, Epoch):
        pass
    run = RunFolder(out)
    run.ask("pause")
    while next(steps).stage != "paused":
        pass
    before = next(steps)
    assert (before.stage, next(steps).fraction) == ("paused", before.fraction)
    run.ask("go")
    while next(steps).stage == "paused":
        pass
    run.ask("stop")
    _, model = drained(steps)

    kinds = [event["kind"] for event in Watch(out).events()]
    assert [kind for kind in kinds if kind not in ("step", "epoch")] == [
        *("begun", "paused", "going on", "done"),
    ]
    assert model.header.scores["fields"]
    assert len(log_of(out)) < 10


def test_to_ask_a_run_takes_no_space(tmp_path: Path) -> None:
    """So one on a full disk can be stopped and kept: the file is there, and is written in place."""
    run = RunFolder(tmp_path)
    run.begin(RECIPE, {})
    before = (tmp_path / "command").stat()

    for command in ("pause", "go", "stop"):
        run.ask(command)
        assert run.command() == command
        after = (tmp_path / "command").stat()
        assert (after.st_ino, after.st_size) == (before.st_ino, before.st_size)


@pytest.mark.parametrize("paused", [False, True])
def test_a_run_whose_folder_is_removed_ends_and_one_that_is_back_in_time_goes_on(
    folder: Path, tmp_path: Path, paused: bool
) -> None:
    out, away = tmp_path / "run", tmp_path / "away"
    steps = train_steps(folder, replace(RECIPE, batch=64), out, epochs=50, device="cpu")
    next(event for event in steps if isinstance(event.new, Epoch))
    if paused:
        RunFolder(out).ask("pause")
        next(event for event in steps if event.stage == "paused")
    out.rename(away)
    next(steps)
    away.rename(out)
    next(steps)
    shutil.rmtree(out)

    begun, end = time.monotonic(), r"run was moved or removed while .* Where it was moved, resume"
    with pytest.raises(TrainingError, match=end):
        drained(steps)
    assert time.monotonic() - begun < 10
    assert not out.exists()


def test_a_disk_that_does_not_answer_does_not_end_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(_path: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    assert not RunFolder(tmp_path).there
    monkeypatch.setattr("pathlib.Path.stat", silent)
    assert RunFolder(tmp_path).there


def test_a_word_that_is_no_command_is_passed_over(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    steps = train_steps(folder, RECIPE, out, epochs=2, device="cpu")
    next(event for event in steps if event.stage == "epoch 1")
    (out / "command").write_text("halt\n")
    drained(steps)

    warnings = [e["words"] for e in Watch(out).events() if e["kind"] == "warning"]
    assert warnings == ["'halt' in the file command is none of go, pause, stop: passed over"]
    with pytest.raises(TrainingError, match=r"A run cannot be asked to 'halt'\. Ask for one of go"):
        RunFolder(out).ask("halt")


def test_an_interrupted_run_says_that_it_was_stopped(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    steps = train_steps(folder, RECIPE, out, epochs=2, device="cpu")
    while not isinstance(next(steps).new, Epoch):
        pass

    def interrupted(_session: session_module.Session, _done: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(session_module.Session, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        drained(steps)
    assert [event["kind"] for event in Watch(out).events()][-1] == "stopped"


def test_two_processes_do_not_share_a_run(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    steps = train_steps(folder, RECIPE, out, epochs=100, device="cpu")
    while not isinstance(next(steps).new, Epoch):
        pass
    next(steps)

    assert RunFolder(out).running
    code = f"import napari_acuity as a; a.resume({str(out)!r})"
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert "Another process is training in" in other.stderr
    (out / "output.txt").write_text("its words")
    with pytest.raises(TrainingError, match="Another process is training in"):
        relaunch(out, device="cpu")
    assert Watch(out).last_lines() == "its words"
    steps.close()
    assert not RunFolder(out).running


def test_who_comes_second_leaves_the_run_of_the_first(tmp_path: Path) -> None:
    with new_run(tmp_path / "run") as run:
        for _ in range(2):
            with pytest.raises(TrainingError, match="Another process"), new_run(run.path):
                pass
            assert run.running
        (run.path / "recipe.toml").touch()
    assert not run.path.exists()
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "recipe.toml").touch()
    with pytest.raises(TrainingError, match="holds something"), new_run(tmp_path / "theirs"):
        pass
    assert [path.name for path in (tmp_path / "theirs").iterdir()] == ["recipe.toml"]


def test_to_ask_whether_a_run_is_under_way_makes_nothing(tmp_path: Path) -> None:
    assert not RunFolder(tmp_path).running
    assert not RunFolder(tmp_path / "typo" / "run").running
    assert not any(tmp_path.iterdir())


def test_a_run_that_cannot_begin_says_why_in_its_output(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = launch(out, folder, Recipe(network_arguments={"wdith": 3}), epochs=1, device="cpu")

    assert process.wait() == 1
    assert "wdith must be left out: known are channels" in Watch(out).last_lines()
    assert not RunFolder(out).running


def test_a_process_of_its_own_waits_for_its_threads_for_a_short_while_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And as whoever starts it asks, where they do."""
    started = list[dict[str, str]]()
    monkeypatch.setattr(subprocess, "Popen", lambda *_, env, **_options: started.append(env))
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    start_process(["info"], tmp_path)
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    start_process(["info"], tmp_path)

    assert started[0]["GOMP_SPINCOUNT"] == "3000"
    assert "GOMP_SPINCOUNT" not in started[1]


def test_half_a_line_is_read_when_it_is_whole(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    assert watch.events() == []
    event = {"kind": "step", "time": 1.5, "step": 1, "epoch": 1, "fraction": 0.1}
    line = json.dumps(event)
    (tmp_path / "events.jsonl").write_text(line[:9])
    assert watch.events() == []
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write(line[9:] + "\nnot json\n[]\n")
    assert watch.events() == [event]


STEP = {"kind": "step", "time": 1.5, "step": 1, "epoch": 1, "fraction": 0.1}
LOSSES = {"train_loss": 0.1, "validation_loss": 0.1, "psnr": 10.0, "bicubic_psnr": 9.0}
EPOCH = {"kind": "epoch", "time": 2.5, "number": 1, "step": 1, "seconds": 1.0, **LOSSES}
BEGUN = {"kind": "begun", "time": 0.5, "pid": 1, "host": "here", "device": "cpu", "words": "a; b"}


@pytest.mark.parametrize("event", [BEGUN, STEP, EPOCH])
def test_events_that_lack_something_or_hold_another_type_are_passed_over(
    tmp_path: Path, event: dict[str, Any]
) -> None:
    wrong = [None, [], {}, float("nan"), True, 10**40]
    damaged = [{**event, key: value} for key in event for value in wrong]
    damaged += [
        {name: value for name, value in event.items() if name != key}
        for key in (["kind", "time"] if event is BEGUN else event)
    ]
    lines = [*map(json.dumps, [*damaged, event]), "[" * 10**5]
    (tmp_path / "events.jsonl").write_text("\n".join(lines) + "\n")

    assert Watch(tmp_path).events() == [event]


@pytest.mark.parametrize("damage", ["empty", "cut", "no table", "another byte", "another shape"])
def test_a_damaged_preview_is_none(tmp_path: Path, damage: str) -> None:
    image = np.zeros((4, 4), np.float32)
    RunFolder(tmp_path).show(Preview(image, image, image))
    path, whole = tmp_path / "preview.npz", (tmp_path / "preview.npz").read_bytes()
    assert Watch(tmp_path).preview() is not None
    if damage == "another shape":
        with path.open("wb") as file:
            picture = image.astype(np.uint8)
            np.savez(file, input=picture, output=picture, truth=picture[1:])
    elif damage == "no table":
        with path.open("wb") as file:
            np.save(file, image)
    else:
        pixel = whole.index(b"\n") + 1
        other = whole[:pixel] + b"\x07" + whole[pixel + 1 :]
        path.write_bytes({"empty": b"", "cut": whole[:pixel], "another byte": other}[damage])

    assert Watch(tmp_path).preview() is None


# Steps


@pytest.mark.parametrize("of", ["GPU", "processor"])
def test_batches_are_split_where_the_memory_is_too_small(
    of: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half batches give the same gradients; a device that holds no patch says what to do."""
    whole = acuity.train(folder, RECIPE, epochs=1, device="cpu")
    forward = acuity.core.networks.pyramid_resnet.PyramidResNet.forward  # type: ignore[attr-defined]
    most = 3

    def small(self: Any, image: torch.Tensor) -> torch.Tensor:
        if len(image) > most and torch.is_grad_enabled():
            if of == "processor":
                torch.empty(10**15)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, image)  # type: ignore[no-any-return]

    name = "napari_acuity.core.networks.pyramid_resnet.PyramidResNet.forward"
    monkeypatch.setattr(name, small)
    split = acuity.train(folder, RECIPE, tmp_path / "run", epochs=1, device="cpu")

    torch.testing.assert_close(weights(split), weights(whole), atol=2e-3, rtol=0)
    warnings = [e["words"] for e in Watch(tmp_path / "run").events() if e["kind"] == "warning"]
    assert warnings == ["out of memory: batches in 4 parts"]
    most = 0
    with pytest.raises(TrainingError, match="does not hold a single patch"):
        acuity.train(folder, RECIPE, epochs=1, device="cpu")


def test_fine_tuning_goes_on_from_a_model_and_leaves_frozen_layers(
    folder: Path, unbroken: tuple, tmp_path: Path
) -> None:
    model, run = unbroken

    tuned = acuity.train(
        folder,
        replace(RECIPE, seed=7),
        epochs=1,
        device="cpu",
        start=run / "best.safetensors",
        frozen=2,
    )

    before, after = model.network.state_dict(), tuned.network.state_dict()
    for name in before:
        same = torch.equal(before[name], after[name])
        assert same == name.startswith(("head", "blocks.0")), name
    with pytest.raises(TrainingError, match="the recipe and the pairs ask for"):
        other = acuity.Model.new("brightfield", scale=2)
        acuity.train(folder, RECIPE, epochs=1, device="cpu", start=other)
    with pytest.raises(TrainingError, match="9 layers cannot be frozen"):
        acuity.train(folder, RECIPE, epochs=1, device="cpu", start=model, frozen=9)


def test_a_run_from_a_model_is_told_of_that_models_network(
    folder: Path, unbroken: tuple, tmp_path: Path
) -> None:
    """Whatever the recipe says; and goes on, with what is gained by the model."""
    start, out = unbroken[0], tmp_path / "run"
    wider = replace(RECIPE, network_arguments={"width": 20, "blocks": 1}, batch=64)

    steps = train_steps(folder, wider, out, epochs=2, device="cpu", start=start)
    events = [next(steps) for _ in range(15)]
    steps.close()
    model = acuity.resume(out, device="cpu")

    said = "the network is that of the model to start from: width 12, where the recipe says 20"
    assert said in [event.stage for event in events]
    assert model.header.arguments["width"] == 12
    theirs = {"init": "interpolation", "width": 12, "blocks": 1}
    assert model.header.recipe["network_arguments"] == theirs
    assert Recipe.load(out / "recipe.toml").network_arguments == theirs
    assert "output before transfer" in model.header.scores["mean"]
    usual = replace(acuity.core.recipe.RECIPES["brightfield"], batch=64)  # type: ignore[attr-defined]
    events, _ = drained(train_steps(folder, usual, epochs=1, device="cpu", start=start))
    assert not any("the recipe says" in event.stage for event in events)


def test_levels_of_the_model_to_start_from_go_where_the_recipe_has_none(tissue: np.ndarray) -> None:
    """The network is trained on the images' range, and the model must compute so, too."""
    fields = [field(tissue // 4, row, col) for row in (0, 256) for col in (0, 256)]
    levelled = replace(
        RECIPE,
        network="compact_unet",
        network_arguments={"width": 4, "depth": 1},
        batch=64,
        losses={"mse": 1.0},
        levels="percentiles",
    )
    start = acuity.train(fields, levelled, epochs=1, test=0.0, device="cpu")
    assert start.levels != NO_LEVELS

    plain = replace(levelled, levels="range")
    model = acuity.train(fields, plain, epochs=1, test=0.0, start=start, device="cpu")

    assert model.levels == NO_LEVELS


def test_patience_ends_a_run_that_gets_no_better(folder: Path) -> None:
    wild = replace(RECIPE, learning_rate=0.05, averaging=0.0, batch=64, patience=2)

    events, _ = drained(train_steps(folder, wild, epochs=60, device="cpu"))

    epochs = [event.new for event in events if isinstance(event.new, Epoch)]
    assert len(epochs) < 60
    assert not any(epoch.best for epoch in epochs[-2:])
    assert epochs[-3].best


def test_frozen_layers_keep_their_statistics(tissue: np.ndarray) -> None:
    """What batch normalisation learnt of other fields is a part of the layer."""
    fields = [
        Pair(*[Micrograph(tissue[row : row + 96, :96], rgb=True, name=f"{row}")] * 2, 1.0)
        for row in (0, 96, 192)
    ]
    small = {"channels": 3, "width": 4, "depth": 1, "norm": True}
    recipe = replace(RECIPE, network="compact_unet", network_arguments=small, batch=64)
    model = acuity.train(fields, recipe, epochs=1, device="cpu")

    tuned = acuity.train(
        fields, replace(recipe, seed=1), epochs=1, device="cpu", start=model, frozen=2
    )

    before, after = model.network.state_dict(), tuned.network.state_dict()
    for name in before:
        same = torch.equal(before[name], after[name])
        assert same == name.startswith(("first", "down.0")) or "num_batches" in name, name


def test_fields_that_the_model_to_start_from_was_trained_on_are_named(
    folder: Path, tissue: np.ndarray
) -> None:
    quick = replace(RECIPE, batch=64)
    pairs = [*PairSet.open(folder)]
    start = acuity.train(pairs, quick, epochs=1, device="cpu")

    def told(pairs: list[Pair]) -> tuple[list[str], set[str]]:
        events, model = drained(train_steps(pairs, quick, epochs=1, device="cpu", start=start))
        held = {*model.header.data["validation"], *model.header.data["test"]}
        said = [event.stage for event in events if "was trained on" in event.stage]
        return said, held & {*start.header.data["train"]}

    assert told(pairs) == ([], set())
    said, seen = told([*pairs, field(tissue, 128, 128)])
    assert len(seen) == 1
    assert said == [
        f"the model to start from was trained on '{seen.pop()}', now to validate or test on: scores there "
        "say little of new fields"
    ]


def test_any_seed_draws_what_dropout_leaves_out(tissue: np.ndarray) -> None:
    fields = [
        Pair(*[Micrograph(tissue[row : row + 64, :64], rgb=True, name=f"{row}")] * 2, 1.0)
        for row in (0, 64, 128)
    ]
    recipe = replace(
        RECIPES["pix2pix-2017"],
        seed=2**63 - 1,
        patch=64,
        batch=2,
        network_arguments={"width": 1},
        augmentation={},
    )
    steps = train_steps(fields, recipe, epochs=1, device="cpu")
    while next(steps).stage != "epoch 1":  # the first step is done
        pass
    steps.close()


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(folder: Path, tmp_path: Path, unbroken: tuple) -> None:
    recipe = tmp_path / "recipe.toml"
    RECIPE.save(recipe)
    words = ["-m", "napari_acuity", "train", folder, "--recipe", recipe, "--out", tmp_path / "run"]
    run = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        + [str(word) for word in [*words, "--epochs", "4", "--device", "cpu"]],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )

    assert run.returncode == 0, run.stderr
    # Told by the first one, when the other has no more to do.
    assert acuity.load(tmp_path / "run" / "best.safetensors").header.scores["fields"]
    for row, other in zip(log_of(tmp_path / "run"), log_of(unbroken[1]), strict=True):
        assert row["step"] == other["step"]
        assert float(row["train_loss"]) == pytest.approx(float(other["train_loss"]), rel=1e-3)
        assert float(row["psnr"]) == pytest.approx(float(other["psnr"]), abs=0.02)


@pytest.mark.slow
def test_sigterm_to_torchrun_keeps_the_state_of_all(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    RECIPE.save(tmp_path / "recipe.toml")
    words = ["-m", "napari_acuity", "train", folder, "--recipe", tmp_path / "recipe.toml"]
    run = subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        + [str(word) for word in [*words, "--out", out, "--epochs", "100", "--device", "cpu"]],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.DEVNULL,
    )
    watch, seen = Watch(out), list[dict[str, Any]]()
    while not any(event["kind"] == "step" for event in seen):
        assert run.poll() is None
        seen += watch.events()
        time.sleep(0.05)
    run.terminate()
    run.wait(60)

    assert watch.events()[-1]["kind"] == "stopped"
    step = torch.load(out / "checkpoint.pt", weights_only=True)["progress"]["step"]
    assert step >= seen[-1]["step"]
    assert any(event.new for event in resume_steps(out, device="cpu"))

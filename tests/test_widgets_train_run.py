"""Train model and its runs: started, watched, steered, lost, found again; all in real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest
from qtpy.QtWidgets import QApplication, QDialog, QFileDialog, QMessageBox

from gui import click, names, opened
from napari_acuity import FileError, Recipe, load
from napari_acuity.core.training.run_folder import RunFolder
from napari_acuity.widgets import _session
from napari_acuity.widgets._training import run_reader
from napari_acuity.widgets._training.export_dialog import PackageDialog
from napari_acuity.widgets.train import TrainPanel
from training_panel import (
    PIXEL_UM,
    SCALE,
    TINY,
    choose,
    halved,
    make_pairs,
    wait_for_look,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from pytestqt.qtbot import QtBot

_START_MS = 60_000
ENDLESS = "1000000"


pytestmark = pytest.mark.usefixtures("training_session")


@pytest.fixture(scope="module")
def pairs(tissue: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pairs(tmp_path_factory.mktemp("pairs") / "colon", tissue)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    TINY.save(path)
    return path


def run_command(pairs: Path, recipe: Path, out: Path, epochs: str) -> subprocess.Popen[bytes]:
    """Train as a user does in a terminal."""
    words = ["train", pairs, "--recipe", recipe, "--out", out, "--epochs", epochs]
    command = [sys.executable, "-m", "napari_acuity", *map(str, words), "--device", "cpu"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def ended(pairs: Path, recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three epochs that ended in a terminal."""
    out = tmp_path_factory.mktemp("ended") / "run"
    assert run_command(pairs, recipe, out, "3").wait() == 0
    return out


@pytest.fixture
def viewer(make_napari_viewer_proxy: Callable[..., Any]) -> Any:
    return make_napari_viewer_proxy()


@pytest.fixture
def panel(viewer: Any, qtbot: QtBot, pairs: Path, recipe: Path) -> Iterator[TrainPanel]:
    """Train model with pairs and the tiny recipe chosen, for no end of epochs."""
    with opened(qtbot, TrainPanel(viewer)) as panel:
        panel.recipe.open(recipe)
        panel.unit.setCurrentIndex(1)
        panel.amount.setValue(float(ENDLESS))
        choose(qtbot, panel, pairs)
        yield panel


def say_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QMessageBox, "question", lambda *_: QMessageBox.StandardButton.Discard)


def go_to(panel: TrainPanel, folder: Path) -> Path:
    panel.out.setText(str(folder))
    return folder


def open_run(
    qtbot: QtBot, panel: TrainPanel, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(folder))
    click(qtbot, panel.run.open)


def wait_for_epochs(qtbot: QtBot, panel: TrainPanel, count: int) -> None:
    state = panel.run.follower
    qtbot.waitUntil(lambda: len(state.state.rows) >= count, timeout=_START_MS)


def wait_for_end(qtbot: QtBot, panel: TrainPanel) -> None:
    qtbot.waitUntil(lambda: not panel.run.going, timeout=_START_MS)


def pid_of(folder: Path) -> int:
    lines = (folder / "events.jsonl").read_text().splitlines()
    return [json.loads(line)["pid"] for line in lines if '"begun"' in line][-1]


def test_a_run_to_its_end(
    panel: TrainPanel,
    qtbot: QtBot,
    pairs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    panel.amount.setValue(3)
    out = go_to(panel, tmp_path / "run")
    assert panel.job.button.text() == "Train"
    click(qtbot, panel.job.button)
    wait_for_epochs(qtbot, panel, 1)
    wait_for_end(qtbot, panel)

    assert panel.job.outcome.text().startswith("Done after 3 epochs; the best is epoch")
    assert str(out) in panel.job.outcome.text()
    assert not panel.run.resume.isEnabled()
    # The table is that of the model's header.
    assert "1 of 1 held-out field scored." in panel.run.results.title.text()
    click(qtbot, panel.run.results.copy)
    rows = [line.split("\t") for line in QApplication.clipboard().text().splitlines()]
    assert rows[0] == ["", "bicubic", "bicubic, colour-fitted", "this model"]
    means = load(out / "best.safetensors").header.scores["mean"]
    assert rows[1] == ["PSNR (dB)", *(f"{values['psnr']:.2f}" for values in means.values())]
    assert [row[0] for row in rows] == ["", "PSNR (dB)", "SSIM", "CIE-94"]
    # The next run gets a folder of its own; the command of this one names its recipe.
    assert panel.out.text() == str(pairs.parent / "colon-run-1")
    assert Recipe.load(out / "recipe.toml") == TINY


def test_an_ended_run_comes_back(
    viewer: Any,
    panel: TrainPanel,
    qtbot: QtBot,
    ended: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    open_run(qtbot, panel, ended, monkeypatch)
    qtbot.waitUntil(lambda: panel.run.follower.state.phase == "done", timeout=_START_MS)
    results = panel.run.results
    assert len(panel.run.curves.plot.chart.curves[0].x) == 3
    qtbot.waitUntil(lambda: len(viewer.layers) == 3, timeout=10_000)
    assert names(viewer) == [f"training | {part}" for part in ("input", "output", "truth")]
    np.testing.assert_allclose(viewer.layers["training | truth"].scale, PIXEL_UM)
    assert results.table.isVisibleTo(panel)
    assert "Done after 3 epochs" in panel.job.outcome.text()

    handed: list[Any] = []
    monkeypatch.setattr(
        "napari_acuity.widgets._training.run_results.use_model", lambda *given: handed.extend(given)
    )
    click(qtbot, results.use)
    qtbot.waitUntil(lambda: bool(handed), timeout=10_000)
    assert handed[1].scale == SCALE
    assert handed[2] == ended / "best.safetensors"

    kept = tmp_path / "kept.safetensors"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(kept), ""))
    click(qtbot, results.save)
    qtbot.waitUntil(kept.exists, timeout=10_000)
    assert load(kept).header == load(ended / "best.safetensors").header


def test_a_model_is_exported(
    panel: TrainPanel,
    qtbot: QtBot,
    ended: Path,
    tmp_path: Path,
    notes: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("onnxruntime")
    open_run(qtbot, panel, ended, monkeypatch)
    results = panel.run.results
    qtbot.waitUntil(results.export.isEnabled, timeout=_START_MS)

    def export(name: str, kind: str) -> None:
        target = str(tmp_path / name)
        monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (target, kind))
        click(qtbot, results.export)
        qtbot.waitUntil(results.export.isEnabled, timeout=_START_MS)

    export("model.onnx", "ONNX (*.onnx)")
    assert (tmp_path / "model.onnx").exists()
    assert "it gives the same output" in results.said.text()

    asked: list[PackageDialog] = []

    def fill(dialog: PackageDialog) -> int:
        asked.append(dialog)
        assert not dialog.export.isEnabled()
        dialog.author_line.setText("Ada Lovelace; Ernst Abbe")
        assert dialog.export.isEnabled()
        return int(QDialog.DialogCode.Accepted)

    monkeypatch.setattr(PackageDialog, "exec", fill)
    export("model", "bioimage.io package (*.zip)")
    assert asked[0].authors == ["Ada Lovelace", "Ernst Abbe"]
    assert (tmp_path / "model.bioimageio.zip").exists(), results.said.text()

    export("nowhere/model.onnx", "ONNX (*.onnx)")
    assert "There is no folder" in results.said.text()
    assert "There is no folder" in notes[-1]


def test_a_run_from_a_terminal_is_watched_and_steered(
    viewer: Any,
    qtbot: QtBot,
    pairs: Path,
    recipe: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pause, go on, close the panel and open it again, stop and keep: the process is its own."""
    out = tmp_path / "run"
    panel = TrainPanel(viewer)
    viewer.window.add_dock_widget(panel, name="Train model")
    process = run_command(pairs, recipe, out, ENDLESS)
    try:
        qtbot.waitUntil((out / "best.safetensors").exists, timeout=_START_MS)
        open_run(qtbot, panel, out, monkeypatch)
        wait_for_epochs(qtbot, panel, 3)
        assert panel.job.button.text() == "Stop and keep"
        click(qtbot, panel.run.pause)
        qtbot.waitUntil(lambda: panel.run.follower.state.phase == "paused", timeout=10_000)
        assert panel.run.pause.text() == "Go on"
        assert panel.job.stage.text().startswith("paused, epoch")
        click(qtbot, panel.run.pause)
        qtbot.waitUntil(lambda: panel.run.follower.state.phase == "running", timeout=10_000)

        viewer.window.remove_dock_widget(panel)
        qtbot.wait(500)
        assert process.poll() is None

        with opened(qtbot, TrainPanel(viewer)) as again:
            wait_for_epochs(qtbot, again, 3)
            assert again.run.folder == out
            qtbot.waitUntil(lambda: len(viewer.layers) == 3, timeout=10_000)
            click(qtbot, again.job.button)
            assert not again.job.button.isEnabled()
            wait_for_end(qtbot, again)
            assert process.wait(30) == 0
            assert again.job.outcome.text().startswith("Ended after")
            assert again.run.results.table.isVisibleTo(again)
            assert again.run.resume.isEnabled()
            assert again._resume_command() == f"acuity resume {out}"
    finally:
        process.kill()
        process.wait()


def test_a_killed_run_is_explained_resumed_and_discarded(
    viewer: Any,
    panel: TrainPanel,
    qtbot: QtBot,
    tmp_path: Path,
    notes: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = go_to(panel, tmp_path / "run")
    click(qtbot, panel.job.button)
    wait_for_epochs(qtbot, panel, 2)
    assert not panel.run.resume.isEnabled()
    os.kill(pid_of(out), signal.SIGKILL)
    wait_for_end(qtbot, panel)
    assert panel.run.follower.state.phase == "crashed"
    assert "The process ended without a word" in panel.job.outcome.text()
    assert "Resume goes on from the last checkpoint" in panel.job.outcome.text()
    assert any("The process ended without a word" in note for note in notes)
    assert panel.job.details.isVisibleTo(panel)
    assert panel.run.results.use.isEnabled()
    load(out / "best.safetensors")

    epochs = len(panel.run.follower.state.rows)
    click(qtbot, panel.run.resume)
    wait_for_epochs(qtbot, panel, epochs + 1)
    assert [row["number"] for row in panel.run.follower.state.rows] == [
        *range(1, 1 + len(panel.run.follower.state.rows))
    ]
    assert len(viewer.layers) == 3
    process = psutil.Process(pid_of(out))
    monkeypatch.setattr(QMessageBox, "question", lambda *_: QMessageBox.StandardButton.Cancel)
    click(qtbot, panel.run.discard)
    assert panel.run.going
    say_yes(monkeypatch)
    click(qtbot, panel.run.discard)
    qtbot.waitUntil(lambda: "Discarded" in panel.job.outcome.text(), timeout=20_000)
    assert not process.is_running()
    assert not out.exists()
    assert not viewer.layers
    assert not panel.run.curves.plot.chart.curves
    assert not panel.run.results.use.isEnabled()
    assert not _session.runs


@pytest.mark.parametrize("ending", [(), ("stopped",), ("failed",)])
def test_a_resumed_run_takes_no_orders_before_it_has_begun(
    panel: TrainPanel,
    qtbot: QtBot,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ending: tuple[str, ...],
) -> None:
    """It would not hear them; whatever the process before it told, or did not live to tell."""
    run = RunFolder(tmp_path)
    run.begun("CPU", "")
    run.say("step", step=1, epoch=1, fraction=0.1)
    for kind in ending:
        run.say(kind)
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    monkeypatch.setattr(run_reader, "relaunch", lambda *_, **_options: process)
    run_reader.resume_run(tmp_path, "cpu")
    panel.run.follower.follow(tmp_path)
    qtbot.waitUntil(lambda: panel.run.follower.state.step == 1, timeout=10_000)

    assert panel.run.follower.state.phase == "starting"
    assert panel.run.going and not panel.run.resume.isEnabled()
    assert not panel.run.pause.isEnabled()

    run.begun("CPU", "")
    qtbot.waitUntil(lambda: panel.run.follower.state.phase == "running", timeout=10_000)
    process.kill()
    process.wait()
    run.say("stopped")
    wait_for_end(qtbot, panel)


def test_two_open_layers_train(
    viewer: Any,
    panel: TrainPanel,
    qtbot: QtBot,
    tissue: NDArray[np.uint8],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The pair is written into the run's folder; the preview leaves the viewer as it is."""
    high = tissue[:128, :160]
    viewer.add_image(high, name="bench", scale=(500, 500), units=("nm", "nm"))
    mine = viewer.add_image(halved(high), name="phone", scale=(1000, 1000), units=("nm", "nm"))
    viewer.layers.selection.active = mine
    camera = viewer.scene.camera.center, viewer.scene.camera.zoom
    panel.pairs.kind.setCurrentIndex(1)
    wait_for_look(qtbot, panel)
    assert panel.pairs.scale.value() == SCALE
    assert panel.pairs.summary.text().startswith("1 field, x2, RGB; cut: the left to train on")
    assert "acuity.Pair(viewer.layers['phone'], viewer.layers['bench'], scale=2)" in panel._python()
    out = go_to(panel, tmp_path / "run")
    click(qtbot, panel.job.button)
    wait_for_epochs(qtbot, panel, 1)
    qtbot.waitUntil(lambda: viewer.layers[-1].visible, timeout=20_000)
    shown = sorted(path.name for path in (out / "pairs").glob("[!.]*"))
    assert shown == ["high", "low", "phone.json"]
    assert load(out / "best.safetensors").header.pixel_size == (1.0, 1.0)

    first, output, truth = (viewer.layers[f"training | {x}"] for x in ("input", "output", "truth"))
    before = np.array(output.data)
    qtbot.waitUntil(lambda: not np.array_equal(output.data, before), timeout=20_000)
    assert (viewer.scene.camera.center, viewer.scene.camera.zoom) == camera
    assert set(viewer.layers.selection) == {mine}
    np.testing.assert_allclose(truth.scale, 1000 * PIXEL_UM)
    assert {str(unit) for unit in truth.units} == {"nanometer"}
    assert first.extent.world[0][0] > mine.extent.world[1][0]
    lefts, rights = ([x.extent.world[side][1] for x in (first, output, truth)] for side in (0, 1))
    assert rights[0] < lefts[1]
    assert rights[1] < lefts[2]
    # The truth is a part of the better image, to the value.
    rows, cols = truth.data.shape[:2]
    places = [c for c in range(160 - cols) if np.array_equal(high[:rows, c : c + cols], truth.data)]
    assert len(places) == 1

    say_yes(monkeypatch)
    click(qtbot, panel.run.discard)
    qtbot.waitUntil(lambda: "Discarded" in panel.job.outcome.text(), timeout=20_000)
    assert not out.exists()
    assert names(viewer) == ["bench", "phone"]


def test_pairs_that_cannot_be_read_are_explained(
    panel: TrainPanel,
    qtbot: QtBot,
    tmp_path: Path,
    tissue: NDArray[np.uint8],
    notes: list[str],
) -> None:
    folder = make_pairs(tmp_path / "damaged", tissue)
    for image in (folder / "high").iterdir():
        image.write_bytes(image.read_bytes()[:500])
    choose(qtbot, panel, folder)
    click(qtbot, panel.job.button)
    qtbot.waitUntil(lambda: bool(notes), timeout=_START_MS)
    assert "field-0.tif" in panel.job.outcome.text()
    assert "field-0.tif" in notes[-1]
    assert "Copy it again from its source" in panel.job.outcome.text()
    assert not panel.run.results.use.isEnabled()
    assert panel.job.button.text() == "Train"


@pytest.mark.parametrize("where", ["in the panel", "in the process"])
def test_a_typed_run_folder_outlasts_a_start_that_fails(
    panel: TrainPanel,
    qtbot: QtBot,
    tmp_path: Path,
    tissue: NDArray[np.uint8],
    notes: list[str],
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    """And is given way for a suggestion once a run is in it."""
    folder = make_pairs(tmp_path / "damaged", tissue)
    whole = {image: image.read_bytes() for image in (folder / "high").iterdir()}
    for image, content in whole.items():
        image.write_bytes(content[:500])
    choose(qtbot, panel, folder)
    panel.out.selectAll()
    qtbot.keyClicks(panel.out, str(tmp_path / "mine"))
    with monkeypatch.context() as patch:
        if where == "in the panel":
            patch.setattr(run_reader, "launch", fails)
        click(qtbot, panel.job.button)
        qtbot.waitUntil(lambda: bool(notes), timeout=_START_MS)
    wait_for_end(qtbot, panel)
    for image, content in whole.items():
        image.write_bytes(content)
    panel.pairs.look_again()
    wait_for_look(qtbot, panel)
    assert panel.out.text() == str(tmp_path / "mine")

    panel.amount.setValue(1)
    click(qtbot, panel.job.button)
    qtbot.waitUntil((tmp_path / "mine" / "checkpoint.pt").exists, timeout=_START_MS)
    wait_for_end(qtbot, panel)
    assert panel.out.text() == str(tmp_path / "damaged-run-1")


def fails(*_words: object, **_options: object) -> None:
    raise FileError("There is no space left to write.", "Free some.")


def test_stopping_at_once_leaves_no_folder(panel: TrainPanel, qtbot: QtBot, tmp_path: Path) -> None:
    out = go_to(panel, tmp_path / "run")
    click(qtbot, panel.job.button)
    qtbot.waitUntil(lambda: panel.run.folder is not None, timeout=20_000)
    assert panel.run.follower.state.phase == "starting"
    assert not panel.run.pause.isEnabled()
    click(qtbot, panel.job.button)
    qtbot.waitUntil(lambda: "no model to keep" in panel.job.outcome.text(), timeout=20_000)
    assert not out.exists()
    assert panel.job.button.text() == "Train"
    qtbot.waitUntil(panel.job.button.isEnabled, timeout=20_000)


def test_a_folder_without_a_run_is_explained(
    panel: TrainPanel, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_run(qtbot, panel, tmp_path, monkeypatch)
    assert "There is no run in" in panel.job.outcome.text()
    assert panel.run.folder is None

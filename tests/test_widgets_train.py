"""Train model, driven as a user would: choose pairs, train, watch, stop, keep or discard."""

from __future__ import annotations

import csv
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtWidgets import QFileDialog
from skimage.measure import block_reduce

from gui import click, names, opened
from napari_acuity import Micrograph, Pair, PairSet, Recipe, TrainingError, load
from napari_acuity.core.recipe import RECIPES
from napari_acuity.core.training import train as engine
from napari_acuity.core.training.run_folder import discard_run, open_run, record
from napari_acuity.widgets import _session
from napari_acuity.widgets._layers import made_by, result_layer
from napari_acuity.widgets._pair_source import FolderSource, describe
from napari_acuity.widgets._plots import Chart, Curve, CurvePlot, _log_ticks
from napari_acuity.widgets._run_view import LivePreview, loss_chart, psnr_chart
from napari_acuity.widgets.train import TrainPanel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from pytestqt.qtbot import QtBot

SCALE, PIXEL_UM = 2.0, 0.5

ROWS = [
    {
        "number": float(n),
        "step": 8.0 * n,
        "train_loss": 0.01 / n,
        "validation_loss": 0.012 / n,
        "psnr": 20.0 + n,
        "bicubic_psnr": 22.5,
    }
    for n in range(1, 6)
]


@pytest.fixture(autouse=True)
def session() -> Iterator[None]:
    """Each test begins in a session without models and folders."""
    for known in (_session.models, _session.pair_folders):
        known.clear()
    yield
    for known in (_session.models, _session.pair_folders):
        known.clear()


@pytest.fixture(autouse=True)
def small_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    """An epoch of a few small steps, so that several fit into a test."""
    monkeypatch.setattr(engine, "_LEAST_PATCHES_AN_EPOCH", 16)


def halved(high: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.rint(block_reduce(high, (2, 2, 1), np.mean)).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path, tissue: NDArray[np.uint8]) -> Path:
    """Three fields of tissue and their halves."""
    pairs = PairSet.open(tmp_path / "colon")
    for number, left in enumerate((0, 150, 300)):
        high = tissue[100:196, left : left + 96]
        size = (PIXEL_UM, PIXEL_UM)
        low = Micrograph(halved(high), (SCALE * PIXEL_UM,) * 2, rgb=True)
        pairs.add(Pair(low, Micrograph(high, size, rgb=True), SCALE, name=f"field-{number}"))
    return pairs.folder


@pytest.fixture
def viewer(make_napari_viewer_proxy: Callable[..., Any]) -> Any:
    return make_napari_viewer_proxy()


@pytest.fixture
def panel(viewer: Any, qtbot: QtBot) -> Iterator[TrainPanel]:
    with opened(qtbot, TrainPanel(viewer)) as panel:
        yield panel


def choose(qtbot: QtBot, panel: TrainPanel, folder: Path) -> None:
    """Type the folder, wait until the panel has looked at it, make the patches small."""
    panel.pairs.folder.setEditText(str(folder))
    panel.recipe.options["patch"].setValue(16)
    wait_for_look(qtbot, panel)


def wait_for_look(qtbot: QtBot, panel: TrainPanel) -> None:
    qtbot.waitUntil(lambda: panel.pairs.problem != "Looking at the pairs.", timeout=30_000)


def train_until(qtbot: QtBot, panel: TrainPanel, epochs: int) -> None:
    """Start, and let this many epochs pass."""
    click(qtbot, panel.job.button)
    qtbot.waitUntil(lambda: len(panel._rows) >= epochs, timeout=60_000)


def ended(qtbot: QtBot, panel: TrainPanel) -> None:
    qtbot.waitUntil(lambda: not panel.job.running, timeout=60_000)


def test_the_panel_says_what_the_pairs_are(panel: TrainPanel, qtbot: QtBot, folder: Path) -> None:
    wait_for_look(qtbot, panel)
    assert not panel.job.button.isEnabled()
    assert panel.job.button.toolTip() == panel.pairs.summary.text() == "Choose a folder of pairs."
    choose(qtbot, panel, folder)
    words = "3 fields, x2, RGB; 2 to train on, 1 to validate on"
    assert panel.pairs.summary.text() == words
    assert panel.out.text() == str(folder.parent / "colon-run-1")
    assert panel.job.button.isEnabled()


def test_fields_of_one_slide_are_cut_to_validate(tmp_path: Path, tissue: NDArray[np.uint8]) -> None:
    pairs = PairSet.open(tmp_path / "slide")
    for left in (0, 100):
        high = tissue[:64, left : left + 64]
        pairs.add(Pair(halved(high), high, SCALE, name="field", group="slide 1"))
    words = "2 fields, x2, RGB; one slide, so the right sides are kept to validate on"
    assert describe(FolderSource(pairs.folder).open(), seed=0) == words


@pytest.mark.parametrize("there", [True, False], ids=["empty", "missing"])
def test_a_folder_without_pairs_is_explained(
    panel: TrainPanel, qtbot: QtBot, tmp_path: Path, there: bool
) -> None:
    folder = tmp_path / "empty"
    if there:
        folder.mkdir()
    choose(qtbot, panel, folder)
    cause = "holds no pairs. Choose a folder" if there else "There is no folder"
    assert cause in panel.pairs.summary.text()
    assert cause in panel.job.button.toolTip()
    assert not panel.job.button.isEnabled()


def test_training_to_the_end_gives_a_model(
    viewer: Any, panel: TrainPanel, qtbot: QtBot, folder: Path
) -> None:
    choose(qtbot, panel, folder)
    panel.unit.setCurrentIndex(1)
    panel.amount.setValue(3)
    click(qtbot, panel.job.button)
    assert panel.job.button.text() == "Stop and keep"
    ended(qtbot, panel)
    out = folder.parent / "colon-run-1"
    with (out / "log.csv").open() as file:
        assert [row["number"] for row in csv.DictReader(file)] == ["1", "2", "3"]
    assert Recipe.load(out / "recipe.toml").patch == 16
    assert load(out / "best.safetensors").scale == SCALE
    assert "Done after 3 epochs; the best is epoch" in panel.job.outcome.text()
    assert "bicubic" in panel.job.outcome.text()
    assert str(out) in panel.job.outcome.text()
    wait_for_look(qtbot, panel)
    assert panel.out.text() == str(folder.parent / "colon-run-2")
    assert panel.use.isEnabled()
    assert panel.save.isEnabled()


def test_stop_and_keep_keeps_the_best_model(
    panel: TrainPanel,
    qtbot: QtBot,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    choose(qtbot, panel, folder)
    train_until(qtbot, panel, 2)
    assert not panel.use.isEnabled()
    click(qtbot, panel.job.button)
    ended(qtbot, panel)
    assert "Stopped after" in panel.job.outcome.text()
    assert panel.job.button.text() == "Train"
    target = tmp_path / "kept.safetensors"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(target), ""))
    click(qtbot, panel.save)
    handed: list[Any] = []
    monkeypatch.setattr(
        "napari_acuity.widgets.train.use_model", lambda *given: handed.extend(given)
    )
    click(qtbot, panel.use)
    viewer, model, path = handed
    assert viewer == panel._viewer
    assert model.scale == SCALE
    assert path == folder.parent / "colon-run-1" / "best.safetensors"
    kept, in_run = load(target), load(folder.parent / "colon-run-1" / "best.safetensors")
    for name, weights in kept.network.state_dict().items():
        assert weights.equal(in_run.network.state_dict()[name])


def test_discard_leaves_nothing_behind(
    viewer: Any, panel: TrainPanel, qtbot: QtBot, folder: Path
) -> None:
    choose(qtbot, panel, folder)
    assert not panel.discard.isEnabled()
    train_until(qtbot, panel, 1)
    qtbot.waitUntil(lambda: len(viewer.layers) == 3)
    click(qtbot, panel.discard)
    ended(qtbot, panel)
    assert sorted(path.name for path in folder.parent.iterdir()) == ["colon"]
    assert not viewer.layers
    assert "Discarded" in panel.job.outcome.text()
    assert not panel.use.isEnabled()
    assert not panel.plot.chart.curves


def test_discard_spares_what_others_put_into_the_run_folder(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with open_run(out, Recipe()) as folder:
        record(folder, ROWS[0], None)
    (out / "notes.txt").write_text("mine")
    discard_run(out)
    assert [path.name for path in out.iterdir()] == ["notes.txt"]


def test_stopping_before_the_first_epoch_leaves_no_folder(
    panel: TrainPanel, qtbot: QtBot, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_LEAST_PATCHES_AN_EPOCH", 10**9)
    choose(qtbot, panel, folder)
    click(qtbot, panel.job.button)
    qtbot.waitUntil(lambda: "epoch 1" in panel.job.stage.text(), timeout=30_000)
    click(qtbot, panel.job.button)
    ended(qtbot, panel)
    assert "no model to keep" in panel.job.outcome.text()
    assert not (folder.parent / "colon-run-1").exists()


def test_a_folder_that_holds_a_run_is_refused_and_spared(
    panel: TrainPanel, qtbot: QtBot, folder: Path, tmp_path: Path
) -> None:
    choose(qtbot, panel, folder)
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "best.safetensors").write_text("precious")
    panel.out.selectAll()
    qtbot.keyClicks(panel.out, str(taken))
    assert not panel.job.button.isEnabled()
    assert "Give each run a new folder" in panel.out_problem.text()
    assert (taken / "best.safetensors").read_text() == "precious"
    panel.out.clear()
    assert "Choose a folder for the run" in panel.out_problem.text()


def test_a_failure_midway_keeps_the_best_model(
    panel: TrainPanel,
    qtbot: QtBot,
    folder: Path,
    notes: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    choose(qtbot, panel, folder)
    steps = engine.train_steps

    def failing(*args: Any, **kwargs: Any) -> Any:
        for event in steps(*args, **kwargs):
            yield event
            if hasattr(event.new, "preview"):
                raise TrainingError("The loss is no longer a number.", "Lower the learning_rate.")

    monkeypatch.setattr(engine, "train_steps", failing)
    click(qtbot, panel.job.button)
    ended(qtbot, panel)
    assert "The loss is no longer a number. Lower the" in panel.job.outcome.text()
    assert "the best is epoch 1" in panel.job.outcome.text()
    assert "The loss is no longer a number. Lower the learning_rate." in notes
    assert panel.save.isEnabled()


def test_damaged_pairs_are_explained_at_the_start(
    panel: TrainPanel, qtbot: QtBot, folder: Path, notes: list[str]
) -> None:
    choose(qtbot, panel, folder)
    image = folder / "high" / "field-1.tif"
    image.write_bytes(image.read_bytes()[:500])
    click(qtbot, panel.job.button)
    ended(qtbot, panel)
    assert "field-1.tif" in panel.job.outcome.text()
    assert "Copy it again" in panel.job.outcome.text().replace("copy", "Copy")
    assert notes
    assert not (folder.parent / "colon-run-1").exists()


def test_the_preview_is_refreshed_in_place_beside_what_is_open(
    viewer: Any, panel: TrainPanel, qtbot: QtBot, folder: Path, tissue: NDArray[np.uint8]
) -> None:
    mine = viewer.add_image(
        np.zeros((4, 64, 64)), name="mine", scale=(1, 600, 600), units=("pixel", "nm", "nm")
    )
    viewer.layers.selection.active = mine
    viewer.dims.set_current_step(0, 2)
    camera = viewer.scene.camera.center, viewer.scene.camera.zoom
    choose(qtbot, panel, folder)
    train_until(qtbot, panel, 1)
    qtbot.waitUntil(lambda: len(viewer.layers) == 4)
    input_layer, output, truth = viewer.layers[1:]
    first = np.array(output.data)
    qtbot.waitUntil(lambda: not np.array_equal(output.data, first), timeout=30_000)
    click(qtbot, panel.job.button)
    ended(qtbot, panel)
    parts = [f"training | {part}" for part in ("input", "output", "truth")]
    assert names(viewer) == ["mine", *parts]
    assert (viewer.scene.camera.center, viewer.scene.camera.zoom) == camera
    assert viewer.dims.current_step[0] == 2
    assert set(viewer.layers.selection) == {mine}
    # In the units of what is open, pixels of their true size, below it and beside each other.
    np.testing.assert_allclose(truth.scale, 1000 * PIXEL_UM)
    assert {str(unit) for unit in truth.units} == {"nanometer"}
    assert input_layer.extent.world[0][0] > mine.extent.world[1][1]
    rights, lefts = (
        [layer.extent.world[side][1] for layer in (input_layer, output, truth)] for side in (1, 0)
    )
    assert rights[0] < lefts[1]
    assert rights[1] < lefts[2]
    click(qtbot, panel.show_preview)
    assert (viewer.scene.camera.center, viewer.scene.camera.zoom) != camera


def test_the_truth_in_the_preview_is_the_validation_field(
    viewer: Any, panel: TrainPanel, qtbot: QtBot, folder: Path
) -> None:
    choose(qtbot, panel, folder)
    train_until(qtbot, panel, 1)
    qtbot.waitUntil(lambda: len(viewer.layers) == 3)
    (held_out,) = PairSet.open(folder).split(seed=0)["validation"]
    truth = PairSet.open(folder)[held_out].high.pixels
    np.testing.assert_allclose(viewer.layers["training | truth"].data, truth / 255, atol=1e-6)


def test_a_second_run_replaces_the_live_preview(
    viewer: Any, panel: TrainPanel, qtbot: QtBot, folder: Path
) -> None:
    choose(qtbot, panel, folder)
    for _ in range(2):
        train_until(qtbot, panel, 1)
        qtbot.waitUntil(lambda: len(viewer.layers) == 3)
        click(qtbot, panel.job.button)
        ended(qtbot, panel)
        wait_for_look(qtbot, panel)
    assert len(viewer.layers) == 3
    assert {path.name for path in folder.parent.iterdir()} == {
        "colon",
        "colon-run-1",
        "colon-run-2",
    }


def test_a_preview_layer_the_user_removes_stays_away(viewer: Any) -> None:
    preview = LivePreview(viewer)
    picture = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    crop = engine.Preview(picture, picture, picture)
    preview.show(crop, None)
    viewer.layers.remove("training | input")
    preview._shown_at = 0
    preview.show(crop, None)
    assert names(viewer) == ["training | output", "training | truth"]


def test_two_open_layers_train(
    viewer: Any, panel: TrainPanel, qtbot: QtBot, tissue: NDArray[np.uint8], tmp_path: Path
) -> None:
    high = tissue[:128, :160]
    viewer.add_image(high, name="bench", scale=(0.5, 0.5), units=("um", "um"))
    viewer.add_image(halved(high), name="phone", scale=(1, 1), units=("um", "um"))
    panel.pairs.kind.setCurrentIndex(1)
    panel.out.selectAll()
    qtbot.keyClicks(panel.out, str(tmp_path / "run"))
    panel.recipe.options["patch"].setValue(16)
    wait_for_look(qtbot, panel)
    assert panel.pairs.scale.value() == SCALE
    assert panel.pairs.summary.text() == "1 field, x2, RGB; its right side is kept to validate on"
    train_until(qtbot, panel, 1)
    click(qtbot, panel.job.button)
    ended(qtbot, panel)
    assert load(tmp_path / "run" / "best.safetensors").header.pixel_size == (1.0, 1.0)
    assert "acuity.Pair(viewer.layers['phone'], viewer.layers['bench'], scale=2)" in panel._python()


def test_what_register_pair_made_is_chosen(viewer: Any, panel: TrainPanel) -> None:
    bench, _, phone = (viewer.add_image(np.eye(64), name=name) for name in ("bench", "x", "phone"))
    recipe = made_by("register", "", moving="phone", fixed="bench")
    viewer.add_layer(result_layer(phone, phone.data, what="registered", recipe=recipe, grid=bench))
    assert panel.pairs.low.currentText() == "phone | registered"
    assert panel.pairs.high.layer == bench


def test_layers_that_do_not_fit_are_explained(
    viewer: Any, panel: TrainPanel, qtbot: QtBot, tissue: NDArray[np.uint8]
) -> None:
    viewer.add_image(tissue[:100, :100], name="bench")
    viewer.add_image(tissue[:60, :33], name="phone")
    panel.pairs.kind.setCurrentIndex(1)
    wait_for_look(qtbot, panel)
    assert "60 x 33 pixels" in panel.pairs.summary.text()
    assert not panel.job.button.isEnabled()


def test_options_change_the_recipe_that_is_trained(
    panel: TrainPanel, qtbot: QtBot, folder: Path
) -> None:
    choose(qtbot, panel, folder)
    panel.recipe.options["patch"].setValue(48)
    assert panel.recipe.name == "brightfield"
    assert f"--recipe brightfield --out {panel.out.text()} --minutes 10" in panel._command()
    for name, value in {"batch": 2, "learning_rate": 5e-4, "seed": 7}.items():
        panel.recipe.options[name].setValue(value)
    assert panel._command() == ""
    assert f"acuity.{panel.recipe.recipe!r}" in panel._python()
    changed = {"batch": 2, "patch": 48, "learning_rate": 5e-4, "seed": 7}
    assert panel.recipe.recipe == replace(RECIPES["brightfield"], **changed)


def test_a_recipe_from_a_file(
    panel: TrainPanel, tmp_path: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    Recipe(name="mine", patch=24, learning_rate=1.23456789e-4).save(tmp_path / "mine.toml")
    last = panel.recipe.box.count() - 1
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: ("", ""))
    panel.recipe.box.activated.emit(last)
    assert panel.recipe.box.currentText() == "brightfield"
    path = str(tmp_path / "mine.toml")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (path, ""))
    panel.recipe.box.activated.emit(last)
    assert panel.recipe.box.currentText() == "mine.toml"
    assert panel.recipe.options["patch"].value() == 24
    # What the box cannot show in full is not rounded away.
    assert panel.recipe.recipe.learning_rate == 1.23456789e-4
    assert panel.recipe.name == path


def test_a_file_that_is_no_recipe_is_explained(
    panel: TrainPanel, tmp_path: Path, notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bad.toml").write_text("colour = 3")
    path = str(tmp_path / "bad.toml")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (path, ""))
    panel.recipe.box.activated.emit(panel.recipe.box.count() - 1)
    assert "unknown key 'colour'" in notes[-1]
    assert panel.recipe.box.currentText() == "brightfield"


def test_folders_of_register_pair_are_offered(
    panel: TrainPanel, qtbot: QtBot, folder: Path
) -> None:
    _session.remember_pairs(folder)
    wait_for_look(qtbot, panel)
    assert panel.pairs.folder.currentText() == str(folder)
    assert panel.job.button.isEnabled()


def test_curves_are_told_apart_by_more_than_colour() -> None:
    for chart in (loss_chart(ROWS), psnr_chart(ROWS)):
        lines = [curve.line for curve in chart.curves]
        assert len(set(lines)) == len(lines)
    level = psnr_chart(ROWS).curves[1]
    assert (level.name, set(level.y), level.line) == ("bicubic", {22.5}, "dashed")


def test_a_plot_is_saved_as_picture_and_numbers(qtbot: QtBot, tmp_path: Path) -> None:
    plot = CurvePlot(loss_chart(ROWS))
    qtbot.addWidget(plot)
    for suffix in (".png", ".svg", ".csv"):
        plot.save(tmp_path / f"curves{suffix}")
    with (tmp_path / "curves.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["validation"]) for row in rows] == [row["validation_loss"] for row in ROWS]
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "curves.svg").read_text()
    with pytest.raises(Exception, match="ends in"):
        plot.save(tmp_path / "curves.jpg")


def test_a_plot_follows_the_theme(viewer: Any, qtbot: QtBot) -> None:
    plot = CurvePlot(loss_chart(ROWS))
    viewer.window.add_dock_widget(plot, name="plot")
    inks = []
    for theme in ("dark", "light"):
        viewer.theme = theme
        qtbot.wait(50)
        inks.append(plot._view.getPlotItem().getAxis("left").textPen().color().lightness())
    assert inks[0] > 200
    assert inks[1] < 50


@pytest.mark.parametrize(
    ("low", "high", "most", "expected"),
    [
        (0.9e-3, 0.11, 8, [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1]),
        (0.9e-3, 0.11, 3, [0.001, 0.01, 0.1]),
        (2.0e-3, 2.45e-3, 6, [0.002, 0.0021, 0.0022, 0.0023, 0.0024]),
    ],
)
def test_log_ticks_are_round_and_few(
    low: float, high: float, most: int, expected: list[float]
) -> None:
    np.testing.assert_allclose(_log_ticks(low, high, most), expected)


def test_a_chart_without_curves_is_drawn(qtbot: QtBot) -> None:
    plot = CurvePlot(Chart("Epoch", "Loss", log_y=True))
    qtbot.addWidget(plot)
    plot.show_chart(Chart("Epoch", "Loss", [Curve("one", [1], [0.5])]))
    assert plot.chart.curves[0].name == "one"

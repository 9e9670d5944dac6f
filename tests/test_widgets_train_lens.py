"""The lens mode of Train model, driven as a user would: kinds, layers, labels, a process, a lens."""

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
import torch
from napari.layers import Labels
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QApplication, QColorDialog, QFileDialog
from scipy.ndimage import gaussian_filter

import napari_acuity as acuity
from gui import click, names, opened
from napari_acuity import Recipe
from napari_acuity.core.lens_training.data import PARTS, add_triple, read_triples
from napari_acuity.core.lens_training.kinds import Kind
from napari_acuity.core.lens_training.spec import LensSpec
from napari_acuity.samples import open_grains
from napari_acuity.widgets import _lenses
from napari_acuity.widgets._kinds_table import KindsTable
from napari_acuity.widgets._lens_training import process as lens_process
from napari_acuity.widgets._lens_training.results import by_kind, whole_images
from napari_acuity.widgets.enhance import EnhancePanel
from napari_acuity.widgets.train import TrainPanel
from training_panel import fresh_session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from pytestqt.qtbot import QtBot

    from napari_acuity.widgets._lens_training.page import LensTrainingPage

pytestmark = pytest.mark.usefixtures("fresh_models")

_START_MS = 90_000
NETWORKS = ["labelling", "magnifying round", "magnifying square", "shadowing"]
TINY = Recipe(
    name="tiny",
    network="compact_unet",
    network_arguments={"channels": 3, "width": 2, "depth": 1},
    patch=32,
    batch=64,
    learning_rate=5e-3,
    precision="float32",
    epochs=1,
)


def field(seed: int, kinds: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Return input, magnified image and labels, 48 x 48 px: a reddish disc and a greenish square."""
    dice = np.random.default_rng(seed)
    rows, columns = np.indices((48, 48))
    labels = np.zeros((48, 48), np.uint8)
    sharp = np.full((48, 48, 3), 60.0)
    for number, kind in enumerate("rs", start=1):
        off = np.stack([rows - dice.integers(12, 36), columns - 12 - 24 * (number - 1)])
        distance = np.hypot(*off) if kind == "r" else np.abs(off).max(0)
        if kind in kinds:
            labels[distance < 7] = number
            sharp[distance < 7] = (200, 90, 80) if kind == "r" else (90, 190, 100)
    sharp += dice.normal(0, 3, sharp.shape)
    low, high = (
        np.clip(x, 0, 255).astype(np.uint8) for x in (gaussian_filter(sharp, (1.5, 1.5, 0)), sharp)
    )
    return low, high, labels


@pytest.fixture(autouse=True)
def session() -> Iterator[None]:
    _lenses.lenses.clear()
    with fresh_session():
        yield
    for process in lens_process._processes.values():
        if process.poll() is None:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
        process.kill()
        process.wait()
    lens_process._processes.clear()
    with _lenses.lenses.events.blocker_all():
        _lenses.lenses.clear()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of seven fields: two of each kind only, three mixed."""
    for seed, kinds in enumerate(("rs", "r", "s", "rs", "r", "s", "rs")):
        add_triple(tmp_path / "grains", *field(seed, kinds), f"f{seed}")
    return tmp_path / "grains"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    TINY.save(tmp_path / "tiny.toml")
    return tmp_path / "tiny.toml"


@pytest.fixture
def panel(viewer: Any, qtbot: QtBot) -> Iterator[TrainPanel]:
    with opened(qtbot, TrainPanel(viewer)) as panel:
        yield panel


def show_lens(panel: TrainPanel) -> LensTrainingPage:
    panel.modes.bar.setCurrentIndex(1)
    assert panel.lens is not None
    return panel.lens


@pytest.fixture
def page(panel: TrainPanel, qtbot: QtBot) -> LensTrainingPage:
    """The lens mode, its kinds named."""
    page = show_lens(panel)
    name_kind(page, 0, "round")
    name_kind(page, 1, "square")
    settle(qtbot, page)
    return page


def name_kind(page: LensTrainingPage, row: int, name: str) -> None:
    page.kinds.table.item(row, 0).setText(name)


def settle(qtbot: QtBot, page: LensTrainingPage) -> None:
    """Wait until it is known what the data are."""
    qtbot.waitUntil(lambda: not page.data.looking, timeout=30_000)


def use_data(qtbot: QtBot, page: LensTrainingPage, folder: Path, recipe: Path | None) -> None:
    page.data.line.setText(str(folder))
    if recipe is not None:
        page.plan.recipe.open(recipe)
    page.plan.unit.setCurrentIndex(1)
    page.plan.amount.setValue(1)
    settle(qtbot, page)


def why_not(page: LensTrainingPage) -> str:
    assert not page.job.button.isEnabled()
    return str(page.job.button.toolTip())


def states(page: LensTrainingPage) -> list[str]:
    news = page.run._news
    return [stage.state for stage in news.stages] if news else []


# The switch


def test_one_model_is_as_it_was_and_the_lens_mode_beside_it(
    panel: TrainPanel, qtbot: QtBot
) -> None:
    assert panel.lens is None
    assert panel.job.button.isVisible()
    page = show_lens(panel)
    qtbot.waitUntil(page.isVisible, timeout=5_000)
    assert not panel.job.button.isVisible()
    panel.modes.bar.setCurrentIndex(0)
    assert panel.job.button.isVisible() and not page.isVisible()
    panel.modes.bar.setCurrentIndex(1)
    assert panel.lens is page
    # Beside a canvas at 1366 px.
    assert panel.minimumWidth() < 400


# Kinds


@pytest.fixture
def kinds(qtbot: QtBot) -> KindsTable:
    table = KindsTable()
    qtbot.addWidget(table)
    table.show()
    return table


def test_kinds_are_named_coloured_added_and_removed(
    kinds: KindsTable, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert kinds.kinds == (Kind("kind 1", "#ff0000"), Kind("kind 2", "#00ff00"))
    kinds.table.item(0, 0).setText("round")

    click(qtbot, kinds.add)
    assert kinds.kinds[2] == Kind("kind 1", "#0080ff")
    assert kinds.number == 3

    monkeypatch.setattr(QColorDialog, "getColor", lambda *_: QColor("#123456"))
    click(qtbot, kinds.table.cellWidget(2, 1))
    assert kinds.kinds[2].colour == "#123456"
    monkeypatch.setattr(QColorDialog, "getColor", lambda *_: QColor())  # cancelled
    click(qtbot, kinds.table.cellWidget(2, 1))
    assert kinds.kinds[2].colour == "#123456"

    click(qtbot, kinds.remove)
    click(qtbot, kinds.remove)
    assert [kind.name for kind in kinds.kinds] == ["round"]
    assert "one kind at least" in kinds.remove.toolTip()
    assert not kinds.remove.isEnabled()


def test_no_row_of_a_few_kinds_is_hidden(kinds: KindsTable, qtbot: QtBot) -> None:
    for _ in range(3):
        click(qtbot, kinds.add)
        qtbot.wait(10)
        last = kinds.table.rowCount() - 1
        assert kinds.table.viewport().height() >= kinds.table.rowViewportPosition(
            last
        ) + kinds.table.rowHeight(last)


@pytest.mark.parametrize(
    ("name", "colour", "words"),
    [
        ("Kind 1", "#00ff00", "2 kinds have the name 'kind-1'"),
        ("", "#00ff00", "Give each kind a name"),
        ("a/b", "#00ff00", "holds '/'"),
        ("square", "#ff0000", "2 kinds have the colour '#ff0000'"),
        ("square", "#000000", "black, which is the background"),
    ],
)
def test_kinds_that_cannot_be_are_told_at_once(
    kinds: KindsTable,
    qtbot: QtBot,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    colour: str,
    words: str,
) -> None:
    assert not kinds.wrong.isVisible()
    kinds.table.item(1, 0).setText(name)
    monkeypatch.setattr(QColorDialog, "getColor", lambda *_: QColor(colour))
    click(qtbot, kinds.table.cellWidget(1, 1))

    assert kinds.wrong.isVisible()
    assert words in kinds.wrong.text()
    assert kinds.problem == kinds.wrong.text()


# Data


def test_images_that_a_network_cannot_take_and_what_it_costs_are_told(
    page: LensTrainingPage, qtbot: QtBot, data: Path, tmp_path: Path
) -> None:
    use_data(qtbot, page, data, None)
    page.plan.recipe.box.setCurrentIndex(1)
    page.plan.recipe.box.activated.emit(1)
    settle(qtbot, page)
    assert page.plan.recipe.name == "pix2pix-2017"
    assert "Add fields of 256 px a side or more" in why_not(page)

    for seed, kinds in enumerate(("rs", "r", "s")):
        images = (
            np.kron(each, np.ones((6, 6) + (1,) * (each.ndim - 2))) for each in field(seed, kinds)
        )
        add_triple(tmp_path / "large", *(each.astype(np.uint8) for each in images), f"f{seed}")
    use_data(qtbot, page, tmp_path / "large", None)
    assert page.job.button.isEnabled(), page.job.button.toolTip()
    there_is_a_gpu = torch.cuda.is_available()
    assert ("! The network has 54 million weights" in page.data.words.text()) != there_is_a_gpu


def test_what_is_in_the_folder_is_told(
    page: LensTrainingPage, qtbot: QtBot, data: Path, tmp_path: Path
) -> None:
    assert "Choose a folder for the data" in why_not(page)
    name_kind(page, 1, "round")
    assert "2 kinds have the name 'round'" in why_not(page)
    name_kind(page, 1, "square")
    use_data(qtbot, page, tmp_path / "none", None)
    assert "holds no images in" in page.data.words.text()
    assert "holds no images in" in why_not(page)

    use_data(qtbot, page, data, None)
    assert page.data.words.text() == (
        "7 images: 2 of round only, 2 of square only, 3 mixed. 6 to train on, 1 held out to score on."
    )
    assert page.job.button.isEnabled(), page.job.button.toolTip()
    assert page.plan.out.text() == str(tmp_path / "grains-lens-1")


def test_data_that_do_not_fit_are_told(
    page: LensTrainingPage, qtbot: QtBot, data: Path, tmp_path: Path
) -> None:
    use_data(qtbot, page, data, None)
    click(qtbot, page.kinds.add)
    settle(qtbot, page)
    assert "No image shows the kind 'kind 1'" in why_not(page)
    assert "No image shows the kind 'kind 1'" in page.data.words.text()

    click(qtbot, page.kinds.remove)
    click(qtbot, page.kinds.remove)
    settle(qtbot, page)
    assert "holds the label 2" in why_not(page)
    assert "there is 1 kind" in page.data.words.text()

    click(qtbot, page.kinds.add)
    settle(qtbot, page)
    assert page.job.button.isEnabled()
    (data / "magnified" / "f3.tif").unlink()
    page.data.look_again()
    settle(qtbot, page)
    assert "magnified holds no image 'f3', which belongs to" in why_not(page)


def test_too_few_images_are_told(page: LensTrainingPage, qtbot: QtBot, tmp_path: Path) -> None:
    add_triple(tmp_path / "one", *field(0, "rs"), "a")
    use_data(qtbot, page, tmp_path / "one", None)
    assert "is too few: one is held out" in why_not(page)
    page.plan.test.setValue(0)
    settle(qtbot, page)
    assert page.job.button.isEnabled()
    assert "1 image: 1 mixed. 1 to train on, none held out" in page.data.words.text()
    assert "! 'round' and 'square': one image to train on" in page.data.words.text()

    # Both images of a kind in the part that is held out.
    add_triple(tmp_path / "one", *field(1, "r"), "b")
    page.plan.test.setValue(50)
    page.plan.seed.setValue(held_out_first(tmp_path / "one"))
    page.data.look_again()
    settle(qtbot, page)
    assert "All images that show the kind 'square' are held out" in why_not(page)


def held_out_first(folder: Path) -> int:
    """Return a seed that holds out the field "a" of two."""
    from napari_acuity.core.pairs.split import split

    return next(
        s for s in range(20) if split({"a": "a", "b": "b"}, 0, 0.5, seed=s)["test"] == ["a"]
    )


# Add images


def open_layers(viewer: Any, page: LensTrainingPage, seed: int = 0, kinds: str = "rs") -> Any:
    low, high, labels = field(seed, kinds)
    place = {"scale": (0.5, 0.5), "units": ("um", "um")}
    viewer.add_image(high, name=f"high {seed}", rgb=True, **place)
    viewer.add_image(low, name=f"low/{seed}", rgb=True, **place)
    return labels


def test_the_layers_of_a_sample_are_what_they_should_be(
    viewer: Any, page: LensTrainingPage, qtbot: QtBot
) -> None:
    for pixels, arguments, kind in open_grains():
        getattr(viewer, f"add_{kind}")(pixels, **arguments)
    adding = page.data.adding
    chosen = [chooser.currentText() for chooser in (adding.input, adding.magnified, adding.labels)]
    assert chosen == ["transmission", "shaded", "kinds"]


def test_labels_of_kinds_get_their_colours_and_others_keep_their_own(
    viewer: Any, page: LensTrainingPage, qtbot: QtBot
) -> None:
    cells = viewer.add_labels(np.arange(16).reshape(4, 4), name="cells")
    before = cells.colormap
    painted = viewer.add_labels(np.zeros((48, 48), np.uint8), name="painted")
    np.testing.assert_allclose(painted.colormap.map(2), (0, 1, 0, 1), atol=0.01)
    page.data.adding.labels.choose(cells)
    assert cells.colormap == before


def test_labels_are_drafted_corrected_and_added(
    viewer: Any, page: LensTrainingPage, qtbot: QtBot, tmp_path: Path
) -> None:
    adding = page.data.adding
    assert "Open the magnified image first" in adding.draft.toolTip()
    labels = open_layers(viewer, page)
    assert (adding.input.currentText(), adding.magnified.currentText()) == ("low/0", "high 0")
    assert "Choose a folder for the data" in adding.add.toolTip()
    page.data.line.setText(str(tmp_path / "new"))
    assert "Draft labels, or add a Labels layer" in adding.add.toolTip()

    page.kinds.table.selectRow(1)
    assert adding.draft.text() == "Draft labels: square"
    click(qtbot, adding.draft)
    qtbot.waitUntil(lambda: len(viewer.layers) == 3, timeout=30_000)

    drafted = viewer.layers["high 0 | labels"]
    assert adding.labels.layer == drafted
    np.testing.assert_array_equal(drafted.data, acuity.label_map(field(0, "rs")[1], 2))
    np.testing.assert_allclose(drafted.colormap.map(2), (0, 1, 0, 1), atol=0.01)
    assert drafted.selected_label == 2
    np.testing.assert_allclose(drafted.extent.world, viewer.layers[1].extent.world)
    assert drafted.metadata["acuity"]["verb"] == "label_map"
    held: dict[str, Any] = {"viewer": viewer}
    exec(drafted.metadata["acuity"]["python"], held)
    np.testing.assert_array_equal(held["labels"], drafted.data)

    # The kind that is selected is what the brush paints; a new colour reaches the drafted layer.
    page.kinds.table.selectRow(0)
    assert drafted.selected_label == 1
    page.kinds.show_kinds([("round", "#0000ff"), ("square", "#00ff00")])
    np.testing.assert_allclose(drafted.colormap.map(1), (0, 0, 1, 1), atol=0.01)

    drafted.data = np.where((drafted.data > 0) & (np.indices((48, 48))[1] < 24), 1, drafted.data)
    click(qtbot, adding.add)
    qtbot.waitUntil(lambda: "Added as 'low-0'" in adding.said.text(), timeout=30_000)
    settle(qtbot, page)
    assert page.data.words.text().startswith("1 image: 1 mixed.")
    (added,) = read_triples(tmp_path / "new", page.kinds.kinds)
    np.testing.assert_array_equal(added.labels, drafted.data)
    np.testing.assert_array_equal(added.input.pixels, viewer.layers["low/0"].data)
    np.testing.assert_array_equal(added.magnified.pixels, viewer.layers["high 0"].data)
    assert added.input.pixel_size == (0.5, 0.5)
    assert np.any(labels)

    before = {path: path.read_bytes() for path in (tmp_path / "new").rglob("*.tif")}
    click(qtbot, adding.add)
    qtbot.waitUntil(lambda: "already" in adding.said.text(), timeout=30_000)
    assert before == {path: path.read_bytes() for path in (tmp_path / "new").rglob("*.tif")}


def test_layers_that_do_not_fit_are_told(
    viewer: Any, page: LensTrainingPage, qtbot: QtBot, tmp_path: Path
) -> None:
    adding = page.data.adding
    page.data.line.setText(str(tmp_path / "new"))
    open_layers(viewer, page)
    viewer.add_labels(np.zeros((48, 48), np.uint8), name="mine")
    larger = viewer.add_image(np.zeros((50, 48, 3), np.uint8), name="larger", rgb=True)
    adding.input.choose(viewer.layers["low/0"])
    adding.magnified.choose(larger)
    assert "'low/0' is 48 x 48 px, and 'larger' 50 x 48. Register them first" in adding.said.text()
    assert adding.said.isVisible()
    assert "Register them first" in adding.add.toolTip()
    adding.magnified.choose(viewer.layers["low/0"])
    assert "are the same layer" in adding.said.text()
    adding.magnified.choose(viewer.layers["high 0"])
    assert not adding.said.isVisible()

    click(qtbot, adding.add)
    qtbot.waitUntil(lambda: "'mine' has no labels" in adding.said.text(), timeout=30_000)
    viewer.layers["mine"].data = np.full((48, 48), 7, np.uint8)
    click(qtbot, adding.add)
    qtbot.waitUntil(lambda: "holds the label 7" in adding.said.text(), timeout=30_000)
    adding.labels.choose(viewer.add_labels(np.ones((20, 20), np.uint8), name="small"))
    assert "The labels 'small' are 20 x 20 px" in adding.said.text()
    assert not (tmp_path / "new").exists()


def test_where_no_outline_is_found_the_cure_is_told(
    viewer: Any, page: LensTrainingPage, qtbot: QtBot, notes: list[str]
) -> None:
    noise = np.random.default_rng(0).normal(100, 5, (48, 48)).astype(np.uint8)
    viewer.add_image(noise, name="noise")
    click(qtbot, page.data.adding.draft)
    qtbot.waitUntil(lambda: bool(page.data.adding.said.text()), timeout=30_000)
    qtbot.waitUntil(lambda: "No object" in page.data.adding.said.text(), timeout=30_000)
    assert "by hand" in notes[-1]
    assert names(viewer) == ["noise"]


# The plan


def test_a_folder_that_is_taken_is_told(
    page: LensTrainingPage, qtbot: QtBot, data: Path, recipe: Path, tmp_path: Path
) -> None:
    use_data(qtbot, page, data, recipe)
    page.plan.out.selectAll()
    qtbot.keyClicks(page.plan.out, str(data))
    assert "holds something already" in why_not(page)
    assert "holds something already" in page.plan.out_problem.text()

    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / "lens-run.json").write_text("{}")
    LensSpec("other", data, page.kinds.kinds, recipe=str(recipe), epochs=1).save(
        begun / "lens.toml"
    )
    page.plan.out.selectAll()
    qtbot.keyClicks(page.plan.out, str(begun))
    assert page.job.button.isEnabled()
    assert page.job.button.text() == "Go on"
    page.plan.shadows.setChecked(False)
    assert "begun with another value of shadowing" in why_not(page)
    page.plan.shadows.setChecked(True)
    page.plan.recipe.box.setCurrentIndex(0)
    page.plan.recipe.changed.emit()
    settle(qtbot, page)
    assert "begun with another value of recipe" in why_not(page)
    page.plan.out.setText("")
    assert "Choose a folder for the lens" in why_not(page)


def test_only_recipes_of_lenses_are_offered(page: LensTrainingPage) -> None:
    box = page.plan.recipe.box
    texts = [box.itemText(index) for index in range(box.count())]
    assert texts == ["lens", "pix2pix-2017", "From a file..."]
    assert page.plan.recipe.name == "lens"
    assert (page.plan.workers.minimum(), page.plan.workers.maximum()) == (1, 4)


def test_the_same_in_words(
    page: LensTrainingPage,
    qtbot: QtBot,
    data: Path,
    recipe: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert (page._python(), page._command()) == ("", "")
    use_data(qtbot, page, data, recipe)
    page.plan.workers.setValue(2)
    page.plan.shadows.setChecked(False)
    held: dict[str, Any] = {}
    monkeypatch.setattr(acuity, "train_lens", lambda *given, **how: (given, how))
    exec(page._python(), held)
    (spec, out), how = held["lens"]
    assert spec == page._spec()
    assert spec.epochs == 1 and spec.minutes is None and not spec.shadowing
    assert out == str(tmp_path / "grains-lens-1")
    assert how == {"device": "auto", "workers": 2}

    assert page._command() == ""  # no file tells it yet
    told = str(tmp_path / "mine.toml")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (told, ""))
    menu = page.more.menu()
    next(a for a in menu.actions() if a.text() == "Save lens.toml...").trigger()
    assert page._command() == (
        f"acuity lens train {told} --out {tmp_path / 'grains-lens-1'} --workers 2 --device auto"
    )
    assert LensSpec.load(told) == spec


# Training


def test_a_lens_is_trained_and_used(
    viewer: Any, page: LensTrainingPage, qtbot: QtBot, data: Path, recipe: Path, tmp_path: Path
) -> None:
    use_data(qtbot, page, data, recipe)
    out = tmp_path / "grains-lens-1"
    assert not page.run.stages.isVisible()
    click(qtbot, page.job.button)
    qtbot.waitUntil(lambda: "training" in states(page), timeout=_START_MS)
    assert page.job.button.text() == "Stop"
    assert page.run.stages.isVisible()
    qtbot.waitUntil(lambda: page.run.done and not page.run.going, timeout=_START_MS)

    lens_file = out / "grains-lens-1.lens"
    assert page.job.outcome.text() == f"Done: {lens_file}"
    table = page.run.stages.table
    assert [table.item(row, 0).text() for row in range(4)] == NETWORKS
    assert all(table.item(row, 2).text().startswith("done, ") for row in range(4))
    assert LensSpec.load(out / "lens.toml").recipe == str(out / "recipe.toml")
    assert Recipe.load(out / "recipe.toml") == TINY
    # The next lens gets a folder of its own.
    assert page.plan.out.text() == str(tmp_path / "grains-lens-2")
    assert page.job.button.text() == "Train" and page.job.button.isEnabled()

    # Each network's curve and preview.
    curves = page.run.stages.curves
    assert curves is not None
    table.selectRow(2)
    run = out / "magnifying-square"
    qtbot.waitUntil(lambda: page.run.stages.follower.folder == run, timeout=10_000)
    qtbot.waitUntil(lambda: len(curves.plot.chart.curves) == 3, timeout=10_000)
    assert len(curves.plot.chart.curves[0].x) == 1
    qtbot.waitUntil(lambda: curves.preview.shown, timeout=10_000)

    # The scores are those that the engine wrote.
    results = page.run.results
    assert results.isVisible()
    scores = json.loads((out / "scores.json").read_text())["kinds"]
    titles = [results.table.verticalHeaderItem(r).text() for r in range(results.table.rowCount())]
    for column, kind in enumerate(("round", "square")):
        assert results.table.horizontalHeaderItem(column).text() == kind
        shown = results.table.item(titles.index("IoU"), column).text()
        iou = scores[kind]["iou"]
        assert shown == ("–" if iou is None else f"{iou:.3f}")
    assert "magnified: SSIM" in results.whole.text()
    click(qtbot, results.copy)
    assert QApplication.clipboard().text().splitlines()[0].startswith("Kind or image\tIoU")

    click(qtbot, results.use)
    qtbot.waitUntil(lambda: bool(_lenses.lenses), timeout=30_000)
    assert _lenses.lenses[0].path == lens_file
    enhance = next(
        dock for dock in viewer.window.dock_widgets.values() if isinstance(dock, EnhancePanel)
    )
    assert enhance.model.lens is _lenses.lenses[0]
    assert enhance.model.currentText() == "grains-lens-1 (lens)"


@pytest.mark.slow
def test_training_outlives_the_panel_is_stopped_and_gone_on_with(
    viewer: Any, qtbot: QtBot, data: Path, recipe: Path, tmp_path: Path
) -> None:
    panel = TrainPanel(viewer)
    viewer.window.add_dock_widget(panel, name="Train model")
    page = show_lens(panel)
    name_kind(page, 0, "round")
    name_kind(page, 1, "square")
    use_data(qtbot, page, data, recipe)
    page.plan.amount.setValue(1_000)
    page.plan.workers.setValue(2)
    out = tmp_path / "grains-lens-1"
    click(qtbot, page.job.button)
    for name in ("labelling", "magnifying-round"):
        qtbot.waitUntil((out / name / "best.safetensors").exists, timeout=_START_MS)
    (process,) = lens_process._processes.values()
    viewer.window.remove_dock_widget(panel)
    qtbot.wait(300)
    assert process.poll() is None

    with opened(qtbot, TrainPanel(viewer)) as again:
        page = show_lens(again)
        assert [kind.name for kind in page.kinds.kinds] == ["round", "square"]
        assert page.data.line.text() == str(data)
        assert page.plan.amount.value() == 1_000
        qtbot.waitUntil(lambda: states(page)[:2] == ["training"] * 2, timeout=20_000)
        assert page.job.button.text() == "Stop"
        assert " dB after " in page.run.stages.table.item(0, 2).text()

        children = psutil.Process(process.pid).children()
        assert len(children) == 2
        click(qtbot, page.job.button)
        qtbot.waitUntil(lambda: not page.run.going, timeout=40_000)
        assert process.poll() is not None
        assert not any(child.is_running() for child in children)
        assert page.job.outcome.text().startswith("Stopped. Go on trains further")
        assert states(page) == ["stopped", "stopped", "waiting", "waiting"]
        page.data.look_again()
        settle(qtbot, page)
        assert page.job.button.text() == "Go on"
        told = page.run.stages.table.item(0, 2).text()
        assert told.startswith("stopped, ")

        page.plan.workers.setValue(1)
        click(qtbot, page.job.button)
        qtbot.waitUntil(lambda: states(page)[:1] == ["training"], timeout=_START_MS)
        (process,) = lens_process._processes.values()
        os.kill(process.pid, signal.SIGKILL)
        qtbot.waitUntil(lambda: not page.run.going, timeout=40_000)
        assert "ended without a word" in page.job.outcome.text()
        settle(qtbot, page)
        assert page.job.button.text() == "Go on" and page.job.button.isEnabled()


@pytest.mark.skipif(sys.platform == "win32", reason="there are no interrupts to ignore")
def test_stop_does_not_wait_for_a_process_that_ignores_interrupts(
    page: LensTrainingPage,
    qtbot: QtBot,
    data: Path,
    recipe: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As where a script started napari behind itself: what napari starts ignores them as it does."""
    monkeypatch.setattr(lens_process, "_PATIENCE_S", 45.0)
    out = tmp_path / "lens"
    out.mkdir()
    LensSpec("lens", data, page.kinds.kinds, recipe=str(recipe), epochs=1).save(out / "lens.toml")
    (out / "lens-run.json").write_text("{}")
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        lens_process._processes[out.resolve()] = process
        (out / lens_process.PROCESS).write_text(json.dumps({"pid": process.pid}))
        page.open_run(out)
        qtbot.waitUntil(lambda: page.job.button.text() == "Stop", timeout=30_000)

        click(qtbot, page.job.button)
        qtbot.waitUntil(lambda: not page.run.going, timeout=30_000)
    finally:
        signal.signal(signal.SIGINT, before)
    assert process.poll() is not None
    assert page.job.outcome.text().startswith("Stopped. Go on trains further")


def test_a_network_that_failed_says_why(
    page: LensTrainingPage, qtbot: QtBot, data: Path, recipe: Path, tmp_path: Path
) -> None:
    out = tmp_path / "lens"
    for name in ("labelling", "magnifying-round"):
        (out / name).mkdir(parents=True)
    LensSpec("lens", data, page.kinds.kinds, recipe=str(recipe), epochs=1).save(out / "lens.toml")
    (out / "lens-run.json").write_text("{}")
    for name, event in (
        ("labelling", {"kind": "failed", "time": 1, "words": "The disk is full. Make room."}),
        ("magnifying-round", {"kind": "step", "time": 1, "step": 3, "epoch": 1, "fraction": 0.5}),
    ):
        (out / name / "events.jsonl").write_text(json.dumps(event) + "\n")

    page.open_run(out)
    qtbot.waitUntil(lambda: len(states(page)) == 4, timeout=30_000)

    assert states(page) == ["failed", "stopped", "waiting", "waiting"]
    assert "1 of 4 networks failed: labelling." in page.job.outcome.text()
    table = page.run.stages.table
    assert table.item(0, 2).text() == "failed: click for why"
    assert table.currentRow() == 0  # at once
    table.selectRow(1)
    assert not page.run.stages.why.isVisible()
    table.selectRow(2)
    assert page.run.stages.why.text() == "magnifying square: It has not begun."
    table.selectRow(0)
    assert page.run.stages.why.text() == "labelling: The disk is full. Make room."
    assert page.run.stages.why.isVisible()


def test_a_lens_that_was_not_scored_can_be_gone_on_with(
    page: LensTrainingPage, qtbot: QtBot, data: Path, recipe: Path, tmp_path: Path
) -> None:
    out = tmp_path / "lens"
    spec = LensSpec("lens", data, page.kinds.kinds, recipe=str(recipe), epochs=1)
    out.mkdir()
    spec.save(out / "lens.toml")
    (out / "lens-run.json").write_text("{}")
    (out / "lens.lens").write_bytes(b"")
    (out / "output.txt").write_text("acuity: 'f3' cannot be scored.\n")

    page.open_run(out)
    qtbot.waitUntil(lambda: "was not scored" in page.job.outcome.text(), timeout=30_000)
    settle(qtbot, page)
    assert page.job.button.text() == "Go on" and page.job.button.isEnabled()
    assert "cannot be scored" in page.job.details_text.toPlainText()


def test_what_ends_at_once_says_why(
    page: LensTrainingPage, qtbot: QtBot, data: Path, recipe: Path, tmp_path: Path
) -> None:
    use_data(qtbot, page, data, recipe)
    for part in PARTS:  # gone between the look and the click
        (data / part / "f0.tif").write_bytes(b"no image")
    click(qtbot, page.job.button)
    qtbot.waitUntil(lambda: "f0.tif" in page.job.outcome.text(), timeout=_START_MS)
    assert not page.run.going
    # The folder is free for another try.
    settle(qtbot, page)
    assert page.plan.out.text() == str(tmp_path / "grains-lens-1")
    assert page.plan.out_problem.text() == ""


def test_a_folder_without_a_lens_is_told(
    page: LensTrainingPage,
    qtbot: QtBot,
    tmp_path: Path,
    notes: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path))
    click(qtbot, page.run.open)
    assert "holds no lens in training: there is no lens.toml" in page.job.outcome.text()
    assert "holds no lens in training" in notes[-1]
    assert page.run.folder is None


# The scores' table


def test_scores_are_a_column_a_kind() -> None:
    rows = [
        ["Kind or image", "IoU", "SSIM", "PSNR (dB)", "X SD (um)"],
        ["a", "0.9", "0.8", "20.1", ""],
        ["b", "", "0.7", "21.1", ""],
        ["whole image, input", "", "0.5", "15.0", ""],
    ]
    assert by_kind(rows) == (
        ["a", "b"],
        [["IoU", "0.9", ""], ["SSIM", "0.8", "0.7"], ["PSNR (dB)", "20.1", "21.1"]],
    )
    assert whole_images(rows) == "Whole images\ninput: SSIM 0.5, PSNR 15.0 dB"
    assert by_kind([]) == ([], [])
    assert whole_images([]) == ""


def test_only_flat_labels_layers_are_listed(viewer: Any, page: LensTrainingPage) -> None:
    viewer.add_image(np.eye(8), name="image")
    viewer.add_layer(Labels(np.zeros((3, 8, 8), int), name="stack"))
    viewer.add_layer(Labels(np.zeros((8, 8), int), name="flat"))
    chooser = page.data.adding.labels
    assert [chooser.itemText(index) for index in range(chooser.count())] == ["flat"]

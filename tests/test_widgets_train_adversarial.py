"""Train model with the cross-modality recipes, driven as a user would: chosen, checked before, watched."""

from __future__ import annotations

import csv
import json
import os
import socket
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from qtpy.QtCore import QPointF, Qt
from qtpy.QtWidgets import QLabel
from skimage.measure import block_reduce

from gui import opened
from napari_acuity import Micrograph, Model, ModelError, Pair, PairSet, Recipe, TrainingError
from napari_acuity.core.device import Device
from napari_acuity.core.networks import NETWORKS
from napari_acuity.core.recipe import RECIPES
from napari_acuity.core.training.critic import Critic
from napari_acuity.core.training.fit import check_patch
from napari_acuity.core.training.plan import make_plan
from napari_acuity.core.training.schedule import Bound
from napari_acuity.core.training.train import train
from napari_acuity.core.training.world import World
from napari_acuity.widgets._training.network_check import cost_note, network_of
from napari_acuity.widgets._training.recipe_words import about
from napari_acuity.widgets._training.run_adversary import AccuracyPlot, TermsPlot, accuracy_chart
from napari_acuity.widgets._training.run_advice import advice_on
from napari_acuity.widgets._training.run_reader import RunReader
from napari_acuity.widgets._training.run_state import RunState
from napari_acuity.widgets._training.run_view import (
    LivePreview,
    loss_chart,
    psnr_chart,
    terms_chart,
)
from napari_acuity.widgets._training.run_words import outcome_words
from napari_acuity.widgets.train import TrainPanel
from training_panel import TINY, choose, make_pairs, wait_for_look

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from pytestqt.qtbot import QtBot

WITH, WITHOUT = RECIPES["crossmodality-2019"], RECIPES["crossmodality"]
CPU, GPU = Device("cpu", "CPU", "asked for"), Device("cuda:0", "a GPU", "asked for")
WORLD = World(0, 1, CPU)
WINS = "the discriminator wins: it tells every image, and no longer shows the network a way: back to step 64"
COLLAPSED = (
    "the discriminator has collapsed: it answers alike whatever it sees: back to step 64 of 256"
)


def row(number: int, **facts: float) -> dict[str, float]:
    """Return an epoch of an adversarial run, as `Epoch.row` gives it."""
    return {
        "number": number,
        "step": 64.0 * number,
        "train_loss": 0.7,
        "validation_loss": 0.01 / number,
        "psnr": 20.0 + number,
        "bicubic_psnr": 22.5,
        "seconds": 60.0 * number,
        "loss_mse": 0.02 / number,
        "loss_ssim": 0.03 / number,
        "loss_adversarial": 0.7 + 0.01 * number,
        "discriminator_loss": 1.3 / number,
        "discriminator_accuracy": 1 - 0.4 / number,
        **facts,
    }


ROWS = [row(number) for number in range(1, 6)]
PLAIN = [{k: v for k, v in r.items() if "discr" not in k and "adv" not in k} for r in ROWS]


def run_folder(path: Path, recipe: Recipe, *events: dict[str, Any]) -> Path:
    """Write what a run that this process is at would have written."""
    path.mkdir()
    recipe.save(path / "recipe.toml")
    (path / "run.json").write_text(json.dumps({"format": 1, "epochs": 60}))
    who = {"pid": os.getpid(), "host": socket.gethostname(), "device": "CPU", "words": "4 pairs"}
    say(path, {"kind": "begun", **who}, *events)
    return path


def say(path: Path, *events: dict[str, Any]) -> None:
    with (path / "events.jsonl").open("a") as file:
        file.writelines(json.dumps({"time": time.time(), **event}) + "\n" for event in events)


def epochs(rows: list[dict[str, float]]) -> list[dict[str, Any]]:
    return [{"kind": "epoch", "best": True, **row} for row in rows]


def warning(words: str) -> dict[str, Any]:
    return {"kind": "warning", "words": words}


def grey_pairs(folder: Path, tissue: NDArray[np.uint8], *, side: int = 96, scale: int = 1) -> Path:
    """Write three grey fields, each with means of `scale` x `scale` px as its low image."""
    pairs = PairSet.open(folder)
    for number, left in enumerate((0, 150, 300)):
        high = tissue[100 : 100 + side, left : left + side, 1]
        low = np.rint(block_reduce(high, (scale, scale), np.mean)).astype(np.uint8)
        pairs.add(Pair(Micrograph(low), Micrograph(high), scale, name=f"field-{number}"))
    return pairs.folder


pytestmark = pytest.mark.usefixtures("training_session")


@pytest.fixture
def panel(viewer: Any, qtbot: QtBot) -> Iterator[TrainPanel]:
    with opened(qtbot, TrainPanel(viewer)) as panel:
        yield panel


def pick(qtbot: QtBot, panel: TrainPanel, name: str) -> None:
    """Choose a recipe in the list."""
    index = panel.recipe.box.findText(name)
    panel.recipe.box.setCurrentIndex(index)
    panel.recipe.box.activated.emit(index)
    wait_for_look(qtbot, panel)


def wait_for_rows(qtbot: QtBot, panel: TrainPanel, count: int) -> None:
    qtbot.waitUntil(lambda: len(panel.run.follower.state.rows) >= count, timeout=10_000)


# The curves


def test_each_term_and_the_discriminator_have_a_curve_of_their_own() -> None:
    chart = terms_chart(ROWS)
    assert chart.log_y
    assert [curve.name for curve in chart.curves] == ["mse", "ssim", "adversarial", "discriminator"]
    assert len({curve.line for curve in chart.curves}) == 4
    for curve, column in zip(
        chart.curves,
        ("loss_mse", "loss_ssim", "loss_adversarial", "discriminator_loss"),
        strict=True,
    ):
        assert list(curve.y) == [row[column] for row in ROWS]
        assert list(curve.x) == [1, 2, 3, 4, 5]


def test_no_term_is_lost_however_many_there_are() -> None:
    many = [{**row, "loss_mae": 0.1, "loss_gradient": 0.2} for row in ROWS]
    assert len(terms_chart(many).curves) == 6


def test_epochs_without_a_step_of_the_discriminator_are_left_out() -> None:
    rows = [
        {k: v for k, v in row.items() if "discr" not in k or n % 2} for n, row in enumerate(ROWS)
    ]
    discriminator = terms_chart(rows).curves[-1]
    assert (discriminator.name, list(discriminator.x)) == ("discriminator", [2, 4])
    assert list(accuracy_chart(rows).curves[0].x) == [2, 4]


def test_a_single_epoch_is_seen() -> None:
    """A dashed line has no markers: of one point nothing would be drawn."""
    assert {curve.line for curve in terms_chart(ROWS[:1]).curves} == {"points"}


def test_the_accuracy_is_shown_beside_guessing() -> None:
    accuracy, guessing = accuracy_chart(ROWS).curves
    assert list(accuracy.y) == [row["discriminator_accuracy"] for row in ROWS]
    assert (guessing.name, guessing.line, set(guessing.y)) == ("guessing", "dashed", {0.5})
    assert not accuracy_chart([]).curves
    assert not accuracy_chart(PLAIN).curves


def test_the_accuracy_axis_is_0_to_1_whatever_the_values(qtbot: QtBot) -> None:
    plot = AccuracyPlot()
    qtbot.addWidget(plot)
    for rows in (ROWS, [], [row(1, discriminator_accuracy=0.5)]):
        plot.show_chart(accuracy_chart(rows))
        low, high = plot._view.getPlotItem().viewRange()[1]
        assert -0.1 < low < 0
        assert 1 < high < 1.1
        ticks = plot._view.getPlotItem().getAxis("left").tickValues(low, high, 100)
        assert [value for _, values in ticks for value in values] == [0, 0.5, 1]


def test_a_legend_of_many_curves_covers_none(qtbot: QtBot) -> None:
    plot = TermsPlot(terms_chart(ROWS))
    qtbot.addWidget(plot)
    plot.resize(380, 190)
    plot.show()
    qtbot.waitExposed(plot)
    view = plot._view.getPlotItem().getViewBox()
    highest = np.log10(max(max(curve.y) for curve in plot.chart.curves))
    marker_px = 2.5

    def free() -> bool:
        curves_px = view.mapViewToScene(QPointF(1, highest)).y() - marker_px
        texts_px = [text.sceneBoundingRect().bottom() for _, text in plot._legend.items]
        return len(texts_px) == 4 and max(texts_px) <= curves_px

    qtbot.waitUntil(free, timeout=2_000)
    # Three curves are shown as before: in one column, the axis as wide as the values.
    plot.show_chart(terms_chart(PLAIN))
    assert plot._legend.columnCount == 1
    qtbot.waitUntil(lambda: view.viewRange()[1][1] < np.log10(0.03) + 0.3)


@pytest.mark.parametrize(("rows", "label"), [(PLAIN[:0], "Loss (range²)"), (ROWS, "Loss")])
def test_the_loss_has_a_unit_only_where_all_terms_have_it(
    rows: list[dict[str, float]], label: str
) -> None:
    assert loss_chart(rows).y_label == label
    squares = [{k: v for k, v in row.items() if k != "loss_ssim"} for row in PLAIN]
    assert loss_chart(squares).y_label == "Loss (range²)"


# What is said of a run


def told(*events: dict[str, Any]) -> RunState:
    state = RunState()
    for event in ({"kind": "begun", "words": "4 pairs"}, *events):
        state.take(event)
    return state


@pytest.mark.parametrize("words", [WINS, COLLAPSED])
def test_a_warning_of_the_discriminator_says_what_to_do(words: str) -> None:
    (said,) = told(warning(words)).warnings
    assert said.startswith(f"{words}. The run goes on from there. Where it ")
    assert "lower Discriminator's rate in Options" in said
    assert "the recipe crossmodality, which has no discriminator" in said
    assert "adversarial" not in WITHOUT.losses


def test_the_same_advice_is_given_once() -> None:
    state = told(warning(WINS), warning("out of memory"), warning(WINS), warning(COLLAPSED))
    first, memory, second, third = state.warnings
    assert (first, memory) == (WINS, "out of memory")
    assert second == f"{WINS}. {advice_on(WINS)}"
    assert third == f"{COLLAPSED}. {advice_on(COLLAPSED)}"


def test_advice_answers_the_words_of_the_core() -> None:
    """A discriminator of the core's that wins, and one that collapses, are recognised."""
    recipe = replace(WITH, adversarial={"width": 2, "blocks": 1})
    critic = Critic(1, recipe, WORLD)
    for accuracies, begin in (
        ([1.0] * 3, "the discriminator wins"),
        ([0.9, 0.5, 0.5, 0.5], "the discriminator has collapsed"),
    ):
        critic._accuracies = accuracies
        trouble = critic.trouble()
        assert trouble is not None
        assert trouble.startswith(begin)
        assert advice_on(trouble)


def test_measured_weights_stand_in_the_details() -> None:
    state = told({"kind": "note", "words": "weights of the loss: mse 0.7"})
    assert state.notes == ["4 pairs", "weights of the loss: mse 0.7"]


def test_the_outcome_tells_of_the_discriminator(tmp_path: Path) -> None:
    done = {"kind": "done"}
    twice = told(*epochs(ROWS), warning(WINS), warning("a full disk"), warning(COLLAPSED), done)
    assert "won or collapsed 2 times: see Details." in outcome_words(twice, tmp_path)
    assert "iscriminator" not in outcome_words(told(*epochs(ROWS), warning("x"), done), tmp_path)


@pytest.mark.parametrize("recipe", [WITH, WITHOUT], ids=lambda recipe: recipe.name)
def test_whether_a_discriminator_takes_part_is_read_from_the_recipe(
    tmp_path: Path, recipe: Recipe
) -> None:
    reader = RunReader(run_folder(tmp_path / "run", recipe))
    assert reader.read().adversarial == (recipe is WITH)
    assert reader.read().adversarial == (recipe is WITH)
    (tmp_path / "run" / "recipe.toml").write_text("damaged")
    assert not RunReader(tmp_path / "run").read().adversarial


# The panel


def test_an_adversarial_run_is_watched(panel: TrainPanel, qtbot: QtBot, tmp_path: Path) -> None:
    curves = panel.run.curves
    assert not curves.accuracy.isVisibleTo(panel)
    out = run_folder(tmp_path / "run", WITH)
    panel.run.attach(out)
    # From the beginning, so that nothing jumps when the first epoch ends.
    qtbot.waitUntil(lambda: curves.accuracy.isVisibleTo(panel), timeout=10_000)
    say(out, *epochs(ROWS), {"kind": "note", "words": "weights of the loss: mse 0.7"})
    wait_for_rows(qtbot, panel, 5)
    assert list(curves.accuracy.chart.curves[0].y) == [r["discriminator_accuracy"] for r in ROWS]
    curves.curves.setCurrentText("Loss terms")
    assert [curve.name for curve in curves.plot.chart.curves][-1] == "discriminator"
    assert "weights of the loss: mse 0.7" in panel.job.details_text.toPlainText()
    assert "iscriminator" not in panel.job.outcome.text()

    say(out, warning(WINS))
    qtbot.waitUntil(lambda: "discriminator wins" in panel.job.outcome.text(), timeout=10_000)
    assert panel.job.outcome.text() == f"Note: {WINS}. {advice_on(WINS)}."
    say(out, warning(COLLAPSED))
    qtbot.waitUntil(lambda: "has collapsed" in panel.job.outcome.text(), timeout=10_000)
    curves.accuracy.save(tmp_path / "accuracy.csv")
    with (tmp_path / "accuracy.csv").open() as file:
        saved = [row["discriminator"] for row in csv.DictReader(file) if row["discriminator"]]
    assert saved == [str(row["discriminator_accuracy"]) for row in ROWS]


def test_another_run_has_no_second_plot(panel: TrainPanel, qtbot: QtBot, tmp_path: Path) -> None:
    with_it = run_folder(tmp_path / "with", WITH, *epochs(ROWS))
    panel.run.attach(with_it)
    wait_for_rows(qtbot, panel, 5)
    assert panel.run.curves.accuracy.isVisibleTo(panel)
    panel.run.attach(run_folder(tmp_path / "without", WITHOUT, *epochs(PLAIN)))
    wait_for_rows(qtbot, panel, 5)
    assert not panel.run.curves.accuracy.isVisibleTo(panel)
    assert not panel.run.curves.accuracy.chart.curves
    assert panel.run.curves.plot.chart == loss_chart(PLAIN)
    panel.run.curves.curves.setCurrentText("PSNR")
    assert panel.run.curves.plot.chart == psnr_chart(PLAIN)


def test_every_recipe_says_what_it_is_for(panel: TrainPanel, qtbot: QtBot) -> None:
    for name, recipe in RECIPES.items():
        pick(qtbot, panel, name)
        labels = [label.text() for label in panel.findChildren(QLabel)]
        (said,) = [text for text in labels if text.startswith("For ")]
        assert said == about(recipe, name)
        tip = panel.recipe.box.itemData(
            panel.recipe.box.currentIndex(), Qt.ItemDataRole.ToolTipRole
        )
        assert tip == said
        for number in (recipe.network, f"{recipe.patch} px", f"{recipe.learning_rate:g}"):
            assert number in said
        judged = "critic_rate" in panel.recipe.options
        assert ("iscriminator" in said) == judged == ("adversarial" in recipe.losses)
        assert panel.recipe.recipe == recipe
        assert panel.recipe.name == name


def test_the_shares_of_a_loss_are_said_in_percent() -> None:
    assert "loss at the start: 90% adversarial, 5% mse, 5% ssim." in about(WITH)
    assert "loss: mse, 0.1 ssim." in about(WITHOUT)
    assert about(WITHOUT).startswith("Network compact_unet")


def test_the_discriminators_rate_is_an_option(panel: TrainPanel, qtbot: QtBot) -> None:
    pick(qtbot, panel, "crossmodality-2019")
    box = panel.recipe.options["critic_rate"]
    assert box.value() == WITH.adversarial["learning_rate"]
    box.setValue(2.5e-6)
    changed = {**WITH.adversarial, "learning_rate": 2.5e-6}
    assert panel.recipe.recipe == replace(WITH, adversarial=changed)
    assert panel.recipe.name == ""
    panel.recipe.options["jpeg_from"].setValue(60)
    assert panel.recipe.recipe.adversarial == changed
    assert panel.recipe.recipe.augmentation == {"jpeg": [60, 95]}
    box.setValue(WITH.adversarial["learning_rate"])
    panel.recipe.options["jpeg_from"].setValue(0)
    assert panel.recipe.recipe == WITH


def test_a_recipe_silent_about_the_discriminator_has_the_cores_rate(
    panel: TrainPanel, tmp_path: Path
) -> None:
    silent = replace(WITH, adversarial={"width": 2, "blocks": 1})
    silent.save(tmp_path / "silent.toml")
    panel.recipe.open(tmp_path / "silent.toml")
    critic = Critic(1, silent, WORLD)
    assert panel.recipe.options["critic_rate"].value() == critic._optimiser.param_groups[0]["lr"]
    assert panel.recipe.recipe == silent


@pytest.mark.parametrize("prepared", [True, False])
def test_the_preview_never_has_unlike_units(prepared: bool, viewer: Any) -> None:
    """Of layers of unlike units napari warns, in a box over the picture."""
    preview = LivePreview(viewer)
    if prepared:
        preview.prepare(rgb=False)
    crop = dict.fromkeys(("input", "output", "truth"), np.eye(8, dtype=np.uint8))
    for _ in range(3):
        assert preview.show(crop, (0.1, 0.1))
        assert {str(unit) for layer in viewer.layers for unit in layer.units} == {"micrometer"}


# Before a run


def test_a_recipe_for_grey_images_refuses_colour_before_the_run(
    panel: TrainPanel, qtbot: QtBot, tissue: NDArray[np.uint8], tmp_path: Path
) -> None:
    choose(qtbot, panel, make_pairs(tmp_path / "colon", tissue))
    assert panel.job.button.isEnabled()
    pick(qtbot, panel, "crossmodality")
    said = panel.pairs.summary.text()
    assert said.startswith("The pairs are RGB, and the recipe 'crossmodality' is for grey images.")
    assert "Split the images into channels" in said
    assert not panel.job.button.isEnabled()
    assert panel.job.button.toolTip() == said
    pick(qtbot, panel, "brightfield")
    assert panel.job.button.isEnabled()


def test_grey_pairs_and_their_cost(
    panel: TrainPanel, qtbot: QtBot, tissue: NDArray[np.uint8], tmp_path: Path
) -> None:
    choose(qtbot, panel, grey_pairs(tmp_path / "grey", tissue))
    panel.device.device = "cpu"
    pick(qtbot, panel, "crossmodality")
    assert panel.job.button.isEnabled()
    assert "!" not in panel.checks.text()
    pick(qtbot, panel, "crossmodality-2019")
    assert "! The network has 23 million weights: a run on a CPU takes" in panel.checks.text()
    panel.recipe.options["patch"].setValue(10)
    wait_for_look(qtbot, panel)
    said = panel.pairs.summary.text()
    assert said.startswith("Patches of 10 px are smaller than a cell of the network, 16 px.")
    assert "Set patch to 16 px or more" in said
    panel.recipe.options["patch"].setValue(16)
    wait_for_look(qtbot, panel)
    assert panel.job.button.isEnabled()


def test_layers_in_colour_are_refused_too(
    viewer: Any, panel: TrainPanel, qtbot: QtBot, tissue: NDArray[np.uint8]
) -> None:
    for name in ("low", "high"):
        viewer.add_image(tissue[:64, :64], name=name)
    pick(qtbot, panel, "crossmodality")
    panel.pairs.kind.setCurrentIndex(1)
    wait_for_look(qtbot, panel)
    assert "is for grey images" in panel.pairs.summary.text()


def test_a_model_to_start_from_decides_the_channels(
    panel: TrainPanel, qtbot: QtBot, tissue: NDArray[np.uint8], tmp_path: Path
) -> None:
    """As in the core: the recipe's own channels do not count where a model brings its own."""
    choose(qtbot, panel, make_pairs(tmp_path / "colon", tissue))
    path = Model.new("crossmodality", scale=2.0, channels=3, width=4).save(tmp_path / "rgb")
    panel.start.choose(path)
    pick(qtbot, panel, "crossmodality")
    assert panel.pairs.problem is None
    assert f"✓ goes on from {path.name}" in panel.checks.text()


@pytest.mark.parametrize("side", [8, 15, 16])
def test_the_panel_refuses_the_patches_that_the_core_refuses(
    tissue: NDArray[np.uint8], tmp_path: Path, side: int
) -> None:
    small = {"channels": 1, "width": 2}
    recipe = replace(TINY, network="unet", network_arguments=small, patch=side)
    pairs = PairSet.open(grey_pairs(tmp_path / "grey", tissue, side=32))

    def refused(attempt: Callable[[], object]) -> bool:
        try:
            attempt()
        except TrainingError as error:
            assert "smaller than a cell of the network" in str(error)
            return True
        return False

    here = refused(lambda: check_patch(side, 1.0, recipe, network_of(recipe, 1.0, 1)))
    there = refused(lambda: make_plan(pairs, recipe, Bound(1, None), WORLD))
    assert here == there == (side < 16)


def test_fields_smaller_than_a_cell_need_larger_fields() -> None:
    network = network_of(WITH, 1.0, 1)
    with pytest.raises(TrainingError, match="Add fields of 16 px a side or more"):
        check_patch(12, 1.0, WITH, network)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("scale", [1.0, 2.0, 2.5])
def test_a_network_is_looked_at_without_its_weights(name: str, scale: float) -> None:
    recipe = RECIPES[name]
    channels = recipe.network_arguments.get("channels", 3)
    if recipe.network == "pix2pix" and scale != 1:
        with pytest.raises(ModelError, match="keeps the grid"):
            network_of(recipe, scale, channels)
        return
    looked = network_of(recipe, scale, channels)
    assert all(parameter.is_meta for parameter in looked.parameters())
    shaped = {key: value for key, value in recipe.arguments.items() if key in ("depth", "size")}
    small = {"width": 4, **shaped} if recipe.network != "pyramid_resnet" else {}
    real = NETWORKS[recipe.network](scale=scale, channels=channels, **small)
    assert looked.stride == real.stride


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"network_arguments": {"colour": 1}}, "The network 'unet' cannot be built"),
        (
            {"network": "pix2pix", "network_arguments": {}, "levels": "percentiles"},
            "which the network 'pix2pix' does not keep",
        ),
    ],
)
def test_an_impossible_network_is_told_before_the_run(
    panel: TrainPanel,
    qtbot: QtBot,
    tissue: NDArray[np.uint8],
    tmp_path: Path,
    changes: dict[str, Any],
    words: str,
) -> None:
    choose(qtbot, panel, grey_pairs(tmp_path / "grey", tissue))
    replace(WITH, **changes).save(tmp_path / "odd.toml")
    panel.recipe.open(tmp_path / "odd.toml")
    wait_for_look(qtbot, panel)
    assert words in panel.pairs.summary.text()
    assert not panel.job.button.isEnabled()


def test_only_large_networks_on_a_cpu_are_costly() -> None:
    large, small = (network_of(recipe, 1.0, 1) for recipe in (WITH, WITHOUT))
    assert "a recipe made for a CPU: lens." in (cost_note(large, CPU, lighter="lens") or "")
    assert cost_note(large, GPU, lighter="lens") is None
    assert cost_note(small, CPU, lighter="lens") is None


def test_a_run_of_the_core_is_shown(
    panel: TrainPanel, qtbot: QtBot, tissue: NDArray[np.uint8], tmp_path: Path
) -> None:
    """The real words and columns of a short run of the real recipe, made small."""
    recipe = replace(
        WITH,
        network_arguments={"channels": 1, "width": 2, "depth": 2},
        adversarial={"width": 2, "blocks": 1, "learning_rate": 1e-3},
        patch=16,
        batch=32,
    )
    pairs = PairSet.open(grey_pairs(tmp_path / "grey", tissue, side=48))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train(pairs, recipe, tmp_path / "run", epochs=2, device="cpu")
    finally:
        torch.set_num_threads(threads)
    panel.run.attach(tmp_path / "run")
    qtbot.waitUntil(lambda: panel.run.follower.state.phase == "done", timeout=10_000)
    curves = panel.run.curves
    assert curves.accuracy.isVisibleTo(panel)
    assert all(0 <= value <= 1 for value in curves.accuracy.chart.curves[0].y)
    curves.curves.setCurrentText("Loss terms")
    found = {curve.name for curve in curves.plot.chart.curves}
    assert found == {"mse", "ssim", "adversarial", "discriminator"}
    assert "weights of the loss" in panel.job.details_text.toPlainText()

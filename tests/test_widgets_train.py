"""Train model before a run, driven as a user would: pairs, recipe, options, checks; and its plots."""

from __future__ import annotations

import csv
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QFileDialog, QToolButton

import napari_acuity as acuity
from gui import click, names, opened
from napari_acuity import Model, Pair, PairSet, Recipe
from napari_acuity.core.quality.reports.charts import Chart, Curve
from napari_acuity.core.recipe import RECIPES
from napari_acuity.widgets import _session
from napari_acuity.widgets._layers import made_by, result_layer
from napari_acuity.widgets._plots import CurvePlot, _log_ticks
from napari_acuity.widgets._training.pair_source import FolderSource
from napari_acuity.widgets._training.preflight import Intent, Look, look
from napari_acuity.widgets._training.run_view import (
    LivePreview,
    loss_chart,
    psnr_chart,
    terms_chart,
)
from napari_acuity.widgets.train import TrainPanel
from training_panel import SCALE, TINY, choose, halved, make_pairs, wait_for_look

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from pytestqt.qtbot import QtBot

ROWS = [
    {
        "number": float(n),
        "step": 8.0 * n,
        "train_loss": 0.01 / n,
        "validation_loss": 0.012 / n,
        "psnr": 20.0 + n,
        "bicubic_psnr": 22.5,
        "loss_mse": 0.009 / n,
        "loss_gradient": 0.001 / n,
    }
    for n in range(1, 6)
]


pytestmark = pytest.mark.usefixtures("training_session")


@pytest.fixture
def folder(tmp_path: Path, tissue: NDArray[np.uint8]) -> Path:
    return make_pairs(tmp_path / "colon", tissue)


@pytest.fixture
def panel(viewer: Any, qtbot: QtBot) -> Iterator[TrainPanel]:
    with opened(qtbot, TrainPanel(viewer)) as panel:
        yield panel


def test_the_panel_says_what_the_pairs_are(panel: TrainPanel, qtbot: QtBot, folder: Path) -> None:
    wait_for_look(qtbot, panel)
    assert not panel.job.button.isEnabled()
    assert panel.job.button.toolTip() == panel.pairs.summary.text() == "Choose a folder of pairs."
    choose(qtbot, panel, folder)
    words = "3 fields, x2, RGB; 1 to train on, 1 to validate on, 1 to test on"
    assert panel.pairs.summary.text() == words
    assert panel.out.text() == str(folder.parent / "colon-run-1")
    assert panel.job.button.isEnabled()


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
    for box in (panel.out, panel.pairs.folder.lineEdit()):
        box.clear()
        qtbot.keyClicks(box, "~nobody-here/run")
    wait_for_look(qtbot, panel)
    assert "no folder ~nobody-here/run" in panel.pairs.summary.text()


def test_the_preview_stands_beside_layers_of_units_that_do_not_go_together(viewer: Any) -> None:
    for name, units in (("length", ("um", "um")), ("time", ("s", "s"))):
        viewer.add_image(np.eye(8, dtype=np.uint8), name=name, units=units)
    preview = LivePreview(viewer)
    crop = dict.fromkeys(("input", "output", "truth"), np.eye(8, dtype=np.uint8))
    for _ in range(3):
        assert preview.show(crop, (0.1, 0.1))
    assert not preview.show(None, None)
    assert preview.shown and len(preview.layers) == 3


def test_a_preview_layer_the_user_removes_stays_away(viewer: Any) -> None:
    preview = LivePreview(viewer)
    picture = np.arange(64, dtype=np.uint8).reshape(8, 8)
    crop = dict.fromkeys(("input", "output", "truth"), picture)
    for _ in ("input", "output", "truth"):  # one a call, so that the window feels none
        assert preview.show(crop, None)
    assert not preview.show(None, None)
    viewer.layers.remove("training | input")
    preview._shown_at = 0
    assert not preview.show({**crop, "output": picture + 1}, None)
    assert np.array_equal(viewer.layers["training | output"].data, picture + 1)
    assert names(viewer) == ["training | output", "training | truth"]


def test_what_register_pair_made_is_chosen(viewer: Any, panel: TrainPanel) -> None:
    bench, _, phone = (viewer.add_image(np.eye(64), name=name) for name in ("bench", "x", "phone"))
    recipe = made_by("register", "", moving="phone", fixed="bench")
    viewer.add_layer(result_layer(phone, phone.data, what="registered", recipe=recipe, grid=bench))
    assert panel.pairs.low.currentText() == "phone | registered"
    assert panel.pairs.high.layer == bench


def test_a_scale_that_was_set_stays_while_the_layers_are_the_same(
    viewer: Any, panel: TrainPanel
) -> None:
    high, low = viewer.add_image(np.eye(60), name="bench"), viewer.add_image(np.eye(40), name="x")
    scale = panel.pairs.scale
    assert (panel.pairs.low.layer, panel.pairs.high.layer, scale.value()) == (low, high, 1.5)
    scale.setValue(1.52)
    viewer.add_points([[3.0, 3.0]])
    low.name = "phone"
    assert scale.value() == 1.52
    panel.pairs.high.choose(high)
    panel.pairs.low.choose(viewer.add_image(np.eye(30), name="other"))
    assert scale.value() == 2


def test_the_smaller_of_two_layers_is_the_low_one_in_whichever_order_they_came(
    viewer: Any, panel: TrainPanel
) -> None:
    pairs = panel.pairs
    low, high = viewer.add_image(np.eye(40), name="phone"), viewer.add_image(np.eye(60), name="x")
    assert (pairs.low.layer, pairs.high.layer, pairs.scale.value()) == (low, high, 1.5)
    viewer.layers.reverse()
    assert (pairs.low.layer, pairs.high.layer, pairs.scale.value()) == (low, high, 1.5)
    pairs.low.choose(high)
    assert pairs.high.layer == low


def test_layers_of_a_twelve_bit_camera(
    viewer: Any, panel: TrainPanel, qtbot: QtBot, tissue: NDArray[np.uint8]
) -> None:
    grey = tissue[:256, :256, 0]
    viewer.add_image(grey.astype(np.uint16) * 16, name="bench")
    viewer.add_image(grey[::2, ::2], name="phone")
    wait_for_look(qtbot, panel)
    assert not panel._values.box.isEnabled()  # it says nothing of a folder
    panel.pairs.kind.setCurrentIndex(1)
    wait_for_look(qtbot, panel)
    assert "Options > Value range" in panel.pairs.summary.text()
    assert not panel.job.button.isEnabled()
    panel._values.box.setCurrentText("12 bit, 0 to 4095")
    wait_for_look(qtbot, panel)
    assert panel.job.button.isEnabled()
    source = panel.pairs.chosen()
    assert source is not None
    lines = panel._python().partition("model = ")[0]
    scope = {"viewer": viewer}
    exec(lines, scope)
    (told,), (pair,) = eval(source.python, scope), source.open()
    for made in (told, pair):
        assert made.high.range() == (0, 4095)
        assert made.low.range() == (0, 255)  # the phone has 8 bits


def test_a_folder_whose_images_do_not_tell_white_is_refused_before_the_run(
    panel: TrainPanel, qtbot: QtBot, tmp_path: Path, tissue: NDArray[np.uint8]
) -> None:
    """One dim field among others ends at 4080, as if it came of a 12-bit camera."""
    bright = tissue[:192, :192, 0].astype(np.uint16) * 256
    care, ours = tmp_path / "care", PairSet.open(tmp_path / "ours")
    for part in ("low", "GT"):
        (care / part).mkdir(parents=True)
    for name, field in {"a": bright, "b": bright // 16, "c": bright}.items():
        for part in ("low", "GT"):
            tifffile.imwrite(care / part / f"{name}.tif", field)
        ours.add(Pair(field, field, 1.0, name=name))
    for folder, cure in ((care, "acuity pairs NEW LOW HIGH --range"), (ours.folder, "b.json")):
        choose(qtbot, panel, folder)
        words = panel.pairs.summary.text()
        assert "'b' has 16-bit pixels but ends at" in words and cure in words
        assert not panel.job.button.isEnabled()
        assert panel.job.button.toolTip() == words

    said = ours.folder / "b.json"
    white = '_range": [0, 4095]'
    said.write_text(said.read_text().replace('_range": null', white))
    assert said.read_text().count(white) == 2
    choose(qtbot, panel, care)
    choose(qtbot, panel, ours.folder)
    assert panel.pairs.problem is None
    assert panel.job.button.isEnabled()


def test_two_layers_of_several_channels_are_pairs_too(
    viewer: Any, panel: TrainPanel, qtbot: QtBot, tissue: NDArray[np.uint8]
) -> None:
    high = np.stack([tissue[:96, left : left + 224, 0] for left in (0, 100, 200, 280)])
    viewer.add_image(high, name="bench")
    viewer.add_image(high[:, ::2, ::2], name="phone")
    viewer.add_image(high[0], name="plane")
    viewer.add_image(high[:3], name="others", visible=False)
    panel.pairs.kind.setCurrentText("Two layers of channels")
    listed = [panel.pairs.low.itemText(index) for index in range(panel.pairs.low.count())]
    assert listed == ["others", "phone", "bench"]
    panel.pairs.low.choose(viewer.layers["others"])
    panel.pairs.high.choose(viewer.layers["bench"])
    wait_for_look(qtbot, panel)
    assert "Both images need the same number of channels" in panel.pairs.summary.text()
    assert not panel.job.button.isEnabled()
    panel.pairs.low.choose(viewer.layers["phone"])
    wait_for_look(qtbot, panel)
    assert panel.pairs.summary.text().startswith("1 field, x2, 4-channel")
    assert panel.pairs.scale.value() == 2
    source = panel.pairs.chosen()
    assert source is not None
    scope = {"viewer": viewer, "acuity": acuity}
    (told,), (pair,) = eval(source.python, scope), source.open()
    assert told.channels == pair.channels == 4
    assert panel.job.button.isEnabled()


def test_layers_that_do_not_fit_are_explained(
    viewer: Any, panel: TrainPanel, qtbot: QtBot, tissue: NDArray[np.uint8]
) -> None:
    viewer.add_image(tissue[:100, :100], name="bench")
    viewer.add_image(tissue[:60, :33], name="phone")
    panel.pairs.kind.setCurrentIndex(1)
    wait_for_look(qtbot, panel)
    assert "60 x 33 pixels" in panel.pairs.summary.text()
    assert not panel.job.button.isEnabled()


def test_what_the_pairs_are_has_the_whole_row(panel: TrainPanel, qtbot: QtBot) -> None:
    wait_for_look(qtbot, panel)
    assert panel.pairs.summary.text() == "Choose a folder of pairs."
    assert panel.pairs.summary.width() == panel.pairs.kind.width()


def test_options_change_the_recipe_that_is_trained(
    panel: TrainPanel, qtbot: QtBot, folder: Path
) -> None:
    choose(qtbot, panel, folder)
    assert panel.recipe.name == "brightfield"
    assert f"--recipe brightfield --out {panel.out.text()} --minutes 10" in panel._command()
    changed = {"batch": 2, "patch": 24, "learning_rate": 5e-4, "seed": 7}
    for name, value in changed.items():
        panel.recipe.options[name].setValue(value)
    # Of options that no file holds yet there is no command, but there is Python.
    assert panel._command() == ""
    assert f"acuity.{panel.recipe.recipe!r}" in panel._python()
    assert panel.recipe.recipe == replace(RECIPES["brightfield"], **changed)


def test_jpeg_is_off_until_a_quality_is_set(panel: TrainPanel, qtbot: QtBot, folder: Path) -> None:
    choose(qtbot, panel, folder)
    first, last = (panel.recipe.options[name] for name in ("jpeg_from", "jpeg_to"))
    assert first.text() == "off"
    assert panel.recipe.recipe.augmentation == {}
    first.setValue(60)
    assert panel.recipe.recipe.augmentation == {"jpeg": [60, 95]}
    last.setValue(30)  # below the other: it stops there
    assert panel.recipe.recipe.augmentation == {"jpeg": [60, 60]}
    first.setValue(0)
    assert panel.recipe.name == "brightfield"


def test_what_will_be_done_is_said_before(panel: TrainPanel, qtbot: QtBot, folder: Path) -> None:
    choose(qtbot, panel, folder)
    # One field of 48 x 48 px, patches of 48 px every 28.8 px.
    patches, device, time = panel.checks.text().split("   ")
    assert patches == "✓ about 3 patches"
    assert device.startswith(("✓ CPU, ", "✓ NVIDIA"))
    assert time == "✓ 10 min, then a test"
    panel.unit.setCurrentIndex(1)
    panel.amount.setValue(5)
    # At least 512 patches an epoch, 8 a step.
    assert "✓ 5 epochs of about 64 steps, then a test; the time left" in panel.checks.text()
    for number in range(2):
        facts = (folder / f"field-{number}.json").read_text()
        (folder / f"field-{number}.json").write_text(
            facts.replace('"similarity": null', '"similarity": 0.1')
        )
    panel.pairs.look_again()
    wait_for_look(qtbot, panel)
    assert "! 2 fields with a registration similarity below 0.3" in panel.checks.text()


def looked(folder: Path) -> Look:
    return look(FolderSource(folder), Intent(TINY, "cpu"), 1)


def test_pairs_that_the_run_will_leave_out_are_told(
    folder: Path, tissue: NDArray[np.uint8]
) -> None:
    grey = halved(tissue[:64, :64])[..., 0]
    odd = PairSet.open(folder.parent / "odd")
    odd.add(Pair(grey, grey, 1, name="a"))
    for path in ("a.json", "low/a.tif", "high/a.tif"):
        (odd.folder / path).rename(folder / path)
    for name in ("b", "c"):
        (folder / f"{name}.json").write_text((folder / "field-0.json").read_text())
    (folder / "b.json").write_text("{broken")
    (folder / "low" / "c.tif").write_bytes(b"no image")

    seen = looked(folder)

    assert seen.problem is None
    assert seen.summary.startswith("3 fields, x2, RGB; 1 to train on")
    causes = ["b.json does not describe a pair", "c.tif is missing or damaged", "(scale 1, grey)"]
    assert [cause in note for cause, note in zip(causes, seen.notes, strict=True)] == [True] * 3
    assert {note.split()[2] for note in seen.notes} == {"a:", "b:", "c:"}


def test_a_field_too_narrow_to_be_cut_is_told(tmp_path: Path, tissue: NDArray[np.uint8]) -> None:
    pairs = PairSet.open(tmp_path / "narrow")
    pairs.add(Pair(halved(tissue[:96, :64]), tissue[:96, :64], SCALE))

    assert "is 32 low pixels wide: too narrow" in (looked(pairs.folder).problem or "")


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        (["", ""], "2 fields, x2, RGB; 1 to train on, 1 to validate on, none to test on: a third"),
        (
            ["a"],
            "1 field, x2, RGB; cut: the left to train on, the middle to validate on, the right",
        ),
        (["a", "a"], "2 fields, x2, RGB; all of one group, so each is cut: the left"),
        (["a", "a", "b", "c"], "4 fields, x2, RGB; "),
    ],
)
def test_how_fields_will_be_divided_is_said(
    panel: TrainPanel,
    qtbot: QtBot,
    tmp_path: Path,
    tissue: NDArray[np.uint8],
    groups: list[str],
    words: str,
) -> None:
    pairs = PairSet.open(tmp_path / "set")
    for number, group in enumerate(groups):
        high = tissue[:128, 128 * number : 128 * number + 128]
        pairs.add(Pair(halved(high), high, SCALE, name=f"field {number}", group=group))
    choose(qtbot, panel, pairs.folder)
    assert panel.pairs.summary.text().startswith(words)
    assert panel.pairs.summary.text().endswith("by group (3)") == (len(groups) == 4)


def test_a_model_to_start_from(
    panel: TrainPanel,
    qtbot: QtBot,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    choose(qtbot, panel, folder)
    assert not panel.start.frozen_box.isVisibleTo(panel)
    for scale in (3, 2):
        path = Model.new("brightfield", scale=scale).save(tmp_path / f"x{scale}")
        monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_, path=path: (str(path), ""))
        panel.start.box.activated.emit(panel.start.box.count() - 1)
        wait_for_look(qtbot, panel)
        assert panel.job.button.isEnabled() == (scale == 2)
        if scale == 3:
            assert "recipe and pairs ask for pyramid_resnet, x2" in panel.pairs.summary.text()
    assert f"✓ goes on from {path.name}" in panel.checks.text()
    panel.start.frozen_box.setValue(2)
    assert f"--start {path} --frozen 2 --device auto" in panel._command()
    assert f"start={str(path)!r},\n    frozen=2,\n" in panel._python()
    panel.start.frozen_box.setValue(8)
    wait_for_look(qtbot, panel)
    assert panel.pairs.summary.text().startswith("8 layers cannot be frozen: the network has 8.")
    assert not panel.job.button.isEnabled()
    panel.start.box.setCurrentIndex(0)
    panel.start.box.activated.emit(0)
    assert "frozen" not in panel._command()


def test_the_wheel_is_left_to_the_panel_which_scrolls(panel: TrainPanel, qtbot: QtBot) -> None:
    qtbot.wait(50)  # until it is laid out
    for widget in (panel.recipe.box, panel.unit, panel.amount, panel.recipe.options["batch"]):
        before, at = _state(panel), QPointF(widget.rect().center())
        down = QWheelEvent(
            at,
            QPointF(widget.mapToGlobal(at.toPoint())),
            QPoint(),
            QPoint(0, -120),
            Qt.MouseButton.NoButton,
            Qt.KeyboardModifier.NoModifier,
            Qt.ScrollPhase.NoScrollPhase,
            False,
        )
        QApplication.sendEvent(widget, down)
        assert _state(panel) == before and not down.isAccepted()


def _state(panel: TrainPanel) -> tuple[Any, ...]:
    return (
        panel.recipe.box.currentIndex(),
        panel.unit.currentIndex(),
        panel.amount.value(),
        panel.recipe.options["batch"].value(),
    )


def test_the_tab_key_goes_down_the_panel(panel: TrainPanel, qtbot: QtBot) -> None:
    """Options are made anew for each recipe, and the device joins its row last."""
    QTest.keyClicks(panel.recipe.box, "crossmodality")
    assert panel.recipe.name == "crossmodality"
    header: Any = panel._fold.findChildren(QToolButton)[0]
    click(qtbot, header)
    panel.recipe.options["batch"].setValue(3)  # shows the button that resets it
    body, seen, widget = panel.widget(), [], header
    while not seen or widget is not header:
        stop = widget.focusPolicy() != Qt.FocusPolicy.NoFocus and not widget.focusProxy()
        if stop and body.isAncestorOf(widget) and widget.isVisible():
            seen.append(widget)
        widget = widget.nextInFocusChain()
    boxes = panel.recipe.options.values()
    below = [*(box for box in boxes if box.isVisible()), panel.job.button, panel.device]
    places = [seen.index(box) for box in below]
    assert places == sorted(places)
    reset = next(each for each in seen if each.accessibleName() == "Reset Batch")
    assert seen.index(reset) == seen.index(panel.recipe.options["batch"]) + 1


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
    for chart in (loss_chart(ROWS), terms_chart(ROWS), psnr_chart(ROWS)):
        lines = [curve.line for curve in chart.curves]
        assert len(set(lines)) == len(lines)
    level = psnr_chart(ROWS).curves[1]
    assert (level.name, set(level.y), level.line) == ("bicubic", {22.5}, "dashed")
    # The mean squared error of a PSNR, of a range of 1.
    assert set(loss_chart(ROWS).curves[2].y) == {10**-2.25}
    assert [curve.name for curve in terms_chart(ROWS).curves] == ["mse", "gradient"]


def test_a_plot_is_saved_as_picture_and_numbers(qtbot: QtBot, tmp_path: Path) -> None:
    plot = CurvePlot(loss_chart(ROWS))
    qtbot.addWidget(plot)
    for suffix in (".png", ".svg", ".csv"):
        plot.save(tmp_path / f"curves{suffix}")
    with (tmp_path / "curves.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    # Bicubic is a level from epoch 0 on, where the others have no point yet.
    found = [float(row["validation"]) for row in rows if row["validation"]]
    assert found == [row["validation_loss"] for row in ROWS]
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


def test_small_numbers_stay_as_they_are_when_a_plot_is_drawn_again(qtbot: QtBot) -> None:
    """pyqtgraph would show thousandths, and no label says so."""
    plot = CurvePlot(Chart("Frequency (1/px)", "Contrast", [Curve("one", [0.0, 0.5], [0.0, 0.8])]))
    qtbot.addWidget(plot)
    plot.show()
    qtbot.waitExposed(plot)
    for _ in range(2):
        plot.show_chart(plot.chart)
        qtbot.wait(20)
        axis = plot._view.getPlotItem().getAxis("left")
        assert axis.tickStrings([0.5], axis.autoSIPrefixScale * axis.scale, 0.1) == ["0.5"]


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

"""Lenses of kinds in Enhance, driven as a user would: labels, kinds, layers to add, notes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from napari.layers import Image, Labels
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QFileDialog

import napari_acuity as acuity
from enhance_panel import model as full_model
from enhance_panel import use
from gui import click, names, opened, wait
from napari_acuity.core.errors import ModelError
from napari_acuity.core.jobs import run as finished
from napari_acuity.core.lens import Input, Lens, Output, Step
from napari_acuity.core.model import Header, Model
from napari_acuity.widgets import _lenses
from napari_acuity.widgets._enhancing.canvas import Canvas
from napari_acuity.widgets._enhancing.job import enhance_layer, enhance_to_zarr
from napari_acuity.widgets._enhancing.script import Settings
from napari_acuity.widgets._jobs import JobBox
from napari_acuity.widgets._kinds_layers import labels_levels
from napari_acuity.widgets._layers import snapshot
from napari_acuity.widgets._panel import DeviceChip
from napari_acuity.widgets.enhance import EnhancePanel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from pytestqt.qtbot import QtBot

    from napari_acuity.widgets._lens_ticks import TickList

pytestmark = pytest.mark.usefixtures("fresh_models")

KINDS = {"spiny": "#ff0000", "smooth": "#00ff00"}
CLASSES = np.array([(0, 0, 0), (255, 0, 0), (0, 255, 0)], np.uint8)
MADE = ("magnified", "labels", "coloured", "only:spiny", "only:smooth")
CLEAR = (0, 0, 0, 0)


class Pointwise(torch.nn.Module):
    """A network that does a function to every pixel, so that what a lens makes is known."""

    stride, halo, widest = 1, 0, 3

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.function(image)


def doing(function: Callable[[torch.Tensor], torch.Tensor]) -> Model:
    return Model(Pointwise(function).eval(), Header("pointwise", {}, scale=1.0, channels=3))


def pix2pix(seed: int = 0, **more: Any) -> Model:
    arguments = {"channels": 3, "scale": 1.0, "size": 32, "width": 4}
    header = Header("pix2pix", arguments, 1.0, 3, **more)
    return Model.build(header, name=f"pix {seed}", seed=seed)


def pollen() -> Lens:
    """Return a lens that takes class colours as they are, and halves what it sees."""
    same, half = doing(lambda image: image), doing(lambda image: 0.5 * image)
    return Lens.of_kinds(KINDS, labelling=same, magnifying=dict.fromkeys(KINDS, half))


@pytest.fixture(autouse=True)
def fresh_lenses() -> Iterator[None]:
    _lenses.lenses.clear()
    _lenses._views.clear()
    yield
    # Panels that Qt has yet to delete would begin to read another model.
    with _lenses.lenses.events.blocker_all():
        _lenses.lenses.clear()


@pytest.fixture(scope="module")
def truth() -> NDArray[np.uint8]:
    return np.random.default_rng(8).integers(0, 3, (30, 40), dtype=np.uint8)


@pytest.fixture
def viewer(make_napari_viewer_proxy: Callable[..., Any], truth: NDArray[np.uint8]) -> Any:
    viewer = make_napari_viewer_proxy()
    viewer.add_image(
        CLASSES[truth],
        name="grains",
        rgb=True,
        scale=(0.5, 0.5),
        units=("um", "um"),
        translate=(3, 4),
    )
    return viewer


@pytest.fixture
def panel(viewer: Any, qtbot: QtBot) -> Iterator[EnhancePanel]:
    with opened(qtbot, EnhancePanel(viewer)) as panel:
        yield panel


def choose(panel: EnhancePanel, lens: Lens, path: Path) -> None:
    panel.model.choose(_lenses.remember_lens(lens, path))


def run(qtbot: QtBot, panel: EnhancePanel) -> None:
    click(qtbot, panel.job.button)
    wait(qtbot, panel)
    assert panel.job.error is None


def tick(qtbot: QtBot, ticks: TickList | None, name: str) -> None:
    assert ticks is not None
    box = ticks.boxes[name]
    assert box.isVisible()
    square = QPoint(8, box.height() // 2)
    qtbot.mouseClick(box, Qt.MouseButton.LeftButton, pos=square)


def unfold(qtbot: QtBot, panel: EnhancePanel) -> None:
    """Open the list of layers to add."""
    outputs = panel.channels.outputs
    assert outputs is not None
    qtbot.wait(20)  # until what was just shown has its place
    click(qtbot, panel.channels._header)
    qtbot.waitUntil(outputs.isVisible)


def shown(labels: Labels) -> list[tuple[int, ...]]:
    """Return how the background and the kinds are painted, RGBA."""
    colours = labels.colormap.map(np.arange(len(CLASSES), dtype=np.uint8))
    return [tuple(int(v) for v in np.rint(255 * colour)) for colour in colours]


def made_of(viewer: Any, name: str) -> Any:
    return viewer.layers[f"grains | x1 pollen, {name}"]


# Labels


def test_labels_become_a_labels_layer_over_the_magnified_image(
    viewer: Any, panel: EnhancePanel, qtbot: QtBot, tmp_path: Path, truth: NDArray[np.uint8]
) -> None:
    choose(panel, pollen(), tmp_path / "pollen.lens")
    run(qtbot, panel)

    assert names(viewer) == ["grains", *(f"grains | x1 pollen, {name}" for name in MADE)]
    labels, source = made_of(viewer, "labels"), viewer.layers["grains"]
    assert isinstance(labels, Labels)
    assert labels.data.dtype == np.uint8
    np.testing.assert_array_equal(labels.data, truth)
    np.testing.assert_allclose(
        labels.data_to_world((-0.5, 39.5)), source.data_to_world((-0.5, 39.5))
    )
    assert labels.units == source.units
    assert (labels.blending, labels.opacity) == ("translucent", 0.5)
    assert shown(labels) == [CLEAR, (255, 0, 0, 255), (0, 255, 0, 255)]
    # 3 is no kind of this lens.
    np.testing.assert_array_equal(labels.colormap.map(np.uint8(3)), (0, 0, 0, 0))
    told = labels.metadata["acuity"]
    assert (told["verb"], told["parameters"]["output"]) == ("enhance", "labels")
    assert "value_range" not in told
    assert [layer.visible for layer in viewer.layers] == [True, True, True, False, False, False]
    assert all(isinstance(made_of(viewer, name), Image) for name in MADE if name != "labels")
    assert list(viewer.layers.selection) == [source]
    assert "Made 5 layers" in panel.job.outcome.text()
    assert "Caution" not in panel.job.outcome.text()
    assert panel.image.layer == source
    # What the status bar tells under the mouse.
    for number, name in enumerate(("background", "spiny", "smooth")):
        at = labels.data_to_world(np.argwhere(truth == number)[0])
        assert f"kind: {name}" in labels.get_status(at, world=True)["coordinates"]


def test_labels_of_a_stack_lie_on_its_planes(
    viewer: Any, panel: EnhancePanel, qtbot: QtBot, tmp_path: Path, truth: NDArray[np.uint8]
) -> None:
    pixels = CLASSES[np.stack([truth, truth[::-1]])]
    stack = viewer.add_image(pixels, name="stack", rgb=True, scale=(2, 0.5, 0.5))
    panel.image.choose(stack)
    choose(panel, pollen(), tmp_path / "pollen.lens")
    run(qtbot, panel)

    labels = viewer.layers["stack | x1 pollen, labels"]
    np.testing.assert_array_equal(labels.data, [truth, truth[::-1]])
    np.testing.assert_allclose(labels.scale, (2, 0.5, 0.5))


def test_coarser_copies_of_labels_hold_no_other_labels() -> None:
    pixels = np.zeros((2, 2301, 2300), np.uint8)
    pixels[:, ::2, 1::2] = 2

    levels = labels_levels(pixels)

    assert [level.shape for level in levels] == [
        (2, 2301, 2300),
        (2, 1150, 1150),
        (2, 575, 575),
    ]
    assert all(set(np.unique(level)) <= {0, 2} for level in levels)
    assert len(labels_levels(pixels[:, :2000, :2000])) == 1


# Kinds


def test_a_kind_is_hidden_and_shown_again(
    viewer: Any, panel: EnhancePanel, qtbot: QtBot, tmp_path: Path
) -> None:
    choose(panel, pollen(), tmp_path / "other.lens")
    run(qtbot, panel)
    choose(panel, pollen(), tmp_path / "pollen.lens")
    run(qtbot, panel)
    labels, alone = made_of(viewer, "labels"), made_of(viewer, "only:spiny")
    alone.visible = True

    tick(qtbot, panel.channels.kinds, "spiny")
    assert shown(labels) == [CLEAR, CLEAR, (0, 255, 0, 255)]
    assert not alone.visible
    assert made_of(viewer, "magnified").visible
    assert CLEAR not in shown(viewer.layers["grains | x1 other, labels"])[1:]

    tick(qtbot, panel.channels.kinds, "smooth")
    tick(qtbot, panel.channels.kinds, "spiny")
    assert shown(labels) == [CLEAR, (255, 0, 0, 255), CLEAR]
    assert alone.visible

    tick(qtbot, panel.channels.kinds, "smooth")
    assert shown(labels)[2] == (0, 255, 0, 255)
    assert not made_of(viewer, "only:smooth").visible  # as it was before


def test_a_hidden_kind_stays_hidden_in_what_comes(
    viewer: Any, panel: EnhancePanel, qtbot: QtBot, tmp_path: Path
) -> None:
    lens = pollen()
    told = {each.name: each for each in lens.outputs}
    shows_all = replace(lens, outputs=tuple(replace(each, shown=True) for each in told.values()))
    choose(panel, shows_all, tmp_path / "pollen.lens")
    tick(qtbot, panel.channels.kinds, "spiny")
    run(qtbot, panel)
    assert shown(made_of(viewer, "labels"))[1] == CLEAR
    assert not made_of(viewer, "only:spiny").visible
    assert made_of(viewer, "only:smooth").visible

    with opened(qtbot, EnhancePanel(viewer)) as later:  # a panel that is opened anew knows it
        choose(later, shows_all, tmp_path / "pollen.lens")
        assert later.channels.kinds.unticked == {"spiny"}
        tick(qtbot, later.channels.kinds, "spiny")
    assert shown(made_of(viewer, "labels"))[1] == (255, 0, 0, 255)
    assert made_of(viewer, "only:spiny").visible


# Layers to add


def test_what_is_unticked_is_not_added(
    viewer: Any, panel: EnhancePanel, qtbot: QtBot, tmp_path: Path
) -> None:
    choose(panel, pollen(), tmp_path / "pollen.lens")
    outputs = panel.channels.outputs
    assert outputs is not None
    assert list(outputs.boxes) == list(MADE)
    assert not outputs.unticked
    assert panel.channels._header.text() == "Layers to add: all 5"
    assert not outputs.isVisible()
    unfold(qtbot, panel)

    for name in ("magnified", "coloured", "only:smooth"):
        tick(qtbot, outputs, name)
    assert panel.channels._header.text() == "Layers to add: 2 of 5"
    run(qtbot, panel)
    assert names(viewer)[1:] == [f"grains | x1 pollen, {name}" for name in ("labels", "only:spiny")]
    assert "Made 2 layers" in panel.job.outcome.text()

    use(panel, full_model())
    assert not panel.channels.isVisible()
    choose(panel, Lens.ensemble([pix2pix(0), pix2pix(1)]), tmp_path / "seeds.lens")
    assert panel.channels.kinds is None
    assert list(panel.channels.outputs.boxes) == ["mean", "disagreement"]
    assert not panel.channels.outputs.unticked
    choose(panel, pollen(), tmp_path / "pollen.lens")
    unfold(qtbot, panel)
    for name in ("labels", "only:spiny"):
        tick(qtbot, panel.channels.outputs, name)
    assert not panel.job.button.isEnabled()
    assert "Tick one of the layers to add" in panel.job.button.toolTip()


def test_many_kinds_leave_the_button_on_a_small_screen(
    viewer: Any, panel: EnhancePanel, qtbot: QtBot, tmp_path: Path
) -> None:
    kinds = {f"kind {n}, of a long & telling name": f"#{n + 1:02x}80ff" for n in range(60)}
    same = doing(lambda image: image)
    lens = Lens.of_kinds(kinds, labelling=same, magnifying=dict.fromkeys(kinds, same))
    panel.resize(400, 690)  # what a dock has on 1366 x 768
    choose(panel, lens, tmp_path / "many.lens")
    unfold(qtbot, panel)
    qtbot.wait(50)

    button = panel.job.button
    assert button.mapTo(panel, QPoint(0, button.height())).y() < panel.height()
    assert panel.minimumWidth() <= 400
    assert "and 59 more" in panel.facts.text()

    ticks = panel.channels.kinds
    assert ticks is not None and ticks.all is not None
    ticks.all.click()
    assert ticks.unticked == set(kinds)
    tick(qtbot, ticks, next(iter(kinds)))
    assert len(ticks.unticked) == 59
    ticks.all.click()
    assert not ticks.unticked


# What networks of whole-image statistics have to say


def test_notes_of_a_plain_model_are_said_and_kept(
    viewer: Any,
    panel: EnhancePanel,
    qtbot: QtBot,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import tifffile

    use(panel, full_model())
    panel.options.zarr.click()
    panel.options.tile.setValue(64)
    use(panel, pix2pix())
    for widget in (panel.options.tile, panel.options.zarr):
        assert not widget.isEnabled()
        assert "statistics over windows of 32 x 32 px" in widget.toolTip()
    panel.options.iterations.setValue(2)
    run(qtbot, panel)  # in memory, as it cannot be written in parts

    (note,) = viewer.layers["grains | x1 pix 0"].metadata["acuity"]["notes"]
    assert "blended of 2 windows of 32 x 32 px" in note
    assert panel.job.outcome.text().endswith(f"30 x 40 pixels.\nCaution: {note}.")

    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "a.tif"), ""))
    click(qtbot, panel.save)
    wait(qtbot, panel)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert "blended of 2 windows" in file.ome_metadata

    use(panel, full_model())
    assert panel.options.tile.isEnabled() and panel.options.zarr.isEnabled()


def test_notes_of_a_lens_are_said_once_and_kept_in_each_layer(
    viewer: Any, panel: EnhancePanel, qtbot: QtBot, tmp_path: Path
) -> None:
    lens = Lens.of_kinds(KINDS, labelling=pix2pix(), magnifying=dict.fromkeys(KINDS, pix2pix(1)))
    choose(panel, lens, tmp_path / "pollen.lens")
    assert not panel.options.tile.isEnabled()
    assert "lens" in panel.options.zarr.toolTip()
    run(qtbot, panel)

    assert panel.job.outcome.text().count("Caution: blended of 2 windows") == 1
    for name in MADE:
        (note,) = made_of(viewer, name).metadata["acuity"]["notes"]
        assert "blended of 2 windows" in note


def test_a_result_in_parts_of_such_a_network_is_refused_in_words(
    qtbot: QtBot, tmp_path: Path, notes: list[str]
) -> None:
    held = snapshot(Image(np.eye(40)[..., None].repeat(3, -1), rgb=True, name="eye"))
    steps = partial(enhance_to_zarr, held, "", pix2pix(), Settings(), tmp_path / "a.zarr")
    job = JobBox("Write", lambda: None)
    qtbot.addWidget(job)
    job.run(steps, done=lambda _: None)
    qtbot.waitUntil(lambda: not job.running, timeout=20_000)

    assert isinstance(job.error, ModelError)
    assert "takes statistics over its whole image" in job.outcome.text()
    assert "Enhance the image in memory" in job.outcome.text()
    assert notes == [job.outcome.text()]


def test_the_guard_of_such_a_network_gives_maps_or_says_why_not() -> None:
    image = np.random.default_rng(0).integers(0, 255, (40, 36, 3), dtype=np.uint8)
    held = acuity.Micrograph(image, rgb=True)
    capture = {"sigma_px": 0.8, "matrix": np.eye(3, 4).tolist(), "noise": 0.02}
    for model in (pix2pix(), pix2pix(capture=capture)):
        canvas = Canvas(np.zeros_like(image), rgb=True)
        steps = enhance_layer(held, model, Settings(guard=True), canvas, (0, 0.0, 0.0))
        maps = finished(steps)
        assert maps is not None
        if model.header.capture:
            assert maps.consistency is not None
            assert np.isfinite(maps.consistency.levels[0]).all()
        else:
            assert "does not tell how its captures came about" in maps.problem


# Grey images, devices


@pytest.mark.parametrize("shape", [(2, 30, 40), (3, 30, 40)])
def test_a_grey_image_is_taken_as_rgb(
    viewer: Any, panel: EnhancePanel, qtbot: QtBot, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, shape, dtype=np.uint8)
    grey = viewer.add_image(pixels, name="dim", rgb=False, colormap="magenta", blending="additive")
    panel.image.choose(grey)
    choose(panel, pollen(), tmp_path / "pollen.lens")
    colours = shape[0] == 3
    assert ("as red, green and blue" if colours else "channels are alike") in panel.facts.text()
    run(qtbot, panel)

    expected = acuity.enhance(acuity.Micrograph(pixels), pollen())
    magnified, labels = (viewer.layers[f"dim | x1 pollen, {name}"] for name in MADE[:2])
    assert magnified.rgb
    assert magnified.blending == "translucent"
    assert magnified.ndim == labels.ndim == len(shape)
    np.testing.assert_array_equal(
        magnified.data.reshape(-1), expected["magnified"].pixels.reshape(-1)
    )
    np.testing.assert_array_equal(labels.data.reshape(-1), expected["labels"].pixels.reshape(-1))
    np.testing.assert_allclose(labels.data_to_world(labels.data.ndim * [0])[-2:], (0, 0))


def test_several_devices_at_once_are_not_offered(qtbot: QtBot) -> None:
    chip = DeviceChip()
    qtbot.addWidget(chip)
    qtbot.waitUntil(lambda: bool(chip.menu().actions()), timeout=20_000)
    assert all("," not in action.text() for action in chip.menu().actions())


def test_a_mask_has_the_range_of_the_image(
    viewer: Any, panel: EnhancePanel, qtbot: QtBot, tmp_path: Path, truth: NDArray[np.uint8]
) -> None:
    steps = (Step("bright", "threshold", ("image",), {"at": 0.2}),)
    lens = Lens("mask", (Input("image", 3),), steps, (Output("bright", "bright"),), {})
    panel.options.values.box.setCurrentText("Custom")
    panel.options.values.white.setValue(250)
    choose(panel, lens, tmp_path / "mask.lens")
    assert panel.channels.outputs is None
    run(qtbot, panel)

    mask = viewer.layers["grains | x1 mask, bright"]
    np.testing.assert_array_equal(mask.data, np.where(truth > 0, 250, 0))
    assert tuple(mask.metadata["acuity"]["value_range"]) == (0, 250)


# The same in words


def test_the_same_in_python_and_as_a_command(
    viewer: Any,
    panel: EnhancePanel,
    qtbot: QtBot,
    tmp_path: Path,
    truth: NDArray[np.uint8],
    cli: Callable[..., Any],
) -> None:
    lens = Lens.of_kinds(KINDS, labelling=pix2pix(), magnifying=dict.fromkeys(KINDS, pix2pix(1)))
    path = lens.save(tmp_path / "pollen.lens")
    image = acuity.write(acuity.Micrograph(CLASSES[truth], rgb=True), tmp_path / "cell.tif")
    viewer.open(image, plugin="napari", rgb=True)
    panel.open_model(path)
    wait(qtbot, panel)
    wanted = acuity.enhance(CLASSES[truth], lens)["labels"].pixels

    held: dict[str, Any] = {"viewer": viewer}
    exec(panel._python(), held)
    assert list(held["results"]) == list(MADE)
    np.testing.assert_array_equal(held["labels"], wanted)
    assert "# 0 background, 1 spiny, 2 smooth" in panel._python()
    unfold(qtbot, panel)
    for name in ("magnified", "coloured"):
        tick(qtbot, panel.channels.outputs, name)
    exec(panel._python(), held)
    assert list(held["results"]) == ["labels", "only:spiny", "only:smooth"]

    done = cli(*panel._command().split()[1:])
    assert "cell-labels.tif" in done.out.split()
    np.testing.assert_array_equal(acuity.read(tmp_path / "cell-labels.tif").pixels, wanted)

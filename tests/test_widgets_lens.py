"""A lens in Enhance, driven as a user would: open it, choose layers, click, look at the layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QLabel

import napari_acuity as acuity
from enhance_panel import Brake, titles, use
from enhance_panel import model as full_model
from gui import click, names, opened, wait
from napari_acuity.core.lens import Lens
from napari_acuity.core.model import Model
from napari_acuity.widgets import _lenses
from napari_acuity.widgets._enhancing.lens_box import guess
from napari_acuity.widgets.enhance import EnhancePanel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from pytestqt.qtbot import QtBot

pytestmark = pytest.mark.usefixtures("fresh_models")

NAMES = ("actin", "mito", "tubulin")


@pytest.fixture(autouse=True)
def fresh_lenses() -> Iterator[None]:
    _lenses.lenses.clear()
    yield
    # Panels that Qt has yet to delete would begin to read another model.
    with _lenses.lenses.events.blocker_all():
        _lenses.lenses.clear()


@pytest.fixture
def viewer(make_napari_viewer_proxy: Callable[..., Any], tissue: NDArray[np.uint8]) -> Any:
    viewer = make_napari_viewer_proxy()
    for number, name in enumerate(NAMES):
        viewer.add_image(
            tissue[:30, :40, number],
            name=f"cell-{name}",
            scale=(0.5, 0.5),
            units=("um", "um"),
            translate=(3, 4),
        )
    return viewer


@pytest.fixture
def panel(viewer: Any, qtbot: QtBot) -> Iterator[EnhancePanel]:
    with opened(qtbot, EnhancePanel(viewer)) as panel:
        yield panel


def model(seed: int, channels: int = 1) -> Model:
    return Model.new("brightfield", seed=seed, channels=channels, width=6, blocks=1)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    models = {name: model(number) for number, name in enumerate(NAMES)}
    return Lens.of_channels(models, name="stains").save(tmp_path / "stains")


@pytest.fixture
def ensemble(tmp_path: Path) -> Path:
    return Lens.ensemble([model(seed) for seed in range(3)]).save(tmp_path / "seeds")


def open_lens(qtbot: QtBot, panel: EnhancePanel, path: Path) -> None:
    panel.open_model(path)
    wait(qtbot, panel)


def chosen(panel: EnhancePanel) -> dict[str, str]:
    return {name: each.currentText() for name, each in panel.channels.choosers.items()}


def test_a_bundle_adds_a_layer_for_each_channel_and_the_merged_one(
    viewer: Any, panel: EnhancePanel, qtbot: QtBot, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(bundle), ""))
    qtbot.mouseClick(panel.browse, Qt.MouseButton.LeftButton)
    wait(qtbot, panel)

    assert panel.model.currentText() == "stains (lens)"
    assert panel.channels.isVisible() and not panel.image.isVisible()
    assert chosen(panel) == {name: f"cell-{name}" for name in NAMES}
    assert "x2.5, 3 models; takes actin, mito, tubulin; makes actin" in panel.facts.text()
    assert "75 x 100 pixels" in panel.facts.text()

    click(qtbot, panel.job.button)
    wait(qtbot, panel)

    assert names(viewer)[3:] == [
        *(f"cell-{name} | x2.5 stains, {name}" for name in NAMES),
        "cell-actin + 2 | x2.5 stains, merged",
    ]
    planes = {name: viewer.layers[f"cell-{name}"].data for name in NAMES}
    found = acuity.enhance(planes, bundle)
    source = viewer.layers[0]
    for layer, (name, expected) in zip(list(viewer.layers)[3:], found.items(), strict=True):
        np.testing.assert_array_equal(layer.data, expected.pixels)
        assert layer.rgb == (name == "merged")
        assert layer.blending == ("translucent" if layer.rgb else "additive")
        assert layer.visible
        np.testing.assert_allclose(
            layer.data_to_world((-0.5, 99.5)), source.data_to_world((-0.5, 39.5))
        )
        told = layer.metadata["acuity"]
        assert told["verb"] == "enhance"
        assert told["parameters"]["output"] == name
        assert told["parameters"]["model"] == str(bundle)
        assert told["parameters"]["image"]["mito"] == "cell-mito"
    top = viewer.layers[3].colormap.map(np.array([1.0]))[0]
    np.testing.assert_allclose(top, (1, 0, 1, 1), atol=0.01)
    assert "Made 4 layers" in panel.job.outcome.text()
    # The results do not become the next inputs by themselves.
    assert chosen(panel) == {name: f"cell-{name}" for name in NAMES}


def test_an_ensemble_adds_its_mean_and_hides_the_disagreement(
    viewer: Any, panel: EnhancePanel, qtbot: QtBot, ensemble: Path
) -> None:
    open_lens(qtbot, panel, ensemble)
    panel.image.choose(viewer.layers["cell-mito"])
    assert panel.image.isVisible() and not panel.channels.choosers

    click(qtbot, panel.job.button)
    wait(qtbot, panel)

    mean, spread = list(viewer.layers)[3:]
    assert (mean.name, spread.name) == (
        "cell-mito | x2.5 seeds, mean",
        "cell-mito | x2.5 seeds, disagreement",
    )
    found = acuity.enhance(viewer.layers["cell-mito"].data, ensemble)
    np.testing.assert_array_equal(mean.data, found["mean"].pixels)
    np.testing.assert_array_equal(spread.data, found["disagreement"].pixels)
    assert mean.visible and not spread.visible
    assert spread.colormap.name == "inferno"
    low, high = viewer.layers["cell-mito"].contrast_limits
    assert tuple(spread.contrast_limits) == pytest.approx((0, 0.1 * (high - low)))


def test_what_a_lens_cannot_be_asked_for_is_off(
    viewer: Any, panel: EnhancePanel, qtbot: QtBot, ensemble: Path
) -> None:
    open_lens(qtbot, panel, ensemble)
    options = panel.options
    only_models = (
        *(options.iterations, options.finer, options.generations, options.guard, options.stop),
        *(options.dtype, options.keep_part, options.zarr, panel.folder, panel.save),
    )
    for widget in only_models:
        assert not widget.isEnabled()
        assert "lens" in widget.toolTip()
    for widget in (options.tile, options.exact):
        assert widget.isEnabled()

    use(panel, full_model(channels=1))

    assert panel.image.isVisible()
    for widget in (options.iterations, options.dtype, options.zarr, panel.folder):
        assert widget.isEnabled()
        assert "lens" not in widget.toolTip()
    assert "tile by tile" in panel.job.button.toolTip()


def test_layers_are_chosen_by_hand(
    viewer: Any, panel: EnhancePanel, qtbot: QtBot, bundle: Path
) -> None:
    open_lens(qtbot, panel, bundle)
    choosers = panel.channels.choosers

    choosers["mito"].choose(viewer.layers["cell-actin"])
    assert not panel.job.button.isEnabled()
    assert "'actin' and 'mito' are the same layer" in panel.job.button.toolTip()
    choosers["actin"].choose(viewer.layers["cell-mito"])
    click(qtbot, panel.job.button)
    wait(qtbot, panel)

    swapped = acuity.enhance(viewer.layers["cell-mito"].data, model(0))
    np.testing.assert_array_equal(viewer.layers[3].data, swapped.pixels)
    assert viewer.layers[3].name == "cell-mito | x2.5 stains, actin"


def test_a_channel_without_a_layer_is_named(
    viewer: Any, panel: EnhancePanel, qtbot: QtBot, bundle: Path
) -> None:
    del viewer.layers["cell-mito"]
    open_lens(qtbot, panel, bundle)

    assert not panel.job.button.isEnabled()
    assert "Open an image for the channel 'mito' first" in panel.job.button.toolTip()
    viewer.add_image(np.eye(30, 44), name="new")
    assert chosen(panel)["mito"] == "new"
    assert "'new' 30 x 44. Register them first" in panel.job.button.toolTip()
    viewer.layers["new"].data = np.eye(30, 40)
    viewer.layers["new"].name = "renamed"
    assert panel.job.button.isEnabled()
    del viewer.layers["renamed"]
    viewer.add_image(np.zeros((30, 40, 3), np.uint8), name="colour", rgb=True)
    assert "takes grey images, and 'colour' is RGB" in panel.job.button.toolTip()


def test_rows_of_the_lens_before_are_gone(
    viewer: Any, panel: EnhancePanel, qtbot: QtBot, bundle: Path, ensemble: Path
) -> None:
    for path in (bundle, ensemble, bundle):
        open_lens(qtbot, panel, path)
    qtbot.wait(50)  # Qt deletes later

    viewer.layers["cell-mito"].name = "other"
    viewer.add_image(np.eye(30, 40), name="fourth")
    del viewer.layers["fourth"]

    assert chosen(panel)["mito"] == "other"
    labels = [label.text() for label in panel.channels.findChildren(QLabel)]
    assert sorted(labels) == sorted(NAMES)


def test_pixels_of_another_size_are_told(
    viewer: Any, panel: EnhancePanel, qtbot: QtBot, tmp_path: Path
) -> None:
    lens = Lens.ensemble([full_model(1, 0.25), model(3)]).save(tmp_path / "x")
    open_lens(qtbot, panel, lens)

    assert "Caution: the pixels of 'cell-tubulin' are 2 times those" in panel.facts.text()
    assert panel.job.button.isEnabled()


def test_12_bit_data_need_their_range(
    viewer: Any, panel: EnhancePanel, qtbot: QtBot, bundle: Path, notes: list[str]
) -> None:
    for layer in list(viewer.layers):
        layer.data = layer.data.astype(np.uint16) * 16
        layer.contrast_limits = (0, 4000)
    open_lens(qtbot, panel, bundle)
    click(qtbot, panel.job.button)
    wait(qtbot, panel)
    assert "looks like 12-bit data" in notes[0]
    assert len(viewer.layers) == 3

    panel.options.values.box.setCurrentText("12 bit, 0 to 4095")
    click(qtbot, panel.job.button)
    wait(qtbot, panel)

    made = viewer.layers["cell-mito | x2.5 stains, mito"]
    assert made.data.dtype == np.uint16
    assert tuple(made.metadata["acuity"]["value_range"]) == (0, 4095)
    assert tuple(made.contrast_limits) == (0, 4000)
    merged = viewer.layers["cell-actin + 2 | x2.5 stains, merged"]
    assert merged.data.dtype == np.uint8
    assert "value_range" not in merged.metadata["acuity"]


def test_copy_as_python_runs(
    viewer: Any, panel: EnhancePanel, qtbot: QtBot, bundle: Path, ensemble: Path
) -> None:
    for path, made in ((bundle, [*NAMES, "merged"]), (ensemble, ["mean", "disagreement"])):
        open_lens(qtbot, panel, path)
        for values in ("Auto (data type)", "Layer's contrast limits"):
            panel.options.values.box.setCurrentText(values)
            held: dict[str, Any] = {"viewer": viewer}
            exec(panel._python(), held)
            assert list(held["results"]) == made
    del viewer.layers[:]
    assert panel._python() == ""


def test_copy_as_command(
    make_napari_viewer_proxy: Callable[..., Any],
    qtbot: QtBot,
    ensemble: Path,
    bundle: Path,
    tmp_path: Path,
    tissue: NDArray[np.uint8],
    cli: Callable[..., Any],
) -> None:
    viewer = make_napari_viewer_proxy()
    image = acuity.write(acuity.Micrograph(tissue[:30, :40, 0]), tmp_path / "cell.tif")
    viewer.open(image, plugin="napari")
    with opened(qtbot, EnhancePanel(viewer)) as panel:
        open_lens(qtbot, panel, ensemble)
        command = panel._command()
        open_lens(qtbot, panel, bundle)
        assert panel._command() == ""

    assert command.startswith(f"acuity enhance {image} --model {ensemble} --out cell.tif")
    assert cli(*command.split()[1:]).out.split() == ["cell-mean.tif", "cell-disagreement.tif"]


def test_cancel_leaves_no_layer(
    viewer: Any,
    panel: EnhancePanel,
    qtbot: QtBot,
    bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    open_lens(qtbot, panel, bundle)
    brake = Brake(monkeypatch)
    click(qtbot, panel.job.button)
    qtbot.waitUntil(lambda: panel.job.stage.text() == "actin enhanced", timeout=20_000)

    click(qtbot, panel.job.button)
    brake.release()
    wait(qtbot, panel)

    assert len(viewer.layers) == 3
    assert "Cancelled" in panel.job.outcome.text()


def test_a_lens_used_before_is_offered_after_a_restart(
    viewer: Any, panel: EnhancePanel, qtbot: QtBot, bundle: Path
) -> None:
    open_lens(qtbot, panel, bundle)
    _lenses.lenses.clear()

    with opened(qtbot, EnhancePanel(viewer)) as later:
        assert titles(later)[0] == "stains (lens)"
        later.model.setCurrentIndex(0)
        qtbot.waitUntil(lambda: not later.model.reading, timeout=60_000)
        assert later.model.lens is not None
        assert later.known is None
        assert later.channels.isVisible()


def test_a_damaged_lens_gives_a_notification(
    panel: EnhancePanel, qtbot: QtBot, tmp_path: Path, notes: list[str]
) -> None:
    path = tmp_path / "broken.lens"
    path.write_bytes(b"no lens")

    open_lens(qtbot, panel, path)

    assert "broken.lens is damaged or no lens" in notes[0]
    assert titles(panel) == ["Bright-field (shipped)"]


def test_several_channels_in_one_layer(
    viewer: Any, panel: EnhancePanel, qtbot: QtBot, tmp_path: Path
) -> None:
    lens = Lens.ensemble([model(seed, channels=2) for seed in range(2)]).save(tmp_path / "two")
    stack = np.random.default_rng(0).integers(0, 255, (2, 30, 32), dtype=np.uint8)
    panel.image.choose(viewer.add_image(stack, name="stack", scale=(2, 0.5, 0.5)))
    open_lens(qtbot, panel, lens)

    click(qtbot, panel.job.button)
    wait(qtbot, panel)

    assert viewer.layers["stack | x2.5 two, mean"].data.shape == (2, 75, 80)
    spread = viewer.layers["stack | x2.5 two, disagreement"]
    assert spread.data.shape == (1, 75, 80)
    np.testing.assert_allclose(spread.scale, (2, 0.2, 0.2))


class Named:
    """What `guess` reads of a layer."""

    def __init__(self, name: str) -> None:
        self.name = name


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (["a", "b", "c"], ["a", "b", "c"]),
        (
            ["x_Tubulin.tif", "ACTIN 488", "the mito one"],
            ["ACTIN 488", "the mito one", "x_Tubulin.tif"],
        ),
        (["one", "mito", "two"], ["one", "mito", "two"]),
        (["factin", "mitoses", "tubulin"], ["factin", "mitoses", "tubulin"]),
        (["tubulin", "x"], ["x", None, "tubulin"]),
        ([], [None, None, None]),
    ],
)
def test_layers_are_guessed_by_name_then_by_order(
    layers: list[str], expected: list[str | None]
) -> None:
    found = guess(list(NAMES), [Named(name) for name in layers])  # type: ignore[misc]

    assert [found[name].name if name in found else None for name in NAMES] == expected

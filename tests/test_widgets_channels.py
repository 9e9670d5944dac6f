"""Images of several channels in the panels: trained on from a folder, and enhanced."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from enhance_panel import use
from gui import click, names, opened, wait
from napari_acuity import Micrograph, Model, Pair, PairSet, load
from napari_acuity.core.inference.capture import Capture
from napari_acuity.widgets.enhance import EnhancePanel
from napari_acuity.widgets.train import TrainPanel
from training_panel import TINY, choose, halved, wait_for_look

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from pytestqt.qtbot import QtBot

pytestmark = pytest.mark.usefixtures("fresh_models", "training_session")


@pytest.fixture
def folder(tmp_path: Path, tissue: NDArray[np.uint8]) -> Path:
    """Three fields of two channels, and their halves."""
    pairs = PairSet.open(tmp_path / "stains")
    for number, left in enumerate((0, 150, 300)):
        high = tissue[100:196, left : left + 96]
        low, high = (np.moveaxis(image[..., :2], -1, 0) for image in (halved(high), high))
        pair = Pair(Micrograph(low), Micrograph(high), 2, name=f"field-{number}", channels=2)
        pairs.add(pair)
    return pairs.folder


def test_channels_are_trained_on_from_a_folder(
    viewer: Any, qtbot: QtBot, folder: Path, tmp_path: Path
) -> None:
    TINY.save(tmp_path / "tiny.toml")
    replace(TINY, augmentation={"jpeg": [50, 90]}).save(tmp_path / "jpeg.toml")
    replace(TINY, network_arguments={"channels": 3}).save(tmp_path / "rgb.toml")
    with opened(qtbot, TrainPanel(viewer)) as panel:
        for name, problem in {
            "jpeg": "the pairs are 2-channel",
            "rgb": "with channels = 2",
        }.items():
            panel.recipe.open(tmp_path / f"{name}.toml")
            choose(qtbot, panel, folder)
            assert problem in panel.pairs.summary.text()
        panel.recipe.open(tmp_path / "tiny.toml")
        wait_for_look(qtbot, panel)
        assert panel.pairs.summary.text().startswith("3 fields, x2, 2-channel; ")
        panel.unit.setCurrentIndex(1)
        panel.amount.setValue(2)
        panel.out.setText(str(tmp_path / "run"))

        click(qtbot, panel.job.button)
        qtbot.waitUntil(lambda: panel.run.folder is not None, timeout=60_000)
        qtbot.waitUntil(lambda: not panel.run.going, timeout=60_000)

        assert load(tmp_path / "run" / "best.safetensors").channels == 2
        assert viewer.layers["training | truth"].data.ndim == 2


def test_layers_of_channels_are_told_how_they_are_trained_on(viewer: Any, qtbot: QtBot) -> None:
    for name in ("low", "high"):
        viewer.add_image(np.zeros((4, 40, 40), np.uint8), name=name)
    with opened(qtbot, TrainPanel(viewer)) as panel:
        panel.pairs.kind.setCurrentIndex(1)
        wait_for_look(qtbot, panel)

        assert "choose Two layers of channels" in panel.pairs.summary.text()


def test_where_channels_may_be_invented_is_shown_at_each(
    viewer: Any, qtbot: QtBot, tissue: NDArray[np.uint8]
) -> None:
    pixels = np.ascontiguousarray(np.moveaxis(tissue[:40, :50, :2], -1, 0))
    viewer.add_image(pixels, name="stains", scale=(1, 0.6, 0.6), units=("um",) * 3)
    made = Model.new("brightfield", channels=2, width=4, blocks=1)
    capture = asdict(Capture(1.0, ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)), 0.01))
    with opened(qtbot, EnhancePanel(viewer)) as panel:
        use(panel, replace(made, header=replace(made.header, capture=capture), name="two"))
        panel.options.guard.click()

        click(qtbot, panel.job.button)
        wait(qtbot, panel)

        shown = names(viewer)[1:]
        assert shown == [
            "stains | x2.5 two",
            "stains | disagreement",
            "stains | consistency",
        ]
        for name in shown:
            assert viewer.layers[name].data.shape == (2, 100, 125)
        first, second = viewer.layers["stains | consistency"].data
        np.testing.assert_array_equal(first, second)


def test_three_channels_are_enhanced_by_a_model_of_them_and_not_by_one_of_colours(
    viewer: Any, qtbot: QtBot, tissue: NDArray[np.uint8]
) -> None:
    pixels = np.ascontiguousarray(np.moveaxis(tissue[:40, :50], -1, 0))
    viewer.add_image(pixels, name="stains", rgb=False)
    made = Model.new("brightfield", channels=3, width=4, blocks=1)
    with opened(qtbot, EnhancePanel(viewer)) as panel:
        use(panel, replace(made, name="colours"))
        assert not panel.job.button.isEnabled()
        assert "takes RGB images" in panel.job.button.toolTip()
        use(panel, replace(made, header=replace(made.header, rgb=False), name="three"))

        click(qtbot, panel.job.button)
        wait(qtbot, panel)

        assert viewer.layers["stains | x2.5 three"].data.shape == (3, 100, 125)

"""Enhance: the dialog Folder... does every image it can, and says what became of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtWidgets import QFileDialog

import napari_acuity as acuity
from enhance_panel import Brake, model, use
from gui import click, opened
from napari_acuity.core.inference import enhance as engine
from napari_acuity.widgets.enhance import EnhancePanel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from pytestqt.qtbot import QtBot

    from napari_acuity.widgets._enhancing.folder_dialog import FolderDialog


pytestmark = pytest.mark.usefixtures("fresh_models")


@pytest.fixture
def panel(make_napari_viewer_proxy: Callable[..., Any], qtbot: QtBot) -> Iterator[EnhancePanel]:
    with opened(qtbot, EnhancePanel(make_napari_viewer_proxy())) as panel:
        use(panel, model())
        yield panel
        if panel.folder_dialog is not None:
            panel.folder_dialog.close()
            qtbot.waitUntil(lambda: not panel.folder_dialog.job.running, timeout=30_000)


@pytest.fixture
def images(tmp_path: Path, tissue: NDArray[np.uint8]) -> Path:
    """Return a folder with two images, one of another kind, one that is cut short, and a note."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(2):
        pixels = tissue[40 * number :][:40, :50]
        image = acuity.Micrograph(pixels, (0.6, 0.6), rgb=True)
        acuity.write(image, folder / f"field-{number}.tif")
    acuity.write(tissue[:40, :50, 0].copy(), folder / "grey.png")
    whole = (folder / "field-0.tif").read_bytes()
    (folder / "short.TIF").write_bytes(whole[: len(whole) // 2])
    (folder / "notes.txt").write_text("no image")
    return folder


def dialog_for(qtbot: QtBot, panel: EnhancePanel, source: Path, target: Path) -> FolderDialog:
    click(qtbot, panel.folder)
    dialog = panel.folder_dialog
    assert dialog is not None and dialog.isVisible()
    dialog.source.setText(str(source))
    dialog.target.setText(str(target))
    return dialog


def wait(qtbot: QtBot, dialog: FolderDialog) -> None:
    qtbot.waitUntil(lambda: not dialog.job.running, timeout=60_000)


def test_every_image_is_done_and_what_fails_is_listed(
    panel: EnhancePanel, images: Path, tmp_path: Path, qtbot: QtBot
) -> None:
    out = tmp_path / "results"
    dialog = dialog_for(qtbot, panel, images, out)
    assert "4 images" in dialog.found.text()

    click(qtbot, dialog.job.button)
    wait(qtbot, dialog)

    assert {path.name for path in out.iterdir()} == {"field-0-x2.5.tif", "field-1-x2.5.tif"}
    made = acuity.read(out / "field-1-x2.5.tif")
    once = engine.enhance(acuity.read(images / "field-1.tif"), panel.known.model)
    assert np.abs(made.pixels.astype(int) - once.pixels).max() <= 1
    assert made.pixel_size == pytest.approx((0.24, 0.24))
    assert "2 written. 2 failed: grey.png, short.TIF." in dialog.job.outcome.text()
    details = dialog.job.details_text.toPlainText()
    assert "failed: grey.png: Model 'lung' takes RGB images, and 'grey' is grey." in details
    assert "failed: short.TIF: " in details


def test_results_that_are_there_stay_as_they_are(
    panel: EnhancePanel, images: Path, qtbot: QtBot
) -> None:
    dialog = dialog_for(qtbot, panel, images, images)
    dialog.pattern.setText("field-*")
    (images / "field-0-x2.5.tif").write_bytes(b"precious")

    for _ in range(2):
        click(qtbot, dialog.job.button)
        wait(qtbot, dialog)

    assert (images / "field-0-x2.5.tif").read_bytes() == b"precious"
    assert sorted(path.name for path in images.glob("field-*")) == [
        "field-0-x2.5.tif",
        "field-0.tif",
        "field-1-x2.5.tif",
        "field-1.tif",
    ]
    assert "0 written. 2 left out, as their result is there." in dialog.job.outcome.text()


def test_the_options_of_the_panel_hold(
    panel: EnhancePanel, images: Path, tmp_path: Path, qtbot: QtBot
) -> None:
    panel.options.iterations.setValue(2)
    panel.options.dtype.setCurrentText("16 bit")
    dialog = dialog_for(qtbot, panel, images, tmp_path / "results")
    dialog.pattern.setText("field-0.tif")

    click(qtbot, dialog.job.button)
    wait(qtbot, dialog)

    made = acuity.read(tmp_path / "results" / "field-0-x6.25.tif")
    assert made.pixels.dtype == np.uint16
    assert made.shape == (250, 313)


def test_cancelled_it_leaves_whole_files_only(
    panel: EnhancePanel, images: Path, tmp_path: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    brake = Brake(monkeypatch)
    dialog = dialog_for(qtbot, panel, images, tmp_path / "results")
    click(qtbot, dialog.job.button)
    qtbot.waitUntil(lambda: "tile 1 of 1" in dialog.job.stage.text(), timeout=30_000)

    click(qtbot, dialog.job.button)
    brake.release()
    wait(qtbot, dialog)

    assert len(list((tmp_path / "results").iterdir())) <= 1
    assert dialog.job.button.text() == "Enhance all"


def test_it_says_what_is_missing(
    panel: EnhancePanel, images: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    click(qtbot, panel.folder)
    dialog = panel.folder_dialog
    assert dialog is not None
    assert "folder of the images" in dialog.found.text()
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(images))
    dialog._browse(dialog.source, "Images in")
    assert "folder for the results" in dialog.job.button.toolTip()
    dialog.pattern.setText("*.lif")
    assert "No image" in dialog.job.button.toolTip()


def test_images_that_are_called_like_results_are_done_too(
    panel: EnhancePanel, images: Path, tmp_path: Path, qtbot: QtBot
) -> None:
    (images / "field-0.tif").rename(images / "field-0-x2.5.tif")
    dialog = dialog_for(qtbot, panel, images, tmp_path / "results")
    dialog.pattern.setText("field-*")

    click(qtbot, dialog.job.button)
    wait(qtbot, dialog)

    assert "2 written." in dialog.job.outcome.text()
    assert (tmp_path / "results" / "field-0-x2.5-x2.5.tif").exists()


def test_without_a_layer_range_and_resampling_are_those_of_the_panel(
    panel: EnhancePanel, images: Path, tmp_path: Path, qtbot: QtBot
) -> None:
    use(panel, model(pixel_size=1.2))
    panel.resample.setChecked(True)
    panel.options.values.box.setCurrentText("Custom")
    panel.options.values.white.setValue(100)
    dialog = dialog_for(qtbot, panel, images, tmp_path / "results")
    dialog.pattern.setText("field-0.tif")
    assert "are resampled to it first" in dialog.found.text()

    click(qtbot, dialog.job.button)
    wait(qtbot, dialog)

    made = acuity.read(tmp_path / "results" / "field-0-x2.5.tif")
    assert made.shape == (50, 63) and made.pixels.max() <= 100
    panel.options.values.box.setCurrentText("Layer's contrast limits")
    assert panel._settings().value_range is None

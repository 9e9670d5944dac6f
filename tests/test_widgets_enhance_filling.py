"""Enhance: the result fills in while the job runs, and what becomes of it when it is stopped."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtWidgets import QFileDialog, QMessageBox

from enhance_panel import Brake, model, use
from gui import click, names, opened, wait
from napari_acuity import read
from napari_acuity.core.inference import enhance as engine
from napari_acuity.widgets._enhancing import canvas as canvas_module
from napari_acuity.widgets._enhancing.canvas import Canvas
from napari_acuity.widgets.enhance import EnhancePanel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from pytestqt.qtbot import QtBot


pytestmark = pytest.mark.usefixtures("fresh_models")


@pytest.fixture
def viewer(make_napari_viewer_proxy: Callable[..., Any], tissue: NDArray[np.uint8]) -> Any:
    viewer = make_napari_viewer_proxy()
    viewer.add_image(tissue[:64, :256], name="phone", scale=(0.6, 0.6), units=("um", "um"))
    return viewer


@pytest.fixture
def panel(viewer: Any, qtbot: QtBot) -> Iterator[EnhancePanel]:
    with opened(qtbot, EnhancePanel(viewer)) as panel:
        use(panel, model())
        panel.options.tile.setValue(64)  # four tiles side by side
        yield panel


@pytest.fixture
def brake(monkeypatch: pytest.MonkeyPatch) -> Brake:
    return Brake(monkeypatch)


def painted(layer: Any, below: NDArray[np.uint8] | None = None) -> list[bool]:
    """Say of each of the four tiles whether it is there, rather than zeros or what lies below."""
    under = np.zeros_like(layer.data) if below is None else below
    tiles = (np.array_split(pixels, 4, axis=1) for pixels in (layer.data, under))
    return [bool((tile != empty).any()) for tile, empty in zip(*tiles, strict=True)]


def enlarged(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image 2.5 times as large, each pixel the nearest; where two are, the one OpenCV takes."""
    size = [round(2.5 * n) for n in image.shape[1::-1]]
    return cv2.resize(image, size, interpolation=cv2.INTER_NEAREST_EXACT)


def test_the_result_is_there_at_once_and_fills_in_from_where_the_viewer_looks(
    viewer: Any, panel: EnhancePanel, brake: Brake, qtbot: QtBot
) -> None:
    image = viewer.layers["phone"]
    viewer.scene.camera.center = (0, 20, 0.6 * 250)
    viewer.scene.camera.zoom = 11
    viewer.layers.selection = {image}
    camera = viewer.scene.camera.center

    click(qtbot, panel.job.button)

    result = viewer.layers["phone | x2.5 lung"]
    assert result.data.shape == (160, 640, 3)
    assert painted(result) == [False] * 4
    assert not result.visible
    assert tuple(result.contrast_limits) == tuple(image.contrast_limits)
    np.testing.assert_allclose(
        result.data_to_world((-0.5, -0.5)), image.data_to_world((-0.5, -0.5))
    )
    below = enlarged(image.data)
    qtbot.waitUntil(lambda: painted(result, below) == [False, False, False, True], timeout=30_000)
    qtbot.waitUntil(lambda: result.visible, timeout=30_000)
    brake.release(1)
    qtbot.waitUntil(lambda: painted(result, below) == [False, False, True, True], timeout=30_000)
    brake.release()
    wait(qtbot, panel)
    whole = engine.enhance(image.data, panel.known.model, tile=None).pixels
    assert np.abs(result.data.astype(int) - whole).max() <= 1
    assert viewer.layers.selection == {image}
    assert viewer.scene.camera.center == camera
    assert viewer.scene.camera.zoom == 11


def test_what_is_done_is_kept_when_cancelled_if_wished(
    viewer: Any, panel: EnhancePanel, brake: Brake, qtbot: QtBot
) -> None:
    panel.options.keep_part.setChecked(True)
    click(qtbot, panel.job.button)
    result, below = viewer.layers["phone | x2.5 lung"], enlarged(viewer.layers["phone"].data)
    qtbot.waitUntil(lambda: sum(painted(result, below)) == 1, timeout=30_000)

    click(qtbot, panel.job.button)
    brake.release()
    wait(qtbot, panel)

    assert names(viewer) == ["phone", "phone | x2.5 lung (part)"]
    assert 0 < sum(painted(result)) < 4
    assert "kept in 'phone | x2.5 lung (part)'" in panel.job.outcome.text()
    assert result.metadata["acuity"]["part"]
    assert panel.save.isEnabled()
    viewer.layers.remove(result)
    assert "was removed" in panel.save.toolTip()


@pytest.mark.parametrize("grid", ["finer", "same"])
@pytest.mark.parametrize("generations", [True, False])
def test_of_several_iterations_the_latest_that_is_whole_is_kept_when_cancelled(
    generations: bool, grid: str, viewer: Any, panel: EnhancePanel, brake: Brake, qtbot: QtBot
) -> None:
    """Of the last iteration no tile was painted yet."""
    options = panel.options
    options.keep_part.setChecked(True)
    options.iterations.setValue(3)
    options.generations.setChecked(generations)
    getattr(options, grid).setChecked(True)
    click(qtbot, panel.job.button)
    tiles = 4
    brake.release(tiles + 3)  # into the second iteration
    qtbot.waitUntil(lambda: "iteration 2" in panel.job.stage.text(), timeout=60_000)

    click(qtbot, panel.job.button)
    brake.release()
    wait(qtbot, panel)

    image, result = viewer.layers
    assert result.name == "phone | x2.5 lung, generation 1"
    qtbot.waitUntil(lambda: result.visible)
    first = engine.enhance(image.data, panel.known.model, tile=None).pixels
    assert np.abs(result.data.astype(int) - first).max() <= 1
    np.testing.assert_allclose(
        result.data_to_world((-0.5, -0.5)), image.data_to_world((-0.5, -0.5))
    )
    assert "kept in 'phone | x2.5 lung, generation 1'" in panel.job.outcome.text()
    assert panel.save.isEnabled()


def test_of_the_last_iteration_the_part_is_kept_above_the_latest_that_is_whole(
    viewer: Any, panel: EnhancePanel, brake: Brake, qtbot: QtBot
) -> None:
    panel.options.keep_part.setChecked(True)
    panel.options.iterations.setValue(2)
    click(qtbot, panel.job.button)
    brake.release(4 + 3)
    qtbot.waitUntil(lambda: "iteration 2 of 2, tile" in panel.job.stage.text(), timeout=60_000)

    click(qtbot, panel.job.button)
    brake.release()
    wait(qtbot, panel)

    _, whole, part = viewer.layers
    assert (
        whole.name == "phone | x2.5 lung, generation 1" and whole.metadata["acuity"]["generation"]
    )
    assert part.name == "phone | x6.25 lung (part)"
    assert 0 < np.count_nonzero(part.data) < part.data.size / 4
    assert f"kept in '{whole.name}' and '{part.name}'" in panel.job.outcome.text()


@pytest.mark.parametrize("iterations", [1, 2])
def test_nothing_is_kept_of_a_run_cancelled_before_there_is_anything(
    iterations: int, viewer: Any, panel: EnhancePanel, brake: Brake, qtbot: QtBot
) -> None:
    panel.options.keep_part.setChecked(True)
    panel.options.iterations.setValue(iterations)
    click(qtbot, panel.job.button)

    click(qtbot, panel.job.button)
    brake.release()
    wait(qtbot, panel)

    assert names(viewer) == ["phone"]
    assert "nothing was changed" in panel.job.outcome.text()


def test_generations_stay_when_cancelled_and_are_told_of(
    viewer: Any, panel: EnhancePanel, brake: Brake, qtbot: QtBot
) -> None:
    panel.options.iterations.setValue(2)
    panel.options.generations.setChecked(True)
    click(qtbot, panel.job.button)
    brake.release(7)
    qtbot.waitUntil(lambda: len(viewer.layers) == 3, timeout=60_000)

    click(qtbot, panel.job.button)
    brake.release()
    wait(qtbot, panel)

    assert names(viewer) == ["phone", "phone | x2.5 lung, generation 1"]
    assert "kept in 'phone | x2.5 lung, generation 1'" in panel.job.outcome.text()


def test_a_run_to_ome_zarr_that_is_cancelled_says_what_stays(
    viewer: Any,
    panel: EnhancePanel,
    qtbot: QtBot,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("ome_zarr")
    from napari_acuity.core.inference.large import enhance

    go_on, steps = threading.Semaphore(0), enhance.enhance_large_steps

    def slow(*args: Any, **how: Any) -> Any:
        inner = steps(*args, **how)
        try:
            while True:
                event = next(inner)
                yield event
                if event.stage.startswith("tile"):
                    go_on.acquire(timeout=20)
        except StopIteration as end:
            return end.value
        finally:
            inner.close()

    monkeypatch.setattr(enhance, "enhance_large_steps", slow)
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "a"), ""))
    panel.options.zarr.click()
    click(qtbot, panel.job.button)
    qtbot.waitUntil(lambda: panel.job.stage.text().startswith("tile"), timeout=30_000)

    click(qtbot, panel.job.button)
    go_on.release(1000)
    wait(qtbot, panel)

    assert (tmp_path / ".a.zarr.unfinished").is_dir()
    words = panel.job.outcome.text()
    assert str(tmp_path / ".a.zarr.unfinished") in words and "the same again goes on." in words
    assert "nothing was changed" not in words


def test_a_result_removed_meanwhile_ends_the_job(
    viewer: Any, panel: EnhancePanel, brake: Brake, qtbot: QtBot, notes: list[str]
) -> None:
    click(qtbot, panel.job.button)
    result = viewer.layers["phone | x2.5 lung"]
    qtbot.waitUntil(lambda: any(painted(result)), timeout=30_000)

    viewer.layers.remove(result)
    brake.release()
    wait(qtbot, panel)

    assert names(viewer) == ["phone"]
    assert "its layer was removed" in panel.job.outcome.text()
    assert notes == []


def test_the_image_may_be_renamed_and_removed_meanwhile(
    viewer: Any, panel: EnhancePanel, brake: Brake, qtbot: QtBot, notes: list[str]
) -> None:
    click(qtbot, panel.job.button)
    qtbot.waitUntil(lambda: panel.job.stage.text().startswith("tile"), timeout=30_000)

    viewer.layers["phone"].name = "another"
    viewer.layers.remove("another")
    brake.release()
    wait(qtbot, panel)

    assert names(viewer) == ["phone | x2.5 lung"]
    assert all(painted(viewer.layers[0]))
    assert notes == []


def test_a_failure_leaves_no_layer(viewer: Any, panel: EnhancePanel, qtbot: QtBot) -> None:
    viewer.layers["phone"].data = np.full((64, 256, 3), 7, dtype=np.uint8)

    click(qtbot, panel.job.button)
    wait(qtbot, panel)

    assert names(viewer) == ["phone"]
    assert "nothing to see" in panel.job.outcome.text()
    notification_manager.records.clear()


def test_the_plane_shown_comes_first(viewer: Any, panel: EnhancePanel, qtbot: QtBot) -> None:
    stack = np.random.default_rng(0).integers(0, 255, (2, 3, 32, 34), dtype=np.uint8)
    panel.image.choose(viewer.add_image(stack, name="stack"))
    use(panel, model(channels=1))
    viewer.dims.set_point((0, 1), (1, 2))
    seen = list[int]()
    put = Canvas.put

    def noted(canvas: Canvas, index: tuple[Any, ...], pixels: NDArray[Any]) -> None:
        seen.append(index[0])
        put(canvas, index, pixels)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Canvas, "put", noted)
        click(qtbot, panel.job.button)
        wait(qtbot, panel)

    assert seen == [5, 4, 3, 2, 1, 0]
    assert viewer.layers["stack | x2.5 lung"].data.shape == (2, 3, 80, 85)
    assert tuple(viewer.dims.current_step[:2]) == (1, 2)


def test_the_finest_level_of_a_multiscale_layer_is_used(
    viewer: Any, panel: EnhancePanel, tissue: NDArray[np.uint8], qtbot: QtBot
) -> None:
    levels = [tissue[:64, :80], tissue[:64:2, :80:2]]
    panel.image.choose(viewer.add_image(levels, multiscale=True, name="slide"))

    click(qtbot, panel.job.button)
    wait(qtbot, panel)

    result = viewer.layers["slide | x2.5 lung"]
    whole = engine.enhance(tissue[:64, :80], panel.known.model).pixels
    assert np.abs(result.data.astype(int) - whole).max() <= 1


def test_a_large_result_has_coarser_levels(
    viewer: Any, panel: EnhancePanel, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(canvas_module, "_LARGEST_WHOLE_PX", 100)
    monkeypatch.setattr(canvas_module, "_COARSEST_PX", 200)

    click(qtbot, panel.job.button)
    wait(qtbot, panel)

    result = viewer.layers["phone | x2.5 lung"]
    assert result.multiscale
    assert [level.shape[:2] for level in result.data] == [(160, 640), (80, 320), (40, 160)]
    fine, coarse = (np.asarray(level, dtype=float) for level in result.data[:2])
    means = fine.reshape(80, 2, 320, 2, 3).mean(axis=(1, 3))
    assert np.abs(means - coarse).max() <= 0.5


def test_a_large_result_is_saved_with_its_pixel_size(
    viewer: Any,
    panel: EnhancePanel,
    qtbot: QtBot,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(canvas_module, "_LARGEST_WHOLE_PX", 100)
    monkeypatch.setattr(canvas_module, "_COARSEST_PX", 200)
    path = tmp_path / "result.tif"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    assert not panel.save.isEnabled()
    click(qtbot, panel.job.button)
    wait(qtbot, panel)

    click(qtbot, panel.save)
    wait(qtbot, panel)

    written = read(path)
    np.testing.assert_array_equal(written.pixels, viewer.layers[1].data[0])
    assert written.pixel_size == pytest.approx((0.24, 0.24))
    assert str(path) in panel.job.outcome.text()


def test_a_name_without_a_suffix_gets_that_of_the_kind_and_loses_no_file(
    viewer: Any,
    panel: EnhancePanel,
    qtbot: QtBot,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen = str(tmp_path / "phone-x2.5"), "PNG (*.png)"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: chosen)
    asked = list[str]()

    def no(_parent: object, _title: str, words: str, *_: object) -> Any:
        asked.append(words)
        return QMessageBox.StandardButton.No

    monkeypatch.setattr(QMessageBox, "question", no)
    click(qtbot, panel.job.button)
    wait(qtbot, panel)

    click(qtbot, panel.save)
    wait(qtbot, panel)
    assert asked == []
    written = (tmp_path / "phone-x2.5.png").stat()
    click(qtbot, panel.save)
    wait(qtbot, panel)

    assert asked == ["phone-x2.5.png is there already. Replace it?"]
    assert (tmp_path / "phone-x2.5.png").stat().st_mtime_ns == written.st_mtime_ns


def test_what_would_not_fit_into_memory_is_refused(viewer: Any, panel: EnhancePanel) -> None:
    large = np.broadcast_to(np.uint8([[[1, 2, 3]]]), (8000, 8000, 3))
    layer = viewer.add_image(large, rgb=True, name="slide", multiscale=False, visible=False)

    panel.image.choose(layer)

    assert not panel.job.button.isEnabled()
    assert "1.2 GB of memory" in panel.job.button.toolTip()
    assert "Write to OME-Zarr" in panel.job.button.toolTip()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64", "bool", "int32"])
@pytest.mark.parametrize(
    ("shape", "rgb", "channels"),
    [((2, 33, 47), False, 1), ((33, 47, 3), True, 3), ((2, 4, 33, 47), False, 4)],
)
def test_a_canvas_painted_in_tiles_equals_one_painted_at_once(
    dtype: str,
    shape: tuple[int, ...],
    rgb: bool,
    channels: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(canvas_module, "_LARGEST_WHOLE_PX", 1)
    monkeypatch.setattr(canvas_module, "_COARSEST_PX", 10)
    pixels = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    canvas = Canvas(np.zeros(shape, dtype), rgb=rgb, channels=channels)
    tail = 3 if rgb or channels > 1 else 2
    for number, plane in enumerate(pixels.reshape(-1, *shape[-tail:])):
        for row, col in ((0, 0), (17, 0), (0, 25), (17, 25)):
            part = slice(row, min(row + 17, 33)), slice(col, min(col + 25, 47))
            canvas.put((number, *part), plane[part if rgb else (..., *part)])

    for level, whole in zip(canvas.levels, Canvas.of(pixels, rgb=rgb).levels, strict=True):
        np.testing.assert_array_equal(level, whole)
    np.testing.assert_array_equal(canvas.levels[0], pixels)
    again = Canvas(np.zeros(shape, dtype), rgb=rgb, channels=channels)
    again.put_below(pixels)
    np.testing.assert_array_equal(again.levels[-1], canvas.levels[-1])


@pytest.mark.parametrize("dtype", ["uint8", ">u2", "float64", "bool", "int32", "float16"])
@pytest.mark.parametrize(
    ("shape", "rgb", "channels"),
    [((2, 11, 16), False, 1), ((11, 16, 3), True, 3), ((2, 4, 11, 16), False, 4)],
)
def test_what_lies_below_the_tiles_shows_and_goes(
    dtype: str,
    shape: tuple[int, ...],
    rgb: bool,
    channels: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(canvas_module, "_LARGEST_WHOLE_PX", 1)
    monkeypatch.setattr(canvas_module, "_COARSEST_PX", 10)
    pixels = np.random.default_rng(0).integers(1, 200, shape).astype(dtype)
    large = pixels.repeat(3, -3 if rgb else -2).repeat(3, -2 if rgb else -1)
    canvas = Canvas(np.zeros_like(large), rgb=rgb, channels=channels)
    parts = [(slice(7, 17), slice(0, 20)), (slice(17, 27), slice(20, 40))]

    def paint(canvas: Canvas) -> None:
        for part in parts:
            rows, cols = (each.stop - each.start for each in part)
            whole = (
                (rows, cols, 3) if rgb else (channels, rows, cols) if channels > 1 else (rows, cols)
            )
            canvas.put((0, *part), np.ones(whole, dtype))

    canvas.put_below(pixels)
    np.testing.assert_array_equal(canvas.levels[0], large)
    assert all(level.any() for level in canvas.levels)

    paint(canvas)
    canvas.keep_tiles()
    only = Canvas(np.zeros_like(large), rgb=rgb, channels=channels)
    paint(only)
    for level, wanted in zip(canvas.levels, only.levels, strict=True):
        np.testing.assert_array_equal(level, wanted)

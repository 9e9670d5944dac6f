"""Do the tour on the sample pair in a real viewer, and take the pictures of README and docs."""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
from app import open_app
from PIL import Image
from qtpy.QtWidgets import QApplication, QDockWidget, QWidget
from scipy.ndimage import gaussian_filter

from napari_acuity import PairSet
from napari_acuity.core.simulate.targets import beads, usaf_target
from napari_acuity.widgets import _session
from napari_acuity.widgets.enhance import EnhancePanel
from napari_acuity.widgets.quality import QualityPanel
from napari_acuity.widgets.register import RegisterPanel
from napari_acuity.widgets.train import TrainPanel

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
MINUTES = float(os.environ.get("ACUITY_SCREENSHOT_MINUTES", "2"))


def wait(done: Callable[[], bool] = lambda: False, seconds: float = 1.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not done():
        QApplication.processEvents()
        time.sleep(0.01)


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    viewer = open_app()
    viewer.theme = "dark"
    viewer.window.resize(1366, 768)
    window = viewer.window._qt_window

    def panel(kind: type[QWidget]) -> QWidget:
        (found,) = (widget for widget in window.findChildren(kind))
        return found

    def raise_panel(widget: QWidget) -> None:
        dock = widget
        while not isinstance(dock, QDockWidget):
            dock = dock.parent()
        dock.raise_()
        wait()

    def picture(name: str, widget: QWidget) -> None:
        raise_panel(widget)
        window = viewer.screenshot(canvas_only=False, flash=False)
        Image.fromarray(window[..., :3]).save(IMAGES / f"{name}.jpg", quality=88)
        widget.grab().save(str(IMAGES / f"{name}-panel.png"))

    def frame(*layers: str) -> None:
        """Show these layers alone, filling the canvas."""
        for layer in viewer.layers:
            layer.visible = layer.name in layers
        corners = np.concatenate([viewer.layers[name].extent.world for name in layers])
        first, last = corners.min(axis=0), corners.max(axis=0)
        viewer.scene.camera.center = tuple((first + last) / 2)
        viewer.scene.camera.zoom = 0.95 * (np.array([719, 666]) / (last - first)).min()
        wait()

    def finish(widget: QWidget, seconds: float) -> None:
        wait(lambda: not widget.job.running, seconds)
        if widget.job.running or widget.job.error:
            raise SystemExit(f"{type(widget).__name__}: {widget.job.error or 'it takes too long'}")

    register, train, enhance, quality = map(
        panel, (RegisterPanel, TrainPanel, EnhancePanel, QualityPanel)
    )
    wait()
    register.job.button.click()
    finish(register, 60)
    frame("phone | registered", "phone | shifts")
    picture("register", register)

    with tempfile.TemporaryDirectory() as folder:
        kept = register._kept
        pair = kept.registration.pair(kept.moving, kept.fixed, scale=2.5)
        os.chdir(folder)  # short paths in the pictures
        PairSet.open("skin-pairs").add(pair)
        _session.remember_pairs(Path("skin-pairs"))
        train.unit.setCurrentText("minutes")
        train.amount.setValue(MINUTES)
        raise_panel(train)
        wait(lambda: train.job.button.isEnabled(), 20)
        frame("bench")
        train.job.button.click()
        wait(lambda: bool(train.run.follower.state.rows), 90 + 60 * MINUTES)
        wait(lambda: not train.run.going, 90 + 60 * MINUTES)
        if train.run.follower.state.phase != "done":
            raise SystemExit(f"TrainPanel: {train.job.outcome.text() or 'it takes too long'}")
        frame("training | input", "training | output", "training | truth")
        picture("train", train)
        train.run.results.use.click()
        wait(lambda: enhance.known is not None and not enhance.known.shipped, 20)
        os.chdir(IMAGES)

    enhance.image.choose(viewer.layers["phone"])
    enhance.job.button.click()
    finish(enhance, 60)
    frame(next(layer.name for layer in viewer.layers if "x2.5" in layer.name))
    viewer.scene.camera.zoom *= 1.6
    picture("enhance", enhance)

    quality.compare.reference.choose(viewer.layers["training | truth"])
    quality.compare.image.choose(viewer.layers["training | output"])
    quality.compare.low.choose(viewer.layers["training | input"])
    quality.job.button.click()
    finish(quality, 60)
    frame("training | output | SSIM map", "training | truth")
    picture("quality", quality)
    viewer.close()
    resolution_pictures()


def resolution_pictures() -> None:
    """Take the pictures of a target and of spots, simulated, in Quality."""
    viewer = napari.Viewer(title="napari-acuity")
    viewer.theme = "dark"
    viewer.window.resize(1366, 768)
    _, quality = viewer.window.add_plugin_dock_widget("napari-acuity", "Quality")

    def take(name: str, tab: QWidget, *shown: str) -> None:
        wait()
        tab.frame.job.button.click()
        wait(lambda: not tab.frame.job.running, 60)
        if tab.frame.job.error:
            raise SystemExit(f"Quality: {tab.frame.job.error}")
        for layer in viewer.layers:
            layer.visible = layer.name in shown
        viewer.reset_view()
        wait()
        window = viewer.screenshot(canvas_only=False, flash=False)
        Image.fromarray(window[..., :3]).save(IMAGES / f"{name}.jpg", quality=88)
        viewer.layers.clear()

    noise = np.random.default_rng(0)
    um = {"units": ("um", "um")}
    target = usaf_target((4, 5, 6, 7), pixel_size=0.7, rotation_deg=8).pixels
    for name, blur_px in (("input", 2.8), ("output", 1.2)):
        seen = 0.1 + 0.8 * gaussian_filter(target, blur_px)
        seen = 255 * np.clip(seen + noise.normal(0, 0.01, seen.shape), 0, 1)
        viewer.add_image(seen.astype(np.uint8), name=name, scale=(0.7, 0.7), **um)
    quality.tabs.show_page(quality.mtf)
    quality.mtf.other.choose(viewer.layers["input"])
    quality.mtf.na.setValue(0.3)
    take("quality-mtf", quality.mtf, "output", "output | elements")

    spots, _ = beads((400, 400), count=110, fwhm_um=0.2, pixel_size=0.05, min_distance_um=1.0)
    for name, blur_px in (("truth", 0.0), ("confocal", 3.5), ("network", 1.2)):
        seen = gaussian_filter(spots.pixels, blur_px)
        seen = seen / seen.max() + noise.normal(0, 0.01, seen.shape)
        viewer.add_image(seen, name=name, scale=(0.05, 0.05), **um)
    quality.tabs.show_page(quality.psf)
    quality.psf.choosers["Before"].choose(viewer.layers["confocal"])
    quality.psf.choosers["Truth"].choose(viewer.layers["truth"])
    take("quality-psf", quality.psf, "network", "network | spots")
    viewer.close()


if __name__ == "__main__":
    main()

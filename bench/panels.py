"""How long the window stands still while the panels work, beside what napari alone needs:  make bench-panels

A timer of 2 ms beats in the window's event loop; a stall is the time between two beats. The peer is napari
itself: an image of the same size is added to the idle viewer by its own `add_image`, in the same window.
On a computer without a GPU every drawing is done in software, and takes the most of both.
"""

from __future__ import annotations

import argparse
import datetime
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import napari
import numpy as np
from machine import processor
from parts import printed, verdict
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication
from registration_cases import make_case
from skimage import data

from napari_acuity import Pair, PairSet
from napari_acuity.widgets._session import SHIPPED
from napari_acuity.widgets.enhance import EnhancePanel
from napari_acuity.widgets.register import RegisterPanel
from napari_acuity.widgets.train import TrainPanel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

BAR_MS = 100
SETTLE_S = 3.0


class Beat:
    """Measures how long the event loop does not come round."""

    def __init__(self) -> None:
        self._last, self.stalls_ms = time.perf_counter(), list[float]()
        self._timer = QTimer()
        self._timer.timeout.connect(self._tick)
        self._timer.start(2)

    def _tick(self) -> None:
        now = time.perf_counter()
        self.stalls_ms.append(1000 * (now - self._last))
        self._last = now

    def during(
        self, start: Callable[[], object], done: Callable[[], bool], limit_s: float
    ) -> list[float]:
        """Start something, wait until it is done and drawn; return the stalls, the longest first."""
        wait(lambda: False, SETTLE_S)
        self.stalls_ms.clear()
        start()
        wait(done, limit_s)
        wait(lambda: False, 1.0)
        return sorted(self.stalls_ms, reverse=True)


def wait(done: Callable[[], bool], limit_s: float) -> None:
    end = time.monotonic() + limit_s
    while time.monotonic() < end and not done():
        QApplication.processEvents()
        time.sleep(0.001)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=30, help="of enhancing and of training")
    parser.add_argument("--only", nargs="*", default=list(JOBS), choices=list(JOBS))
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the figures here as well")
    return parser.parse_args()


def tissue(side: int) -> NDArray[np.uint8]:
    """Return an RGB image of a side."""
    tile = data.immunohistochemistry()
    count = -(-side // len(tile))
    return np.ascontiguousarray(np.tile(tile, (count, count, 1))[:side, :side])


Job: TypeAlias = "tuple[Any, Callable[[], object], Callable[[], bool], float]"


def registering(viewer: Any, _seconds: float) -> Job:
    """Return the panel, what starts it, whether it is at work, and how long that is waited for."""
    case = make_case("cmu1-2048-A5-phone")
    viewer.add_image(case.moving, name="phone")
    viewer.add_image(case.fixed, name="bench")
    panel = RegisterPanel(viewer)
    return panel, panel.job.button.click, lambda: panel.job.running, 300


def enhancing(viewer: Any, seconds: float) -> Job:
    viewer.add_image(tissue(4096), name="field")
    panel = EnhancePanel(viewer)
    panel.model.choose_named(SHIPPED)
    return panel, panel.job.button.click, lambda: panel.job.running, seconds


def training(viewer: Any, seconds: float) -> Job:
    folder = Path(tempfile.mkdtemp(prefix="acuity-bench-")) / "pairs"
    pairs = PairSet.open(folder)
    for number, high in enumerate(np.split(tissue(1000)[:, :750], 4)):
        low = np.ascontiguousarray(high[::2, ::2])
        pairs.add(Pair(low, high[: 2 * len(low)], 2.0, name=f"field-{number}"))
    panel = TrainPanel(viewer)
    panel.pairs.folder.setEditText(str(folder))
    return panel, panel.job.button.click, lambda: panel.run.going, seconds


JOBS: dict[str, tuple[Callable[..., Any], int]] = {
    "registering 2048 x 2048": (registering, 2048),
    "enhancing 4096 x 4096": (enhancing, 4096),
    "training": (training, 512),
}


def rows(chosen: argparse.Namespace) -> Iterator[str]:
    yield "| while | longest stall, ms | next ones | above 100 ms | napari adds one such layer, ms | ratio |"
    yield "|---|---|---|---|---|---|"
    # A user has one viewer: what closed ones leave behind would be collected during the next job.
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as processes:
        yield from processes.map(row, chosen.only, repeat(chosen.seconds))


def row(name: str, seconds: float) -> str:
    """Measure napari alone, then a panel at work, in one window."""
    make, side = JOBS[name]
    viewer, beat = napari.Viewer(show=True), Beat()
    viewer.window.resize(1366, 768)
    viewer.add_image(tissue(64), name="first")  # what only a first layer needs is not counted
    image = tissue(side)
    peer = beat.during(lambda: viewer.add_image(image, name="peer"), lambda: True, 1)[0]
    viewer.layers.clear()
    panel, start, at_work, limit_s = make(viewer, seconds)
    viewer.window.add_dock_widget(panel)
    wait(panel.job.button.isEnabled, 60)
    if not panel.job.button.isEnabled():
        raise SystemExit(f"{name} cannot begin: {panel.job.button.toolTip()}")
    begun = list[bool]()

    def done() -> bool:
        begun.extend([True] * at_work())
        return bool(begun) and not at_work()

    stalls = beat.during(start, done, limit_s)
    if at_work():
        panel.job.button.click()  # now it reads Cancel, or Stop and keep
    wait(lambda: not at_work(), 60)
    viewer.close()
    above = sum(one > BAR_MS for one in stalls)
    others = ", ".join(f"{one:.0f}" for one in stalls[1:4])
    return (
        f"| {name} | **{stalls[0]:.0f}** (<= {BAR_MS}: {verdict(stalls[0] <= BAR_MS)}) | {others} "
        f"| {above} of {len(stalls)} | {peer:.0f} | {stalls[0] / peer:.1f} |"
    )


def main() -> None:
    chosen = options()
    title = (
        f"The window while the panels work. {datetime.date.today()}, {processor()} ({os.cpu_count()} cores), "
        f"napari {napari.__version__}, OpenGL by {renderer()}."
    )
    printed(title, {"stalls": rows(chosen)}, chosen.out)


def renderer() -> str:
    """Return the name of what draws."""
    from vispy import gloo

    viewer = napari.Viewer(show=True)
    wait(lambda: False, 1.0)
    name = gloo.gl.glGetParameter(gloo.gl.GL_RENDERER)
    viewer.close()
    return str(name)


if __name__ == "__main__":
    main()

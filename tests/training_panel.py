"""What the tests of Train model share: a folder of pairs, a tiny recipe, and what a user does."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from skimage.measure import block_reduce

from napari_acuity import Micrograph, Pair, PairSet, Recipe
from napari_acuity.widgets import _session
from napari_acuity.widgets._training import run_reader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from pytestqt.qtbot import QtBot

SCALE, PIXEL_UM = 2.0, 0.5
# 8 steps an epoch, of milliseconds.
TINY = Recipe(
    name="tiny",
    patch=16,
    batch=64,
    network_arguments={"init": "interpolation", "width": 8, "blocks": 1},
)


def halved(high: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.rint(block_reduce(high, (2, 2, 1), np.mean)).astype(np.uint8)


def make_pairs(folder: Path, tissue: NDArray[np.uint8]) -> Path:
    """Write three fields of tissue and their halves."""
    pairs = PairSet.open(folder)
    for number, left in enumerate((0, 150, 300)):
        high = tissue[100:196, left : left + 96]
        size = (PIXEL_UM, PIXEL_UM)
        low = Micrograph(halved(high), (SCALE * PIXEL_UM,) * 2, rgb=True)
        pairs.add(Pair(low, Micrograph(high, size, rgb=True), SCALE, name=f"field-{number}"))
    return pairs.folder


@contextmanager
def fresh_session() -> Iterator[None]:
    """Begin without models, folders and runs; at the end kill what is still training."""
    lists = (_session.models, _session.pair_folders, _session.runs)
    for known in lists:
        known.clear()
    yield
    for started in run_reader._started.values():
        started.process.kill()
        started.process.wait()
    run_reader._started.clear()
    run_reader._written.clear()
    for known in lists:
        known.clear()


def wait_for_look(qtbot: QtBot, panel: Any) -> None:
    """Wait until the panel knows what the pairs are."""
    qtbot.waitUntil(lambda: not panel.pairs.looking, timeout=30_000)


def choose(qtbot: QtBot, panel: Any, folder: Path) -> None:
    """Type the folder, and wait until the panel has looked at it."""
    panel.pairs.folder.setEditText(str(folder))
    wait_for_look(qtbot, panel)

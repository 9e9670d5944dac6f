"""What several tests share: real images, and settings that hold for the whole run."""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from numpy.typing import NDArray
    from pytestqt.qtbot import QtBot

    from napari_acuity.widgets.register import RegisterPanel

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"

# Before the first import of numpy or torch, which read it once. More threads gain nothing on images
# as small as ours.
os.environ.setdefault("OMP_NUM_THREADS", str(min(2, os.cpu_count() or 1)))

# What panels remember from one start of napari to the next is no business of the tests.
_SETTINGS = tempfile.TemporaryDirectory(prefix="acuity-tests-")
os.environ["NAPARI_CONFIG"] = str(Path(_SETTINGS.name) / "settings.yaml")

# A busy machine is no bug.
hypothesis.settings.register_profile("acuity", deadline=None)
hypothesis.settings.load_profile("acuity")


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep each file's tests in one process, and all that open a window in the same one."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    on_screen = {item.path for item in items if "qtbot" in getattr(item, "fixturenames", ())}
    for item in items:
        group = "screen" if item.path in on_screen else item.path.stem
        item.add_marker(pytest.mark.xdist_group(group))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a GPU where there is none."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real images that are not ours to ship, or skip."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"needs the images of {SHARED_DATA}, which are not part of the repository")
    return SHARED_DATA


@pytest.fixture(scope="session")
def tissue() -> NDArray[np.uint8]:
    """Return a real bright-field RGB image: immunohistochemistry of colon, 512 x 512, read-only."""
    from skimage import data

    image: NDArray[np.uint8] = data.immunohistochemistry()
    image.flags.writeable = False
    return image


@pytest.fixture
def fresh_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Begin a session without models, and as if none was used before."""
    from napari_acuity.widgets import _recent_models, _session

    monkeypatch.setattr(_recent_models, "settings_folder", lambda: tmp_path / "config")
    _session.models.clear()
    yield
    _session.models.clear()


@pytest.fixture
def training_session() -> Iterator[None]:
    """Begin without models, folders of pairs and runs; at the end kill what is still training."""
    from training_panel import fresh_session

    with fresh_session():
        yield


@pytest.fixture
def viewer(make_napari_viewer_proxy: Callable[..., Any]) -> Any:
    """Show napari without layers; test files with layers of their own bring theirs."""
    return make_napari_viewer_proxy()


@pytest.fixture
def notes() -> Iterator[list[str]]:
    """Return the texts of the notifications that napari shows in a test."""
    from napari.utils.notifications import notification_manager

    start = len(notification_manager.records)
    texts: list[str] = []
    notification_manager.notification_ready.connect(lambda note: texts.append(note.message))
    yield texts
    del notification_manager.records[start:]
    notification_manager.notification_ready.disconnect()


@pytest.fixture
def panel(viewer: Any, qtbot: QtBot) -> Iterator[RegisterPanel]:
    """Show Register pair beside the test file's viewer; tests of other panels bring their own."""
    from gui import opened
    from napari_acuity.widgets.register import RegisterPanel

    with opened(qtbot, RegisterPanel(viewer)) as panel:
        yield panel


@pytest.fixture
def registered(viewer: Any, panel: RegisterPanel, qtbot: QtBot) -> RegisterPanel:
    """Return the panel after a click on Register and the end of its job, its layers drawn."""
    from gui import click, wait

    click(qtbot, panel.job.button)
    wait(qtbot, panel)
    qtbot.waitUntil(lambda: all(layer.visible for layer in viewer.layers))
    return panel


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def cli(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Outcome]:
    """Return a function that runs the command in this process, in an empty folder."""
    from napari_acuity.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["acuity", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        return Outcome(int(end.value.code or 0), printed.out, printed.err)

    return run

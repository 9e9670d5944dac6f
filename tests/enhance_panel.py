"""What the tests of Enhance share: models, and a job that waits to be told."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_acuity.core.inference import enhance as engine
from napari_acuity.core.inference import folder
from napari_acuity.core.model import Model
from napari_acuity.widgets import _session

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from pytestqt.qtbot import QtBot

    from napari_acuity.widgets.enhance import EnhancePanel

SHIPPED = "Bright-field (shipped)"


def model(channels: int = 3, pixel_size: float | None = 0.62, name: str = "lung") -> Model:
    new = Model.new("brightfield", channels=channels)
    size = None if pixel_size is None else (pixel_size, pixel_size)
    return replace(new, header=replace(new.header, pixel_size=size), name=name)


def use(panel: EnhancePanel, chosen: Model, path: Path | None = None) -> Model:
    """Hand a model over to the panel, and choose it."""
    panel.choose_model(_session.remember_model(chosen, path))
    return chosen


def titles(panel: EnhancePanel) -> list[str]:
    return [panel.model.itemText(i) for i in range(panel.model.count())]


def wait_for_model(qtbot: QtBot, panel: EnhancePanel) -> None:
    """Wait until the chosen model has been read."""
    qtbot.waitUntil(lambda: panel.known is not None and not panel.model.reading, timeout=60_000)


class Brake:
    """Lets the enhancing go on one event at a time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._go_on, steps = threading.Semaphore(0), engine.enhance_steps

        def slow(*args: Any, **how: Any) -> Any:
            inner = steps(*args, **how)
            while True:
                try:
                    event = next(inner)
                except StopIteration as end:
                    return end.value
                yield event
                self._go_on.acquire(timeout=20)

        for module in (engine, folder):
            monkeypatch.setattr(module, "enhance_steps", slow)

    def release(self, events: int = 1000) -> None:
        self._go_on.release(events)

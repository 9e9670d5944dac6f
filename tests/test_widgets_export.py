"""Export in a process of its own: what it says reaches the panel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from napari_acuity import Model
from napari_acuity.core.errors import ModelError
from napari_acuity.widgets._training.export_apart import export_apart

if TYPE_CHECKING:
    from pathlib import Path


def test_cause_and_cure_come_back(tmp_path: Path) -> None:
    model = Model.new("brightfield").save(tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="There is no folder") as caught:
        export_apart(model, tmp_path / "nowhere" / "model.onnx", authors=[], license="")
    assert caught.value.cure


def test_a_process_that_dies_is_no_silent_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(ModelError, match="without a file"):
        export_apart(tmp_path / "m.safetensors", tmp_path / "m.onnx", authors=[], license="")

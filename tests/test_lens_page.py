"""The page Train a lens, run as it stands but for the number of fields and the minutes of training."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import napari_acuity as acuity
from napari_acuity.core.training import plan

if TYPE_CHECKING:
    import pytest

PAGE = Path(__file__).resolve().parents[1] / "docs" / "lens-training.md"


def test_the_page_from_simulated_grains_to_a_lens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    script = next(block for block in blocks if "grain_scene" in block)
    script = script.replace("range(50)", "range(6)").replace("minutes=5", "epochs=1")
    monkeypatch.setattr(plan, "_LEAST_PATCHES_AN_EPOCH", 16)
    found: dict[str, Any] = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    try:
        exec(compile(script, str(PAGE), "exec"), found)
    finally:
        torch.set_num_threads(threads)

    assert isinstance(acuity.load("runs/grains/grains.lens"), acuity.Lens)
    assert Path("runs/grains/scores.csv").is_file()
    labels = acuity.read("labels.tif").pixels
    assert labels.shape == (256, 256)
    assert set(np.unique(labels)) <= {0, 1, 2}
    assert {path.name for path in Path().glob("*.tif")} == {
        *("magnified.tif", "labels.tif", "coloured.tif", "only-spiny.tif", "only-smooth.tif")
    }

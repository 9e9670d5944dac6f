"""The page Cross-modality, from raw pair to report, run as it stands but for the minutes of training."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.registration import phase_cross_correlation

from napari_acuity.core.quality.modalities.scores import fitted_scores
from napari_acuity.core.training import plan

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_acuity import Micrograph

PAGE = Path(__file__).resolve().parents[1] / "docs" / "crossmodality.md"


def shift_by_skimage(moving: Micrograph, fixed: Micrograph) -> NDArray[np.float64]:
    """Return where the fixed image lies in the moving one, px, seen through one blur."""
    window = np.hanning(512)[:, None] * np.hanning(512)
    fine, blurred = (
        gaussian_filter(image.pixels.astype(float), sigma)
        for image, sigma in ((moving, 0.0), (fixed, 2.5))
    )
    images = [window * (image - gaussian_filter(image, 20)) for image in (fine, blurred)]
    found, _, _ = phase_cross_correlation(*images, normalization=None, upsample_factor=50)
    return np.asarray(found)


@pytest.mark.slow
def test_the_page_from_raw_pair_to_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    script = re.sub(r"minutes=\d", "epochs=1", "\n".join(blocks))
    monkeypatch.setattr(plan, "_LEAST_PATCHES_AN_EPOCH", 256)
    found: dict[str, Any] = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    try:
        exec(compile(script, str(PAGE), "exec"), found)
    finally:
        torch.set_num_threads(threads)

    assert found["pair"].low.shape[0] > 480
    rows, cols = np.mgrid[100:400:50, 100:400:50]
    points = np.column_stack([rows.ravel(), cols.ravel()]).astype(float)
    shift = np.median(found["registration"].map_points(points) - points, axis=0)
    assert shift == pytest.approx(shift_by_skimage(found["widefield"], found["sim"]), abs=0.15)
    output = found["output"]
    assert (output.shape, output.pixels.dtype, output.pixel_size) == (
        (512, 512),
        np.uint16,
        (0.0325, 0.0325),
    )
    scores = found["report"].scores
    assert list(scores) == [
        "actin widefield",
        "actin widefield, Richardson-Lucy",
        "network",
        "actin SIM",
    ]
    # So few steps can be held to what they were shown; the columns that are kept back are brighter than that.
    shown = {
        name: fitted_scores(found["sim"], image, region=(0, 0, 512, 384))
        for name, image in (("network", found["output"]), ("widefield", found["widefield"]))
    }
    assert shown["network"].psnr > shown["widefield"].psnr + 1
    assert shown["network"].ssim > shown["widefield"].ssim + 0.02
    assert list(found["cells"].header.scores["mean"]) == [
        "bicubic",
        "bicubic, colour fitted",
        "output before transfer",
        "output",
    ]
    assert set(found["results"]) == {"mean", "disagreement"}
    assert found["results"]["disagreement"].pixels.max() > 0
    assert (tmp_path / "actin.html").stat().st_size > 100_000

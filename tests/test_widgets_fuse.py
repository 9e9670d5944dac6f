"""Fuse stack, driven as a user would."""

from __future__ import annotations

import shlex
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from scipy.ndimage import gaussian_filter

import napari_acuity as acuity
from gui import click, opened, wait
from napari_acuity.widgets.fuse import FusePanel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from pytestqt.qtbot import QtBot


@pytest.fixture
def panel(viewer: Any, qtbot: QtBot) -> Iterator[FusePanel]:
    with opened(qtbot, FusePanel(viewer)) as panel:
        yield panel


def stack_of(sharp: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return two planes, each sharp in its half."""
    blurred = np.rint(gaussian_filter(sharp.astype(float), (3, 3, 0))).astype(np.uint8)
    left = (np.arange(sharp.shape[1]) < sharp.shape[1] // 2)[:, None]
    return np.stack([np.where(left, sharp, blurred), np.where(left, blurred, sharp)])


def test_a_stack_becomes_one_sharp_image_in_its_place(
    viewer: Any, panel: FusePanel, qtbot: QtBot, tissue: NDArray[np.uint8]
) -> None:
    assert "Open a stack of planes first" in panel.problem.text()
    viewer.add_image(tissue[:20, :20], name="flat", rgb=True)
    assert not panel.job.button.isEnabled()
    sharp = tissue[:96, :96]
    stack = stack_of(sharp)
    place = {"scale": (2, 0.5, 0.5), "translate": (0, 7, 9), "units": ("um",) * 3}
    turned = np.array([[1.0, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]])
    place |= {"rotate": turned, "affine": np.diag((1.0, 2, 3, 1))}
    layer = viewer.add_image(stack, name="z", rgb=True, **place)
    click(qtbot, panel.job.button)
    wait(qtbot, panel)
    assert "Fused 2 planes of 96 x 96 px" in panel.job.outcome.text() and not layer.visible
    fused, depth = viewer.layers["z | fused"], viewer.layers["z | depth"]
    assert viewer.layers[-1] == depth and viewer.layers.selection.active == fused
    for at in ((0, 0), (50, 0), (20, 80)):
        world = layer.data_to_world((0, *at))[1:]
        np.testing.assert_allclose(fused.data_to_world(at), world)
    psnr = acuity.quality.psnr
    assert psnr(sharp, fused.data) > psnr(sharp, stack[0]) + 3
    assert depth.data[:, :32].mean() < 0.3 < 0.7 < depth.data[:, -32:].mean()
    scope = {"viewer": viewer}
    exec(fused.metadata["acuity"]["python"], scope)
    np.testing.assert_array_equal(scope["fused"].image.pixels, fused.data)


def test_what_is_no_stack_of_images_is_told(
    viewer: Any, panel: FusePanel, qtbot: QtBot, notes: list[str]
) -> None:
    bad = np.random.default_rng(0).random((3, 40, 40))
    bad[1, 4, 4] = np.nan
    viewer.add_image(bad, name="nan")
    click(qtbot, panel.job.button)
    wait(qtbot, panel)
    assert "NaN" in notes[-1]


def test_the_command_takes_a_file_whose_name_has_spaces(
    viewer: Any, panel: FusePanel, qtbot: QtBot, tissue: NDArray[np.uint8], tmp_path: Path
) -> None:
    stack = stack_of(tissue[:64, :64])[..., 0]
    tifffile.imwrite(tmp_path / "my stack.tif", stack)
    (layer,) = viewer.open(tmp_path / "my stack.tif", plugin="napari")
    program, *words = shlex.split(panel._command())
    assert program == "acuity"
    done = subprocess.run(
        [sys.executable, "-m", "napari_acuity", *words], cwd=tmp_path, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    click(qtbot, panel.job.button)
    wait(qtbot, panel)
    fused = viewer.layers[f"{layer.name} | fused"]
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "fused.tif"), fused.data)
    depth = viewer.layers[f"{layer.name} | depth"]
    np.testing.assert_allclose(tifffile.imread(tmp_path / "depth.tif"), depth.data, atol=1e-6)
    panel.depth_map.click()
    assert "depth" not in panel._command()

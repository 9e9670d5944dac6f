"""The commands of fluorescence and of lenses: what they print and write, and what they refuse."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import napari_acuity as acuity
from napari_acuity import Micrograph

RNG = np.random.default_rng(4)


def spots(side: int = 96) -> np.ndarray:
    points = np.zeros((side, side))
    points[RNG.integers(8, side - 8, 40), RNG.integers(8, side - 8, 40)] = 1
    return points


def grey(pixels: np.ndarray, name: str = "") -> Micrograph:
    values = np.rint(60000 * np.clip(pixels / pixels.max(), 0, 1)).astype(np.uint16)
    return Micrograph(values, (0.04, 0.04), name=name, value_range=(0, 65535))


@pytest.fixture
def models(tmp_path):
    for number in range(3):
        acuity.Model.new("crossmodality", seed=number, width=2).save(tmp_path / f"m{number}")


def test_frames_are_averaged_and_their_drift_told(cli, tmp_path):
    scene = gaussian_filter(spots(), 2)
    frames = [np.roll(scene, (0, shift), (0, 1)) for shift in (0, 2, 4)]
    stack = grey(
        np.stack([frame + RNG.normal(0, 0.02, frame.shape) * scene.max() for frame in frames])
    )
    acuity.write(stack, tmp_path / "stack.tif")

    ran = cli("average", "stack.tif", "--out", "mean.tif")

    assert ran.code == 0, ran.err
    assert ran.out.startswith("3 frames, up to 4.0") or ran.out.startswith("3 frames, up to 3.9")
    mean = acuity.read(tmp_path / "mean.tif")
    assert (mean.pixels.dtype, mean.shape) == (np.uint16, (96, 96))
    centre = np.s_[10:-10, 10:-10]
    assert np.corrcoef(mean.pixels[centre].ravel(), scene[centre].ravel())[0, 1] > 0.98
    again = cli("average", "stack.tif", "--out", "mean.tif")
    assert again.code == 1
    assert "exists already" in again.err


def test_lines_scanned_twice_are_averaged(cli, tmp_path):
    lines = np.repeat(RNG.integers(0, 60000, (20, 30)).astype(np.uint16), 2, axis=0)
    acuity.write(Micrograph(lines), tmp_path / "lines.tif")

    assert cli("average", "lines.tif", "--lines", "2", "--out", "mean.tif").code == 0
    np.testing.assert_array_equal(acuity.read(tmp_path / "mean.tif").pixels, lines[::2])
    wrong = cli("average", "lines.tif", "--lines", "3", "--out", "no.tif")
    assert wrong.code == 1
    assert "no 3 scans" in wrong.err
    assert cli("average", "lines.tif", "--lines", "0", "--out", "no.tif").code == 1
    assert not (tmp_path / "no.tif").exists()


def test_channels_are_merged_and_their_limits_told(cli, tmp_path):
    for name in "ab":
        acuity.write(grey(gaussian_filter(spots(), 1)), tmp_path / f"{name}.tif")

    ran = cli("merge", "a.tif", "b.tif", "--colours", "magenta, green", "--out", "rgb.png")

    assert ran.code == 0, ran.err
    assert "a.tif: magenta, black at 0, full at " in ran.out
    assert acuity.read(tmp_path / "rgb.png").rgb
    wrong = cli("merge", "a.tif", "b.tif", "--colours", "magenta", "--out", "no.png")
    assert wrong.code == 1
    assert "only 1 colours" in wrong.err


def test_modalities_are_compared_beside_the_baselines(cli, tmp_path):
    points = spots()
    for name, sigma in (("truth", 1.0), ("low", 3.0), ("output", 1.5)):
        acuity.write(grey(gaussian_filter(points, sigma)), tmp_path / f"{name}.tif")

    ran = cli(
        "modalities", "truth.tif", "output.tif", "--low", "low.tif", "--na", "1.0",
        "--wavelength", "0.5", "--no-spots", "--out", "report.csv",
    )  # fmt: skip

    assert ran.code == 0, ran.err
    assert "Richardson-Lucy" in ran.out
    with (tmp_path / "report.csv").open(newline="") as file:
        assert len(list(csv.reader(file))) > 4
    wrong = cli(
        "modalities",
        "truth.tif",
        "output.tif",
        "--low",
        "low.tif",
        "--na",
        "-1",
        "--wavelength",
        "0.5",
    )
    assert wrong.code == 1
    twice = cli(
        *("modalities", "truth.tif", "output.tif", tmp_path / "output.tif", "--low", "low.tif"),
        *("--na", "1.0", "--wavelength", "0.5"),
    )
    assert "Two images have the name 'output.tif'" in twice.err


def test_a_bundle_is_made_shown_and_applied(cli, models, tmp_path):
    ran = cli(
        "lens", "bundle", "actin=m0.safetensors", "mito=m1.safetensors",
        "--colours", "magenta, green", "--out", "cell.lens",
    )  # fmt: skip

    assert ran.code == 0, ran.err
    assert "cell.lens" in ran.out
    shown = cli("lens", "show", "cell.lens")
    assert shown.code == 0
    assert 'op = "merge"' in shown.out
    stack = np.stack([grey(gaussian_filter(spots(), 2)).pixels for _ in range(2)])
    acuity.write(Micrograph(stack), tmp_path / "cell.tif")
    applied = cli("enhance", "cell.tif", "--model", "cell.lens", "--out", "fine.tif")
    assert applied.code == 0, applied.err
    assert {path.name for path in tmp_path.glob("fine-*.tif")} == {
        "fine-actin.tif",
        "fine-mito.tif",
        "fine-merged.tif",
    }


def test_an_ensemble_is_made_and_nothing_is_overwritten(cli, models, tmp_path):
    files = [f"m{number}.safetensors" for number in range(3)]

    ran = cli("lens", "ensemble", *files, "--out", "seeds")

    assert ran.code == 0, ran.err
    assert acuity.Lens.load(tmp_path / "seeds.lens").name == "seeds"
    again = cli("lens", "ensemble", *files, "--out", "seeds")
    assert again.code == 1
    assert "exists already" in again.err
    assert cli("lens", "ensemble", *files, "--out", "seeds", "--force").code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("bundle", "m0.safetensors"), "has no channel"),
        (("bundle", "actin=none.safetensors"), "no model file"),
        (("ensemble", "m0.safetensors"), "An ensemble of 1 model tells"),
    ],
)
def test_what_makes_no_lens_is_refused(cli, models, tmp_path, words, said):
    ran = cli("lens", *words, "--out", "x.lens")

    assert ran.code == 1
    assert said in ran.err
    assert not (tmp_path / "x.lens").exists()

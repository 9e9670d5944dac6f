"""The commands that judge images: what they print and write, and what they refuse."""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy.ndimage import gaussian_filter

import napari_acuity as acuity
from napari_acuity import Micrograph
from napari_acuity.core.simulate.targets import beads, slanted_edge, usaf_target

RNG = np.random.default_rng(8)


def eight_bit(pixels: np.ndarray, pixel_um: float | None = None) -> Micrograph:
    size = None if pixel_um is None else (pixel_um, pixel_um)
    return Micrograph(np.rint(255 * np.clip(pixels, 0, 1)).astype(np.uint8), pixel_size=size)


@pytest.fixture
def scored(tissue, tmp_path) -> Path:
    """Write truth, output and input of one field, as files and in folders."""
    truth = tissue[:100, :100]
    low = np.rint(truth.reshape(50, 2, 50, 2, 3).mean((1, 3))).astype(np.uint8)
    output = np.rint(gaussian_filter(truth.astype(float), (0.7, 0.7, 0))).astype(np.uint8)
    for part, pixels in (("truth", truth), ("out", output), ("low", low)):
        (tmp_path / part).mkdir()
        acuity.write(Micrograph(pixels, rgb=True), tmp_path / part / "a.tif")
        acuity.write(Micrograph(pixels[::-1], rgb=True), tmp_path / part / "b.tif")
    return tmp_path


def test_the_input_is_scored_beside_the_image(cli, scored):
    ran = cli("measure", "truth/a.tif", "out/a.tif", "--low", "low/a.tif", "--out", "r.pdf")
    assert ran.code == 0 and "a, bicubic" in ran.out and "MS-SSIM" not in ran.out
    assert (scored / "r.pdf").read_bytes().startswith(b"%PDF-")
    again = cli("measure", "truth/a.tif", "out/a.tif", "--out", "r.pdf")
    assert again.code == 1 and "exists already" in again.err


def test_folders_are_scored_file_by_file(cli, scored):
    (scored / "out/b.tif").write_bytes(b"no picture")
    ran = cli("measure", "truth", "out", "--low", "low", "--fit", "intensity", "--out", "set.csv")
    assert ran.code == 1 and "1 of 2 fields scored" in ran.out
    assert "b could not be scored" in ran.out
    with (scored / "set.csv").open(newline="") as file:
        assert [row["image"] for row in csv.DictReader(file)] == ["input, bicubic", "image"]


def test_stacks_are_scored_plane_by_plane(cli, scored, tissue):
    truth = np.moveaxis(tissue[:100, :100], -1, 0).astype(np.uint16) * 257
    truth[1] //= 40  # dim: alone it would pass for 12 bits of something else
    made = np.rint(gaussian_filter(truth.astype(float), (0, 0.7, 0.7))).astype(np.uint16)
    low = made.reshape(3, 50, 2, 50, 2).mean((2, 4)).astype(np.uint16)
    for name, pixels in (("truth", truth), ("made", made), ("low", low)):
        acuity.write(Micrograph(pixels), f"{name}.tif", channels=True)

    ran = cli("measure", "truth.tif", "made.tif", "--low", "low.tif", "--out", "planes.csv")

    assert ran.code == 0 and "3 of 3 planes scored" in ran.out, ran.err
    assert "mean ± SD of 3 planes" in ran.out and "made" in ran.out
    expected = acuity.measure(truth[2], made[2])
    with Path("planes.csv").open(newline="", encoding="utf-8") as file:
        last = list(csv.DictReader(file))[-1]
    assert (last["field"], float(last["ssim"])) == ("2", pytest.approx(expected.ssim, abs=1e-6))
    ran = cli("measure", "truth.tif", "made.tif", "--baseline", "a=low.tif")
    assert ran.code == 1 and "without --baseline" in ran.err
    acuity.write(Micrograph(made[0]), "one.tif")
    acuity.write(Micrograph(truth[:2]), "two.tif", channels=True)
    for first, second in (
        ("two.tif", "made.tif"),
        ("one.tif", "made.tif"),
        ("made.tif", "one.tif"),
    ):
        ran = cli("measure", first, second)
        assert ran.code == 1 and ran.err.startswith("acuity: "), (first, second)


def test_an_offset_is_warned_of_and_a_wrong_fit_refused(cli, scored, tissue):
    acuity.write(Micrograph(tissue[2:102, :100], rgb=True), "late.tif")
    ran = cli("measure", "truth/a.tif", "late.tif")
    assert re.search(r"warning: late is shifted by \(-(1\.9|2\.0)\d, ", ran.out)
    ran = cli("measure", "truth/a.tif", "out/a.tif", "--fit", "gamma")
    assert ran.code == 2 and "'gamma' is not one of" in ran.err


def test_large_images_are_scored_part_by_part(cli, scored, monkeypatch):
    monkeypatch.setattr("napari_acuity.cli_quality._LARGE_PX", 100)
    ran = cli("measure", "truth/a.tif", "out/a.tif")
    expected = acuity.measure(acuity.read("truth/a.tif"), acuity.read("out/a.tif"))
    assert ran.code == 0 and f"{expected.ssim:.3f} ± " in ran.out
    ran = cli("measure", "truth/a.tif", "out/a.tif", "--border", 3)
    assert ran.code == 1 and "part by part" in ran.err


def test_contrast_of_a_target(cli, tmp_path):
    sharp = usaf_target((6, 7), pixel_size=0.35)
    for name, blur in (("sharp", 1.0), ("dull", 3.0)):
        image = eight_bit(0.1 + 0.8 * gaussian_filter(sharp.pixels, blur), 0.35)
        acuity.write(image, tmp_path / f"{name}.tif")
    ran = cli("mtf", "sharp.tif", "--compare", "dull.tif", "--na", 0.3, "--out", "mtf.html")
    assert ran.code == 0 and "sharp.tif, x" in ran.out and "dull.tif, y" in ran.out
    page = (tmp_path / "mtf.html").read_text(encoding="utf-8")
    assert "data:image/png" in page
    assert "Fingerprint of sharp.tif" in page and "Fingerprint of dull.tif" in page
    acuity.write(eight_bit(RNG.random((80, 80)), 0.35), "noise.tif")
    ran = cli("mtf", "noise.tif")
    assert ran.code == 1 and "No pattern of three bars" in ran.err


def test_an_edge(cli):
    edge = slanted_edge((80, 80), blur_px=1.5)
    acuity.write(eight_bit(0.1 + 0.8 * edge.pixels), "edge.tif")
    ran = cli("mtf", "edge.tif", "--edge", "--pixel-size", 0.5)
    found = acuity.quality.slanted_edge(acuity.read("edge.tif"), 0.5)
    assert ran.code == 0 and f"MTF50 {found.mtf50:.4g} cycles/µm" in ran.out


def test_edges_are_in_px_where_one_of_them_tells_no_pixel_size(cli):
    edge = 0.1 + 0.8 * slanted_edge((80, 80), blur_px=1.5).pixels
    acuity.write(eight_bit(edge, 0.05), "known.tif")
    acuity.write(eight_bit(edge), "unknown.tif")
    ran = cli("mtf", "known.tif", "--edge", "--compare", "unknown.tif")
    *_, first, second = (line.split()[1:] for line in ran.out.splitlines() if ".tif" in line)
    assert first == second and "(cycles/px)" in ran.out


def test_spots(cli, tmp_path):
    image, _ = beads((150, 150), count=12, fwhm_um=0.25, pixel_size=0.05, min_distance_um=1.5)
    noisy = image.pixels + RNG.normal(0, 0.005, image.shape)
    acuity.write(eight_bit(0.1 + 0.8 * noisy, 0.05), "beads.tif")
    ran = cli("spots", "beads.tif", "--table", "spots.csv")
    assert ran.code == 0 and "of 12 spots" in ran.out and "FWHM (µm)" in ran.out
    with (tmp_path / "spots.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12 and rows[0]["image"] == "beads.tif" and rows[0]["ok"] == "True"


def test_resolution_with_and_without_a_second_image(cli):
    clean = gaussian_filter(RNG.random((128, 128)), 2.5)
    clean = 200 * (clean - clean.min()) / np.ptp(clean)
    for name in ("first", "second"):
        acuity.write(Micrograph(RNG.poisson(clean).astype(np.uint8)), f"{name}.tif")
    ran = cli("resolution", "first.tif", "second.tif", "--pixel-size", 0.1, "--out", "r.html")
    assert ran.code == 0 and "two images" in ran.out and "µm" in ran.out
    assert "decorrelation" in cli("resolution", "first.tif").out
    assert "checkerboard" in cli("resolution", "first.tif", "--method", "frc").out
    ran = cli("resolution", "first.tif", "--method", "guess")
    assert ran.code == 2 and "'guess' is not one of" in ran.err


def test_an_error_map(cli, tissue):
    fine = tissue[:120, :120, 1] / 255
    acuity.write(eight_bit(gaussian_filter(fine, 2)[::2, ::2]), "low.tif")
    acuity.write(eight_bit(fine), "made.tif")
    ran = cli("error-map", "low.tif", "made.tif", "--map", "map.tif")
    assert ran.code == 0 and "RSP 0.99" in ran.out
    assert acuity.read("map.tif").shape == (60, 60)


def test_a_stack_is_fused(cli, tissue):
    sharp = tissue[:96, :96]
    blurred = np.rint(gaussian_filter(sharp.astype(float), (3, 3, 0))).astype(np.uint8)
    left = np.where(np.arange(96)[:, None] < 48, sharp, blurred)
    right = np.where(np.arange(96)[:, None] < 48, blurred, sharp)
    for name, plane in (("z0", left), ("z1", right)):
        acuity.write(Micrograph(plane, rgb=True), f"{name}.tif")
    ran = cli("fuse", "z0.tif", "z1.tif", "--out", "fused.tif", "--depth", "depth.tif")
    assert ran.code == 0
    better = acuity.quality.psnr(sharp, acuity.read("fused.tif").pixels)
    assert better > acuity.quality.psnr(sharp, left) + 3
    depth = acuity.read("depth.tif").pixels
    assert depth[:, :32].mean() < 0.3 and depth[:, -32:].mean() > 0.7
    ran = cli("fuse", "z0.tif", "--out", "one.gif")
    assert ran.code == 1 and "names no format" in ran.err


def test_files_are_measured_whole_without_the_package_that_reads_parts(
    cli, scored, tissue, monkeypatch
):
    monkeypatch.setitem(sys.modules, "zarr", None)
    assert cli("measure", "truth/a.tif", "out/a.tif").code == 0
    planes = np.moveaxis(tissue[:100, :100], -1, 0)
    tifffile.imwrite("planar.tif", planes, photometric="rgb", planarconfig="separate")
    ran = cli("measure", "truth/a.tif", "planar.tif")
    assert (ran.code, ran.err) == (0, "")
    ran = cli("measure", "truth/a.tif", "none.tif")
    assert ran.code == 1 and "There is no file none.tif" in ran.err


def test_options_that_would_not_be_done_are_refused(cli, scored, monkeypatch):
    ran = cli("measure", "truth", "out", "--baseline", "low=low/a.tif")
    assert ran.code == 1 and "without --baseline" in ran.err
    monkeypatch.setattr("napari_acuity.cli_quality._LARGE_PX", 100)
    ran = cli("measure", "truth/a.tif", "out/a.tif", "--fit", "intensity")
    assert ran.code == 1 and "part by part, without baselines, fits" in ran.err


def test_input_and_image_may_have_one_name(cli, scored):
    ran = cli("measure", "truth/a.tif", "out/a.tif", "--low", "truth/a.tif")
    assert ran.code == 0 and "a (input)" in ran.out


def test_bars_are_resolved_at_the_contrast_that_is_asked_for(cli):
    sharp = usaf_target((6, 7), pixel_size=0.35)
    acuity.write(eight_bit(0.1 + 0.8 * gaussian_filter(sharp.pixels, 2.5), 0.35), "bars.tif")
    limits = []
    for least in (0.1, 0.6):
        ran = cli("mtf", "bars.tif", "--contrast", least)
        assert f"a contrast of {least:.0%}" in ran.out
        limits.append(float(re.search(r"bars.tif: ([\d.]+) and", ran.out)[1]))
    assert limits[0] > limits[1]


def test_close_pairs_of_spots(cli):
    rows, columns = np.indices((80, 80))
    at = ((40, 36), (40, 45))
    spots = sum(np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 8) for y, x in at)
    acuity.write(eight_bit(0.1 + 0.6 * spots + RNG.normal(0, 0.003, (80, 80))), "two.tif")
    ran = cli("spots", "two.tif", "--pairs")
    assert ran.code == 0 and "Peak to peak (px)" in ran.out
    assert "Peak to peak" not in cli("spots", "two.tif").out


@pytest.mark.parametrize(
    "words",
    [
        ["measure", "truth", "out", "--out", "r.txt"],
        ["mtf", "truth/a.tif", "--out", "r.doc"],
        ["spots", "truth/a.tif", "--out", "w.csv", "--table", "w.csv"],
        ["error-map", "low/a.tif", "out/a.tif", "--out", "m.csv", "--map", "m.csv"],
        ["fuse", "truth/a.tif", "--out", "f.tif", "--depth", "f.tif"],
        ["resolution", "truth/a.tif", "truth/../truth/a.tif"],
    ],
)
def test_outputs_and_images_are_looked_at_before_the_work(cli, scored, words):
    before = sorted(scored.rglob("*"))
    ran = cli(*words)
    assert ran.code == 1 and ran.out == "", ran.out
    assert "cannot be written as" in ran.err or "have the name" in ran.err
    assert sorted(scored.rglob("*")) == before


def test_planes_that_a_tiff_calls_colours_are_planes_of_a_stack(cli, tissue, tmp_path):
    planes = np.moveaxis(tissue[:64, :64], -1, 0)
    tifffile.imwrite("z.tif", planes, photometric="rgb", planarconfig="separate")
    for command in ("fuse", "average"):
        ran = cli(command, "z.tif", "--out", f"{command}.tif")
        assert ran.code == 0, ran.err
        assert acuity.read(f"{command}.tif").pixels.shape == (64, 64)

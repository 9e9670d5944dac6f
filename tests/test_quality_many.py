"""Measuring a folder of images, and images of any size part by part."""

from __future__ import annotations

import csv
import math
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st

import napari_acuity as acuity
from napari_acuity import FileError, ImageError, Micrograph
from napari_acuity.core import quality
from napari_acuity.core.quality.many import measure_planes_steps

if TYPE_CHECKING:
    from pathlib import Path

STAIN = skimage.data.immunohistochemistry()


def noisy(image: np.ndarray, sigma: float = 9.0) -> np.ndarray:
    noise = np.random.default_rng(3).normal(0, sigma, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


# Folders


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Two fields with reference, image and input each."""
    for part in ("truth", "out", "low"):
        (tmp_path / part).mkdir()
    for name, row in (("a", 0), ("b", 200)):
        truth = STAIN[row : row + 80, :90]
        low = np.rint(truth.reshape(40, 2, 45, 2, 3).mean((1, 3))).astype(np.uint8)
        acuity.write(Micrograph(truth, rgb=True), tmp_path / "truth" / f"{name}.tif")
        acuity.write(Micrograph(noisy(truth), rgb=True), tmp_path / "out" / f"{name}.png")
        acuity.write(Micrograph(low, rgb=True), tmp_path / "low" / f"{name}.tif")
    return tmp_path


def test_a_folder_is_measured_field_by_field(folders):
    report = quality.measure_all(folders / "truth", folders / "out", lows=folders / "low")
    scores = report.scores
    assert list(scores.fields) == ["a", "b"] and scores.images == ["input, bicubic", "image"]
    alone = acuity.measure(
        acuity.read(folders / "truth/a.tif"),
        acuity.read(folders / "out/a.png"),
        low=acuity.read(folders / "low/a.tif"),
    )
    assert scores.fields["a"]["image"] == alone.scores["a"]
    values = [scores.fields[name]["image"].ssim for name in "ab"]
    assert scores.mean("image", "ssim") == pytest.approx(np.mean(values))
    assert scores.sd("image", "ssim") == pytest.approx(np.std(values, ddof=1))
    assert "2 of 2 fields scored" in report.table() and "mean ± SD of 2 fields" in report.table()
    assert len(report.fingerprints) == 6


def test_what_cannot_be_measured_is_named_and_the_rest_is_done(folders):
    (folders / "out/a.png").write_bytes(b"no picture")
    acuity.write(Micrograph(STAIN[:50, :50], rgb=True), folders / "out/c.png")
    acuity.write(Micrograph(STAIN[:50, :50], rgb=True), folders / "out/d.png")
    for name in "de":
        acuity.write(Micrograph(STAIN[:60, :50], rgb=True), folders / f"truth/{name}.tif")
    report = quality.measure_all(folders / "truth", folders / "out")
    assert list(report.scores.fields) == ["b"] and list(report.scores.failed) == [
        "a",
        "c",
        "d",
        "e",
    ]
    assert "no reference named c" in report.table() and "60 x 50" in report.scores.failed["d"]
    assert "1 of 5 fields scored" in report.table() and "no image named e" in report.table()


def test_an_offset_is_told_of_the_field(folders):
    truth = STAIN[:80, :90]
    acuity.write(Micrograph(np.roll(truth, 2, axis=0), rgb=True), folders / "out/a.png")
    report = quality.measure_all(folders / "truth", folders / "out", border_px=4)
    assert list(report.warnings) == ["a"] and "Warning: a: image is shifted" in report.table()


def test_folders_that_do_not_fit(folders, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileError, match="has the name of one in"):
        quality.measure_all(folders / "truth", tmp_path / "empty")
    with pytest.raises(FileError, match="not a folder that can be read"):
        quality.measure_all(folders / "truth", tmp_path / "absent")


def test_a_name_ends_at_its_suffix(tmp_path):
    for part in ("truth", "out"):
        (tmp_path / part).mkdir()
        for name in ("cell.01.tif", "cell.02.ome.tif"):
            acuity.write(STAIN[:40, :40], tmp_path / part / name)
    report = quality.measure_all(tmp_path / "truth", tmp_path / "out")
    assert list(report.scores.fields) == ["cell.01", "cell.02"]
    acuity.write(STAIN[:40, :40], tmp_path / "out/cell.01.png")
    with pytest.raises(FileError, match=r"two images of the name 'cell\.01': cell\.01\.png and"):
        quality.measure_all(tmp_path / "truth", tmp_path / "out")


def test_the_report_of_a_folder(folders, tmp_path):
    (folders / "out/z.png").write_bytes(b"no picture")
    report = quality.measure_all(folders / "truth", folders / "out", lows=folders / "low")
    report.save(tmp_path / "set.html")
    page = (tmp_path / "set.html").read_text(encoding="utf-8")
    for words in ("mean ± SD of 2 fields", "z could not be scored", "Wang et al.", "a: input"):
        assert words in page
    report.save(tmp_path / "set.pdf")
    assert (tmp_path / "set.pdf").read_bytes().startswith(b"%PDF-")
    report.save(tmp_path / "set.csv")
    with (tmp_path / "set.csv").open(newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    assert head[:3] == ["field", "image", "psnr_db"] and len(rows) == 4
    assert float(rows[1][2]) == report.scores.fields["a"]["image"].psnr
    with pytest.raises(FileError, match=r"'\.xlsx'"):
        report.save(tmp_path / "set.xlsx")


# Stacks


def test_a_stack_is_measured_plane_by_plane():
    truth = np.stack([STAIN[:60, :60], STAIN[100:160, :60], np.full((60, 60, 3), 255, np.uint8)])
    image = np.stack([noisy(plane) for plane in truth])
    image[1] = 0
    steps = measure_planes_steps(
        Micrograph(truth, rgb=True), Micrograph(image, rgb=True, name="out"), region=(5, 5, 45, 50)
    )
    report = acuity.run(steps)
    assert list(report.scores.fields) == ["0", "1", "2"]
    alone = acuity.measure(truth[0, 5:45, 5:50], image[0, 5:45, 5:50])
    assert report.scores.fields["0"]["out"].ssim == pytest.approx(alone.ssim, abs=1e-12)
    assert "3 of 3 planes scored" in report.table()
    with pytest.raises(ImageError, match=r"\(3,\) and \(2,\) planes"):
        acuity.run(measure_planes_steps(truth, image[:2]))


def test_a_dim_plane_has_the_black_and_white_of_its_stack():
    dim, bright = (noisy(STAIN[:40, :40, 0]) / 255 * top for top in (0.9, 50))
    stack = np.stack([dim, bright])
    with pytest.raises(ImageError, match="black and white are unknown"):
        acuity.run(measure_planes_steps(stack, stack))
    holed = np.stack([dim, dim])
    holed[1, 3, 3] = np.nan
    scores = acuity.run(measure_planes_steps(holed, holed)).scores
    assert list(scores.fields) == ["0"] and "NaN" in scores.failed["1"]
    stated = Micrograph(stack, value_range=(0, 50))
    scores = acuity.run(measure_planes_steps(stated, stack * 0.9)).scores
    for plane, found in scores.fields.items():
        alone = quality.difference(stack[int(plane)], 0.9 * stack[int(plane)], 50)
        assert next(iter(found.values())).difference == pytest.approx(alone.mean)
    assert len(scores.fields) == 2


# Any size


@given(st.integers(11, 70), st.integers(11, 70), st.booleans())
@settings(max_examples=12)
def test_parts_give_the_figures_of_the_whole(rows: int, columns: int, rgb: bool):
    from napari_acuity.core.quality import large

    truth = STAIN[:rows, :columns] if rgb else STAIN[:rows, :columns, 0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large, "_PART_PX", 16)
        found = asdict(quality.measure_large(truth, noisy(truth)))
    whole = asdict(acuity.measure(truth, noisy(truth)).scores["image"])
    assert found.keys() == whole.keys() and found["ms_ssim"] is None
    for name, value in found.items():
        if name != "ms_ssim" and value is not None:
            assert value == pytest.approx(whole[name], abs=1e-9), name
    assert (found["cie94"] is not None) == rgb


def test_files_are_never_whole_in_memory(tmp_path, monkeypatch):
    """Peak memory of a pair many times as large as a part stays that of a few parts."""
    import tracemalloc

    from napari_acuity.core.quality import large

    monkeypatch.setattr(large, "_PART_PX", 128)
    pixels = np.tile(STAIN[:256], (4, 3, 1))
    for name, image in (("a", pixels), ("b", noisy(pixels))):
        acuity.write(Micrograph(image, rgb=True), tmp_path / f"{name}.tif")
    import tifffile

    for name in "ab":
        image = tifffile.imread(tmp_path / f"{name}.tif")
        tifffile.imwrite(tmp_path / f"{name}.tif", image, tile=(256, 256), photometric="rgb")
    tracemalloc.start()
    found = quality.measure_large(tmp_path / "a.tif", tmp_path / "b.tif")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    part = 8 * 3 * 138 * 138
    assert peak < 40 * part < 8 * pixels.size
    expected = acuity.measure(pixels, noisy(pixels)).scores["image"]
    assert found.ssim == pytest.approx(expected.ssim, abs=1e-9)
    assert found.cie94 == pytest.approx(expected.cie94, abs=1e-9)


def test_of_lazy_arrays_no_more_is_read_than_a_part_needs(monkeypatch):
    import dask.array as da

    from napari_acuity.core.quality import large

    monkeypatch.setattr(large, "_PART_PX", 64)
    touched = list[tuple[int, ...]]()

    def reading(block: np.ndarray, block_info=None) -> np.ndarray:
        if block_info:
            touched.append(block_info[0]["chunk-location"])
        return block

    truth = STAIN[:256, :256]
    lazy = da.from_array(truth, chunks=(64, 64, 3)).map_blocks(reading, dtype=np.uint8)
    steps = quality.measure_large_steps(lazy, noisy(truth))
    next(steps)
    assert 0 < len(set(touched)) <= 4
    found = acuity.run(steps)
    assert len(set(touched)) == 16
    whole = acuity.measure(truth, noisy(truth))
    # The first part was drawn above, and counts all the same.
    assert found.ssim == pytest.approx(whole.ssim, abs=1e-9)


def test_what_cannot_be_measured_part_by_part():
    with pytest.raises(ImageError, match="100 x 100 px, but"):
        quality.measure_large(STAIN[:100, :100], STAIN[:99, :100])
    with pytest.raises(ImageError, match="nothing says which of them are black and white"):
        quality.measure_large(STAIN.astype(np.float32), STAIN.astype(np.float32))
    grey = STAIN[:100, :100, 0]
    with pytest.raises(ImageError, match=r"holds uint16 values, .* Save it as uint8"):
        next(quality.measure_large_steps(grey, grey.astype(np.uint16) * 257))
    mask = grey > 100
    assert quality.measure_large(mask, mask[::-1]).psnr == pytest.approx(
        acuity.measure(mask, mask[::-1]).scores["image"].psnr
    )
    with pytest.raises(ImageError, match="smaller than SSIM's window"):
        quality.measure_large(STAIN[:9, :9], STAIN[:9, :9])
    same = quality.measure_large(STAIN[:40, :40], STAIN[:40, :40])
    assert same.psnr == math.inf and same.ssim == 1 and same.nrmse == 0
    flat = np.full((30, 30), 9, np.uint8)
    assert math.isnan(quality.measure_large(flat, flat).pearson)

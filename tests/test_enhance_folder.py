"""A folder of images: each that can be is enhanced, and what became of the others is told."""

from __future__ import annotations

import errno
import tempfile
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

import napari_acuity as acuity
from napari_acuity.core.errors import AcuityError, FileError, ImageError, ModelError
from napari_acuity.core.io import images_in

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from conftest import Outcome

SMALL = {"width": 8, "growth": 2, "blocks": 1}


@pytest.fixture
def model() -> acuity.Model:
    return acuity.Model.new("brightfield", **SMALL)


@pytest.fixture
def images(tmp_path: Path, tissue: NDArray[np.uint8]) -> Path:
    """Return a folder of two images, one of another kind, one cut short, a folder and a note."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(2):
        image = acuity.Micrograph(tissue[40 * number :][:40, :50], (0.6, 0.6), rgb=True)
        acuity.write(image, folder / f"field-{number}.tif")
    acuity.write(tissue[:40, :50, 0].copy(), folder / "grey.png")
    whole = (folder / "field-0.tif").read_bytes()
    (folder / "short.TIF").write_bytes(whole[: len(whole) // 2])
    (folder / "more.d").mkdir()
    (folder / "notes.txt").write_text("no image")
    return folder


def test_each_is_done_as_enhance_does_it_and_failures_are_told(
    images: Path, model: acuity.Model, tmp_path: Path
) -> None:
    report = acuity.enhance_folder(images, model, tmp_path / "new" / "out", exact=True)

    assert list(report.written) == ["field-0-x2.5.tif", "field-1-x2.5.tif"]
    assert report.skipped == []
    assert list(report.failed) == ["grey.png", "short.TIF"]
    assert "takes RGB images" in report.failed["grey.png"]
    assert report.words() == "2 written. 2 failed: grey.png, short.TIF."
    made = acuity.read(tmp_path / "new" / "out" / "field-1-x2.5.tif")
    alone = acuity.enhance(acuity.read(images / "field-1.tif"), model, exact=True)
    np.testing.assert_array_equal(made.pixels, alone.pixels)
    assert made.pixel_size == pytest.approx((0.24, 0.24))


def test_it_goes_on_where_it_was_unless_told_to_begin_anew(
    images: Path, model: acuity.Model
) -> None:
    (images / "field-0-x2.5.tif").write_bytes(b"precious")

    for _ in range(2):  # in the folder of the images itself, too, no result is enhanced again
        report = acuity.enhance_folder(images, model, images, files="field*")
    assert report.written == {}
    assert report.skipped == ["field-0.tif", "field-1.tif"]
    assert (images / "field-0-x2.5.tif").read_bytes() == b"precious"

    report = acuity.enhance_folder(images, model, images, files="FIELD-0*", force=True)
    assert list(report.written) == ["field-0-x2.5.tif"]
    assert acuity.read(images / "field-0-x2.5.tif").shape == (100, 125)


def test_two_images_of_one_name_are_not_written_over_each_other(
    images: Path, model: acuity.Model, tmp_path: Path
) -> None:
    acuity.write(acuity.read(images / "field-0.tif"), images / "field-0.png")

    report = acuity.enhance_folder(images, model, tmp_path / "out", files="field-0.*")

    assert list(report.written) == ["field-0-x2.5.tif"]
    assert report.failed == {"field-0.tif": "another image is written to field-0-x2.5.tif"}


def test_channels_stay_channels(model: acuity.Model, tmp_path: Path) -> None:
    two = acuity.Model.new("brightfield", channels=2, **SMALL)
    pixels = np.random.default_rng(0).integers(0, 255, (2, 20, 30), dtype=np.uint8)
    folder = tmp_path / "cells"
    folder.mkdir()
    acuity.write(pixels, folder / "cell.tif", channels=True)

    acuity.enhance_folder(folder, two, tmp_path / "out", iterations=2, grid="same")

    with tifffile.TiffFile(tmp_path / "out" / "cell-x2.5.tif") as file:
        assert file.series[0].axes == "CYX"
        assert file.series[0].shape == (2, 50, 75)


def test_what_to_know_of_a_result_is_told(images: Path, tmp_path: Path) -> None:
    report = acuity.enhance_folder(images, "default", tmp_path / "a", files="field-0.tif")
    assert report.written["field-0-x2.5.tif"][0].startswith("the image's pixels are 0.4")
    assert "caution: field-0-x2.5.tif: the image's pixels" in report.details()

    report = acuity.enhance_folder(
        images, "default", tmp_path / "b", files="field-0.tif", resample=True
    )
    assert report.written == {"field-0-x2.5.tif": ()}
    assert max(acuity.read(tmp_path / "b" / "field-0-x2.5.tif").shape) < 125


def test_memory_that_is_used_up_by_one_costs_the_others_nothing(
    images: Path, model: acuity.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_acuity.core.inference import folder

    whole, calls = folder.write, list[str]()

    def full_once(image: acuity.Micrograph, path: Path, **how: bool) -> Path:
        calls.append(path.name)
        if len(calls) == 1:
            np.empty(10**15)
        return whole(image, path, **how)

    monkeypatch.setattr(folder, "write", full_once)
    report = acuity.enhance_folder(images, model, tmp_path / "out", files="field*")

    assert list(report.written) == ["field-1-x2.5.tif"]
    assert "memory" in report.failed["field-0.tif"]
    assert list((tmp_path / "out").iterdir()) == [tmp_path / "out" / "field-1-x2.5.tif"]


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"folder": "nowhere"}, FileError, "not a folder"),
        ({"files": "*.lif"}, FileError, r"images holds no image that fits '\*\.lif'"),
        ({"model": "x.lens"}, ModelError, "single model"),
        ({"iterations": 0}, ImageError, "0 iterations"),
        ({"device": "abacus"}, AcuityError, "abacus"),
    ],
)
def test_what_fails_for_all_is_told_before_anything_is_made(
    wrong: dict[str, str],
    error: type[AcuityError],
    words: str,
    images: Path,
    model: acuity.Model,
    tmp_path: Path,
) -> None:
    how = {"folder": images, "model": model, "out": tmp_path / "out", **wrong}
    with pytest.raises(error, match=words):
        acuity.enhance_folder(**how)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_may_not_be_written_is_told_before_the_work(
    images: Path, model: acuity.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(**_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    (tmp_path / "out").mkdir()
    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    with pytest.raises(FileError, match="out may not be written"):
        acuity.enhance_folder(images, model, tmp_path / "out")


def test_which_images_a_pattern_means(images: Path) -> None:
    def names(pattern: str) -> list[str]:
        return [path.name for path in images_in(images, pattern)]

    assert names("*") == ["field-0.tif", "field-1.tif", "grey.png", "short.TIF"]
    assert names("*.tif") == ["field-0.tif", "field-1.tif", "short.TIF"]
    assert names("*.PNG, field-1*") == ["field-1.tif", "grey.png"]
    assert names("") == []


def test_the_command_tells_each_file(
    cli: Callable[..., Outcome], images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "results"

    done = cli("enhance", images, "--out", out, "--files", "field*")
    assert done.code == 0, done.err
    assert "written: field-0-x2.5.tif" in done.out
    assert "2 written." in done.out
    assert len(list(out.iterdir())) == 2

    again = cli("enhance", images, "--out", out)
    assert again.code == 1
    assert "left out, as its result is there: field-0.tif" in again.out
    assert "failed: grey.png: " in again.out

    for more in (["--guard"], ["--workers", "2"], ["--scheduler", "tcp://nobody:1"]):
        refused = cli("enhance", images, "--out", out, *more)
        assert refused.code == 1
        assert "Of a folder each image" in refused.err

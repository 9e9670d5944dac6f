"""Enhancing in parts: the same pixels as at once, little memory, and no end that cannot be gone on from."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import struct
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pint
import pytest
import tifffile
import torch
import zarr

import napari_acuity as acuity
from large_images import content, left_behind, model_of, stages, tiles_done
from napari_acuity import AcuityError, FileError, ImageError, Micrograph, ModelError
from napari_acuity.core.inference.large import cluster, every_tile, inputs
from napari_acuity.core.inference.large.enhance import enhance_large, enhance_large_steps
from napari_acuity.core.inference.large.lazy import enhance_lazy
from napari_acuity.core.io.ngff import lazy_stack, lazy_zarr
from napari_acuity.core.io.ngff_levels import finish_zarr, new_zarr

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Sides that neither the stride nor any tile divides.
ROWS, COLS = 211, 173


def write_tiled(pixels: np.ndarray, path: Path, **options: Any) -> Path:
    photometric = "rgb" if pixels.ndim == 3 else "minisblack"
    size = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, pixels, tile=(64, 64), photometric=photometric, **size, **options)
    return path


def write_zarr(pixels: np.ndarray, path: Path) -> Path:
    like = Micrograph(pixels, rgb=pixels.ndim == 3, pixel_size=(0.5, 0.5))
    new_zarr(path, like.shape, like, chunk_px=50)[:] = (
        np.moveaxis(pixels, -1, 0) if like.rgb else pixels
    )
    finish_zarr(path, like)
    return path


@pytest.fixture
def field(tissue: np.ndarray) -> np.ndarray:
    return tissue[:ROWS, :COLS]


@pytest.fixture
def slide(field: np.ndarray, tmp_path: Path) -> Path:
    return write_tiled(field, tmp_path / "slide.tif")


# What comes out


def dtyped(field: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "uint8":
        return field
    return field.astype(np.uint16) * 257 if dtype == "uint16" else field.astype(dtype) / 255


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("rgb", [True, False])
@pytest.mark.parametrize("kind", ["tif", "zarr", "array"])
def test_parts_give_what_the_whole_gives(field, tmp_path, dtype, rgb, kind):
    pixels, model = dtyped(field if rgb else field[..., 1], dtype), model_of(3 if rgb else 1)
    write = {"tif": write_tiled, "zarr": write_zarr, "array": lambda pixels, _: pixels}[kind]
    image = write(pixels, tmp_path / f"in.{kind}")

    out = enhance_large(image, model, tmp_path / "out.ome.zarr", tile=64, device="cpu", exact=True)

    made, whole = acuity.read(out).pixels, acuity.enhance(pixels, model, tile=None, exact=True)
    assert out == tmp_path / "out.ome.zarr" and made.dtype == pixels.dtype
    assert made.shape[:2] == (528, 433) and np.ptp(made) > 0.3 * (np.ptp(pixels))
    difference = np.abs(made.astype(float) - whole.pixels)
    if dtype == "float32":
        assert difference.max() < 1e-5
    else:
        # A value that lies between two grey levels may be rounded either way; 16 bits have more of these.
        assert difference.max() <= 1 and (difference > 0).mean() < (
            1e-4 if dtype == "uint8" else 2e-2
        )


@pytest.mark.parametrize("scale", [1, 1.5, 2, 4 / 3])
def test_other_scales_and_tiles(field, tmp_path, scale):
    model = model_of(1, scale=scale)
    image = field[:101, :87, 0]
    whole = acuity.enhance(image, model, tile=None, exact=True).pixels

    for tile in (9, 33, "auto"):
        out = enhance_large(image, model, tmp_path / f"{tile}.zarr", tile=tile, exact=True)
        made = acuity.read(out).pixels
        assert made.shape == whole.shape
        assert np.abs(made.astype(int) - whole).max() <= 1


def test_what_the_file_tells(slide, tmp_path):
    import zarr

    out = enhance_large(slide, model_of(), tmp_path / "out.zarr", tile=64)

    image, group = acuity.read(out), zarr.open_group(out, mode="r")
    assert image.rgb and image.pixel_size == pytest.approx((0.2, 0.2))
    # Each tile of 64 px makes one chunk, so no two tasks write to one file.
    assert group["s0"].chunks == (3, 160, 160) and group["s1"].shape == (3, 264, 216)
    fine, coarse = group["s0"][:], group["s1"][:]
    mean = fine[:, :528, :432].reshape(3, 264, 2, 216, 2).mean(axis=(2, 4))
    np.testing.assert_array_equal(coarse, np.rint(mean))
    assert left_behind(tmp_path) == []


def test_the_file_tells_what_to_know_of_the_result(slide, tmp_path):
    model = model_of()
    model = replace(model, header=replace(model.header, pixel_size=(0.25, 0.25)))

    found = acuity.read(enhance_large(slide, model, tmp_path / "out.zarr", tile=64))

    (note,) = found.notes
    assert "2 times those that the model was trained on" in note


def test_the_file_tells_what_enhance_tells(field, tmp_path):
    """Of a better instrument that fills a hundredth of its range, and of planes taken for colours."""
    levels = ((0.1, 0.9), (0.002, 0.01))
    coarse = acuity.Model.new("crossmodality", channels=1, width=4, levels=levels)
    for name, image, model in (
        ("coarse", field[:32, :32, 0], coarse),
        ("planes", np.moveaxis(field[:64, :64], -1, 0), model_of()),
    ):
        image = Micrograph(image)

        found = acuity.read(enhance_large(image, model, tmp_path / f"{name}.zarr"))

        (note,) = found.notes
        assert (note,) == acuity.enhance(image, model).notes


def told_by(out: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return scale and translation of each level, and how the first channel is shown."""
    ome = json.loads((out / "zarr.json").read_text())["attributes"]["ome"]
    (image,) = ome["multiscales"]
    levels = [level["coordinateTransformations"] for level in image["datasets"]]
    omero = ome.get("omero") or image["metadata"]["omero"]
    return [{**scale, **moved} for scale, moved in levels], omero["channels"][0]


def test_the_file_tells_where_a_layer_lies_and_how_it_is_shown(field, tmp_path):
    """The outer corners of the layer and of every level are the same; z comes before t in the layer."""
    from napari.layers import Image

    pixels = np.stack([np.stack([field[..., n].astype(np.uint16) * 257] * 2) for n in range(2)])
    place = {"scale": (2, 1, 0.6, 0.4), "translate": (8, 3, 30, -5), "axis_labels": "ztyx"}
    layer = Image(pixels, contrast_limits=(500, 30000), colormap="green", **place)

    out = enhance_large(layer, model_of(1), tmp_path / "out.zarr", tile=64)

    levels, channel = told_by(out)
    assert len(levels) == 2
    for level in levels:
        assert level["scale"][:2] == [1, 2] and level["translation"][:2] == [3, 8]
        for scale, moved, step, first in zip(
            level["scale"][2:], level["translation"][2:], (0.6, 0.4), (30, -5), strict=True
        ):
            assert moved - scale / 2 == pytest.approx(first - step / 2)
    assert levels[0]["scale"][2:] == pytest.approx([0.24, 0.16])
    window = channel["window"]
    assert (window["start"], window["end"], window["max"]) == (500, 30000, 65535)
    assert channel["color"] == "00FF00"
    assert acuity.read(out).range() == (0, 65535)

    again = enhance_large(out, model_of(1), tmp_path / "again.zarr", tile=256)

    (twice, *_), _ = told_by(again)
    corner = np.subtract(twice["translation"][2:], np.divide(twice["scale"][2:], 2))
    assert corner == pytest.approx([29.7, -5.2]) and twice["translation"][:2] == [3, 8]


def test_what_an_ome_zarr_cannot_tell_of_a_layer_is_left_out(field, tmp_path):
    from napari.layers import Image

    layer = Image(field[..., 0], rotate=30, translate=(7, 7), colormap="viridis")

    (level, *_), channel = told_by(enhance_large(layer, model_of(1), tmp_path / "out.zarr"))

    assert level["translation"] == pytest.approx([-0.3, -0.3])
    assert channel["color"] == "FFFFFF"


def test_a_large_tile_makes_several_whole_chunks(field, tmp_path):
    import zarr

    big = np.tile(field[..., 0], (4, 5))
    out = enhance_large(big, model_of(1), tmp_path / "out.zarr", tile=600, exact=True)

    level = zarr.open_group(out, mode="r")["s0"]
    assert level.chunks == (750, 750)
    whole = acuity.enhance(big, model_of(1), exact=True).pixels
    assert np.abs(level[:].astype(int) - whole).max() <= 1


def test_black_and_white_are_the_whole_images(field, tmp_path):
    """A tile that uses 12 bits only is scaled as the others are; and a range that is told is kept."""
    pixels = field[..., 0].astype(np.uint16) * 10
    pixels[-1, -1] = 60000
    twelve = Micrograph(field[..., 0].astype(np.uint16) * 16, value_range=(0, 4095))
    model = model_of(1)

    for name, image in {"sixteen": Micrograph(pixels), "twelve": twelve}.items():
        out = enhance_large(image, model, tmp_path / f"{name}.zarr", tile=50, exact=True)
        whole, made = acuity.enhance(image, model, tile=None, exact=True), acuity.read(out)
        assert np.abs(made.pixels.astype(int) - whole.pixels).max() <= 1
        assert made.range() == whole.range()
    told = write_tiled(twelve.pixels, tmp_path / "twelve.tif")
    out = enhance_large(told, model, tmp_path / "told.zarr", value_range=(0, 4095), exact=True)
    np.testing.assert_allclose(acuity.read(out).pixels, made.pixels, atol=1)


def test_two_devices_share_the_tiles(slide, tmp_path):
    model = model_of()
    one = enhance_large(slide, model, tmp_path / "one.zarr", tile=32, device="cpu")
    two = enhance_large(slide, model, tmp_path / "two.zarr", tile=32, device="cpu, cpu")

    assert content(one) == content(two)


# What goes on, and what begins anew


@pytest.mark.parametrize("after", [0, 5, 30])
def test_a_job_that_was_stopped_goes_on(slide, tmp_path, after):
    model = model_of()
    plain = enhance_large(slide, model, tmp_path / "plain.zarr", tile=32)
    steps = enhance_large_steps(slide, model, tmp_path / "out.zarr", tile=32)
    done = 0
    while done < after:
        done += next(steps).stage.startswith("tile ")
    steps.close()
    assert not (tmp_path / "out.zarr").exists()

    words = stages(enhance_large_steps(slide, model, tmp_path / "out.zarr", tile=32))

    assert tiles_done(words) == 42 - after
    assert content(tmp_path / "out.zarr") == content(plain)
    assert left_behind(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_an_output_behind_a_link_goes_where_the_link_leads(slide, tmp_path):
    (tmp_path / "big").mkdir()
    link = tmp_path / "out.zarr"
    link.symlink_to("big/out.zarr", target_is_directory=True)
    plain = enhance_large(slide, model_of(), tmp_path / "plain.zarr")
    for _ in range(2):
        enhance_large(slide, model_of(), link)
        assert link.is_symlink()
        assert content(tmp_path / "big" / "out.zarr") == content(plain)


def test_a_half_written_tile_is_written_again(slide, tmp_path):
    """What a process leaves that dies while it writes: a part of a line, of a chunk, of a level."""
    model = model_of()
    plain = enhance_large(slide, model, tmp_path / "plain.zarr", tile=32)
    for event in (steps := enhance_large_steps(slide, model, tmp_path / "out.zarr", tile=32)):
        if event.stage.startswith("coarser"):
            break
    steps.close()
    folder = tmp_path / ".out.zarr.unfinished"
    journal = folder / "done.txt"
    journal.write_text("".join(f"{number}\n" for number in range(12)) + "1")
    (image,) = folder.glob("image-*")
    (image / "s0/c/0/5/4").write_bytes(b"half a chunk")
    (image / "s0/c/0/5/4.123.partial").write_bytes(b"half a chunk")
    (image / "s1/c/0/0/0").write_bytes(b"half a chunk")

    words = stages(enhance_large_steps(slide, model, tmp_path / "out.zarr", tile=32))

    assert tiles_done(words) == 30
    assert content(tmp_path / "out.zarr") == content(plain)


JOB = """
import sys
from napari_acuity.core.inference.large.enhance import enhance_large
image, model, out, workers = sys.argv[1:]
if __name__ == "__main__":
    enhance_large(image, model, out, tile=16, device="cpu", workers=int(workers))
"""


@pytest.mark.parametrize("times", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_a_job_that_was_killed_goes_on(slide, tmp_path, times):
    """Killed at random moments: the bytes are those of a job that was not."""
    model, out = model_of().save(tmp_path / "m.safetensors"), tmp_path / "out.zarr"
    plain = enhance_large(slide, model, tmp_path / "plain.zarr", tile=16, device="cpu")
    command = [sys.executable, "-c", JOB, slide, model, out, "0"]
    journal, draw = tmp_path / ".out.zarr.unfinished" / "done.txt", random.Random(time.time())

    kept = 0
    for _ in range(times):
        with subprocess.Popen(command) as process:
            before, end = kept, time.monotonic() + 60
            while time.monotonic() < end and process.poll() is None and kept <= before:
                kept = journal.read_bytes().count(b"\n") if journal.exists() else 0
                time.sleep(0.01)
            time.sleep(draw.uniform(0, 0.1))
            process.send_signal(signal.SIGKILL)
        if out.exists():
            break  # it was faster
        kept = journal.read_bytes().count(b"\n")
        assert kept > before
    words = stages(enhance_large_steps(slide, model, out, tile=16, device="cpu"))

    assert tiles_done(words) <= 154 - kept
    assert content(out) == content(plain)
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("what", ["damaged", "missing"])
def test_a_job_whose_journal_suffered_is_done_to_its_end(slide, tmp_path, what):
    model, out = model_of(), tmp_path / "out.zarr"
    plain = enhance_large(slide, model, tmp_path / "plain.zarr", tile=32, device="cpu")
    steps = enhance_large_steps(slide, model, out, tile=32, device="cpu")
    while not next(steps).stage.startswith("tile 9"):
        pass
    steps.close()
    journal = tmp_path / ".out.zarr.unfinished" / "done.txt"
    if what == "damaged":
        journal.write_bytes(b"\0\0x\n" + journal.read_bytes())
    else:
        journal.unlink()

    assert content(enhance_large(slide, model, out, tile=32, device="cpu")) == content(plain)
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("what", ["model", "input", "tile", "damage", "list"])
def test_another_job_begins_anew(slide, field, tmp_path, what):
    model, out = model_of(), tmp_path / "out.zarr"
    steps = enhance_large_steps(slide, model, out, tile=32)
    while not next(steps).stage.startswith("tile 9"):
        pass
    steps.close()
    tile = 48 if what == "tile" else 32
    if what == "model":
        model = model_of(seed=8)
    if what == "input":
        write_tiled(255 - field, slide)
    if what == "damage":
        (tmp_path / ".out.zarr.unfinished" / "job.json").write_text('{"facts": ')
    if what == "list":
        (tmp_path / ".out.zarr.unfinished" / "job.json").write_text("[]")

    words = stages(enhance_large_steps(slide, model, out, tile=tile))

    assert tiles_done(words) == (20 if what == "tile" else 42)
    plain = enhance_large(slide, model, tmp_path / "plain.zarr", tile=tile)
    assert content(out) == content(plain)


@pytest.mark.parametrize(
    "mistake", [{"value_range": (10, 1)}, {"tile": 20.5}, {"tile": None}, {"value_range": 5}]
)
def test_a_mistake_costs_no_finished_tile(field, tmp_path, mistake):
    model, out = model_of(), tmp_path / "out.zarr"
    steps = enhance_large_steps(field, model, out, tile=32)
    while not next(steps).stage.startswith("tile 9"):
        pass
    steps.close()

    with pytest.raises(ImageError):
        enhance_large(field, model, out, **mistake)

    assert tiles_done(stages(enhance_large_steps(field, model, out, tile=32))) == 33


def test_a_range_may_be_of_numpy(field, tmp_path):
    low = field[..., 1].astype(np.uint16)
    model = acuity.Model.new(channels=1, width=6, growth=3, blocks=1)
    made = enhance_large(
        low, model, tmp_path / "a.zarr", value_range=(np.float32(0), np.uint16(255))
    )
    plain = enhance_large(low, model, tmp_path / "b.zarr", value_range=(0, 255))
    assert content(made) == content(plain)


def test_an_array_is_known_by_its_pixels(field, tmp_path):
    model, out = model_of(), tmp_path / "out.zarr"
    for image, expected in ((field, 42), (field.copy(), 33), (255 - field, 42)):
        steps = enhance_large_steps(image, model, out, tile=32)
        words = list[str]()
        for event in steps:
            words.append(event.stage)
            if event.stage.startswith("tile 9") and expected == 42:
                break
        steps.close()
        assert words[-1].startswith("tile 9") or tiles_done(words) == expected


def test_an_input_that_changes_meanwhile_is_noticed(slide, field, tmp_path):
    steps = enhance_large_steps(slide, model_of(), tmp_path / "out.zarr", tile=32)
    while not next(steps).stage.startswith("tile 9"):
        pass
    write_tiled(255 - field, tmp_path / "other.tif")
    os.replace(tmp_path / "other.tif", slide)

    with pytest.raises(FileError, match=r"slide\.tif was changed while it was enhanced"):
        stages(steps)
    assert not (tmp_path / "out.zarr").exists()


def test_a_chunk_of_the_input_that_changes_is_noticed(field, tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "_WATCH_S", 0.0)
    monkeypatch.setattr(inputs, "_WATCH_SHARE", np.inf)
    image = write_zarr(field, tmp_path / "in.zarr")
    steps = enhance_large_steps(image, model_of(), tmp_path / "out.zarr", tile=32)
    while not next(steps).stage.startswith("tile 3"):
        pass
    (image / "s0/c/0/0/1").touch()

    with pytest.raises(FileError, match=r"in\.zarr was changed"):
        next(steps)


def test_a_link_that_leads_nowhere_does_no_harm(field, tmp_path):
    image = write_zarr(field, tmp_path / "in.zarr")
    (image / "link").symlink_to(tmp_path / "nowhere")

    assert enhance_large(image, model_of(), tmp_path / "out.zarr", device="cpu").exists()


def test_one_process_at_a_time(slide, tmp_path):
    first = enhance_large_steps(slide, model_of(), tmp_path / "out.zarr", tile=32)
    while not next(first).stage.startswith("tile 3"):
        pass

    with pytest.raises(FileError, match="being written by another process"):
        enhance_large(slide, model_of(), tmp_path / "out.zarr", tile=32)
    assert tiles_done(stages(first)) == 39


def test_what_was_there_stays_until_the_end(slide, tmp_path):
    out = enhance_large(slide, model_of(), tmp_path / "out.zarr", tile=64)
    before = content(out)
    steps = enhance_large_steps(slide, model_of(seed=8), out, tile=64)
    while not next(steps).stage.startswith("coarser"):
        assert content(out) == before
    stages(steps)

    assert content(out).keys() == before.keys() and content(out) != before


def test_a_job_killed_between_its_last_two_renames(slide, tmp_path):
    """What was to be replaced has left its place, and the new image is not there yet."""
    out = enhance_large(slide, model_of(), tmp_path / "out.zarr", tile=64)
    before, aside = content(out), tmp_path / ".out.zarr.unfinished" / "replaced.zarr"
    for seed, expected in ((8, 9), (9, 12)):
        steps = enhance_large_steps(slide, model_of(seed=8), out, tile=64)
        while not next(steps).stage.startswith("tile 3"):
            pass
        steps.close()
        out.rename(aside)
        steps = enhance_large_steps(slide, model_of(seed=seed), out, tile=64)
        if seed == 9:  # another job gives it back
            while not next(steps).stage.startswith("tile 1"):
                pass
            assert content(out) == before
            expected -= 1
        assert tiles_done(stages(steps)) == expected
        assert left_behind(tmp_path) == []
        before = content(out)


# What goes wrong


def giant(path: Path) -> Path:
    """Write the head of a slide of 10 gigapixels, a BigTIFF, and its first tiles."""
    side, tile = 100_000, 512
    count, size = (-(-side // tile)) ** 2, tile * tile
    first = 16 + 8 + 10 * 20 + 8
    starts = first + 16 * count + size * np.arange(count, dtype="<u8")
    tags = [  # number, type (SHORT, LONG or LONG8), count, value
        *((256, 4, 1, side), (257, 4, 1, side), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)),
        *((277, 3, 1, 1), (322, 4, 1, tile), (323, 4, 1, tile), (324, 16, count, first)),
        (325, 16, count, first + 8 * count),
    ]
    head = struct.pack("<2sHHHQQ", b"II", 43, 8, 0, 16, len(tags))
    head += b"".join(struct.pack("<HHQQ", *tag) for tag in tags) + struct.pack("<Q", 0)
    sizes = np.full(count, size, "<u8")
    path.write_bytes(head + starts.tobytes() + sizes.tobytes() + bytes(4 * size))
    return path


def test_a_giant_that_is_cut_short(tmp_path):
    import tracemalloc

    path, model = giant(tmp_path / "giant.tif"), model_of(1)
    enhance_large(np.eye(50), model, tmp_path / "warm.zarr")
    tracemalloc.start()
    try:
        with pytest.raises(FileError, match="cut short"):
            enhance_large(path, model, tmp_path / "out.zarr")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 50e6
    assert left_behind(tmp_path) == []


def test_a_damaged_part(field, tmp_path):
    image = write_zarr(field, tmp_path / "in.zarr")
    (image / "s0/c/0/2/2").write_bytes(b"no chunk")

    with pytest.raises(FileError, match=r"A part of in cannot be read.*The file is damaged there"):
        enhance_large(image, model_of(), tmp_path / "out.zarr", tile=32)


def test_a_file_in_one_piece(field, tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "_LARGEST_PIECE_BYTES", 1000)
    with pytest.raises(FileError, match="too large to be read one by one"):
        enhance_large(write_zarr(field, tmp_path / "in.zarr"), model_of(), tmp_path / "out.zarr")


def with_nan(field: np.ndarray) -> np.ndarray:
    pixels = field / 255
    pixels[-1, -1] = np.nan
    return pixels


@pytest.mark.parametrize("dtype", [np.uint16, np.int64])
@pytest.mark.parametrize("known", [None, (0, 65535), (0, 4095)])
def test_a_stated_range_is_told_by_the_file(tmp_path, known, dtype):
    image = Micrograph(np.arange(4096, dtype=dtype).reshape(64, 64), value_range=known)

    path = tmp_path / "image.zarr"
    new_zarr(path, image.shape, like=image)[:] = image.pixels
    finish_zarr(path, image)

    assert acuity.read(path).value_range == known


def test_what_moves_and_scales_all_levels_comes_after_what_does_each(tmp_path):
    path = write_zarr(np.zeros((40, 50), np.uint8), tmp_path / "image.zarr")
    group = zarr.open_group(path, mode="r+")
    ome = group.attrs["ome"]
    shift = {"type": "translation", "translation": [30.0, 5.0]}
    ome["multiscales"][0]["datasets"][0]["coordinateTransformations"][1]["translation"] = [1.0, 2.0]
    ome["multiscales"][0]["coordinateTransformations"] = [
        {"type": "scale", "scale": [2.0, 4.0]},
        shift,
    ]
    group.attrs["ome"] = ome

    (finest, *_), _, place = lazy_stack(path)

    assert finest.pixel_size == (1.0, 2.0)
    assert place.origin_px == pytest.approx((32.0, 6.5))


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (lambda field: field[..., 0], ModelError, "takes RGB images, and .* is grey"),
        (
            lambda field: Micrograph(field[None, None, None], rgb=True),
            ImageError,
            "holds time and z",
        ),
        (
            lambda field: Micrograph(np.moveaxis(field, -1, 0)[None, None, None, None]),
            ImageError,
            "5 axes",
        ),
        (lambda field: np.full_like(field, 9), ImageError, "nothing to see: every pixel is 9"),
        (with_nan, ImageError, "3 values that are NaN"),
        (lambda field: field.astype(np.uint16), ImageError, "looks like 8-bit data"),
        (lambda field: field.astype(float), ImageError, "black and white are unknown"),
    ],
)
def test_images_that_cannot_be_used(field, tmp_path, spoil, error, words):
    with pytest.raises(error, match=words):
        enhance_large(spoil(field), model_of(), tmp_path / "out.zarr")
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be_used(slide, field, tmp_path):
    model = model_of()
    with pytest.raises(FileError, match=r"End it in \.zarr"):
        enhance_large(slide, model, tmp_path / "out.tif")
    with pytest.raises(FileError, match="There is no folder"):
        enhance_large(slide, model, tmp_path / "no" / "out.zarr")
    (tmp_path / "mine.zarr").mkdir()
    with pytest.raises(FileError, match=r"mine\.zarr is there and is no OME-Zarr"):
        enhance_large(slide, model, tmp_path / "mine.zarr")
    own = write_zarr(field, tmp_path / "own.zarr")
    with pytest.raises(FileError, match="would replace the image it is made of"):
        enhance_large(own, model, own)
    with pytest.raises(FileError, match=r"out\.zarr lies in the image it is made of"):
        enhance_large(own, model, own / "out.zarr")
    assert [path.name for path in own.iterdir() if path.name[0] == "."] == []
    inside = write_zarr(field, tmp_path / "several.zarr" / "one.zarr")
    with pytest.raises(FileError, match="would replace the image it is made of"):
        enhance_large(inside, model, tmp_path / "several.zarr")
    zarr.open_group(tmp_path / "several.zarr", mode="w").create_array(
        "mine", shape=(2,), dtype="u1"
    )
    with pytest.raises(FileError, match=r"several\.zarr is there and is no OME-Zarr image"):
        enhance_large(slide, model, tmp_path / "several.zarr")
    with pytest.raises(ImageError, match="A tile of 0 pixels"):
        enhance_large(slide, model, tmp_path / "out.zarr", tile=0)
    with pytest.raises(AcuityError, match="The device 'tpu' is not here"):
        enhance_large(slide, model, tmp_path / "out.zarr", device="cpu,tpu")
    with pytest.raises(AcuityError, match="Several devices are named, and workers"):
        enhance_large(slide, model, tmp_path / "out.zarr", device="cpu,cpu", workers=2)
    with pytest.raises(AcuityError, match="workers cannot be started"):
        enhance_large(slide, model, tmp_path / "out.zarr", workers=2, scheduler="tcp://here:1")
    assert left_behind(tmp_path) == []


def test_a_full_disk_loses_no_tile(slide, tmp_path, monkeypatch):
    room, write = [9], every_tile.write_tile

    def writing(*what: Any) -> None:
        room[0] -= 1
        if room[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(*what)

    monkeypatch.setattr(every_tile, "write_tile", writing)
    with pytest.raises(FileError, match="no space left to write"):
        enhance_large(slide, model_of(), tmp_path / "out.zarr", tile=32)
    monkeypatch.undo()

    words = stages(enhance_large_steps(slide, model_of(), tmp_path / "out.zarr", tile=32))
    assert 33 <= tiles_done(words) < 42


def engine_of_memory(most_px: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let large images be enhanced by a device that holds so many pixels."""
    engine = every_tile.engine_for(model_of(), acuity.core.device.choose_device("cpu"))

    def run(image: torch.Tensor) -> torch.Tensor:
        if image.shape[-1] * image.shape[-2] > most_px:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return engine.run(image)

    tight = replace(engine, run=run)
    monkeypatch.setattr(every_tile, "engine_for", lambda *_, **__: tight)


def test_a_tile_too_large_for_the_memory_is_halved(slide, tmp_path, monkeypatch):
    enhance_large(slide, model_of(), tmp_path / "whole.zarr", tile=32)
    engine_of_memory(30 * 30, monkeypatch)
    enhance_large(slide, model_of(), tmp_path / "halved.zarr", tile=32)
    whole, halved = (acuity.read(tmp_path / name).pixels for name in ("whole.zarr", "halved.zarr"))
    assert np.abs(whole.astype(int) - halved).max() <= 1


def test_a_memory_that_holds_no_tile(slide, tmp_path, monkeypatch):
    engine_of_memory(0, monkeypatch)
    with pytest.raises(AcuityError, match=r"does not hold the smallest tile\. Close other"):
        enhance_large(slide, model_of(), tmp_path / "out.zarr", tile=32)


# On demand


def test_dask_pixels_are_computed_on_demand(field, tmp_path):
    import dask.array as da

    touched = list[tuple[int, ...]]()

    def reading(block: np.ndarray, block_info: Any = None) -> np.ndarray:
        if block_info:
            touched.append(block_info[0]["chunk-location"])
        return block

    pixels = da.from_array(field, chunks=(50, 50, 3)).map_blocks(reading, dtype=field.dtype)
    image, model = Micrograph(pixels, (0.5, 0.5), rgb=True), model_of()
    whole = acuity.enhance(field, model, tile=None, exact=True).pixels

    for tile in (20, 64, "auto"):
        found = enhance_lazy(image, model, tile=tile, device="cpu", exact=True)
        assert found.shape == (528, 433) and found.pixel_size == (0.2, 0.2)
        made = found.pixels.compute()
        assert made.shape == whole.shape
        assert np.abs(made.astype(int) - whole).max() <= 1
    touched.clear()
    corner = enhance_lazy(image, model, tile=40, exact=True).pixels[:80, :80].compute()
    assert np.abs(corner.astype(int) - whole[:80, :80]).max() <= 1
    # The tile and its neighbours, which lend it a halo; there are 5 x 4 blocks.
    assert set(touched) <= {(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 0)}


def test_an_image_smaller_than_the_halo_is_computed_on_demand(field):
    import dask.array as da

    for shape in ((60, 1), (1, 1), (13, 60)):
        cut = field[: shape[0], : shape[1]]
        lazy = acuity.enhance(da.from_array(cut, chunks=20), model_of(), tile=20, device="cpu")
        whole = acuity.enhance(cut, model_of(), device="cpu")
        assert np.abs(lazy.pixels.compute().astype(int) - whole.pixels).max() <= 1


def test_a_layer_of_dask_pixels_is_lazy_and_its_options_are_checked(field):
    import dask.array as da

    units = (pint.get_application_registry().pixel,) * 2
    layer = SimpleNamespace(
        data=da.from_array(field[:40, :40]),
        rgb=True,
        scale=(1, 1),
        units=units,
        name="a",
        metadata={},
    )

    assert isinstance(acuity.enhance(layer, model_of()).pixels, da.Array)
    assert acuity.enhance(layer, model_of(), iterations=2).shape == (250, 250)
    with pytest.raises(ImageError, match="There is no grid 'foo'"):
        acuity.enhance(layer.data, model_of(), grid="foo")
    with pytest.raises(ImageError, match="A tile of -3 pixels"):
        acuity.enhance(layer.data, model_of(), tile=-3)


def test_a_lazy_stack_and_its_range(field):
    import dask.array as da

    stack = np.moveaxis(field, -1, 0)[None].astype(np.uint16) * 257
    image, model = Micrograph(da.from_array(stack, chunks=(1, 2, 100, 100))), model_of(1)

    found = enhance_lazy(image, model, tile=64)

    whole = acuity.enhance(stack, model, tile=None, exact=True)
    assert found.pixels.chunks[:2] == ((1,), (1, 1, 1)) and found.range() == (0, 65535)
    assert np.abs(found.pixels.compute().astype(int) - whole.pixels).max() <= 1


def test_a_large_job_takes_dask_pixels(field, tmp_path):
    import dask.array as da

    image = Micrograph(da.from_array(field, chunks=(64, 64, 3)), rgb=True)
    lazy = enhance_large(image, model_of(), tmp_path / "lazy.zarr", tile=32)
    plain = enhance_large(field, model_of(), tmp_path / "plain.zarr", tile=32)

    np.testing.assert_array_equal(acuity.read(lazy).pixels, acuity.read(plain).pixels)


# Many processes


@pytest.fixture(scope="module")
def workers() -> Iterator[Any]:
    """Return a client of two workers."""
    with cluster.connected(2, None) as client:
        yield client


def test_workers_make_the_same(slide, tmp_path, workers):
    address = workers.scheduler.address
    plain = enhance_large(slide, model_of(), tmp_path / "plain.zarr", tile=32)
    by_path = enhance_large(slide, model_of(), tmp_path / "a.zarr", tile=32, scheduler=address)
    image = acuity.read(slide)
    sent = enhance_large(image, model_of(), tmp_path / "b.zarr", tile=32, scheduler=address)

    assert content(by_path) == content(plain) == content(sent)


def test_workers_compute_lazy_images(field, workers):
    import dask.array as da

    image = Micrograph(da.from_array(field, chunks=(100, 100, 3)), rgb=True)
    found = enhance_lazy(image, model_of(), tile=64)

    whole = acuity.enhance(field, model_of(), tile=None).pixels
    made = workers.compute(found.pixels).result()
    assert np.abs(made.astype(int) - whole).max() <= 1


def test_what_a_worker_meets_is_told_here(field, tmp_path, workers):
    image = write_zarr(field, tmp_path / "in.zarr")
    (image / "s0/c/0/2/2").write_bytes(b"no chunk")

    with pytest.raises(FileError, match="A part of in cannot be read"):
        enhance_large(
            image, model_of(), tmp_path / "out.zarr", tile=32, scheduler=workers.scheduler.address
        )


def test_a_lost_worker_loses_nothing(slide, tmp_path, workers):
    plain = enhance_large(slide, model_of(), tmp_path / "plain.zarr", tile=16)
    pids = workers.run(os.getpid)
    steps = enhance_large_steps(
        slide, model_of(), tmp_path / "out.zarr", tile=16, scheduler=workers.scheduler.address
    )
    for event in steps:
        if event.stage.startswith("tile 10 "):
            os.kill(next(iter(pids.values())), signal.SIGKILL)

    assert content(tmp_path / "out.zarr") == content(plain)


def test_processes_started_for_the_job(slide, tmp_path):
    plain = enhance_large(slide, model_of(), tmp_path / "plain.zarr", tile=32)
    out = enhance_large(slide, model_of(), tmp_path / "out.zarr", tile=32, workers=2)

    assert content(out) == content(plain)


def test_processes_leave_the_environment_as_it_was():
    before = dict(os.environ)

    with cluster.connected(1, None):
        pass

    assert dict(os.environ) == before


def test_a_worker_that_ends_while_it_is_started_is_told_of(slide, tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")

    def closed(*_: object) -> None:
        raise distributed.comm.CommClosedError("Stream is closed")

    monkeypatch.setattr(distributed.Client, "register_worker_callbacks", closed)
    with pytest.raises(AcuityError, match="A worker ended while it was started"):
        enhance_large(slide, model_of(), tmp_path / "out.zarr", workers=1)


def test_no_scheduler(slide, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "_CONNECT_S", 0.5)
    for address in ("tcp://127.0.0.1:9", "nonsense://x"):
        with pytest.raises(AcuityError, match=f"No scheduler answers at {address}"):
            enhance_large(slide, model_of(), tmp_path / "out.zarr", scheduler=address)


def test_no_distributed(slide, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(AcuityError, match=r"distributed, which is not installed.*\[cluster\]"):
        enhance_large(slide, model_of(), tmp_path / "out.zarr", workers=2)


# The command


def test_the_command(slide, tmp_path, monkeypatch, capsys):
    from napari_acuity.cli import main

    model, out = model_of().save(tmp_path / "m.safetensors"), tmp_path / "out.zarr"
    words = ["acuity", "enhance", str(slide), "--model", str(model), "--out"]

    def command(*more: str) -> int:
        monkeypatch.setattr(sys, "argv", [*words, *more])
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code or 0)

    assert command(str(out), "--tile", "64") == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert acuity.read(out).shape == (528, 433)
    assert command(str(out)) == 1
    assert "exists already" in capsys.readouterr().err
    assert command(str(tmp_path / "out.tif"), "--workers", "2") == 1
    assert "End it in .zarr" in capsys.readouterr().err
    assert command(str(tmp_path / "b.zarr"), "--iterations", "2") == 1
    assert "applied once" in capsys.readouterr().err


# Memory

PEAK = """
import json, sys, threading, time
import numpy as np
import pint
import psutil
import napari_acuity as acuity
from napari_acuity.core.inference.large.enhance import enhance_large
image, warm, out = sys.argv[1:]
model = acuity.Model.new("brightfield", width=8, growth=2, blocks=1, channels=1)
process, peak = psutil.Process(), [0]
def watch():
    while True:
        peak[0] = max(peak[0], process.memory_info().rss)
        time.sleep(0.005)
enhance_large(np.random.default_rng(0).integers(0, 256, (1500, 1500), np.uint8), model, warm, device="cpu")
before = process.memory_info().rss
threading.Thread(target=watch, daemon=True).start()
enhance_large(image, model, out, device="cpu")
print(json.dumps([before / 1e6, peak[0] / 1e6]))
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_image(tmp_path):
    """An input of 36 MB and an output of 225 MB: far less than these is held, and that is a few tiles."""
    noise = np.random.default_rng(0).integers(0, 256, (6000, 6000), np.uint8)
    tifffile.imwrite(tmp_path / "in.tif", noise, tile=(256, 256), compression="zlib")
    paths = [tmp_path / name for name in ("in.tif", "warm.zarr", "out.zarr")]

    run = subprocess.run(
        [sys.executable, "-c", PEAK, *paths], capture_output=True, text=True, check=True
    )

    before, peak = json.loads(run.stdout)
    assert lazy_zarr(paths[1]).shape == (3750, 3750)
    assert lazy_zarr(paths[-1]).shape == (15000, 15000)
    assert peak - before < 100, (before, peak)

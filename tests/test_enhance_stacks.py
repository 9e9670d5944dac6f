"""Stacks that are enhanced in parts: the planes of `enhance`, and the axes as the image has them."""

from __future__ import annotations

import subprocess
import sys
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pint
import pytest
import tifffile

import napari_acuity as acuity
from large_images import content, left_behind, model_of, stages, tiles_done
from napari_acuity import FileError, ImageError, Micrograph, ModelError
from napari_acuity.core.inference.large.enhance import enhance_large, enhance_large_steps
from napari_acuity.core.io.axes import Axis
from napari_acuity.core.io.ngff import lazy_levels, lazy_stack
from napari_acuity.core.io.ngff_levels import finish_zarr, new_zarr
from napari_acuity.core.io.pyramid import opened

if TYPE_CHECKING:
    from pathlib import Path

ROWS, COLS = 71, 53
SECONDS, MICROMETRES = (90.0, "second"), (2.0, "micrometer")
STEPS = {"t": SECONDS, "z": MICROMETRES, "c": (1.0, "")}


@pytest.fixture
def field(tissue: np.ndarray) -> np.ndarray:
    return tissue[:ROWS, :COLS]


def stack_of(field: np.ndarray, lengths: tuple[int, ...], *, rgb: bool = False) -> np.ndarray:
    """Return a stack whose planes are all different."""
    planes = np.ndindex(lengths)
    made = [np.roll(field, 7 * n, axis=0) // (1 + n % 3) for n, _ in enumerate(planes)]
    stack = np.stack(made).reshape(*lengths, *field.shape)
    return stack if rgb else np.ascontiguousarray(stack[..., 1])


def write_ome_tiff(pixels: np.ndarray, path: Path, axes: str) -> Path:
    """Write a tiled OME-TIFF, 0.5 um a pixel, 2000 nm a plane, 1.5 min a frame."""
    rgb = axes.endswith("S")
    sizes: dict[str, Any] = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    sizes |= {"PhysicalSizeZ": 2000.0, "PhysicalSizeZUnit": "nm"}
    sizes |= {"TimeIncrement": 1.5, "TimeIncrementUnit": "min"}
    kind = "rgb" if rgb else "minisblack"
    tifffile.imwrite(
        path, pixels, ome=True, tile=(16, 16), photometric=kind, metadata={"axes": axes, **sizes}
    )
    return path


def write_zarr(pixels: np.ndarray, path: Path, names: str, *, rgb: bool = False) -> Path:
    axes = tuple(Axis(name, *STEPS[name]) for name in names)
    like = Micrograph(pixels, (0.5, 0.5), rgb=rgb)
    shape = pixels.shape[:-1] if rgb else pixels.shape
    level = new_zarr(path, shape, like, chunk_px=32, axes=axes)
    kept = [*names, "y", "x", *"c" * rgb]
    order = sorted(range(len(kept)), key=lambda n: "tczyx".index(kept[n]))
    level[:] = pixels.transpose(order)
    finish_zarr(path, like, axes=axes)
    return path


def valid(path: Path) -> dict[str, Any]:
    """Return the multiscales metadata, which another package finds in order."""
    import zarr
    from ome_zarr_models.v05 import Image

    group = zarr.open_group(path, mode="r")
    Image.from_zarr(group)
    found: dict[str, Any] = group.attrs["ome"]["multiscales"][0]
    return found


def same_as_whole(out: Path, image: Any, model: Any) -> None:
    made, whole = acuity.read(out), acuity.enhance(image, model, tile=None, exact=True)
    assert made.pixels.shape == whole.pixels.shape and made.rgb == whole.rgb
    assert np.abs(made.pixels.astype(int) - whole.pixels).max() <= 1


CASES = [  # axes, lengths, channels of the model, axes as they are stored
    ("T", (3,), 1, "tyx"),
    ("Z", (3,), 1, "zyx"),
    ("C", (2,), 1, "cyx"),
    ("C", (2,), 2, "cyx"),
    ("TZ", (2, 3), 1, "tzyx"),
    ("TC", (3, 2), 2, "tcyx"),
    ("ZC", (3, 2), 2, "czyx"),
    ("CZ", (2, 3), 1, "czyx"),
    ("TZC", (2, 3, 2), 1, "tczyx"),
    ("TZC", (2, 3, 2), 2, "tczyx"),
    ("TCZ", (2, 2, 3), 1, "tczyx"),
    ("ZS", (2,), 3, "czyx"),
    ("TZS", (2, 3), 3, "tczyx"),
]


@pytest.mark.parametrize(("axes", "lengths", "channels", "stored"), CASES)
@pytest.mark.parametrize("kind", ["tif", "zarr"])
def test_planes_are_those_of_enhance_and_axes_those_of_the_file(
    field, tmp_path, axes, lengths, channels, stored, kind
):
    rgb, names = axes.endswith("S"), axes.removesuffix("S").lower()
    pixels, model = stack_of(field, lengths, rgb=rgb), model_of(channels)
    image = tmp_path / f"in.ome.{kind}"
    if kind == "tif":
        write_ome_tiff(pixels, image, f"{names.upper()}YX{'S' * rgb}")
    else:
        write_zarr(pixels, image, names, rgb=rgb)

    out = enhance_large(image, model, tmp_path / "out.zarr", tile=32, device="cpu", exact=True)

    same_as_whole(out, Micrograph(pixels, rgb=rgb), model)
    told = valid(out)
    assert "".join(axis["name"] for axis in told["axes"]) == stored
    kinds = {axis["name"]: (axis["type"], axis.get("unit")) for axis in told["axes"]}
    expected = {"t": ("time", "second"), "c": ("channel", None)}
    assert kinds == {name: expected.get(name, ("space", "micrometer")) for name in stored}
    scale = told["datasets"][0]["coordinateTransformations"][0]["scale"]
    assert scale == [{"t": 90, "c": 1, "z": 2}.get(name, 0.2) for name in stored]
    assert [axis.name for axis in lazy_stack(out)[1]] == list(names)


def test_coarser_levels_shrink_rows_and_columns_only(field, tmp_path):
    import dask.array as da

    big = np.tile(stack_of(field, (2, 3)), (1, 1, 4, 5))
    out = enhance_large(big, model_of(1), tmp_path / "out.zarr", tile=100)

    fine, coarse = (level.pixels for level in lazy_levels(out))
    assert isinstance(fine, da.Array) and fine.shape == (2, 3, 710, 663)
    assert fine.chunksize[:2] == (1, 1) and coarse.shape == (2, 3, 355, 331)
    mean = np.asarray(fine)[..., :662].reshape(2, 3, 355, 2, 331, 2).mean(axis=(3, 5))
    np.testing.assert_array_equal(coarse, np.rint(mean))
    scales = [each["coordinateTransformations"][0]["scale"] for each in valid(out)["datasets"]]
    # Without a pixel size one step is a pixel of the input, so that both lie over each other.
    assert scales == [[1, 1, 0.4, 0.4], [1, 1, 0.8, 0.8]]


@pytest.mark.parametrize(
    ("lengths", "channels", "stored"),
    [
        ((3,), 1, "zyx"),
        ((2,), 2, "cyx"),
        ((2, 3), 1, "tzyx"),
        ((3, 2), 2, "czyx"),
        ((2, 1, 2), 1, "tczyx"),
        ((1, 1, 2), 1, "tczyx"),
        ((2, 3, 2), 2, "tczyx"),
    ],
)
@pytest.mark.parametrize("lazy", [False, True])
def test_axes_without_names(field, tmp_path, lengths, channels, stored, lazy):
    import dask.array as da

    pixels, model = stack_of(field, lengths), model_of(channels)
    image = Micrograph(da.from_array(pixels, chunks=(1,) * len(lengths) + (40, 40)))

    out = enhance_large(image if lazy else pixels, model, tmp_path / "out.zarr", exact=True)

    same_as_whole(out, pixels, model)
    assert "".join(axis["name"] for axis in valid(out)["axes"]) == stored


def test_axes_that_a_file_calls_otherwise(field, tmp_path):
    """A TIFF of several pages, one by ImageJ, and one of time and a series."""
    pages, frames = stack_of(field, (3,)), stack_of(field, (2, 3))
    tifffile.imwrite(tmp_path / "pages.tif", pages, photometric="minisblack")
    how = {"axes": "TZYX", "spacing": 2.0, "unit": "um", "finterval": 90.0}
    tifffile.imwrite(tmp_path / "imagej.tif", frames, imagej=True, metadata=how)
    tifffile.imwrite(
        tmp_path / "series.tif", frames, photometric="minisblack", metadata={"axes": "TQYX"}
    )
    model = model_of(1)
    for name, expected in (
        ("pages", (Axis("z"),)),
        ("imagej", (Axis("t", *SECONDS), Axis("z", *MICROMETRES))),
        ("series", (Axis("t"), Axis("z"))),
    ):
        image = tmp_path / f"{name}.tif"
        out = enhance_large(image, model, tmp_path / f"{name}.zarr", tile=32, exact=True)
        same_as_whole(out, acuity.read(image), model)
        assert lazy_stack(out)[1] == expected


def test_colours_leave_no_room_for_channels(field, tmp_path):
    """`write` calls the axes of a stack c and z."""
    pixels = Micrograph(stack_of(field, (2, 3), rgb=True), rgb=True)
    image = acuity.write(pixels, tmp_path / "in.tif")

    out = enhance_large(image, model_of(), tmp_path / "out.zarr", tile=32, exact=True)

    same_as_whole(out, pixels, model_of())
    assert [axis.name for axis in lazy_stack(out)[1]] == ["t", "z"]


def test_the_axes_of_a_layer(field, tmp_path):
    units = pint.get_application_registry()
    layer = SimpleNamespace(
        data=stack_of(field, (2, 3)),
        rgb=False,
        scale=(1.5, 4000, 500, 500),
        units=(units.minute, units.nm, units.nm, units.nm),
        axis_labels=("Time", "depth", "y", "x"),
        name="cells",
    )

    out = enhance_large(layer, model_of(1), tmp_path / "out.zarr", tile=32)

    assert lazy_stack(out)[1] == (Axis("t", *SECONDS), Axis("z", 4.0, "micrometer"))
    assert acuity.read(out).pixel_size == pytest.approx((0.2, 0.2))


def test_the_axis_called_c_goes_into_the_network(field, tmp_path):
    """OME-Zarr has z between channels and rows."""
    pixels, model = stack_of(field, (2, 3)), model_of(2)
    image = write_zarr(pixels, tmp_path / "in.zarr", "cz")

    out = enhance_large(image, model, tmp_path / "out.zarr", tile=32, exact=True)

    whole = acuity.enhance(np.swapaxes(pixels, 0, 1), model, tile=None, exact=True).pixels
    made = acuity.read(out).pixels
    assert np.abs(made.astype(int) - np.swapaxes(whole, 0, 1)).max() <= 1
    with pytest.raises(ModelError, match="of 3 channels, and 'in' has 2"):
        enhance_large(image, model_of(), tmp_path / "out.zarr")


def test_black_and_white_are_those_of_all_planes(field, tmp_path):
    pixels = stack_of(field, (3,)).astype(np.uint16) * 10
    pixels[-1, -1, -1] = 60000
    out = enhance_large(pixels, model_of(1), tmp_path / "out.zarr", tile=32, exact=True)

    same_as_whole(out, pixels, model_of(1))
    assert acuity.read(out).range() == (0, 65535)


def test_a_stack_that_was_stopped_goes_on(field, tmp_path):
    image = write_ome_tiff(stack_of(field, (2, 3)), tmp_path / "in.ome.tif", "TZYX")
    model, out = model_of(1), tmp_path / "out.zarr"
    plain = enhance_large(image, model, tmp_path / "plain.zarr", tile=32)
    steps = enhance_large_steps(image, model, out, tile=32)
    while not next(steps).stage.startswith("tile 20 of 36"):
        pass
    steps.close()
    # The fourth plane's third of six tiles was being written.
    (folder,) = (tmp_path / ".out.zarr.unfinished").glob("image-*")
    (folder.parent / "done.txt").write_text("".join(f"{number}\n" for number in range(20)))
    (folder / "s0/c/1/0/1").mkdir(exist_ok=True, parents=True)
    (folder / "s0/c/1/0/1/0").write_bytes(b"half a chunk")

    words = stages(enhance_large_steps(image, model, out, tile=32))

    assert tiles_done(words) == 16
    assert content(out) == content(plain)
    assert left_behind(tmp_path) == []


JOB = """
import sys
from napari_acuity.core.inference.large.enhance import enhance_large
enhance_large(*sys.argv[1:], tile=16, device="cpu")
"""


def test_a_stack_that_was_killed_goes_on(field, tmp_path):
    image = write_zarr(stack_of(field, (3, 2)), tmp_path / "in.zarr", "zc")
    model, out = model_of(2).save(tmp_path / "m.safetensors"), tmp_path / "out.zarr"
    plain = enhance_large(image, model, tmp_path / "plain.zarr", tile=16, device="cpu")
    journal, end = tmp_path / ".out.zarr.unfinished" / "done.txt", time.monotonic() + 60
    with subprocess.Popen([sys.executable, "-c", JOB, image, model, out]) as process:
        while time.monotonic() < end and process.poll() is None:
            if journal.exists() and journal.read_bytes().count(b"\n") > 9:
                break
            time.sleep(0.005)
        process.kill()

    words = stages(enhance_large_steps(image, model, out, tile=16, device="cpu"))

    assert tiles_done(words) < 60 - 9
    assert content(out) == content(plain)


def test_workers_and_devices_make_the_same(field, tmp_path):
    image = write_ome_tiff(stack_of(field, (3, 2)), tmp_path / "in.ome.tif", "ZCYX")
    one = enhance_large(image, model_of(2), tmp_path / "one.zarr", tile=32, device="cpu")
    two = enhance_large(image, model_of(2), tmp_path / "two.zarr", tile=32, device="cpu,cpu")
    shared = enhance_large(image, model_of(2), tmp_path / "shared.zarr", tile=32, workers=2)

    assert content(one) == content(two) == content(shared)


def test_stacks_that_no_ome_zarr_holds(field, tmp_path):
    deep, model = stack_of(field, (1, 1, 2, 2)), model_of(1)
    with pytest.raises(ImageError, match="4 axes before its rows: an OME-Zarr holds time, channel"):
        enhance_large(deep, model, tmp_path / "out.zarr")
    colours = Micrograph(stack_of(field, (1, 2, 2), rgb=True), rgb=True)
    with pytest.raises(ImageError, match="is in colour: an OME-Zarr holds time and z there"):
        enhance_large(colours, model_of(), tmp_path / "out.zarr")
    assert left_behind(tmp_path) == []


def test_who_takes_no_stacks_still_takes_none(field, tmp_path):
    pixels = stack_of(field, (3,))
    image = write_ome_tiff(pixels, tmp_path / "in.ome.tif", "ZYX")
    with pytest.raises(FileError, match="no single grey or RGB plane"), opened(image):
        pass
    with pytest.raises(ImageError, match="no single grey or RGB plane"), opened(pixels):
        pass
    tifffile.imwrite(tmp_path / "planar.tif", np.moveaxis(field, -1, 0), photometric="rgb")
    with pytest.raises(FileError, match="its axes are SYX"):
        enhance_large(tmp_path / "planar.tif", model_of(), tmp_path / "out.zarr")


NOISY = """
import sys
from napari_acuity.core.errors import FileError
from napari_acuity.core.inference.large.enhance import enhance_large
try:
    enhance_large(*sys.argv[1:], tile=32, device="cpu,cpu")
except FileError as error:
    print(error)
"""


def test_a_damaged_tile_says_one_thing(field, tmp_path):
    """Chunks that are read beside it end before the interpreter does, which would print them."""
    image = tmp_path / "in.tif"
    tifffile.imwrite(image, np.tile(field, (4, 4, 1)), tile=(16, 16), compression="zlib")
    with tifffile.TiffFile(image) as file:
        page = file.pages.first
        spoilt = dict(zip(page.dataoffsets, page.databytecounts, strict=True))
    with image.open("r+b") as file:
        for start, size in list(spoilt.items())[30:34]:
            file.seek(start)
            file.write(b"x" * size)
    model = model_of().save(tmp_path / "m.safetensors")

    command = [sys.executable, "-c", NOISY, image, model, tmp_path / "out.zarr"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)

    assert ended.stdout.startswith("A part of in cannot be read") and ended.stderr == ""


def test_what_answers_but_is_no_scheduler():
    """It says nothing: a client would wait for it, fail, and print when it is closed."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"tcp://127.0.0.1:{mute.getsockname()[1]}"
        command = [sys.executable, "-m", "napari_acuity", "enhance", "x.tif", "--out", "o.zarr"]
        command += ["--scheduler", address]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 1 and ended.stderr.count("\n") == 2
    assert ended.stderr.startswith(f"acuity: No scheduler answers at {address} (nothing within")


def test_the_levels_of_a_stack_have_their_pixel_sizes(field, tmp_path):
    stack, size = stack_of(field, (4,)), {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    with tifffile.TiffWriter(tmp_path / "in.ome.tif") as file:
        file.write(stack[:, :64, :48], subifds=1, tile=(16, 16), metadata={"axes": "ZYX", **size})
        file.write(stack[:, :64:2, :48:2], subfiletype=1, tile=(16, 16))

    with opened(tmp_path / "in.ome.tif", stacks=True) as pyramid:
        assert [level.pixel_size for level in pyramid.levels] == [(0.5, 0.5), (1.0, 1.0)]


def test_a_strip_is_shrunk_no_further_than_to_one_pixel(field):
    strip = np.tile(field[:3, :, 0], (1, 40))
    with opened(strip) as pyramid:
        small, _ = pyramid.region(pyramid.box, side_px=300)

    assert small.shape == (1, 40 * COLS // 3)
    np.testing.assert_allclose(small.pixels[0, 0], strip[:, :3].mean(), atol=1)


@pytest.mark.parametrize("kind", ["in.ome.tif", "in.ome.zarr"])
def test_files_that_are_damaged_say_so_when_opened(field, tmp_path, kind):
    path = tmp_path / kind
    if kind.endswith("zarr"):
        about = write_zarr(field[..., 0], path, "") / "zarr.json"
        about.write_text(about.read_text().replace('"datasets"', '"nothing"'))
    else:
        write_ome_tiff(field[..., 0], path, "YX")
        path.write_bytes(path.read_bytes().replace(b"<Pixels", b"<<ixels"))

    with pytest.raises(FileError, match=r"cannot be read.*copy it again"), opened(path):
        pass


def test_a_block_that_fails_is_not_a_damaged_file(field, tmp_path):
    path = write_ome_tiff(field[..., 0], tmp_path / "in.ome.tif", "YX")
    with pytest.raises(ZeroDivisionError), opened(path):
        raise ZeroDivisionError

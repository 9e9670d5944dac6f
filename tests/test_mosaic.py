"""Stitching: tiles cut from real images at known places come back to them."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import zarr
from scipy import ndimage

import napari_acuity as acuity
from napari_acuity import FileError, ImageError, Micrograph, RegistrationError
from napari_acuity.core.registration.mosaics import fusion
from napari_acuity.core.registration.mosaics.links import placed

SLIDE = Path(acuity.__file__).parent / "data" / "cmu-1-small-region.svs"
BINNING = 2
GRID = (3, 4)
SIDE = (200, 190)


@dataclass(frozen=True)
class Scan:
    """Tiles and where they were cut, in px of the field."""

    tiles: list[np.ndarray]
    truth: np.ndarray
    nominal: np.ndarray
    field: np.ndarray


@pytest.fixture(scope="module")
def slide() -> np.ndarray:
    return acuity.read(SLIDE).pixels[700:2200, 500:2200]


def binned(pixels: np.ndarray) -> np.ndarray:
    rows, cols = (n // BINNING for n in pixels.shape[:2])
    pixels = pixels[: rows * BINNING, : cols * BINNING]
    return pixels.reshape(rows, BINNING, cols, BINNING, 3).mean((1, 3))


def scan(
    slide: np.ndarray,
    *,
    overlap: float = 0.15,
    jitter: int = 6,
    noise: float = 3.0,
    vignetting: float = 0.3,
    seed: int = 0,
) -> Scan:
    """Cut RGB tiles at jittered places, half pixels among them: the camera averages 2 x 2 px."""
    rng = np.random.default_rng(seed)
    y, x = (np.linspace(-1, 1, n) for n in SIDE)
    light = 1 - vignetting * (y[:, None] ** 2 + x**2)[..., None] / 2
    nominal = np.rint(np.argwhere(np.ones(GRID)) * (1 - overlap) * SIDE)
    tiles, truth = [], []
    for place in nominal:
        row, col = (BINNING * (place + jitter)).astype(int) + rng.integers(
            -jitter * BINNING, jitter * BINNING + 1, 2
        )
        seen = binned(slide[row : row + SIDE[0] * BINNING, col : col + SIDE[1] * BINNING]) * light
        seen = seen + rng.normal(0, noise, seen.shape)
        tiles.append(np.clip(np.rint(seen), 0, 255).astype(np.uint8))
        truth.append((row / BINNING, col / BINNING))
    return Scan(tiles, np.array(truth), nominal, binned(slide))


def errors(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return how far each tile is from the truth; where the field begins is free."""
    off = found - truth
    return np.linalg.norm(off - np.median(off, axis=0), axis=1)


# places


@pytest.mark.parametrize("overlap", [0.1, 0.15, 0.25])
@pytest.mark.parametrize("seed", [0, 1])
def test_tiles_come_back_to_their_places(slide, overlap, seed):
    cut = scan(slide, overlap=overlap, seed=seed)

    found = acuity.stitch(cut.tiles, grid=GRID, overlap=overlap)

    assert found.unlinked == () and found.left_out == {}
    assert errors(found.positions_px, cut.truth).max() < 0.2
    assert found.residual_px < 0.2
    assert found.positions_px.min(0) == pytest.approx([0, 0])


def test_grey_tiles_of_another_image(tissue):
    places = np.array([[0, 3], [2, 165], [170, 0], [168, 172]])
    tiles = [tissue[y : y + 200, x : x + 200, 1] for y, x in places]

    found = acuity.stitch(tiles, grid=(2, 2), overlap=0.16)

    assert errors(found.positions_px, places).max() < 0.05
    assert found.image.shape == (370, 372) and not found.image.rgb
    # Whole-pixel places need no resampling: the field is the image, where a tile lies.
    inside = found.image.pixels[5:365, 5:365].astype(int) - tissue[5:365, 5:365, 1]
    assert np.abs(inside).max() <= 8 and np.abs(inside).mean() < 0.2


def test_noisy_fluorescence_on_a_dark_ground():
    field = acuity.read(SLIDE.parent / "actin-widefield.tif").pixels.astype(float)
    noise = np.random.default_rng(0).normal(0, 0.01 * field.max(), (4, 280, 280))
    places = np.array([[2, 0], [0, 230], [229, 3], [231, 232]])
    tiles = [
        np.clip(field[y : y + 280, x : x + 280] + grain, 0, 65535).astype(np.uint16)
        for (y, x), grain in zip(places, noise, strict=True)
    ]

    found = acuity.stitch(tiles, grid=(2, 2), overlap=0.18)

    assert found.unlinked == () and errors(found.positions_px, places).max() < 0.15


def test_unrelated_tiles_are_not_linked(slide, tissue):
    slide_tile, tissue_tile = slide[400:700, 400:700, 1], tissue[100:400, 100:400, 1]
    for first, second in ((slide_tile, tissue_tile), (tissue_tile, slide_tile)):
        for overlap in (0.1, 0.3):
            with pytest.raises(RegistrationError, match="No two"):
                acuity.stitch([first, second], grid=(1, 2), overlap=overlap)


def test_snake_order_and_positions_say_the_same(slide):
    cut = scan(slide)
    numbers = np.arange(12).reshape(GRID)
    numbers[1::2] = numbers[1::2, ::-1]
    order = numbers.ravel()
    known = acuity.stitch(cut.tiles, grid=GRID, overlap=(0.15, 0.15))

    snake = acuity.stitch([cut.tiles[k] for k in order], grid=GRID, overlap=0.15, snake=True)
    px = acuity.stitch(cut.tiles, positions_px=cut.nominal + 1000)
    sized = [Micrograph(tile, rgb=True, pixel_size=(0.5, 0.25)) for tile in cut.tiles]
    um = acuity.stitch(sized, positions_um=cut.nominal * (0.5, 0.25))

    assert snake.positions_px == pytest.approx(known.positions_px[order], abs=0.02)
    assert px.positions_px == pytest.approx(known.positions_px, abs=1e-6)
    assert um.positions_px == pytest.approx(known.positions_px, abs=1e-6)
    assert um.image.pixel_size == (0.5, 0.25)


def test_large_tiles_are_searched_coarsely_first(slide):
    big = np.kron(slide[..., 1], np.ones((2, 2), np.uint8))
    places = np.array([[40, 0], [0, 1500]])
    tiles = [big[y : y + 1700, x : x + 1700] for y, x in places]

    found = acuity.stitch(tiles, positions_px=[[0, 0], [0, 1450]], search_px=70)

    assert errors(found.positions_px, places).max() < 0.1


def test_an_empty_tile_stays_at_its_nominal_place_and_is_told_of(slide):
    cut = scan(slide)
    empty = np.random.default_rng(1).normal(240, 3, cut.tiles[0].shape)
    cut.tiles[5] = np.clip(np.rint(empty), 0, 255).astype(np.uint8)

    found = acuity.stitch(cut.tiles, grid=GRID, overlap=0.15)

    rest = np.arange(12) != 5
    assert found.unlinked == (5,)
    assert errors(found.positions_px[rest], cut.truth[rest]).max() < 0.2
    nominal = found.positions_px - cut.nominal
    assert nominal[5] == pytest.approx(nominal[rest].mean(0), abs=0.1)
    touching = [link for link in found.links if 5 in (link.first, link.second)]
    assert len(touching) == 4 and not any(link.used for link in touching)


def test_a_link_that_contradicts_the_others_is_dropped(slide):
    cut = scan(slide)
    links = list(acuity.stitch(cut.tiles, grid=GRID, overlap=0.15).links)
    wrong = next(k for k, link in enumerate(links) if (link.first, link.second) == (5, 6))
    y, x = links[wrong].shift_px
    links[wrong] = replace(links[wrong], shift_px=(y + 9, x - 7), correlation=0.99)

    positions, told = placed(cut.nominal, links)

    assert [link.used for link in told] == [
        link.used and k != wrong for k, link in enumerate(links)
    ]
    assert told[wrong].residual_px == pytest.approx(np.hypot(9, 7), abs=0.3)
    assert errors(positions, cut.truth).max() < 0.2


# the field


def test_the_field_registers_to_the_image_it_was_cut_from(slide):
    cut = scan(slide, vignetting=0.1)
    mosaic = acuity.stitch(cut.tiles, grid=GRID, overlap=0.15)
    rows, cols = mosaic.image.shape
    begin = np.median(cut.truth - mosaic.positions_px, axis=0)
    start = np.rint(begin).astype(int)
    source = cut.field[start[0] : start[0] + rows, start[1] : start[1] + cols].astype(np.uint8)

    found = acuity.register(mosaic.image, Micrograph(source, rgb=True))

    points = np.argwhere(np.ones((7, 7))) * (rows - 60, cols - 60) / 6 + 30
    error = np.linalg.norm(found.map_points(points) - (points + start - begin), axis=1)
    assert np.median(error) < 0.2 and error.max() < 1
    inside = np.s_[20 : rows - 20, 20 : cols - 20]
    seen, true = mosaic.image.pixels[inside].astype(float), source[inside]
    assert np.corrcoef(seen.ravel(), true.ravel())[0, 1] > 0.95


def test_seams_are_blended():
    tiles = {number: np.full((50, 60), 100 * number, np.uint8) for number in (1, 2)}
    positions = np.array([[0, 0], [0, 0], [0.5, 40.5]])

    field = fusion.fused(tiles, positions, (0, 50), 100, np.dtype(np.uint8))

    steps = np.diff(field.astype(int), axis=1)
    assert (field[:, :40] == 100).all() and (field[1:, 61:] == 200).all()
    assert steps.min() == 0 and steps.max() < 10


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_the_type_and_range_are_kept(tissue, dtype):
    pixels = tissue[..., 1].astype(dtype) * (16 if dtype == np.uint16 else 1)
    known = (0, 4095) if dtype == np.uint16 else (0, 255)
    tiles = [
        Micrograph(pixels[:300, x : x + 250], value_range=known, pixel_size=(1, 1))
        for x in (0, 210)
    ]

    image = acuity.stitch(tiles, grid=(1, 2), overlap=0.16).image

    assert image.pixels.dtype == dtype
    assert image.value_range == known and image.pixel_size == (1, 1)
    assert np.abs(image.pixels.astype(float) - pixels[:300, :460]).mean() < 0.005 * known[1]


def shifted_tiles(pixels, dtype):
    """Two tiles of a field, the second a third of a pixel off the first one's grid; and its place."""
    field = ndimage.gaussian_filter(pixels, 1)
    moved = ndimage.shift(field, (0.3, -200.4), order=3, mode="mirror")
    tiles = [np.clip(each[:300, :250], field.min(), field.max()) for each in (field, moved)]
    return [tile.astype(dtype) for tile in tiles], np.array([[0.3, 0], [0, 200.4]])


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [(np.float64, 0, 1e-12), (np.float64, 1e9, 1e9 + 1), (np.int64, 2**50, 2**50 + 2**40)],
)
def test_any_values_are_placed_alike(tissue, dtype, low, high):
    """Heights in metres, and counts whose squares float32 does not hold."""
    grey = tissue[..., 1].astype(float) / 255
    tiles, truth = shifted_tiles(low + grey * (high - low), dtype)

    mosaic = acuity.stitch(tiles, grid=(1, 2), overlap=0.2)

    assert mosaic.links[0].used
    np.testing.assert_allclose(mosaic.positions_px, truth, atol=0.05)
    seen = (mosaic.image.pixels - dtype(low)).astype(float)[5:290, 5:440] / (high - low)
    assert np.abs(seen - ndimage.gaussian_filter(grey, 1)[5:290, 5:440]).max() < 0.1


@pytest.mark.parametrize(("dtype", "white"), [(np.float32, 1), (np.float64, 1), (np.uint16, 4095)])
def test_black_and_white_stay_as_known_as_they_were(tissue, dtype, white):
    """What the resampling overshoots would tell another range."""
    tiles, _ = shifted_tiles((tissue[..., 1] > 128) * float(white), dtype)
    tiles = [np.where(tile > white / 2, white, 0).astype(dtype) for tile in tiles]

    image = acuity.stitch(tiles, grid=(1, 2), overlap=0.2).image

    assert 0 <= image.pixels.min() < image.pixels.max() <= white


def test_bands_meet_without_a_seam(slide, monkeypatch):
    cut = scan(slide)
    whole = acuity.stitch(cut.tiles, grid=GRID, overlap=0.15).image.pixels
    monkeypatch.setattr(fusion, "BAND_ROWS", 77)

    banded = acuity.stitch(cut.tiles, grid=GRID, overlap=0.15).image.pixels

    # OpenCV resamples in steps of 1/32 px, which depend on where a band begins.
    assert np.abs(whole.astype(int) - banded).max() <= 3


def test_events_rise_to_the_end_and_cancel_leaves_nothing(slide, tmp_path):
    cut = scan(slide)
    steps = acuity.stitch_steps(cut.tiles, grid=GRID, overlap=0.15, out=tmp_path / "a.ome.zarr")
    events = []
    for event in steps:
        events.append(event)
        if event.stage.startswith("fusion"):
            steps.close()

    fractions = [event.fraction for event in events]
    assert fractions == sorted(fractions) and fractions[-1] >= 0.6
    assert sum(len(event.new) for event in events if isinstance(event.new, tuple)) == 17
    assert list(tmp_path.iterdir()) == []


# OME-Zarr


@pytest.mark.parametrize("rgb", [True, False])
def test_a_field_goes_to_ome_zarr_and_comes_back(slide, tmp_path, rgb):
    tiles = [
        Micrograph(tile if rgb else tile[..., 1].astype(np.uint16), rgb=rgb, pixel_size=(0.5, 0.4))
        for tile in scan(slide).tiles
    ]
    if not rgb:
        tiles = [replace(tile, value_range=(0, 1023)) for tile in tiles]
    held = acuity.stitch(tiles, grid=GRID, overlap=0.15).image

    lazy = acuity.stitch(tiles, grid=GRID, overlap=0.15, out=tmp_path / "field.ome.zarr").image
    read = acuity.read(tmp_path / "field.ome.zarr")

    assert not isinstance(lazy.pixels, np.ndarray) and isinstance(read.pixels, np.ndarray)
    for image in (lazy, read):
        assert (image.name, image.pixel_size, image.rgb) == ("field", (0.5, 0.4), rgb)
        assert image.value_range == (None if rgb else (0, 1023))
        assert image.pixels.dtype == held.pixels.dtype
        assert np.array_equal(np.asarray(image.pixels), held.pixels)
    assert [path.name for path in tmp_path.iterdir()] == ["field.ome.zarr"]


def test_coarser_levels_are_means_and_lie_where_they_should(slide, tmp_path):
    image = acuity.stitch(
        scan(slide).tiles, grid=GRID, overlap=0.15, out=tmp_path / "field.ome.zarr"
    ).image
    group = zarr.open_group(tmp_path / "field.ome.zarr", mode="r")

    (scales,) = group.attrs["ome"]["multiscales"]
    fine = np.moveaxis(np.asarray(image.pixels), -1, 0).astype(float)
    coarse = group["s1"][:]
    rows, cols = coarse.shape[1:]
    means = fine[:, : 2 * rows, : 2 * cols].reshape(3, rows, 2, cols, 2).mean((2, 4))
    assert np.abs(coarse - means).max() <= 0.5
    assert max(group["s1"].shape) <= 512 and "s2" not in group
    scale, shift = scales["datasets"][1]["coordinateTransformations"]
    assert scale["scale"] == [1, 2, 2] and shift["translation"] == [0, 0.5, 0.5]


def test_an_old_zarr_is_replaced_when_the_new_one_is_complete_and_nothing_else_is(slide, tmp_path):
    tiles, out = scan(slide).tiles, tmp_path / "field.ome.zarr"
    layout = {"grid": (1, 2), "overlap": 0.15}
    before = acuity.stitch(tiles[:2], **layout, out=out).image.shape
    steps = acuity.stitch_steps(tiles, grid=GRID, overlap=0.15, out=out)
    for event in steps:
        if event.stage.startswith("coarser"):
            steps.close()
    kept = acuity.read(out).shape
    acuity.stitch(tiles, grid=GRID, overlap=0.15, out=out)
    (tmp_path / "notes.zarr").mkdir()

    assert before == kept != acuity.read(out).shape
    with pytest.raises(FileError, match="is no OME-Zarr"):
        acuity.stitch(tiles, grid=GRID, out=tmp_path / "notes.zarr")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["field.ome.zarr", "notes.zarr"]


def test_folders_and_files_that_hold_no_image_are_refused(tmp_path):
    (tmp_path / "empty.zarr").mkdir()
    (tmp_path / "file.zarr").write_bytes(b"rubbish")
    zarr.create_array(tmp_path / "plain.zarr", shape=(4, 4), dtype="u1")
    zarr.open_group(tmp_path / "group.zarr", mode="w")

    for path in tmp_path.iterdir():
        with pytest.raises(FileError):
            acuity.read(path)
    with pytest.raises(FileError, match="There is no file"):
        acuity.read(tmp_path / "missing.ome.zarr")


def test_without_ome_zarr_it_is_said_what_to_install(slide, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ome_zarr", None)

    with pytest.raises(FileError, match=r"napari-acuity\[mosaic\]"):
        acuity.stitch(scan(slide).tiles, grid=GRID, out=tmp_path / "field.ome.zarr")


def test_a_field_beyond_the_memory_says_so(slide, monkeypatch):
    few = psutil.virtual_memory()._replace(available=2**20)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: few)

    with pytest.raises(RegistrationError, match=r"ome\.zarr"):
        acuity.stitch(scan(slide).tiles, grid=GRID, overlap=0.15)


# bad input


def test_tiles_that_cannot_be_used_are_told_of_and_the_rest_is_stitched(slide, tmp_path):
    cut = scan(slide)
    paths = [
        acuity.write(Micrograph(tile, rgb=True), tmp_path / f"{number}.tif")
        for number, tile in enumerate(cut.tiles)
    ]
    paths[0].write_bytes(b"rubbish")
    paths[7].unlink()

    found = acuity.stitch(paths, grid=GRID, overlap=0.15, out=tmp_path / "field.tif")

    rest = [k for k in range(12) if k not in (0, 7)]
    assert set(found.left_out) == {0, 7}
    assert all(isinstance(error, FileError) for error in found.left_out.values())
    assert errors(found.positions_px[rest], cut.truth[rest]).max() < 0.2
    assert found.unlinked == ()
    assert np.array_equal(acuity.read(tmp_path / "field.tif").pixels, found.image.pixels)


def test_a_tile_with_nan_is_left_out(slide):
    tiles = [tile.astype(np.float32) for tile in scan(slide).tiles]
    tiles[3][50, 50] = np.nan

    found = acuity.stitch(tiles, grid=GRID, overlap=0.15)

    assert set(found.left_out) == {3} and isinstance(found.left_out[3], ImageError)
    assert np.isfinite(found.image.pixels).all()


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ({}, "Where the tiles lie"),
        ({"grid": (3, 3)}, "make no grid"),
        ({"grid": (-3, -4)}, "make no grid"),
        ({"grid": 12}, "grid is given as 12"),
        ({"grid": GRID, "positions_px": np.zeros((12, 2))}, "Both a grid and positions"),
        ({"grid": GRID, "overlap": 1.2}, "cannot overlap"),
        ({"grid": GRID, "overlap": (0.1, 0.1, 0.1)}, "cannot overlap"),
        ({"grid": GRID, "search_px": -1}, "at least 0"),
        ({"positions_px": [[0, 0]]}, "do not fit"),
        ({"positions_px": np.full((12, 2), np.nan)}, "do not fit"),
        ({"positions_um": np.zeros((12, 2))}, "no pixel size"),
        ({"positions_um": np.zeros((12, 2)), "positions_px": np.zeros((12, 2))}, "twice"),
    ],
)
def test_a_layout_that_does_not_fit_is_refused(slide, layout, message):
    with pytest.raises(RegistrationError, match=message):
        acuity.stitch(scan(slide).tiles, **layout)


def test_tiles_of_unlike_kinds_are_refused(slide):
    tiles = scan(slide).tiles
    for odd in (tiles[4][:-1], tiles[4][..., 0], tiles[4].astype(np.uint16)):
        with pytest.raises(ImageError, match="the first tile is"):
            acuity.stitch([*tiles[:4], odd, *tiles[5:]], grid=GRID)
    with pytest.raises(ImageError, match="single planes"):
        acuity.stitch([np.zeros((5, 64, 64), np.uint8)] * 2, grid=(1, 2))


def test_nothing_to_stitch_is_refused(slide, tmp_path):
    tile = scan(slide).tiles[0]
    noise = np.random.default_rng(0).normal(200, 5, (2, 200, 200)).astype(np.uint8)
    blank = [np.full((200, 200), 255, np.uint8)] * 2
    for tiles in ([], [tile], [tile, tmp_path / "missing.tif"]):
        with pytest.raises(RegistrationError, match="can be used"):
            acuity.stitch(tiles, grid=(1, len(tiles)))
    for tiles in (list(noise), blank, [tile[..., 0], tile[::-1, ::-1, 0]]):
        with pytest.raises(RegistrationError, match="No two of 2 tiles show common content"):
            acuity.stitch(tiles, grid=(1, 2), overlap=0.15)
    with pytest.raises(RegistrationError, match=r"No two of 2 tiles .* left out: .*missing\.tif"):
        acuity.stitch([*noise, tmp_path / "missing.tif"], grid=(1, 3), overlap=0.15)


def test_tiles_that_do_not_overlap_are_refused(slide):
    tiles = scan(slide).tiles

    with pytest.raises(RegistrationError, match="0 overlaps"):
        acuity.stitch(tiles, grid=GRID, overlap=0)

"""Folders whose images pair by name, what a pair keeps of its registration, and what cannot be read."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_acuity import FileError, ImageError, Micrograph, Pair, PairError, PairSet, write
from napari_acuity.core.pairs.described import Described
from napari_acuity.core.pairs.folders import scale_of_sizes
from napari_acuity.core.pairs.similarity_map import over_cells
from napari_acuity.core.pairs.usable import readable

if TYPE_CHECKING:
    from pathlib import Path


def put(folder: Path, **images: np.ndarray) -> None:
    """Write images NAME=pixels into a folder, as NAME.tif."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, pixels in images.items():
        write(pixels, folder / f"{name}.tif")


@pytest.mark.parametrize(
    ("low", "high"),
    [("low", "GT"), ("low", "high"), ("Input", "Target"), ("train/raw", "train/truth")],
)
def test_two_folders_of_one_set_of_names_are_read(tmp_path, tissue, low, high):
    put(tmp_path / low, a=tissue[:40, :60], b=tissue[40:80, :60])
    put(tmp_path / high, a=tissue[:100, :150], b=tissue[100:200, :150])

    pairs = PairSet.open(tmp_path)

    assert pairs.groups == {"a": "a", "b": "b"}
    assert pairs.described() == (
        [Described(name, name, 2.5, True, (40, 60)) for name in ("a", "b")],
        {},
    )
    np.testing.assert_array_equal(pairs["b"].high.pixels, tissue[100:200, :150])
    assert [pair.scale for pair in pairs] == [2.5, 2.5]


def test_a_set_of_ours_is_never_taken_for_such_a_folder(tmp_path, tissue):
    PairSet.open(tmp_path).add(Pair(tissue[:40], tissue[:40], 1, name="ours"))
    put(tmp_path / "low", stray=tissue[:40])
    put(tmp_path / "high", stray=tissue[:40])

    assert PairSet.open(tmp_path).names == ["ours"]
    assert PairSet.open(tmp_path).add(Pair(tissue[:40], tissue[:40], 1, name="stray")) == "stray-2"


def test_nothing_is_added_to_folders_of_others(tmp_path, tissue):
    for part in ("low", "GT"):
        put(tmp_path / part, a=tissue[:40])
    before = sorted(tmp_path.rglob("*"))

    with pytest.raises(PairError, match=r"pair by their names \(low, GT\).*Choose another folder"):
        PairSet.open(tmp_path).add(Pair(tissue, tissue, 1))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_compressed_and_a_lossless_file_of_one_name_are_a_pair(tmp_path, tissue):
    put(tmp_path / "GT", a=tissue[:40])
    (tmp_path / "low").mkdir()
    write(tissue[:40], tmp_path / "low" / "a.jpg")

    assert PairSet.open(tmp_path)["a"].low.shape == (40, 512)


def test_folders_that_could_mean_two_things_are_named(tmp_path, tissue):
    for part in ("low", "raw", "GT"):
        put(tmp_path / part, a=tissue[:40])

    with pytest.raises(PairError, match=r"more than two folders .*: low, raw, GT\. Keep one"):
        PairSet.open(tmp_path)


def test_pairs_that_cannot_be_used_are_named_and_the_others_read(tmp_path, tissue):
    low, high = tmp_path / "low", tmp_path / "GT"
    put(low, good=tissue[:40, :60], also=tissue[40:80, :60], size=tissue[:40, :60])
    put(low, mixed=tissue[:40, :60], blank=np.zeros((40, 60, 3), np.uint8), single=tissue[:40, :60])
    put(low, other=tissue[:40, :60], stack=np.stack([tissue[:40, :60, 0]] * 2))
    put(high, good=tissue[:80, :120], also=tissue[80:160, :120], size=tissue[:81, :180])
    put(high, mixed=tissue[:80, :120, 0], blank=tissue[:80, :120], other=tissue[:40, :60])
    put(high, stack=np.stack([tissue[:80, :120, 0]] * 2))
    write(tissue[:40, :60], low / "twice.tif")
    write(tissue[:40, :60], low / "twice.png")
    put(high, twice=tissue[:80, :120])
    for folder in (low, high):
        (folder / "cut.tif").write_bytes((low / "good.tif").read_bytes()[:300])

    found, errors = readable(PairSet.open(tmp_path))

    assert [pair.name for pair in found] == ["also", "good"]
    assert set(errors) == {
        *("blank", "cut", "mixed", "other", "single", "size", "stack"),
        "twice",
    }
    assert isinstance(errors["cut"], FileError)
    assert isinstance(errors["blank"], ImageError)
    for name, words in {
        "size": "40 x 60 pixels and the high one 81 x 180: no scale",
        "mixed": "has colour and the high one has none",
        "other": r"'other' (scale 1, RGB) is not like most of the pairs (scale 2, RGB)",
        "single": "GT holds no image for the pair 'single'",
        "twice": "low holds twice.png, twice.tif for the pair 'twice'",
        "stack": "is a stack",
    }.items():
        assert words in str(errors[name])


def test_of_a_set_of_ours_the_readable_pairs_are_read_too(tmp_path, tissue):
    pairs = PairSet.open(tmp_path)
    for name in "abc":
        pairs.add(Pair(tissue[:40], tissue[:40], 1, name=name))
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "low" / "b.tif").unlink()

    found, errors = readable(pairs)

    assert ([pair.name for pair in found], list(errors)) == (["c"], ["a", "b"])
    described, problems = pairs.described()
    assert ([pair.name for pair in described], list(problems)) == (["c"], ["a", "b"])
    assert readable([]) == ([], {})
    assert readable(PairSet.open(tmp_path / "none")) == ([], {})


def test_what_is_no_pair_is_refused(tissue):
    for given_ in ([tissue, tissue], [1, 2], None, Pair(tissue, tissue, 1)):
        with pytest.raises(PairError, match=r"are no pairs\. Give a PairSet"):
            readable(given_)


@given(st.integers(1, 9), st.integers(1, 6), st.integers(40, 500), st.integers(40, 500))
def test_the_scale_of_two_sizes_is_the_simplest_that_fits(p, q, height, width):
    low = height, width
    high = tuple(math.ceil(n * p / q) for n in low)

    found = scale_of_sizes(low, high, "field")

    assert tuple(math.ceil(round(n * found, 9)) for n in low) == high
    # Fractions p/q with q <= 6 differ by 1/30 at least, and 40 px tell 1/40.
    assert found == pytest.approx(p / q)


# What a pair keeps of its registration


def test_the_evidence_comes_back_with_the_pair(tmp_path, tissue):
    blocks = np.round(np.linspace(-0.2, 0.987, 12).reshape(3, 4), 3)
    facts: dict[str, Any] = {"start": "SIFT", "correlation": [0.4, 0.8], "homography": [[1, 0, 2]]}
    pair = Pair(tissue, tissue, 1, similarity_map=blocks, registration=facts)

    found = PairSet.open(tmp_path)[PairSet.open(tmp_path).add(pair)]

    np.testing.assert_allclose(found.similarity_map, blocks)
    assert found.registration == facts
    assert len((tmp_path / "pair.json").read_text().splitlines()) < 20


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"similarity_map": [[0.1, 0.2], [0.3]]}, "does not describe a pair"),
        ({"similarity_map": [0.1, 0.2]}, r"similarity map .* its shape is \(2,\)"),
        ({"similarity_map": [[]]}, r"similarity map .* its shape is \(1, 0\)"),
        ({"similarity_map": [[None]]}, r"no table of numbers"),
        ({"registration": [1]}, "no table"),
    ],
)
def test_damaged_evidence_is_named(tmp_path, tissue, facts, words):
    name = PairSet.open(tmp_path).add(Pair(tissue, tissue, 1))
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))

    with pytest.raises(PairError, match=words):
        PairSet.open(tmp_path)[name]


@given(st.data())
def test_a_map_that_is_a_plane_stays_that_plane_on_any_cells(data):
    """Interpolation between the outermost block centres reproduces every linear function."""
    size = data.draw(st.integers(50, 300))
    count = data.draw(st.integers(2, 12))
    centres = np.linspace(0, size, count)
    start = data.draw(st.integers(0, size - 10))
    end = data.draw(st.integers(start + 5, size))
    blocks = centres[:, None] - 2 * centres

    found = over_cells(blocks, centres, centres, (start, end), (0, size))

    rows, cols = (
        begin + (np.arange(n) + 0.5) * (stop - begin) / n
        for n, (begin, stop) in zip(found.shape, ((start, end), (0, size)), strict=True)
    )
    np.testing.assert_allclose(found, rows[:, None] - 2 * cols, atol=1e-9)


@pytest.mark.parametrize(("scale", "q"), [(1, 1), (1.5, 2), (2, 1), (2.5, 2), (4 / 3, 3)])
def test_a_part_of_a_pair_lies_on_both_grids(scale, q):
    """Every pixel holds its position, in low px."""
    coarse = np.arange(48.0)
    fine = (np.arange(math.ceil(48 * scale - 1e-9)) + 0.5) / scale - 0.5
    low, high = (
        Micrograph(row[:, None] + 100 * row, value_range=(-200, 5000)) for row in (coarse, fine)
    )
    blocks = np.array([[0.0, 0.2, 0.4, 0.6]])

    part = Pair(low, high, scale, similarity_map=blocks).crop((12, 24), (24, 48))

    np.testing.assert_array_equal(part.low.pixels, low.pixels[12:24, 24:])
    assert part.low.pixels.mean() == pytest.approx(part.high.pixels.mean())
    np.testing.assert_allclose(part.similarity_map, [[0.4, 0.6]])
    if q > 1:
        with pytest.raises(PairError, match=f"cannot be cut from 1 to 24.*multiples of {q}"):
            Pair(low, high, scale).crop((1, 24), (0, 48))


def test_a_registered_pair_tells_where_it_is_alike(tissue):
    """Half of the moving image is noise: there, and only there, the blocks do not correlate."""
    import napari_acuity as acuity

    moving = tissue[:, :, 0].copy()
    moving[:, 256:] = np.random.default_rng(0).integers(0, 255, (512, 256))

    pair = acuity.register(moving, tissue[:, :, 0]).pair(moving, tissue[:, :, 0], scale=2)

    assert pair.similarity_map is not None
    assert pair.registration is not None
    columns = pair.similarity_map.shape[1]
    assert pair.similarity_map[:, : columns // 2 - 1].min() > 0.8
    assert pair.similarity_map[:, columns // 2 + 1 :].max() < 0.4
    assert set(pair.registration) == {"start", "correlation", "homography", "largest_shift_px"}
    assert json.loads(json.dumps(pair.registration)) == pair.registration

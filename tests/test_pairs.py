"""Pairs, folders of them, and how they are divided."""

from __future__ import annotations

import errno
import math
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import napari_acuity as acuity
from napari_acuity import FileError, ImageError, Micrograph, Pair, PairError, PairSet
from napari_acuity.core.pairs import pair_set
from napari_acuity.core.pairs.cautions import cautions
from napari_acuity.core.pairs.split import split


def pair_of(tissue: np.ndarray, **facts: Any) -> Pair:
    """Cut a pair of scale 2.5 from a real image."""
    low = Micrograph(tissue[:40, :60], rgb=True, pixel_size=(1.25, 1.25))
    high = Micrograph(tissue[:100, :150], rgb=True, pixel_size=(0.5, 0.5))
    return Pair(low, high, **{"scale": 2.5, "name": "field", **facts})


# A pair


@pytest.mark.parametrize("scale", [1, 1.5, 2, 2.5, 4, 4 / 3])
@pytest.mark.parametrize("shape", [(40, 60), (41, 61), (7, 3)])
def test_sizes_follow_the_scale_rounded_up(tissue, scale, shape):
    high = tissue[: math.ceil(shape[0] * scale - 1e-9), : math.ceil(shape[1] * scale - 1e-9)]

    assert Pair(tissue[: shape[0], : shape[1]], high, scale).scale == pytest.approx(scale)


def test_sizes_that_do_not_fit_are_named(tissue):
    with pytest.raises(PairError) as raised:
        pair_of(tissue, scale=2)

    assert raised.value.cause == (
        "In pair 'field' the low image is 40 x 60 pixels and the high one 100 x 150; at scale 2 it "
        "should be 80 x 120."
    )
    assert "Registration.pair" in raised.value.cure


@pytest.mark.parametrize("scale", [0, -1, 2.51, math.nan, math.inf])
def test_scales_that_are_no_ratio_of_small_numbers_are_refused(tissue, scale):
    with pytest.raises(
        PairError, match=rf"scale of pair 'field' is {scale}.*such as 1, 1.5, 2, 2.5"
    ):
        pair_of(tissue, scale=scale)


def test_scale_and_similarity_map_may_come_as_text_and_lists(tissue):
    pair = pair_of(tissue, scale="2.5", similarity_map=[[0.5, 1]])

    assert pair.scale == 2.5
    assert pair.similarity_map.tolist() == [[0.5, 1.0]]


def test_pixel_sizes_that_contradict_the_scale_are_named(tissue):
    low, high = tissue[:40, :40], tissue[:100, :100]

    def pair(fine: tuple[float, float] | None) -> Pair:
        return Pair(Micrograph(low, (1.25, 1.25), rgb=True), Micrograph(high, fine, rgb=True), 2.5)

    assert cautions([pair(None), pair((0.5, 0.5)), pair((0.52, 0.49))]) == []
    for fine in ((1.25, 1.25), (0.5, 0.6)):
        (words,) = cautions([pair(fine)])
        assert re.search(r"said to be of 1\.25 x 1\.25 um and .*2\.5 times as large", words)


def test_colour_and_grey_do_not_pair(tissue):
    with pytest.raises(PairError, match=r"the low image has colour and the high one has none"):
        Pair(tissue[:40, :60], tissue[:100, :150, 0], 2.5)
    with pytest.raises(PairError, match=r"the high image has colour.*Convert both"):
        Pair(tissue[:40, :60, 0], tissue[:100, :150], 2.5)


def test_stacks_do_not_pair(tissue):
    with pytest.raises(PairError, match=r"stack of shape \(2, 40, 60\).*one pair of every plane"):
        Pair(np.stack([tissue[:40, :60, 0]] * 2), np.stack([tissue[:100, :150, 0]] * 2), 2.5)


@pytest.mark.parametrize("part", ["low", "high"])
def test_an_image_without_content_is_named(tissue, part):
    images = {"low": tissue[:40, :60], "high": tissue[:100, :150]}
    images[part] = np.zeros_like(images[part])

    with pytest.raises(ImageError, match=f"'field, {part}' has nothing to see: every pixel is 0"):
        Pair(**images, scale=2.5, name="field")


def test_a_pair_is_called_after_itself_or_its_images(tissue):
    low, high = Micrograph(tissue[:40, :60], rgb=True, name="phone 3"), tissue[:100, :150]

    assert (Pair(low, high, 2.5).name, Pair(low, high, 2.5).group) == ("phone 3", "phone 3")
    assert Pair(low.pixels, high, 2.5).name == "pair"
    assert Pair(low, high, 2.5, name="x", group="slide 1").group == "slide 1"


# A folder of pairs


def test_a_pair_comes_back_from_its_folder(tmp_path, tissue):
    given_pair = pair_of(tissue, group="slide 1", similarity=0.93)

    name = PairSet.open(tmp_path / "pairs").add(given_pair)
    found = PairSet.open(tmp_path / "pairs")[name]

    np.testing.assert_array_equal(found.low.pixels, given_pair.low.pixels)
    np.testing.assert_array_equal(found.high.pixels, given_pair.high.pixels)
    assert (found.name, found.group, found.similarity) == ("field", "slide 1", 0.93)
    assert (found.low.pixel_size, found.high.pixel_size) == ((1.25, 1.25), (0.5, 0.5))
    assert found.scale == 2.5


@pytest.mark.parametrize(
    ("dtype", "limits"), [(np.uint16, (0, 4095)), (np.float32, (0, 255)), (np.int16, (-5, 300))]
)
def test_black_and_white_come_back(tmp_path, tissue, dtype, limits):
    grey = Micrograph(tissue[:40, :60, 0].astype(dtype), value_range=limits)

    found = PairSet.open(tmp_path)[PairSet.open(tmp_path).add(Pair(grey, grey, 1))]

    assert (found.low.range(), found.high.range()) == (limits, limits)


def test_a_missing_folder_is_an_empty_set_until_the_first_pair(tmp_path):
    pairs = PairSet.open(tmp_path / "new")

    assert (pairs.names, len(pairs), list(pairs)) == ([], 0, [])
    assert not (tmp_path / "new").exists()


def test_no_pair_is_overwritten(tmp_path, tissue):
    pairs = PairSet.open(tmp_path)

    names = [pairs.add(pair_of(tissue, name=name)) for name in ("a", "a", "A", "a-2")]

    assert names == ["a", "a-2", "A-3", "a-2-2"]
    assert len(list(pairs)) == 4


def test_what_is_no_pair_is_not_added(tmp_path, tissue):
    pairs = PairSet.open(tmp_path / "set")
    for slip in (tissue, None, acuity.register(tissue, tissue, start="none", elastic=False)):
        with pytest.raises(PairError, match=r"registration\.pair\(moving, fixed\)"):
            pairs.add(slip)
    assert not (tmp_path / "set").exists()


def test_pairs_that_are_added_at_once_are_all_kept_and_not_mixed(tmp_path, tissue, monkeypatch):
    write = pair_set.write

    def slow(*given_image: Any, **options: Any) -> None:
        time.sleep(0.05)  # long enough for another to look for a free name
        write(*given_image, **options)

    monkeypatch.setattr(pair_set, "write", slow)
    given_pairs = [pair_of(tissue), pair_of(tissue[::-1])] * 2
    with ThreadPoolExecutor(4) as pool:
        names = list(pool.map(lambda pair: PairSet.open(tmp_path).add(pair), given_pairs))

    assert (
        sorted(names) == PairSet.open(tmp_path).names == ["field", "field-2", "field-3", "field-4"]
    )
    for name, pair in zip(names, given_pairs, strict=True):
        found = PairSet.open(tmp_path)[name]
        np.testing.assert_array_equal(found.low.pixels, pair.low.pixels)
        np.testing.assert_array_equal(found.high.pixels, pair.high.pixels)


def test_to_read_a_folder_leaves_nothing_in_it(tmp_path, tissue):
    PairSet.open(tmp_path).add(pair_of(tissue))
    (tmp_path / ".lock").unlink(missing_ok=True)
    before = sorted(tmp_path.rglob("*"))

    assert len(list(PairSet.open(tmp_path))) == len(PairSet.open(tmp_path).described()[0]) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_numbers_of_numpy_are_kept_and_what_json_cannot_hold_leaves_nothing(tmp_path, tissue):
    pairs = PairSet.open(tmp_path / "pairs")
    with pytest.raises(
        PairError, match=r"'field' says of itself cannot be written: .*int64.*plain"
    ):
        pairs.add(pair_of(tissue, registration={"shift": np.int64(3)}))
    assert not (tmp_path / "pairs").exists()

    pairs.add(pair_of(tissue, similarity=np.float32(0.5)))
    assert pairs["field"].similarity == 0.5


@given(st.text(max_size=200))
def test_every_name_becomes_a_file_inside_the_folder(tissue, tmp_path_factory, name):
    folder = tmp_path_factory.mktemp("names")
    pairs = PairSet.open(folder)

    given_pair = Pair(tissue[:4, :4], tissue[:4, :4], 1, name=name)
    got = pairs.add(given_pair)

    assert pairs.names == [got]
    assert (folder / "low" / f"{got}.tif").resolve().parent == (folder / "low").resolve()
    assert pairs[got].low.shape == (4, 4)


@pytest.mark.parametrize(
    ("name", "got"),
    [
        ("a/b", "a-b"),
        ("../../etc/passwd", "-..-etc-passwd"),
        ("x.y.tif", "x.y.tif"),
        ("Schnitt Ä 日本", "Schnitt Ä 日本"),
        ("..", "pair"),
        ("n" * 300, "n" * 80),
        ("\U00020000" * 300, "\U00020000" * 60),
    ],
)
def test_names_with_slashes_dots_and_letters_of_any_script(tmp_path, tissue, name, got):
    assert PairSet.open(tmp_path).add(pair_of(tissue, name=name)) == got


def test_a_pair_of_another_scale_or_kind_does_not_join(tmp_path, tissue):
    pairs = PairSet.open(tmp_path)
    pairs.add(pair_of(tissue))

    with pytest.raises(
        PairError, match=r"'other' \(scale 1, RGB\) .*\(scale 2.5, RGB\).*one folder"
    ):
        pairs.add(Pair(tissue, tissue, 1, name="other"))
    with pytest.raises(PairError, match=r"\(scale 2.5, grey\) .*\(scale 2.5, RGB\)"):
        pairs.add(Pair(tissue[:40, :60, 0], tissue[:100, :150, 0], 2.5))
    assert pairs.names == ["field"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "Expecting property name"),
        ("[1]", "it holds no table"),
        ("[" * 10**5, "recursion"),
        ("{}", "it has no 'scale'"),
        ('{"scale": "wide"}', "could not convert"),
        ('{"scale": 2.5, "similarity": "high"}', "could not convert"),
        ('{"scale": 2.5, "low_range": [1, 2, 3]}', "(value range|too many values)"),
        ('{"scale": 2.5, "low_range": 5}', "not iterable"),
        ('{"scale": 1' + "0" * 400 + "}", "too large"),
        ('{"scale": 2.5, "channels": "two"}', "its channels are no number"),
    ],
)
def test_a_damaged_pair_is_named_and_leaves_the_others_usable(tmp_path, tissue, text, reason):
    pairs = PairSet.open(tmp_path)
    for name in ("a", "b"):
        pairs.add(pair_of(tissue, name=name))
    (tmp_path / "a.json").write_text(text)

    with pytest.raises(
        PairError, match=rf"a\.json does not describe a pair: .*{reason}.*Remove it"
    ):
        pairs["a"]
    assert len(pairs.described()[0]) == 1  # of the other kind, or damaged
    assert pairs.names == ["a", "b"]
    assert pairs["b"].name == "b"
    if not text.startswith('{"'):
        assert pairs.add(pair_of(tissue, name="c")) == "c"


def test_a_pair_without_its_image_or_unknown_is_named(tmp_path, tissue):
    pairs = PairSet.open(tmp_path)
    pairs.add(pair_of(tissue))
    (tmp_path / "low" / "field.tif").unlink()

    with pytest.raises(FileError, match=r"There is no file .*field\.tif"):
        pairs["field"]
    with pytest.raises(PairError, match=r"There is no pair 'other' in .*holds 1 others"):
        pairs["other"]


def test_a_file_is_no_folder_of_pairs(tmp_path):
    (tmp_path / "a.txt").write_text("")

    with pytest.raises(
        PairError, match=r"a\.txt is a file, not a folder of pairs\. Choose a folder"
    ):
        PairSet.open(tmp_path / "a.txt")


def test_hidden_files_are_no_pairs(tmp_path, tissue):
    pairs = PairSet.open(tmp_path)
    pairs.add(pair_of(tissue))
    (tmp_path / "._field.json").write_text("")

    assert pairs.names == ["field"]


def test_a_folder_that_may_not_be_read_or_made_says_so(tmp_path, tissue, monkeypatch):
    def forbidden(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    pairs = PairSet.open(tmp_path / "new")
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.mkdir", forbidden)
        with pytest.raises(FileError, match=r"new cannot be made: Permission denied\. Choose"):
            pairs.add(pair_of(tissue))
    monkeypatch.setattr(os, "listdir", forbidden)
    with pytest.raises(FileError, match=r"new cannot be read: Permission denied\. Check its name"):
        PairSet.open(tmp_path / "new")


@pytest.mark.parametrize("writes", [0, 1])
def test_a_full_disk_leaves_the_set_as_it_was(tmp_path, tissue, monkeypatch, writes):
    import tifffile

    pairs, write, done = PairSet.open(tmp_path), tifffile.imwrite, []
    pairs.add(pair_of(tissue))
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))

    def full(*given: object, **options: object) -> None:
        if len(done) == writes:
            raise OSError(errno.ENOSPC, "No space left on device")
        done.append(write(*given, **options))

    monkeypatch.setattr(tifffile, "imwrite", full)
    with pytest.raises(FileError, match="no space left"):
        pairs.add(pair_of(tissue, name="second"))

    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before


def test_an_interrupt_while_the_first_pair_is_written_leaves_no_images(
    tmp_path, tissue, monkeypatch
):
    """They would be taken for a folder of images that pair by their names, to which none is added."""
    pairs = PairSet.open(tmp_path)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("napari_acuity.core.pairs.pair_set.replacing", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pairs.add(pair_of(tissue))
    assert not [*tmp_path.rglob("*.tif")]
    # After a kill they are there.
    for part in ("low", "high"):
        acuity.write(getattr(pair_of(tissue), part), tmp_path / part / "half.tif")
    again = PairSet.open(tmp_path)
    assert len(again) == 0
    assert again.add(pair_of(tissue, name="half")) == "half-2"


# Dividing


@given(
    st.dictionaries(st.text(max_size=5), st.sampled_from("abcdefgh"), min_size=3, max_size=30),
    st.floats(0, 0.6),
    st.floats(0, 0.6),
    st.integers(0, 5),
)
def test_a_split_leaks_no_group_and_loses_no_pair(groups, validation, test, seed):
    try:
        parts = split(groups, validation, test, seed=seed)
    except PairError:
        total = len(set(groups.values()))
        held = sum(max(1, round(share * total)) for share in (validation, test) if share)
        assert held >= total or validation + test >= 1
        return

    assert sorted(name for names in parts.values() for name in names) == sorted(groups)
    found = [{groups[name] for name in names} for names in parts.values()]
    assert not (found[0] & found[1] or found[0] & found[2] or found[1] & found[2])
    assert found[0]
    assert bool(found[1]) == (validation > 0)
    assert bool(found[2]) == (test > 0)
    assert parts == split(groups, validation, test, seed=seed)


@pytest.mark.parametrize("shares", [(0.6, 0.4), (-0.1, 0), (math.nan, 0), (1, 0)])
def test_shares_that_leave_nothing_are_refused(shares):
    with pytest.raises(PairError, match="leave nothing to train on"):
        split({"a": "1", "b": "2"}, *shares)


def test_one_group_cannot_be_split_by_group():
    words = r"One group of fields cannot be split.*Add some of other slides or patients"
    with pytest.raises(PairError, match=words + r"\.$"):
        split({"a": "1", "b": "1"})
    with pytest.raises(PairError, match=words + r", or set test to 0\."):
        split({"a": "1", "b": "1"}, 0.0, 0.2)


def test_a_set_splits_by_the_groups_in_its_files(tmp_path, tissue):
    pairs = PairSet.open(tmp_path)
    for number in range(4):
        pairs.add(pair_of(tissue, name=f"field {number}", group=f"slide {number // 2}"))

    parts = pairs.split(validation=0.5)

    assert sorted(parts["train"] + parts["validation"]) == pairs.names
    assert {name[-1] for name in parts["validation"]} in ({"0", "1"}, {"2", "3"})

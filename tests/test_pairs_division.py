"""Training, validation and test share no group and no pixel, and a run that goes on keeps them."""

from __future__ import annotations

import json
import math
from itertools import chain, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_acuity import Micrograph, Pair, PairError
from napari_acuity.core.pairs.division import Division, divide_pairs

PARTS = ("train", "validation", "test")


def field(name: str = "field", *, group: str = "", scale: float = 2.5, width: int = 128) -> Pair:
    """Make a pair in which every pixel holds its column, in low px."""
    coarse, fine = np.arange(width), np.arange(math.ceil(width * scale - 1e-9))
    images = (
        Micrograph(np.tile(row, (math.ceil(20 * step - 1e-9), 1)), value_range=(-1, 5000))
        for row, step in ((coarse + 0.0, 1.0), ((fine + 0.5) / scale - 0.5, scale))
    )
    return Pair(*images, scale, name=name, group=group)


def names(division: Division) -> dict[str, list[str]]:
    return {part: [pair.name for pair in getattr(division, part)] for part in PARTS}


@given(st.lists(st.sampled_from("abcdefg"), min_size=2, max_size=12), st.integers(0, 3))
def test_no_group_is_in_two_parts_and_no_pair_is_lost(groups, seed):
    if len(set(groups)) < 2:
        groups = [*groups, "another"]
    pairs = [field(str(number), group=group) for number, group in enumerate(groups)]

    division = divide_pairs(pairs, guard=8, seed=seed)

    found = [{pair.group for pair in getattr(division, part)} for part in PARTS]
    assert not (found[0] & found[1] or found[0] & found[2] or found[1] & found[2])
    assert sorted(chain(*names(division).values())) == sorted(pair.name for pair in pairs)
    assert found[0]
    assert found[1]
    assert bool(found[2]) == (len(set(groups)) > 2)
    assert ("a third group would give a test" in division.words) == (len(set(groups)) == 2)


@given(
    st.integers(1, 9),
    st.integers(1, 6),
    st.integers(60, 300),
    st.integers(0, 60),
    st.sampled_from([0.0, 0.2, 0.3]),
)
def test_the_parts_of_a_cut_field_share_no_pixel(p, q, width, guard, test):
    scale = p / q

    try:
        division = divide_pairs([field(scale=scale, width=width)], guard=guard, seed=0, test=test)
    except PairError:
        assert width < 100
        return

    parts = [getattr(division, part)[0] for part in PARTS[: 3 if test else 2]]
    # The training part keeps its share of what the strips leave, but for steps of q at each cut.
    free = width - min(guard, width // 8) * (len(parts) - 1)
    assert parts[0].low.shape[1] > free * (0.8 - test) - 4 * q - 1
    for left, right in pairwise(parts):
        gap = right.low.pixels.min() - left.low.pixels.max() - 1
        assert min(guard, width // 8) <= gap <= min(guard, width // 8) + q
        # Neither on the fine grid, where a pixel reaches half a fine pixel to each side.
        fine = right.high.pixels.min() - left.high.pixels.max() - 1 / scale
        assert fine == pytest.approx(gap, abs=1e-6)
    assert parts[-1].low.pixels.max() == width - 1


def test_one_group_of_several_fields_is_cut_field_by_field():
    division = divide_pairs([field("a", group="s"), field("b", group="s")], guard=8, seed=0)

    assert names(division) == {part: ["a", "b"] for part in PARTS}
    assert division.words == (
        "all pairs are of one group, so each field is cut: the left is to train on, the middle to "
        "validate on, the right to test on, with a strip of at most 8 px between that is not used"
    )


def test_a_field_too_narrow_to_cut_says_what_to_do():
    with pytest.raises(
        PairError, match=r"cut into 3 parts; but 'field' is 40 low .*another slide or patient"
    ):
        divide_pairs([field(width=40)], guard=8, seed=0)


def test_a_part_without_content_is_named():
    image = np.zeros((40, 128), np.uint8)
    image[:, :40] = np.arange(40)

    with pytest.raises(
        PairError, match=r"of 'pair', its validation part, have nothing to see.*Crop"
    ):
        divide_pairs([Pair(image, image, 1)], guard=8, seed=0)


@pytest.mark.parametrize("shares", [(0, 0.2), (0.6, 0.4), (-0.1, 0), (0.2, -0.1), (math.nan, 0)])
def test_impossible_shares_are_refused(shares):
    with pytest.raises(PairError, match=r"cannot be kept from training.*together below 1"):
        divide_pairs([field()], guard=8, seed=0, validation=shares[0], test=shares[1])


def test_pairs_that_cannot_be_together_are_refused():
    with pytest.raises(PairError, match="There are no pairs"):
        divide_pairs([], guard=8, seed=0)
    with pytest.raises(PairError, match="'a' and 'b' differ in scale"):
        divide_pairs([field("a"), field("b", scale=2)], guard=8, seed=0)


def test_pairs_of_one_name_are_told_apart():
    pairs = [field("pair", group=group) for group in "abc"]

    assert sorted(chain(*names(divide_pairs(pairs, guard=8, seed=0)).values())) == [
        "pair",
        "pair-2",
        "pair-3",
    ]


# Going on


@pytest.mark.parametrize("groups", ["abcdef", "aabb", "aaaaaa"])
def test_the_same_division_comes_back_from_its_table(groups):
    pairs = [field(str(number), group=group) for number, group in enumerate(groups)]
    first = divide_pairs(pairs, guard=8, seed=3)
    table = json.loads(json.dumps(first.table))

    again = divide_pairs(
        [*pairs, field("new", group="g")], guard=2, seed=7, validation=0.5, table=table
    )

    assert names(again) == names(first)
    for part in PARTS:
        for old, new in zip(getattr(first, part), getattr(again, part), strict=True):
            np.testing.assert_array_equal(old.high.pixels, new.high.pixels)
    assert again.table == first.table
    assert again.words == f"{first.words}; new since the division was made and not used: 'new'"


def test_a_pair_that_is_gone_is_named():
    pairs = [field(name, group=name) for name in "abc"]
    table = divide_pairs(pairs, guard=8, seed=0).table

    with pytest.raises(PairError, match=r"divided with 'c', no longer .*Put them back"):
        divide_pairs(pairs[:2], guard=8, seed=0, table=table)


def test_a_field_that_is_narrower_than_it_was_is_to_be_put_back():
    table = divide_pairs([field()], guard=8, seed=0).table
    whole = field()
    narrower = whole.crop((0, whole.low.shape[0]), (0, whole.low.shape[1] - 4))

    with pytest.raises(PairError, match=r"'field' of \d+ low pixels or more.*Put back the pair"):
        divide_pairs([narrower], guard=8, seed=0, table=table)


@pytest.mark.parametrize("share", ["0.2", None])
def test_a_share_that_is_no_number_is_refused(share):
    with pytest.raises(PairError, match="cannot be kept from training"):
        divide_pairs([field()], guard=8, seed=0, test=share)


@pytest.mark.parametrize(
    "damage",
    [
        {"by": "moon"},
        {"train": None},
        {"columns": {}},
        {"columns": {"field": {part: ["a", 2] for part in PARTS}}},
        {"columns": {"field": {part: ["0", "20"] for part in PARTS}}},
        {"columns": {"field": {part: [0.5, 20] for part in PARTS}}},
        {"train": []},
        {"validation": []},
    ],
)
def test_a_damaged_table_is_refused(damage: dict[str, Any]):
    table = divide_pairs([field()], guard=8, seed=0).table

    with pytest.raises(PairError, match=r"is damaged: .*Start a new run"):
        divide_pairs([field()], guard=8, seed=0, table={**table, **damage})
    del table["guard"]
    for lacking in ({}, table):
        with pytest.raises(PairError, match="is damaged: KeyError"):
            divide_pairs([field()], guard=8, seed=0, table=lacking)

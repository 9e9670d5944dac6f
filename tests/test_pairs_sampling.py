"""Patches of both grids show one field, come from inside it, and from where it has something to teach."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_acuity import ImageError, Micrograph, Pair, PairError, TrainingError
from napari_acuity.core.micrograph import to_unit
from napari_acuity.core.pairs.sampling import Draws, Patches

ANYWHERE = {"least_similarity": -1.0, "least_contrast": 0.0}


def positions(shape: tuple[int, int], scale: float, number: int = 0) -> Pair:
    """Make a pair whose three channels hold row and column, in low px, and the field's number."""
    high = tuple(math.ceil(round(n * scale, 9)) for n in shape)
    images = []
    for size, step in ((shape, 1.0), (high, scale)):
        rows, cols = ((np.arange(n) + 0.5) / step - 0.5 for n in size)
        grid = np.meshgrid(rows, cols, indexing="ij")
        pixels = np.stack([*grid, np.full(size, number + 0.0)], axis=-1).astype(np.float32)
        images.append(Micrograph(pixels, rgb=True, value_range=(0, 1)))
    return Pair(*images, scale, name=str(number))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


scales = st.builds(lambda p, q: p / q, st.integers(1, 9), st.integers(1, 6))
shapes = st.tuples(st.integers(30, 70), st.integers(30, 70))


@settings(max_examples=60)
@given(
    scales,
    st.lists(shapes, min_size=1, max_size=3),
    st.integers(12, 40),
    st.sampled_from([None, 0.0, 0.4]),
)
def test_both_patches_show_one_field_in_all_eight_turns(scale, sizes, patch, overlap):
    """Where every pixel holds its position, four corners tell place, size, turn and phase of a patch."""
    pairs = [positions(size, scale, number) for number, size in enumerate(sizes)]
    patches = Patches.of(pairs, patch=patch, overlap=overlap, **ANYWHERE)
    drawn = patches.draw(32, generator())
    turns = torch.arange(32) % 8
    draws = Draws(drawn.field, drawn.y, drawn.x, turns, drawn.noise)

    low, high = patches.cut(draws)

    n, m = patches.patch, patches.high_patch
    assert (low.shape, high.shape) == ((32, 3, n, n), (32, 3, m, m))
    assert m == pytest.approx(n * scale)
    # Inside one field, where the draw said.
    first, last = low.amin((2, 3)), low.amax((2, 3))
    torch.testing.assert_close(first, torch.stack([draws.y, draws.x, draws.field], 1).float())
    torch.testing.assert_close(last[:, :2], first[:, :2] + n - 1)
    torch.testing.assert_close(last[:, 2], first[:, 2])
    limits = torch.tensor(sizes)[draws.field]
    assert (last[:, :2] <= limits - 1).all()
    # The same corners: a high pixel's centre lies (1 - 1/scale) / 2 further out than a low one's.
    outward = (1 - 1 / scale) / 2
    for row, col in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        middle = low.mean((2, 3))
        to_corner = low[:, :, row, col] - middle
        expected = middle + to_corner + outward * to_corner.sign()
        torch.testing.assert_close(high[:, :, row, col], expected, atol=2e-4, rtol=0)
    # All eight ways to lay a square: which way rows and columns grow.
    laid = torch.cat(
        [low[:, :2, -1, 0] - low[:, :2, 0, 0], low[:, :2, 0, -1] - low[:, :2, 0, 0]], 1
    )
    assert len({tuple(way) for way in laid[:8].sign().int().tolist()}) == 8


def test_turn_0_is_the_image_as_it_is(tissue):
    patches = Patches.of([Pair(tissue, tissue, 1)], patch=24, **ANYWHERE)
    draws = patches.draw(5, generator(), turns=False)

    low, high = patches.cut(draws)

    assert torch.equal(low, high)
    assert low.is_contiguous(memory_format=torch.channels_last)
    for number, (y, x) in enumerate(zip(draws.y.tolist(), draws.x.tolist(), strict=True)):
        expected = np.moveaxis(tissue[y : y + 24, x : x + 24], -1, 0) / np.float32(255)
        np.testing.assert_array_equal(low[number].numpy(), expected)


@pytest.mark.parametrize(
    ("dtype", "limits", "held"),
    [
        (np.uint8, None, torch.uint8),
        (np.uint8, (10, 240), torch.uint8),
        (np.uint16, (0, 4095), torch.int16),
        (np.uint16, (0, 65535), torch.int16),
        (np.int16, (-100, 255), torch.float32),
        (np.float32, (0, 255), torch.float32),
        (np.float64, (0, 1), torch.float32),
    ],
)
def test_every_depth_is_held_in_few_bits_and_comes_out_exact(tissue, dtype, limits, held):
    values = tissue[:40, :40, 0].astype(np.float64)
    values = values * 257 if limits == (0, 65535) else values
    image = Micrograph(values.astype(dtype), value_range=limits)

    patches = Patches.of([Pair(image, image, 1)], patch=40, **ANYWHERE)
    low, _ = patches.cut(patches.draw(1, generator(), turns=False))

    assert patches.low.pixels.dtype == held
    np.testing.assert_array_equal(low[0, 0].numpy(), to_unit(image))


def test_fields_and_sides_of_unlike_depths_go_together(tissue):
    """An 8-bit phone beside a 12-bit camera, and a field of 16 bits: each has its own black and white."""
    grey = tissue[:40, :40, 0]
    deep = [Micrograph(grey.astype(np.uint16) * k, value_range=(0, 255 * k)) for k in (16, 257)]
    patches = Patches.of([Pair(grey, deep[0], 1), Pair(grey, deep[1], 1)], patch=40, **ANYWHERE)

    low, high = patches.cut(patches.draw(8, generator()))

    assert (patches.low.pixels.dtype, patches.high.pixels.dtype) == (torch.uint8, torch.int16)
    torch.testing.assert_close(low, high, atol=1e-6, rtol=0)


def test_unknown_black_and_white_and_mixed_pairs_are_refused(tissue):
    wide = tissue[..., 0].astype(np.float32)

    with pytest.raises(ImageError, match="black and white are unknown"):
        Patches.of([Pair(wide, wide, 1)])
    with pytest.raises(PairError, match="differ in scale or channels"):
        Patches.of([Pair(tissue, tissue, 1), Pair(tissue[..., 0], tissue[..., 0], 1)])
    with pytest.raises(PairError, match="no pairs to train on"):
        Patches.of([])


# Draws


def test_a_generator_that_is_restored_draws_the_same_again(tissue):
    patches = Patches.of([Pair(tissue, tissue, 1)], **ANYWHERE)
    source = generator()
    patches.draw(7, source)
    state = source.get_state()
    first = patches.draw(9, source)
    source.set_state(state)

    again = patches.draw(9, source)

    for one, other in zip(vars(first).values(), vars(again).values(), strict=True):
        assert torch.equal(one, other)


def test_the_parts_of_a_batch_are_the_batch(tissue):
    patches = Patches.of([Pair(tissue, tissue, 1)], **ANYWHERE)
    draws = patches.draw(10, generator())

    parts = [patches.cut(draws[:4]), patches.cut(draws[4:])]

    assert len(draws[4:]) == 6
    for whole, *both in zip(patches.cut(draws), *parts, strict=True):
        assert torch.equal(whole, torch.cat(both))


def test_every_corner_is_as_likely_as_any_other():
    """A field of 20 x 23 px holds 5 x 8 corners of patches of 16: 40, each with a chance of 1/40."""
    patches = Patches.of([positions((20, 23), 1)], patch=16, **ANYWHERE)
    draws = patches.draw(40_000, generator())

    hits = torch.bincount(draws.y * 8 + draws.x, minlength=40)

    # 1000 each, with a standard deviation of 31.
    assert len(hits) == 40
    assert (hits - 1000).abs().max() < 5 * 31


def test_the_grid_is_that_of_the_seeds():
    """60 px with 40 % overlap: a patch every 36 px."""
    patches = Patches.of([positions((204, 204), 2.5)], patch=60, overlap=0.4, **ANYWHERE)

    draws = patches.draw(500, generator())

    assert patches.count == 25
    assert set(draws.y.tolist()) == set(draws.x.tolist()) == {0, 36, 72, 108, 144}
    assert patches.words == "25 patches of 60 x 60 px on a grid with 40% overlap"


# What is left out


def test_places_of_low_similarity_are_left_out(tissue):
    """The right half of the field is badly registered."""
    pair = Pair(
        tissue, tissue, 1, similarity_map=np.repeat([[0.9, 0.1]], 8, axis=0).repeat(4, axis=1)
    )

    for overlap in (None, 0.4):
        patches = Patches.of([pair], patch=64, overlap=overlap, least_similarity=0.5)
        draws = patches.draw(500, generator())

        # A patch may reach over the line by half its width and, at random places, half a cell more;
        # those of the grid stand 38 px apart.
        assert draws.x.max() <= 256 - 32 + 8
        assert draws.x.max() >= 256 - 32 - 38
        assert patches.left_out["similarity"] > 0
        assert "with a registration similarity below 0.5" in patches.words


def test_a_field_without_a_map_has_its_own_similarity_throughout(tissue):
    good, bad = (Pair(tissue, tissue, 1, similarity=value) for value in (0.8, 0.1))

    assert set(Patches.of([good, bad]).draw(50, generator()).field.tolist()) == {0}
    assert Patches.of([Pair(tissue, tissue, 1)]).left_out["similarity"] == 0


@pytest.mark.parametrize("signal", [1.0, 0.02])
def test_empty_background_is_left_out_however_dim_the_rest(tissue, signal):
    """The lower half is blank but for noise of a hundredth of the contrast above it."""
    noise = np.random.default_rng(0).normal(0, 0.01, (512, 512))
    image = tissue[..., 0] / 255
    image = np.where(np.arange(512)[:, None] < 256, image, 0.9 + image.std() * noise)
    image = Micrograph((image * signal).astype(np.float32), value_range=(0, 1))

    for overlap in (None, 0.4):
        patches = Patches.of([Pair(image, image, 1)], patch=64, overlap=overlap)
        draws = patches.draw(500, generator())

        assert draws.y.max() <= 256
        assert 0.3 < patches.left_out["empty"] / patches.places.judged < 0.5
        assert " empty" in patches.words


def test_nothing_that_is_left_says_why(tissue):
    pair = Pair(tissue, tissue, 1, similarity=0.2)

    with pytest.raises(
        PairError, match=r"of 169 places 169 have .* below 0.3 and 0 are empty.*least_similarity"
    ):
        Patches.of([pair], overlap=0.4)


def test_patches_shrink_to_the_smallest_field_and_no_further(tissue):
    small = Pair(tissue[:21, :60], tissue[: math.ceil(21 * 2.5), :150], 2.5, name="small")
    tiny = Pair(tissue[:7, :60], tissue[:18, :150], 2.5, name="tiny")

    assert (Patches.of([small]).patch, Patches.of([small]).high_patch) == (20, 50)
    with pytest.raises(PairError, match=r"smallest field, 'tiny', is 7 x 60\. Leave it out"):
        Patches.of([small, tiny])


@pytest.mark.parametrize(
    "option",
    [{"overlap": 1}, {"overlap": -0.1}, {"least_similarity": 2}, {"least_contrast": math.nan}],
)
def test_options_out_of_their_range_are_named(tissue, option):
    ((name, value),) = option.items()

    with pytest.raises(TrainingError, match=rf"cannot be cut with {name} = {value}\. overlap must"):
        Patches.of([Pair(tissue, tissue, 1)], **option)


@pytest.mark.gpu
def test_a_gpu_cuts_the_same_patches(tissue):
    deep = Micrograph(tissue[..., 0].astype(np.uint16) * 257, value_range=(0, 65535))
    for pair in (Pair(tissue, tissue, 1), Pair(deep, deep, 1)):
        batches = []
        for device in ("cpu", "cuda"):
            patches = Patches.of([pair], device=device)
            batches.append(patches.cut(patches.draw(16, generator()))[1].cpu())
        torch.testing.assert_close(*batches, atol=1e-6, rtol=0)

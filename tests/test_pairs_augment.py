"""Light, colour and compression: the same on both patches where it must be, and JPEG as Pillow has it."""

from __future__ import annotations

import io
import tomllib
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from napari_acuity import Pair, Recipe, TrainingError
from napari_acuity.core.pairs.augment import Augmentation
from napari_acuity.core.pairs.jpeg import compress, quantisation_tables
from napari_acuity.core.pairs.sampling import Draws, Patches

if TYPE_CHECKING:
    from numpy.typing import NDArray


def cut(tissue: NDArray[np.uint8], batch: int = 64) -> tuple[torch.Tensor, torch.Tensor, Draws]:
    patches = Patches.of([Pair(tissue, tissue, 1)], patch=32)
    draws = patches.draw(batch, torch.Generator().manual_seed(0))
    return *patches.cut(draws), draws


def through_pillow(pixels: NDArray[np.uint8], quality: int) -> tuple[NDArray[np.uint8], list]:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    image = Image.open(file)
    return np.asarray(image), list(image.quantization.values())


def through_ours(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    batch = torch.from_numpy(np.atleast_3d(pixels).copy()).movedim(-1, 0)[None] / 255
    result = (compress(batch, torch.tensor([quality]))[0].movedim(0, -1) * 255).round()
    return result.numpy().astype(np.uint8).reshape(pixels.shape)


@pytest.mark.parametrize("quality", [1, 10, 30, 49, 50, 75, 90, 95, 100])
def test_the_tables_are_those_of_libjpeg(tissue, quality):
    _, written = through_pillow(tissue[:16, :16], quality)

    ours = quantisation_tables(torch.tensor([quality]), colour=True)

    assert [table[0].flatten().tolist() for table in ours] == [list(table) for table in written]


@pytest.mark.parametrize("quality", [10, 30, 50, 75, 90, 95, 100])
@pytest.mark.parametrize("size", [(512, 512), (60, 60), (37, 51)])
@pytest.mark.parametrize("colour", [True, False])
def test_an_image_comes_out_as_from_pillow(tissue, quality, size, colour):
    """libjpeg transforms in fixed point: a coefficient near a tie falls to the other side now and then.

    Such a block then differs by up to a step of its table; all others agree to rounding. A block of chroma
    is 16 x 16 px: an eighth of the smallest image here.
    """
    pixels = tissue[: size[0], : size[1]] if colour else tissue[: size[0], : size[1], 1]
    theirs, _ = through_pillow(np.ascontiguousarray(pixels), quality)

    ours = through_ours(pixels, quality)

    difference = np.abs(ours.astype(int) - theirs)
    loss = np.abs(theirs.astype(int) - pixels).mean()
    whole = len(pixels) == 512
    assert (difference <= 1).mean() > (0.95 if whole else 0.85)
    assert difference.mean() < (0.2 if whole else 0.4)
    # Far less than what compression does.
    assert quality == 100 or difference.mean() < 0.2 * loss


def test_each_image_of_a_batch_has_its_own_quality(tissue):
    images = torch.from_numpy(tissue[:64, :64].copy()).movedim(-1, 0)[None].float() / 255

    both = compress(images.repeat(2, 1, 1, 1), torch.tensor([20, 80]))

    assert torch.equal(both[:1], compress(images, torch.tensor([20])))
    assert torch.equal(both[1:], compress(images, torch.tensor([80])))
    assert (both[0] - images[0]).abs().mean() > 1.5 * (both[1] - images[0]).abs().mean()


def test_half_precision_around_it_changes_nothing(tissue):
    images = torch.from_numpy(tissue[:32, :32].copy()).movedim(-1, 0)[None].float() / 255
    expected = compress(images, torch.tensor([50]))

    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(compress(images, torch.tensor([50])), expected)


# Augmentation


def test_without_options_patches_stay_as_they_are(tissue):
    low, high, draws = cut(tissue)

    assert all(map(torch.equal, Augmentation().apply(low, high, draws), (low, high)))


def test_light_and_colour_change_alike_on_both_patches(tissue):
    low, high, draws = cut(tissue // 2)  # dark enough that nothing is clipped

    changed, truth = Augmentation(colour=0.2, brightness=0.3).apply(low, high, draws)

    assert torch.equal(changed, truth)
    gains = (changed.sum((2, 3)) / low.sum((2, 3))).numpy()
    light = gains.prod(axis=1) ** (1 / 3)
    assert (gains > 0.7 * 0.8 - 1e-5).all()
    assert (gains < 1.3 * 1.2 + 1e-5).all()
    # 64 draws from +-0.3 and +-0.2: they differ, and so do the channels of each.
    assert light.std() > 0.1
    assert (gains / light[:, None]).std(axis=0).min() > 0.05


@pytest.mark.parametrize("channels", [1, 2, 4, 5, 7])
def test_brightness_serves_any_number_of_channels(channels):
    patches = torch.full((2, channels, 8, 8), 0.5)
    none = torch.zeros(2, dtype=torch.int64)
    noise = torch.tensor([[0.0, 0.9, 0.8, 0.7, 0.6], [1.0, 0.1, 0.2, 0.3, 0.4]])

    low, high = Augmentation(brightness=0.2).apply(
        patches, patches, Draws(none, none, none, none, noise)
    )

    gain = torch.tensor([0.8, 1.2])[:, None, None, None]
    torch.testing.assert_close(low, patches * gain)
    torch.testing.assert_close(high, patches * gain)


def test_what_would_be_brighter_than_white_is_white(tissue):
    low, high, draws = cut(tissue)

    changed, truth = Augmentation(brightness=0.5).apply(low, high, draws)

    assert changed.max() == truth.max() == 1


def test_jpeg_acts_on_the_input_alone_over_the_range_of_qualities(tissue):
    low, high, draws = cut(tissue, 200)
    worst, best = 40, 42

    changed, truth = Augmentation(jpeg=(worst, best)).apply(low, high, draws)

    assert torch.equal(truth, high)
    seen = set()
    for image, before in zip(changed, low, strict=True):
        same = [
            quality
            for quality in range(1, 101)
            if worst - 1 <= quality <= best + 1
            and torch.equal(compress(before[None], torch.tensor([quality]))[0], image)
        ]
        seen.update(same if len(same) == 1 else ())
        assert same
    assert seen == {40, 41, 42}


def test_a_part_of_a_batch_is_changed_as_in_the_whole(tissue):
    low, high, draws = cut(tissue, 8)
    change = Augmentation(colour=0.1, brightness=0.1, jpeg=(30, 90))

    whole, _ = change.apply(low, high, draws)
    part, _ = change.apply(low[5:], high[5:], draws[5:])

    assert torch.equal(whole[5:], part)


def test_it_is_a_table_of_a_recipe():
    table = tomllib.loads("turns = false\ncolour = 0.1\njpeg = [50, 95]")

    assert Augmentation(**table) == Augmentation(turns=False, colour=0.1, jpeg=(50, 95))


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ({"turns": 1}, "turns = 1.* must be true or false"),
        ({"translation": -1}, "translation = -1.* a whole number from 0 to 4096"),
        ({"translation": 10**9}, "translation = 1000000000.* a whole number from 0 to 4096"),
        ({"colour": 1.0}, "colour = 1.0.* a number of at least 0 and below 1"),
        ({"colour": -0.1, "brightness": "a lot"}, "colour = -0.1, .*brightness = 'a lot'"),
        ({"brightness": float("nan")}, "brightness = nan"),
        ({"colour": True}, "colour = True"),
        ({"jpeg": [95, 50]}, r"jpeg = \[95, 50\].* 1 to 100, the lower one first"),
        ({"jpeg": (0, 50)}, r"jpeg = \(0, 50\)"),
        ({"jpeg": [50]}, r"jpeg = \[50\]"),
        ({"jpeg": [50, 60.5]}, r"jpeg = \[50, 60.5\]"),
        ({"jpeg": 50}, "jpeg = 50"),
        ({"hue": 0.1}, "hue = 0.1.* left out: known are turns, translation, colour"),
    ],
)
def test_impossible_values_are_named(table, named):
    with pytest.raises(TrainingError, match=rf"cannot be used: augmentation\.{named}"):
        Recipe(augmentation=table)

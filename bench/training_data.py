"""The fields of the training benchmark: real ones, and their captures by a colour-neutral microscope."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from napari_acuity import Micrograph, Pair, samples

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SCALE = 2.5
PSF_SIGMA_PX = 1.9
ELECTRONS = 10_000
READ_NOISE = 1.0
GUARD_PX = 30

WHOLE_FOR_TRAINING = ("henorm_example1", "tiatoolbox_target")
UNSEEN = "henorm_example2"
HALVED = ("cmu1_small_crop2048", "tcga_cr_7395_ts1_crop2048")


@dataclass(frozen=True)
class Fields:
    """What to train on and what to test on; they share no pixel, and of HALVED no strip of GUARD_PX."""

    training: list[Pair]
    test: list[Pair]


def fields(folder: Path, *, by_field: bool) -> Fields:
    """Capture the images of a folder.

    Training keeps some of what it gets for its validation: whole fields when each is a group of its own
    (`by_field`), else, when all are of one group, a strip of each. There are four fields of three
    laboratories, so that by field the only one in the stain of the unseen field may be lost to training.
    """
    whole = {name: pair_of(folder / f"{name}.png") for name in (*WHOLE_FOR_TRAINING, UNSEEN)}
    training, test = [whole[name] for name in WHOLE_FOR_TRAINING], [whole[UNSEEN]]
    for name in HALVED:
        left, right = halves(pair_of(folder / f"{name}.png"))
        training.append(left)
        test.append(right)
    if not by_field:
        training = [replace(pair, group="training") for pair in training]
    return Fields(training, test)


def sample_pair() -> Pair:
    """Capture a field of the slide that ships with the package."""
    return seen(samples.slide().pixels[1500:2520, 800:1820], "slide")


def pair_of(path: Path) -> Pair:
    return seen(np.asarray(Image.open(path).convert("RGB")), path.stem)


def seen(high: NDArray[np.uint8], name: str) -> Pair:
    """Pair a field with its capture, both cut to whole pixels of both grids."""
    rows, cols = (n // 5 * 5 for n in high.shape[:2])
    high = np.ascontiguousarray(high[:rows, :cols])
    # One seed for all: a field's noise does not depend on which others there are.
    low = captured(high, np.random.default_rng(0))
    return Pair(Micrograph(low, rgb=True, name=name), Micrograph(high, rgb=True), SCALE, name=name)


def captured(high: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """See an RGB image through a Gaussian PSF and square pixels of 2.5 px, with noise, in 8 bits.

    (5n, 5m, 3) -> (2n, 2m, 3). Values are taken as proportional to light.
    """
    light = gaussian_filter(high / 255.0, (PSF_SIGMA_PX, PSF_SIGMA_PX, 0), mode="reflect")
    for axis in (0, 1):
        # A box of 2.5 px is one of 5 half pixels.
        light = np.moveaxis(np.repeat(light, 2, axis=axis), axis, 0)
        light = np.moveaxis(light.reshape(-1, 5, *light.shape[1:]).mean(1), 0, axis)
    electrons = rng.poisson(light * ELECTRONS) / ELECTRONS
    values = 255 * electrons + rng.normal(0, READ_NOISE, electrons.shape)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def halves(pair: Pair) -> tuple[Pair, Pair]:
    """Return the left and the right half of a pair, without a strip of GUARD_PX low px between them."""
    rows, cols = pair.low.shape
    left = (cols - GUARD_PX) // 4 * 2
    parts = {"left": (0, left), "right": (left + GUARD_PX, cols)}
    return tuple(  # type: ignore[return-value]
        replace(pair.crop((0, rows), columns), name=f"{pair.name}, {side}", group=side + pair.name)
        for side, columns in parts.items()
    )

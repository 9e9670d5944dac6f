"""Train the model that ships with the package, src/napari_acuity/data/brightfield.safetensors.

python scripts/train_shipped_model.py --data FOLDER [--minutes 5]

FOLDER holds henorm_example1.png, henorm_example2.png (schaugf/HEnorm_python, MIT), tiatoolbox_target.png
(TissueImageAnalytics/tiatoolbox, BSD-3-Clause); the slide region is the package's own sample (CC0-1.0). Each
field is captured several times by simulated microscopes of unlike apertures and noise. The part of the slide
that the sample pair shows, and henorm_example2, are only tested on.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

import napari_acuity as acuity
from napari_acuity import Micrograph, Pair, samples
from napari_acuity.core.recipe import Recipe
from napari_acuity.core.simulate import NEUTRAL, capture
from napari_acuity.core.training.score import score

SCALE = 2.5
CAPTURES = 4
NA = (0.11, 0.19)
PHOTONS = (3_000, 20_000)
READ_NOISE = (0.5, 2.0)
TARGET = Path(__file__).parents[1] / "src" / "napari_acuity" / "data" / "brightfield.safetensors"
WHAT = (
    "H&E sections in bright field: a slide region of 0.5 um a pixel (CMU-1, CC0-1.0) and two fields of "
    "about 0.25 um (HEnorm example 1, MIT; TIA Toolbox target, BSD-3-Clause), seen by simulated microscopes "
    "with 2.5 times the pixel size, NA 0.11 to 0.19 at the slide's scale, shot and read noise, JPEG."
)
RECIPE = Recipe(
    name="brightfield H&E",
    patch=64,
    batch=16,
    augmentation={"colour": 0.1, "brightness": 0.1, "jpeg": [70, 100]},
)


def fields(folder: Path) -> tuple[list[Micrograph], list[Micrograph]]:
    """Return the fields to train on and those to test on; they share no pixel."""
    slide = samples.slide()
    top, left, height, width = samples.PHONE_FIELD
    here = (
        cut(slide, (0, 0, top - 60, 2220), "CMU-1 upper half"),
        *(opened(folder / f"{name}.png") for name in ("henorm_example1", "tiatoolbox_target")),
    )
    there = [
        cut(slide, (top, left, height // 5 * 5, width // 5 * 5), "CMU-1 sample field"),
        opened(folder / "henorm_example2.png"),
    ]
    return list(here), there


def cut(image: Micrograph, box: tuple[int, int, int, int], name: str) -> Micrograph:
    top, left, height, width = box
    pixels = image.pixels[top : top + height // 5 * 5, left : left + width // 5 * 5]
    return image.with_pixels(np.ascontiguousarray(pixels), name=name)


def opened(path: Path) -> Micrograph:
    """Read a field; it is seen as if its pixels were the slide's."""
    image = replace(acuity.read(path), pixel_size=(samples.SLIDE_UM, samples.SLIDE_UM))
    return cut(image, (0, 0, *image.shape), path.stem)


def seen(field: Micrograph, seed: int) -> Pair:
    """Pair a field with its capture by a microscope drawn from `seed`; seed 0 is the middle one."""
    rng = np.random.default_rng(seed)
    na, photons, read_noise = (
        float(np.exp(rng.uniform(*np.log(span)))) if seed else float(np.sqrt(span[0] * span[1]))
        for span in (NA, PHOTONS, READ_NOISE)
    )
    microscope = replace(
        NEUTRAL, pixel_size=SCALE * samples.SLIDE_UM, na=na, photons=photons, read_noise=read_noise
    )
    low = capture(field, microscope, seed=seed).image
    name = f"{field.name}, NA {na:.3f}"
    return Pair(replace(low, name=name), field, SCALE, name=name, group=field.name)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=TARGET)
    chosen = parser.parse_args()
    here, there = fields(chosen.data)
    # One group: a strip of each field is kept to validate on, rather than a whole one.
    pairs = [
        replace(seen(field, 1 + number * CAPTURES + again), group="training")
        for number, field in enumerate(here)
        for again in range(CAPTURES)
    ]
    model = acuity.train(pairs, RECIPE, minutes=chosen.minutes, device=chosen.device, test=0)
    scores = score(model, [seen(field, 0) for field in there], colour_from=pairs, device="auto")
    print(scores.table())
    header = replace(
        model.header,
        data={"what": WHAT, **model.header.data, "test": [field.name for field in there]},
        scores=scores.as_dict(),
    )
    replace(model, header=header).save(chosen.out)


if __name__ == "__main__":
    main()

"""The neural lens: trained on simulated grains of two kinds and scored on others; and how fast it is applied.

    python bench/lens.py --minutes 5

Simulated: 50 training images of 256 x 256 px (15 of each kind alone, 20 mixtures) and 24 held-out ones. Every
network of the lens is trained for so many minutes.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from machine import processor
from parts import printed, verdict

import napari_acuity as acuity
from napari_acuity.core.device import choose_device
from napari_acuity.core.lens_training.data import Triple, add_triple
from napari_acuity.core.lens_training.kinds import Kind
from napari_acuity.core.lens_training.scores import score_lens
from napari_acuity.core.lens_training.spec import LensSpec
from napari_acuity.core.lens_training.train_lens import train_lens
from napari_acuity.core.recipe import RECIPES
from napari_acuity.core.simulate import KINDS, grain_scene

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_acuity.core.simulate import GrainScene

IOU_ALONE, IOU_MIXED, MOST_SD, MOST_TRACE = 0.9, 0.8, 0.02, 0.02
MOST_OVER_SUM, GPU_MS = 1.05, 120
TRAINED, HELD_OUT = 50, 24
_KINDS = {f"kind {number}": colour for number, colour in enumerate(("red", "lime", "blue"), 1)}


def scene(number: int) -> GrainScene:
    """Return a field: of every ten, three of spiny grains, three of smooth ones, four mixtures."""
    counts = [*[(5, 0)] * 3, *[(0, 5)] * 3, *[(3, 3)] * 4]
    spiny, smooth = counts[number % 10]
    return grain_scene(spiny=spiny, smooth=smooth, seed=number)


def training(recipe: str, minutes: float, workers: int, device: str) -> Iterator[str]:
    """Train a lens with a recipe, and score it on fields that were made after it."""
    kinds = tuple(Kind(name, colour) for name, colour in KINDS.items())
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        for number in range(TRAINED):
            found = scene(number)
            add_triple(data, found.low, found.high, found.labels, f"scene {number:02}")
        spec = LensSpec("grains", data, kinds, recipe=recipe, minutes=minutes, test=0.0)
        started = time.perf_counter()
        lens = train_lens(spec, Path(folder) / "run", device=device, workers=workers)
        took = time.perf_counter() - started
    truth = [
        Triple(found.low, found.high, found.labels, f"held out {number}")
        for number, found in ((n, scene(n)) for n in range(1000, 1000 + HELD_OUT))
    ]
    scores = score_lens(lens, truth, device=device)
    yield f"### {recipe}: {minutes:g} minutes a network, {took / 60:.1f} in all\n"
    yield "| kind | IoU alone | IoU mixed | SD x, y (% of the diameter) | removed grains (% of range) | met |"
    yield "|---|---|---|---|---|---|"
    for name, kind in scores.kinds.items():
        share = kind.sd_share or (np.nan, np.nan)
        met = (
            (kind.iou_alone or 0) >= IOU_ALONE
            and (kind.iou_mixed or 0) >= IOU_MIXED
            and max(share) <= MOST_SD
            and (kind.trace or 0) <= MOST_TRACE
        )
        spread = f"{100 * share[1]:.2f}, {100 * share[0]:.2f}"
        yield (
            f"| {name} | {kind.iou_alone:.3f} | {kind.iou_mixed:.3f} | {spread} "
            f"| {100 * (kind.trace or 0):.2f} | {verdict(met)} |"
        )
    yield f"| asked | {IOU_ALONE} | {IOU_MIXED} | {100 * MOST_SD:g} | {100 * MOST_TRACE:g} | |"
    yield f"\n```\n{scores.table()}\n```"


def speed(recipe: str, side: int, device: str) -> Iterator[str]:
    """Time a lens of five networks beside the same networks one after the other."""
    lens, networks = five(recipe, side)
    image = grain_scene((side, side), spiny=side // 80, smooth=side // 80).low

    def together() -> None:
        acuity.enhance(image, lens, device=device)

    def alone() -> None:
        for network in networks:
            acuity.enhance(image, network, device=device)

    ours_s, ratio = beside(5 if device.startswith("cuda") else 40, together, alone)
    bar = "" if not device.startswith("cuda") else f" (asked {GPU_MS} ms for 1024 px on one H200)"
    met = verdict(ratio <= MOST_OVER_SUM)
    yield (
        f"- {recipe}, {side} x {side} px, five networks: {1000 * ours_s:.0f} ms{bar}, {ratio:.3f} of "
        f"the sum of its networks (at most {MOST_OVER_SUM} on processors: {met})"
    )


def five(recipe: str, side: int) -> tuple[acuity.Lens, list[acuity.Model]]:
    """Return a lens of labelling, three magnifying networks and shadowing, untrained; and the networks."""
    chosen = RECIPES[recipe]
    if chosen.network == "pix2pix":
        chosen = replace(chosen, patch=side)
    changes = {"channels": 3, **chosen.arguments}
    networks = [acuity.Model.new(recipe, seed=number, **changes) for number in range(5)]
    labelling, *magnifying, shadowing = networks
    lens = acuity.Lens.of_kinds(
        _KINDS,
        labelling=labelling,
        magnifying=dict(zip(_KINDS, magnifying, strict=True)),
        shadowing=shadowing,
    )
    return lens, networks


def beside(
    count: int, ours: Callable[[], object], theirs: Callable[[], object]
) -> tuple[float, float]:
    """Return our least time, s, and how many times theirs ours is.

    They take turns. Each of ours is held against the two of theirs around it, and the median counts: a
    machine that is not quiet differs more from minute to minute than the two do.
    """

    def taken(work: Callable[[], object]) -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    for first in (ours, theirs):  # what only a first turn needs is not counted
        first()
    around_s, ours_s = [taken(theirs)], list[float]()
    for _ in range(count):
        ours_s.append(taken(ours))
        around_s.append(taken(theirs))
    pairs = zip(ours_s, pairwise(around_s), strict=True)
    return min(ours_s), statistics.median(2 * one / sum(two) for one, two in pairs)


def main() -> None:
    """Print the tables, and write them where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=5.0, help="of training, each network")
    parser.add_argument("--recipes", nargs="+", default=["lens"])
    parser.add_argument("--workers", type=int, default=1, help="networks trained at once")
    parser.add_argument("--side", type=int, default=1024, help="of the image to time, px")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--only", choices=["speed", "training"], help="one part of it")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    device = choose_device(chosen.device)
    parts = {}
    for recipe in chosen.recipes:
        if chosen.only != "training":
            parts[f"speed, {recipe}"] = speed(recipe, chosen.side, device.name)
        if chosen.only != "speed":
            minutes, workers = chosen.minutes, chosen.workers
            parts[f"training, {recipe}"] = training(recipe, minutes, workers, device.name)
    printed(f"{datetime.now(UTC):%Y-%m-%d}, {processor()}, {device}", parts, chosen.out)


if __name__ == "__main__":
    main()

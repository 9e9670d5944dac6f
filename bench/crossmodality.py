"""Cross-modality super-resolution: on real pairs beside its peers, on beads of known truth, tiled, and timed.

    ACUITY_BENCH_DATA=FOLDER python bench/crossmodality.py --minutes 15

The folder holds fluorescence/{actin,mito,tubulin}_{WF,SRMSIM}.tif: widefield and SIM, one image a structure,
32.5 nm px. Columns 0 to 703 are to train and validate on, 704 to 767 a guard, 768 to 1023 to test on. The
truth is scaled to its 0.1 and 99.9 percentiles, each image fitted to it by scale and offset.
"""

from __future__ import annotations

import argparse
import copy
import os
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from crossmodality_peer import plain_unet
from machine import processor
from parts import printed, verdict
from scipy import ndimage

import napari_acuity as acuity
from napari_acuity.core.device import choose_device
from napari_acuity.core.quality.modalities.compare import compare_modalities
from napari_acuity.core.recipe import RECIPES
from napari_acuity.core.simulate.fluorescence import STED, bead_pair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from napari_acuity.core.quality.modalities.report import ModalityReport
    from napari_acuity.core.simulate.fluorescence import BeadPair

TRAINED, GUARD, TESTED = slice(0, 704), slice(704, 768), slice(768, 1024)
NA, WAVELENGTH_UM, PIXEL_UM = 1.49, 0.525, 0.0325
# PSNR and SSIM: of a plain small U-Net on two cores, and what is asked of a GPU.
BARS = {
    "actin": ((25.1, 0.76), (25.5, 0.79)),
    "mito": ((23.3, 0.46), (23.8, 0.50)),
    "tubulin": ((21.2, 0.51), (22.0, 0.56)),
}
MOST_RSP_LOSS, MOST_FWHM_ERROR, PAIR_FACTOR = 0.03, 0.10, 1.2
PAIRS, FIELDS, SEEDS = 24, 6, 3
_NO_DATA = "No real pairs: set ACUITY_BENCH_DATA to the folder that has them."


@dataclass(frozen=True)
class Real:
    """A structure seen by both instruments."""

    name: str
    low: acuity.Micrograph
    high: acuity.Micrograph

    @classmethod
    def read(cls, folder: Path, name: str) -> Real:
        """Read the two images of a structure."""
        images = (acuity.read(folder / f"{name}_{kind}.tif") for kind in ("WF", "SRMSIM"))
        low, high = (
            acuity.Micrograph(
                image.pixels, (PIXEL_UM, PIXEL_UM), name=image.name, value_range=(0, 65535)
            )
            for image in images
        )
        return cls(name, low, high)

    def registered(self) -> Real:
        """Return the widefield image brought onto the SIM grid, shifts that vary over the field included."""
        found = acuity.register(self.low, self.high, start="none")
        return replace(self, low=found.warp(self.low))

    def pair(self) -> acuity.Pair:
        """Return what may be trained on."""
        low, high = (each.with_pixels(each.pixels[:, TRAINED]) for each in (self.low, self.high))
        return acuity.Pair(low, high, 1, name=self.name)


def trained(
    pairs: list[acuity.Pair], recipe: str | acuity.Recipe, device: str, **bound: Any
) -> acuity.Model:
    """Train a model, in silence, for "minutes" or "epochs"."""
    return acuity.train(pairs, recipe, device=device, test=0.0, **bound)


def tested(found: Real, images: dict[str, acuity.Micrograph]) -> ModalityReport:
    """Score images on the columns that were kept back."""
    return compare_modalities(
        found.high,
        images,
        low=found.low,
        na=NA,
        wavelength_um=WAVELENGTH_UM,
        region=(0, TESTED.start, 1024, TESTED.stop),
        spots=False,
    )


def registered(data: Path, structures: list[str], epochs: int, device: str) -> Iterator[str]:
    """Register each pair before it is trained on, as the documentation has it; the truth stays as it is.

    Bounded by epochs, so that it repeats itself on a processor; three seeds tell how much chance there is.
    """
    yield "| structure | image | PSNR | SSIM | RSP of the whole image (the truth's) | trained |"
    yield "|---|---|---|---|---|---|"
    for name in structures:
        found = Real.read(data / "fluorescence", name).registered()
        truth_rsp = acuity.quality.error_map(found.low, found.high).rsp
        for seed in range(SEEDS):
            recipe, start = replace(RECIPES["crossmodality"], seed=seed), time.perf_counter()
            model = trained([found.pair()], recipe, device, epochs=epochs)
            took = f"{epochs} epochs, {(time.perf_counter() - start) / 60:.1f} min"
            output = acuity.enhance(found.low, model, device=device)
            scores = tested(found, {"output": output}).scores["output"]
            rsp, (psnr, ssim) = acuity.quality.error_map(found.low, output).rsp, BARS[name][1]
            met = scores.psnr >= psnr and scores.ssim >= ssim and rsp >= truth_rsp - MOST_RSP_LOSS
            yield (
                f"| {name} | crossmodality, seed {seed} | {scores.psnr:.2f} | {scores.ssim:.3f} "
                f"| {rsp:.3f} ({truth_rsp:.3f}) | {took} (asked {psnr} / {ssim}: {verdict(met)}) |"
            )


def real(data: Path, structures: list[str], minutes: float, device: str) -> Iterator[str]:
    """Train each recipe and the peer on each structure for the same time, and compare."""
    names = [f"crossmodality, {minutes:g} min", f"crossmodality-2019, {minutes:g} min"]
    yield "| structure | image | PSNR | SSIM | RSP | asked |"
    yield "|---|---|---|---|---|---|"
    for name in structures:
        bars = BARS[name]
        found = Real.read(data / "fluorescence", name)
        models = [
            trained([found.pair()], recipe, device, minutes=minutes)
            for recipe in ("crossmodality", "crossmodality-2019")
        ]
        images = {
            shown: acuity.enhance(found.low, model, device=device)
            for shown, model in zip(names, models, strict=True)
        }
        images[f"plain small U-Net, {minutes:g} min"] = plain_unet(
            found.low, found.high, TRAINED, minutes=minutes, device=device
        )
        report = tested(found, images)
        asked = bars["cuda" in str(choose_device(device).name)]
        for shown, scores in report.scores.items():
            bar = verdict(shown == names[0] and scores.psnr >= asked[0] and scores.ssim >= asked[1])
            bar = f"{asked[0]} / {asked[1]}: {bar}" if shown == names[0] else ""
            rsp = scores.error.rsp if scores.error else None
            cells = (
                written(value, digits)
                for value, digits in ((scores.psnr, 2), (scores.ssim, 3), (rsp, 3))
            )
            yield f"| {name} | {shown} | {' | '.join(cells)} | {bar} |"


def written(value: float | None, digits: int) -> str:
    """Write a figure, if there is one: the truth is not scored against itself."""
    return "" if value is None else f"{value:.{digits}f}"


def beads(minutes: float, device: str) -> Iterator[str]:
    """Train on simulated confocal and STED fields of beads, and measure widths and close pairs of another."""
    width_um = STED.fwhm_um(0.02)
    distances = [PAIR_FACTOR * width_um] * PAIRS
    fields = [
        bead_pair((384, 384), count=20, pair_distances_um=distances[:10], seed=seed)
        for seed in range(FIELDS)
    ]
    pairs = [
        acuity.Pair(field.low, field.high, 1, name=f"beads {n}") for n, field in enumerate(fields)
    ]
    model = trained(pairs, "crossmodality", device, minutes=minutes)
    test = bead_pair((768, 768), count=100, pair_distances_um=distances, seed=99)
    output = acuity.enhance(test.low, model, device=device)
    singles = test.positions[2 * PAIRS :]
    widths = {
        "confocal": test.low,
        "network": output,
        "STED (truth)": test.high,
    }
    yield "| image | spots of single beads | FWHM median (quartiles), nm | pairs told apart |"
    yield "|---|---|---|---|"
    medians = {}
    for name, image in widths.items():
        found = widths_nm(image, singles)
        medians[name] = float(np.median(found))
        quarter, three = np.percentile(found, [25, 75])
        apart = sum(told_apart(image, *ends) for ends in ends_of(test))
        yield (
            f"| {name} | {len(found)} | {medians[name]:.0f} ({quarter:.0f}-{three:.0f}) "
            f"| {apart} of {PAIRS} |"
        )
    error = abs(medians["network"] / medians["STED (truth)"] - 1)
    met = verdict(error <= MOST_FWHM_ERROR)
    yield f"\nFWHM {error:.1%} off the truth's median (asked {MOST_FWHM_ERROR:.0%}): {met}"


def ends_of(field: BeadPair) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Yield the two places of each pair."""
    for number in range(len(field.distances_um)):
        yield field.positions[2 * number], field.positions[2 * number + 1]


def widths_nm(image: acuity.Micrograph, places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the geometric mean FWHM of each spot that is well fitted, and near a single bead."""
    size = float(image.pixel_size[0])
    table = acuity.quality.fwhm_spots(image, pixel_size=size)
    at = np.column_stack([table["y"], table["x"]])
    near = np.linalg.norm(at[:, None] - places[None], axis=-1).min(1) < 3
    good = np.asarray(table["ok"]) & near
    both = np.asarray(table["fwhm_major"]) * np.asarray(table["fwhm_minor"])
    return 1000 * np.sqrt(both[good])


def told_apart(
    image: acuity.Micrograph, one: NDArray[np.float64], other: NDArray[np.float64]
) -> bool:
    """Return whether there is a dip between two beads, a tenth of the lower peak or more."""
    pixels = np.asarray(image.pixels, np.float64) - float(np.median(image.pixels))
    along = np.linspace(-0.5, 1.5, 81)[:, None]
    line = ndimage.map_coordinates(pixels, (one + along * (other - one)).T, order=3, mode="nearest")
    middle = line[20:61]
    dip = int(np.argmin(middle[10:31])) + 10
    peaks = min(middle[:dip].max(), middle[dip:].max())
    return bool(peaks > 0 and middle[dip] < 0.9 * peaks)


def tiling(device: str) -> Iterator[str]:
    """Enhance 3000 x 2000 px in tiles and whole, and time a large image beside the plain network."""
    rng = np.random.default_rng(0)
    image = acuity.Micrograph(
        ndimage.gaussian_filter(rng.random((2000, 3000)), 2).astype(np.float32), value_range=(0, 1)
    )
    for recipe, width in (("crossmodality", 32), ("crossmodality-2019", 16)):
        model = acuity.Model.new(recipe, width=width)
        whole, tiled = (
            acuity.enhance(image, model, tile=tile, exact=True, device=device).pixels
            for tile in (None, 512)
        )
        error = float(np.abs(whole - tiled).max() / np.ptp(whole))
        yield f"- {recipe}, width {width}: tiles of 512 px differ from the whole by {error:.1e} of its range"
    yield from timed(device)


def timed(device: str) -> Iterator[str]:
    """Time 2048 x 2048 px grey beside the plain network."""
    side = 2048 if "cuda" in device else 1024
    model = acuity.Model.new("crossmodality")
    image = acuity.Micrograph(
        np.random.default_rng(0).integers(0, 65536, (side, side)).astype(np.uint16),
        value_range=(0, 65535),
    )
    network = copy.deepcopy(model.network).to(device)
    batch = torch.from_numpy(image.pixels.astype(np.float32) / 65535)[None, None].to(device)

    def plain() -> None:
        with torch.inference_mode():
            network(batch).cpu()

    exact, usual = (
        best_of(5, lambda exact=exact: acuity.enhance(image, model, exact=exact, device=device))
        for exact in (True, False)
    )
    theirs = best_of(5, plain)
    yield (
        f"- {side} x {side} px grey: {1000 * usual:.0f} ms (asked 60 ms for 2048 x 2048 px on one H200); "
        f"exact: {1000 * exact:.0f} ms, {exact / theirs:.2f} times the plain network (asked 1.5 on "
        "processors)"
    )


def best_of(count: int, work: Callable[[], object]) -> float:
    """Return the least of several times, s; one more goes before them."""
    work()
    times = []
    for _ in range(count):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Print the tables, and write them where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=15.0, help="of training, each")
    parser.add_argument("--epochs", type=int, default=24, help="of those that are registered first")
    parser.add_argument("--bead-minutes", type=float, default=5.0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--structures", nargs="+", choices=list(BARS), default=list(BARS))
    parser.add_argument(
        "--only", choices=["tiling", "beads", "real", "registered"], help="one part of it"
    )
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    device = choose_device(chosen.device)
    parts = {
        "tiling": tiling(device.name),
        "beads": beads(chosen.bead_minutes, device.name),
    }
    for name, measured, bound in (
        ("real", real, chosen.minutes),
        ("registered", registered, chosen.epochs),
    ):
        parts[name] = iter([_NO_DATA])
        if data := os.environ.get("ACUITY_BENCH_DATA"):
            parts[name] = measured(Path(data), chosen.structures, bound, device.name)
    kept = {name: part for name, part in parts.items() if chosen.only in (None, name)}
    printed(f"{datetime.now(UTC):%Y-%m-%d}, {processor()}, {device}", kept, chosen.out)


if __name__ == "__main__":
    main()

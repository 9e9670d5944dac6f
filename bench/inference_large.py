"""Enhance a large image on the processor: memory above the interpreter, and the rate beside `enhance`.

    python bench/inference_large.py --side 20000 --minutes 10

A real slide is laid out again and again to an RGB OME-Zarr of so many pixels a side; the model is the one
that ships. Memory is that of the process that enhances, above what it has before it starts; rates are
megapixels of the input a second while tiles are made, without the start of the process and without the
coarser levels.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import psutil

import napari_acuity as acuity
from napari_acuity.core.device import choose_device
from napari_acuity.core.inference.deploy import engine_for
from napari_acuity.core.inference.large.enhance import enhance_large_steps
from napari_acuity.core.io.ngff_levels import finish_zarr, new_zarr
from napari_acuity.samples import slide

ONE_PX = 1024
CHUNK_PX = 1024
WORKERS_SIDE_PX = 3000


@dataclass(frozen=True)
class Outcome:
    """What a run reached: Mpx of input a second, MB above the interpreter, share done, seconds in all."""

    rate: float
    megabytes: float
    share: float
    seconds: float


def made(side: int, path: Path) -> Path:
    """Write an image of so many pixels a side, chunk by chunk."""
    tissue = slide()
    rows, cols = tissue.shape
    level = new_zarr(path, (side, side), tissue)
    for top in range(0, side, CHUNK_PX):
        for left in range(0, side, CHUNK_PX):
            bottom, right = min(top + CHUNK_PX, side), min(left + CHUNK_PX, side)
            y, x = np.arange(top, bottom) % rows, np.arange(left, right) % cols
            level[:, top:bottom, left:right] = np.moveaxis(tissue.pixels[np.ix_(y, x)], -1, 0)
    finish_zarr(path, tissue)
    return path


def one_image(model: acuity.Model) -> float:
    """Return the Mpx a second of `enhance` on one image in memory."""
    pixels = slide().pixels[:ONE_PX, :ONE_PX]
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        acuity.enhance(pixels, model, device="cpu")
        seconds.append(time.perf_counter() - start)
    return ONE_PX**2 / min(seconds[1:]) / 1e6


def in_parts(path: Path, out: Path, minutes: float, workers: int) -> Outcome:
    """Enhance a file in parts, as far as one gets in the time."""
    model, process, peak = acuity.load("default"), psutil.Process(), [0]
    engine_for(model, choose_device("cpu"))
    base, over = process.memory_info().rss, threading.Event()

    def watch() -> None:
        while not over.wait(0.01):
            peak[0] = max(peak[0], process.memory_info().rss)

    threading.Thread(target=watch, daemon=True).start()
    begun = time.perf_counter()
    first = last = (0.0, 0)
    for event in (steps := enhance_large_steps(path, model, out, device="cpu", workers=workers)):
        now = time.perf_counter()
        if event.stage.startswith("tile "):
            count, total = (int(word) for word in event.stage.split()[1::2])
            # The first tiles wait for the model to be made ready.
            last = (now, count)
            first = first if first[1] else last
        if now - begun > 60 * minutes:
            break
    steps.close()
    over.set()
    (start, before), (end, after) = first, last
    side = acuity.core.io.ngff.lazy_zarr(path).shape
    pixels = side[0] * side[1] * (after - before) / total
    return Outcome(
        pixels / (end - start) / 1e6,
        (peak[0] - base) / 1e6,
        after / total,
        time.perf_counter() - begun,
    )


def apart(*what: object) -> Outcome:
    """Run in a process of its own, so that its memory is its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(in_parts, *what).result()  # type: ignore[arg-type]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--side", type=int, default=20_000, help="px")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop each run after so long")
    parser.add_argument(
        "--folder", type=Path, help="where there is room; by default a temporary one"
    )
    chosen = parser.parse_args()
    model = acuity.load("default")
    print(f"{choose_device('cpu').label}, {engine_for(model, choose_device('cpu')).words}")
    folder = Path(tempfile.mkdtemp(prefix="acuity-bench-", dir=chosen.folder))
    try:
        alone = one_image(model)
        print(f"enhance, one image of {ONE_PX} x {ONE_PX} px: {alone:.3f} Mpx/s")
        large = made(chosen.side, folder / "large.zarr")
        found = apart(large, folder / "out.zarr", chosen.minutes, 0)
        print(f"enhance_large, {chosen.side} x {chosen.side} px: {found.rate:.3f} Mpx/s", end="")
        print(f" ({found.rate / alone:.2f} of that), {found.megabytes:.0f} MB above the", end="")
        print(f" interpreter; {found.share:.0%} done in {found.seconds:.0f} s")
        small = made(min(chosen.side, WORKERS_SIDE_PX), folder / "small.zarr")
        rates = {n: apart(small, folder / f"{n}.zarr", chosen.minutes, n).rate for n in (1, 2)}
        print(f"1 worker {rates[1]:.3f} Mpx/s, 2 workers {rates[2]:.3f} Mpx/s", end="")
        print(f": {rates[2] / rates[1]:.2f} times as fast")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()

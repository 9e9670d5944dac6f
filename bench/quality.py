"""Our scores beside scikit-image's, and a pair too large for the memory:  make bench-quality

    python bench/quality.py --large 20000

The image is the package's own slide with noise added to it. Each time is the best of three, on a GPU of five.
"""

from __future__ import annotations

import argparse
import datetime
import os
import shutil
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
import torch
from inference_large import made
from machine import processor
from skimage.color import deltaE_ciede94, rgb2lab
from skimage.metrics import structural_similarity

import napari_acuity as acuity
from napari_acuity.core.scoring import score_on_device
from napari_acuity.core.simulate.targets import beads, usaf_target
from napari_acuity.samples import slide

if TYPE_CHECKING:
    from collections.abc import Callable

SIDE_PX, BAR_S, GPU_BAR_S = 2048, 1.5, 0.05
SSIM = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "full": True}


def field(side: int = SIDE_PX) -> np.ndarray:
    """Lay the slide out again and again to so many pixels a side."""
    tissue = slide().pixels
    rows, cols = (np.arange(side) % n for n in tissue.shape[:2])
    return tissue[np.ix_(rows, cols)]


def best_of(times: int, work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def scores(truth: np.ndarray, image: np.ndarray) -> list[str]:
    """Time SSIM, CIE-94 and the difference of an RGB pair, ours and scikit-image's."""
    q = acuity.quality
    pairs: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "SSIM": (
            lambda: q.ssim(truth, image),
            lambda: structural_similarity(truth, image, channel_axis=-1, **SSIM),
        ),
        "CIE-94": (
            lambda: q.cie94(truth, image),
            lambda: deltaE_ciede94(rgb2lab(truth), rgb2lab(image)),
        ),
        "difference": (
            lambda: q.difference(truth, image),
            lambda: 100 * np.abs(truth / 255 - image / 255).mean(axis=-1),
        ),
    }
    lines, ours_s, theirs_s = [], 0.0, 0.0
    for name, (ours, theirs) in pairs.items():
        here, there = best_of(3, ours), best_of(3, theirs)
        ours_s, theirs_s = ours_s + here, theirs_s + there
        lines.append(f"| {name} | {here:.2f} | {there:.2f} | {there / here:.1f} |")
    bar = "ok" if ours_s <= BAR_S else "missed"
    lines.append(
        f"| all three (<= {BAR_S} s: {bar}) | {ours_s:.2f} | {theirs_s:.2f} "
        f"| {theirs_s / ours_s:.1f} |"
    )
    return lines


def others(truth: np.ndarray, image: np.ndarray) -> list[str]:
    """Time what has no peer here."""
    q = acuity.quality
    grey, second = (x[..., 1].copy() for x in (truth, image))
    spots, _ = beads((1024, 1024), count=600, fwhm_um=0.25, pixel_size=0.05, min_distance_um=1.2)
    noisy = spots.pixels + np.random.default_rng(0).normal(0, 0.01, spots.shape)
    target = usaf_target((4, 5, 6, 7), pixel_size=0.7)
    target = target.with_pixels(0.1 + 0.8 * target.pixels)
    work: dict[str, Callable[[], object]] = {
        "CIEDE2000": lambda: q.ciede2000(truth, image),
        "MS-SSIM": lambda: q.ms_ssim(truth, image),
        "measure, all scores": lambda: acuity.measure(truth, image),
        "FRC of two images": lambda: q.frc(grey, second),
        "decorrelation analysis": lambda: q.decorrelation(grey),
        "error map on half the grid": lambda: q.error_map(grey[::2, ::2], second),
        "600 spots, 1024 x 1024 px": lambda: q.fwhm_spots(noisy),
        f"USAF target, {target.shape[0]} x {target.shape[1]} px": lambda: q.mtf_usaf(target),
    }
    return [f"| {name} | {best_of(1, each):.2f} |" for name, each in work.items()]


def on_gpu(truth: np.ndarray, image: np.ndarray) -> str:
    """Time all scores and their maps where there is a GPU; the first of the times wakes it."""
    if not torch.cuda.is_available():
        return "| all scores on a GPU | not measured: no CUDA device |"
    seconds = best_of(5, lambda: score_on_device(truth, image, device="cuda"))
    bar = "ok" if seconds <= GPU_BAR_S else "missed"
    name = torch.cuda.get_device_name()
    return f"| all scores on one {name} (<= {GPU_BAR_S} s: {bar}) | {seconds:.3f} |"


def measure_in_parts(first: Path, second: Path) -> tuple[float, float]:
    """Return seconds, and megabytes above the interpreter, of measuring two files part by part."""
    process, peak, over = psutil.Process(), [0], threading.Event()
    acuity.quality.measure_large(field(300), field(300))
    base = process.memory_info().rss

    def watch() -> None:
        while not over.wait(0.01):
            peak[0] = max(peak[0], process.memory_info().rss)

    threading.Thread(target=watch, daemon=True).start()
    start = time.perf_counter()
    acuity.quality.measure_large(first, second)
    seconds = time.perf_counter() - start
    over.set()
    return seconds, (peak[0] - base) / 1e6


def large(side: int) -> str:
    folder = Path(tempfile.mkdtemp(prefix="acuity-bench-"))
    try:
        first, second = (made(side, folder / f"{name}.zarr") for name in "ab")
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            seconds, megabytes = pool.submit(measure_in_parts, first, second).result()
    finally:
        shutil.rmtree(folder)
    return (
        f"`measure_large` of {side} x {side} px: {seconds:.0f} s, {megabytes:.0f} MB above the "
        "interpreter."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--large", type=int, default=6000, help="side of the large pair, px")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the figures here as well")
    chosen = parser.parse_args()
    truth = field()
    noise = np.random.default_rng(0).normal(0, 9, truth.shape)
    image = np.clip(truth + noise, 0, 255).astype(np.uint8)
    text = "\n".join(
        [
            f"## Quality (`make bench-quality`)\n\n{datetime.date.today()}, {processor()} "
            f"({os.cpu_count()} cores).\n",
            f"| {SIDE_PX} x {SIDE_PX} RGB, uint8 | ours, s | scikit-image, s | times as fast |",
            "|---|---|---|---|",
            *scores(truth, image),
            f"\n| {SIDE_PX} x {SIDE_PX}, if not said otherwise | s |",
            "|---|---|",
            *others(truth, image),
            on_gpu(truth, image),
            f"\n{large(chosen.large)}",
        ]
    )
    print(text)
    if chosen.out is not None:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        chosen.out.write_text(text + "\n")


if __name__ == "__main__":
    main()

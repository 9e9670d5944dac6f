"""Train on real fields and their simulated captures:  make bench-training

quality  PSNR, SSIM and CIE-94 on fields not trained on, beside bicubic and the bars we set ourselves
speed    patches/s of 60 px beside a plain float32 loop with a DataLoader, taken in turns

ACUITY_BENCH_DATA=FOLDER: the quality job's images are in FOLDER/brightfield; they are not ours to ship.
"""

import argparse
import datetime
import os
import platform
import statistics
import sys
import threading
import time
from contextlib import closing
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch
from machine import processor
from training_data import UNSEEN, Fields, fields, sample_pair
from training_peer import plain_speed

from napari_acuity import AcuityError, Model, Pair
from napari_acuity.core.device import choose_device
from napari_acuity.core.quality.set_scores import SetScores
from napari_acuity.core.recipe import recipe_by_name
from napari_acuity.core.training.score import IMAGES, score
from napari_acuity.core.training.session import Epoch
from napari_acuity.core.training.train import train_steps

PATCH = 60
ROUNDS = 3
# Minutes of training, and what to reach on the unseen field in them: PSNR, SSIM, CIE-94.
CPU_BAR = (10.0, (29.9, 0.775, 3.2))
GPU_BAR = (5.0, (30.3, 0.79, 3.1))
KNOWN_BICUBIC = (27.7, 0.661, 4.02)
# Batch -> how many times as fast as the peer.
CPU_SPEED_BARS = {64: 3.0}
GPU_SPEED_BARS = {64: 2.5, 512: 6.0}
FIELDS_ON_GPU = 64


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--jobs", nargs="*", default=["speed", "quality"], choices=["quality", "speed"])
    data = os.environ.get("ACUITY_BENCH_DATA")
    folder = Path(data) / "brightfield" if data else None
    add("--data", type=Path, default=folder, metavar="FOLDER", help="images of the quality job")
    add("--recipe", action="append", metavar="NAME", help="several: each trains as long")
    add("--minutes", type=float, help="for each recipe; by default as long as the bar allows")
    add("--validate", choices=["side", "field"], default="side", help="on a strip of each field")
    add("--seconds", type=float, default=20, help="for each speed, after its warm-up")
    add(
        "--warm-up",
        type=float,
        default=60,
        help="seconds before ours is timed on a GPU: it compiles",
    )
    add("--batches", type=int, nargs="*", help="for the speed; by default those that have a bar")
    add("--device", default="auto")
    add("--out", type=Path, metavar="FILE", help="write the figures here as well")
    return parser.parse_args()


def trained(pairs: list[Pair], recipe: str, minutes: float, device: str) -> tuple[Model, str]:
    """Train; return the model and what was done, in words."""
    start, last = time.perf_counter(), None
    steps = train_steps(pairs, recipe, minutes=minutes, device=device, test=0)
    while True:
        try:
            event = next(steps)
        except StopIteration as end:
            model = end.value
            break
        if isinstance(event.new, Epoch):
            last = event.new
            print(f"  {recipe}: {event.stage}", file=sys.stderr)
    wall = (time.perf_counter() - start) / 60
    count = last.step if last else 0
    return model, f"`{recipe}`: {count} steps in {wall:.1f} min with all that belongs to it"


def quality(chosen: argparse.Namespace, recipes: list[str]) -> str:
    """Return the table of the quality job, in Markdown."""
    device = choose_device(chosen.device).name
    usual, bar = CPU_BAR if device == "cpu" else GPU_BAR
    minutes = chosen.minutes or usual
    data = fields(chosen.data, by_field=chosen.validate == "field")
    found, words = {}, []
    for recipe in recipes:
        model, done = trained(data.training, recipe, minutes, device)
        found[recipe] = score(model, data.test, colour_from=data.training, device=device)
        words.append(done)
    caption = (
        f"Fields not trained on, after {minutes:g} minutes (validated on "
        f"{'a strip of each training field' if chosen.validate == 'side' else 'whole fields'}). "
        + "; ".join(words)
        + f". The bar is for {usual:g} minutes."
    )
    return f"{caption}\n\n{quality_table(data, found, bar)}"


def quality_table(
    data: Fields, found: dict[str, SetScores], bar: tuple[float, float, float]
) -> str:
    lines = ["| field | image | PSNR, dB | SSIM | CIE-94 |", "|---|---|---|---|---|"]
    for name in (pair.name for pair in data.test):
        for image in IMAGES[:-1]:
            scores = next(iter(found.values()))
            lines.append(line(name, image, figures(scores, name, image)))
            if (name, image) == (UNSEEN, IMAGES[0]):
                lines.append(line(name, "bicubic, as the bars were set", KNOWN_BICUBIC))
        for recipe, scores in found.items():
            lines.append(line(name, f"output, `{recipe}`", figures(scores, name, IMAGES[-1])))
        if name == UNSEEN:
            lines.append(line(name, "bar", bar))
    lines += means(found)
    failed = {name: why for scores in found.values() for name, why in scores.failed.items()}
    return "\n".join([*lines, *(f"\n{name} failed: {why}" for name, why in failed.items())])


def means(found: dict[str, SetScores]) -> list[str]:
    """Return the rows of means and standard deviations over the fields that were scored."""
    first = next(iter(found.values()))
    rows = [(image, first, image) for image in IMAGES[:-1]]
    rows += [(f"output, `{recipe}`", scores, IMAGES[-1]) for recipe, scores in found.items()]
    lines = []
    for title, scores, image in rows:
        if len(scores.fields) < 2:
            continue
        cells = (
            f"{scores.mean(image, name):.{digits}f} ± {scores.sd(image, name):.{digits}f}"
            for name, digits in (("psnr", 2), ("ssim", 3), ("cie94", 2))
        )
        lines.append(
            f"| mean ± SD of {len(scores.fields)} fields | {title} | {' | '.join(cells)} |"
        )
    return lines


def figures(scores: SetScores, name: str, image: str) -> tuple[float, ...] | None:
    found = scores.fields.get(name)
    return (found[image].psnr, found[image].ssim, found[image].cie94) if found else None


def line(name: str, image: str, values: tuple[float, ...] | None) -> str:
    cells = ["{:.2f}", "{:.3f}", "{:.2f}"]
    shown = [cell.format(v) for cell, v in zip(cells, values, strict=True)] if values else ["-"] * 3
    return f"| {' | '.join([name, image, *shown])} |"


class OurRun:
    """A run of ours that is taken up again round after round, so that it compiles once.

    Speeds are in patches/s, from the end of an epoch to that of another, validation and all included.
    """

    def __init__(self, pairs: list[Pair], batch: int, warm_up_s: float, device: str) -> None:
        # The loss is the plain loop's: what is compared is the loop.
        recipe = replace(
            recipe_by_name("brightfield"), patch=PATCH, batch=batch, losses={"mse": 1.0}
        )
        self.batch, self.warm_up_s = batch, warm_up_s
        self.steps = train_steps(pairs, recipe, minutes=60, device=device, test=0)

    def speed(self, seconds: float) -> float:
        self._epochs(self.warm_up_s)
        self.warm_up_s = 0.0
        return self._epochs(seconds)

    def _epochs(self, seconds: float) -> float:
        marks: list[tuple[float, int]] = []
        for event in self.steps:
            if isinstance(event.new, Epoch):
                marks.append((time.perf_counter(), event.new.step))
                if marks[-1][0] - marks[0][0] >= seconds and (len(marks) > 1 or not seconds):
                    break
        (start, first), (end, last) = marks[0], marks[-1]
        return (last - first) * self.batch / max(end - start, 1e-9)


class Utilisation:
    """The share of time that a GPU was at work, sampled ten times a second in the background."""

    def __init__(self, device: str) -> None:
        self._device, self._samples = device, []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "Utilisation":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            try:
                self._samples.append(torch.cuda.utilization(self._device))
            except (ModuleNotFoundError, RuntimeError, AssertionError):
                return

    @property
    def words(self) -> str:
        # The first third is set-up and compilation.
        kept = self._samples[len(self._samples) // 3 :]
        return f"{statistics.median(kept):.0f} %" if kept else "unknown (needs nvidia-ml-py)"


def speed(chosen: argparse.Namespace) -> str:
    """Return the table of the speed job, in Markdown."""
    device = choose_device(chosen.device).name
    gpu = device != "cpu"
    pair = sample_pair()
    # Few fields on a CPU: an epoch is a few seconds. Many on a GPU, where one field is gone in no time.
    pairs = [
        replace(pair, group="slide", name=f"slide {n}") for n in range(FIELDS_ON_GPU if gpu else 1)
    ]
    lines = [
        f"Patches/s of {PATCH} px, median of {ROUNDS} rounds in turns, {chosen.seconds:g} s each; ours with "
        "validation, EMA and events, the peer the training steps alone.\n",
        "| batch | ours | plain float32 loop | ratio | bar | device busy, ours |",
        "|---|---|---|---|---|---|",
    ]
    bars = GPU_SPEED_BARS if gpu else CPU_SPEED_BARS
    for batch, bar in bars.items():
        if chosen.batches and batch not in chosen.batches:
            continue
        ours, peer, busy = [], [], "-"
        run = OurRun(pairs, batch, chosen.warm_up if gpu else 0.0, device)
        with closing(run.steps):
            for number in range(ROUNDS):
                with Utilisation(device) as used:
                    ours.append(run.speed(chosen.seconds))
                busy = used.words if gpu else busy
                peer.append(
                    plain_speed(
                        pairs, patch=PATCH, batch=batch, seconds=chosen.seconds, device=device
                    )
                )
                print(f"  round {number + 1}: {ours[-1]:.0f}, {peer[-1]:.0f}", file=sys.stderr)
        a, b = statistics.median(ours), statistics.median(peer)
        lines.append(f"| {batch} | {a:.0f} | {b:.0f} | {a / b:.2f} | {bar:g} | {busy} |")
    return "\n".join(lines)


def machine(device: str) -> str:
    """Say when and on what the figures were measured."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("napari-acuity", "torch", "numpy"))
    return (
        f"{datetime.date.today()}, {processor()} ({os.cpu_count()} cores, "
        f"{torch.get_num_threads()} threads), on {choose_device(device).label}, "
        f"Python {platform.python_version()}, {packages}."
    )


def main() -> None:
    chosen = options()
    recipes = chosen.recipe or ["brightfield"]
    try:
        for name in recipes:
            recipe_by_name(name)  # a wrong name is better told before the work
        parts = ["## Training (`make bench-training`)", machine(chosen.device)]
    except AcuityError as error:
        sys.exit(str(error))
    if "speed" in chosen.jobs:
        parts.append(speed(chosen))
    if "quality" in chosen.jobs:
        absent = (
            "Quality not measured: it needs --data FOLDER with henorm_example1.png and the others."
        )
        parts.append(quality(chosen, recipes) if chosen.data else absent)
    text = "\n\n".join(parts) + "\n"
    print(text)
    if chosen.out:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        chosen.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

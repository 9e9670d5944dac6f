"""The main job on real images, without a microscope: capture, register, pair, train, enhance, measure.

The fields are real (a slide of H&E tissue), their phone captures are simulated, so that the truth of
every step is known. One field is kept from everything but the final score.
"""

from __future__ import annotations

import csv
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from . import samples
from .core.device import choose_device
from .core.inference.enhance import enhance_steps
from .core.io import make_folder, replacing, write
from .core.jobs import Event, Steps, altered, within
from .core.pairs.pair_set import PairSet
from .core.quality import bicubic, fit_colour
from .core.quality.measure import Report, measure_steps
from .core.registration.register import register_steps
from .core.simulate import PHONE, Capture, capture
from .core.training.session import Epoch
from .core.training.train import train_steps
from .demo_report import Bar, Demo, Field, write_report

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .core.micrograph import Micrograph
    from .core.model import Model
    from .core.registration.registration import Registration

__all__ = ["demo_steps"]

_SCALE = 2.5
_SIDE = 512
# Fields lie this far apart, so that no pixel of the unseen one is in a training field.
_PITCH = 576
_MARGIN = 30
_LEAST_TISSUE = 0.2
_BORDER_PX = 8


def demo_steps(
    out: str | os.PathLike[str] = "acuity-demo", *, minutes: float = 4.0, device: str = "auto"
) -> Steps[Demo]:
    """Run the main job on the sample slide, yielding events.

    Parameters
    ----------
    out : path
        The folder to make; where it holds something already, a number is added to its name.
    minutes : float
        How long to train.
    device : str
        "auto" or torch's name of a device.

    Returns
    -------
    Demo
        Its folder holds ``report.html``, ``scores.csv``, ``registration.csv``, ``pairs/``, ``run/``
        (with the log and the model), and ``images/``.
    """
    choose_device(device)  # a wrong name is better told before the work
    folder, clock = _new_folder(Path(out)), _Clock()
    fields = []
    origins = _origins(samples.slide())
    for count, origin in enumerate(origins):
        share = 0.3 * count / len(origins), 0.3 * (count + 1) / len(origins)
        field = yield from within(_field_steps(origin, count), *share)
        fields.append(field)
    *training, unseen = fields
    clock.lap("capture and register")
    pairs = PairSet.open(folder / "pairs")
    for field in training:
        pairs.add(field.pair)
    clock.lap("pairs")
    model, epochs = yield from within(_train(pairs, folder / "run", minutes, device), 0.3, 0.9)
    clock.lap("train")
    low = unseen.pair.low
    output = yield from within(enhance_steps(low, model, device=device), 0.9, 0.93)
    clock.lap("enhance")
    columns = {"bicubic": bicubic(low, _SCALE)}
    columns["bicubic, colour fitted"] = fit_colour(
        (bicubic(field.pair.low, _SCALE), field.pair.high) for field in training
    ).apply(columns["bicubic"])
    report = yield from within(
        measure_steps(
            unseen.pair.high,
            replace(output, name="output"),
            baselines=columns,
            border_px=_BORDER_PX,
        ),
        0.93,
        0.98,
    )
    clock.lap("measure")
    demo = Demo(
        folder, report, unseen, training, epochs, model, _bars(report, fields), clock.seconds
    )
    yield Event("writing the report", 0.98)
    _write(demo, {"input": low, **columns, "output": output, "truth": unseen.pair.high})
    return demo


def _new_folder(wanted: Path) -> Path:
    folder, number = wanted, 2
    while folder.exists() and (folder.is_file() or any(folder.iterdir())):
        folder, number = wanted.with_name(f"{wanted.name}-{number}"), number + 1
    make_folder(folder / "images")
    return folder


def _origins(slide: Micrograph) -> list[tuple[int, int]]:
    """Return (row, col) of fields with tissue, the one to keep unseen last."""
    height, width = slide.shape
    found = [
        (row, col)
        for row in range(0, height - _SIDE + 1, _PITCH)
        for col in range(0, width - _SIDE + 1, _PITCH)
        if _tissue(slide.pixels[row : row + _SIDE, col : col + _SIDE]) > _LEAST_TISSUE
    ]
    # The middle one, so that the training fields surround it in all directions.
    return [*found[: len(found) // 2], *found[len(found) // 2 + 1 :], found[len(found) // 2]]


def _tissue(pixels: NDArray[np.uint8]) -> float:
    """Return the share of pixels that are coloured, not white background."""
    return float((np.ptp(pixels.astype(np.int16), axis=-1) > 25).mean())


def _field_steps(origin: tuple[int, int], number: int) -> Steps[Field]:
    """Capture a field at a pose of its own, register the capture, and pair the two."""
    row, col = origin
    slide = samples.slide()
    rng = np.random.default_rng(number)
    yield Event(f"field {number + 1}: capturing", 0.0)
    seen = capture(
        slide,
        PHONE,
        field=(row, col, _SIDE, _SIDE),
        margin=_MARGIN,
        rotation_deg=float(rng.uniform(-6, 6)),
        shift_px=(float(rng.uniform(-15, 15)), float(rng.uniform(-15, 15))),
        seed=number,
    )
    seen = replace(seen, image=replace(seen.image, name=f"phone {number + 1}"))
    pixels = slide.pixels[row : row + _SIDE, col : col + _SIDE]
    truth = slide.with_pixels(pixels, name=f"bench {number + 1}")
    registration = yield from altered(
        within(register_steps(seen.image, truth), 0.3, 1.0),
        lambda event: replace(event, stage=f"field {number + 1}: {event.stage}"),
    )
    pair = registration.pair(seen.image, truth, scale=_SCALE)
    return Field(truth, seen, registration, _end_point_errors(seen, registration), pair)


def _end_point_errors(seen: Capture, found: Registration) -> NDArray[np.float64]:
    """Return how far the found map is from the true one, px of the field, every 8 px of it."""
    height, width = found.fixed_shape
    grid = np.mgrid[4:height:8, 4:width:8].reshape(2, -1).T.astype(float)
    true = seen.map_points(grid)
    inside = ((true >= 0) & (true <= np.array(seen.image.shape) - 1)).all(axis=1)
    difference = found.map_points(grid[inside]) - true[inside]
    return np.linalg.norm(difference, axis=1) * found.scale


def _train(
    pairs: PairSet, run: Path, minutes: float, device: str
) -> Steps[tuple[Model, list[Epoch]]]:
    epochs = []

    def collect(event: Event) -> Event:
        if isinstance(event.new, Epoch):
            epochs.append(event.new)
        return replace(event, stage=f"training, {event.stage}")

    steps = train_steps(pairs, "brightfield", run, minutes=minutes, device=device, test=0)
    model = yield from altered(steps, collect)
    return model, epochs


def _bars(report: Report, fields: Sequence[Field]) -> list[Bar]:
    """Compare the output with the better of the baselines, score by score."""
    *baselines, output = report.scores.values()
    colours = [scores.cie94 for scores in baselines if scores.cie94 is not None]
    errors = np.concatenate([field.error_px for field in fields])
    return [
        Bar(
            "registration, median end-point error, px",
            0.5,
            float(np.median(errors)),
            at_most=True,
        ),
        Bar("PSNR gained, dB", 1.0, output.psnr - max(scores.psnr for scores in baselines)),
        Bar("SSIM gained", 0.05, output.ssim - max(scores.ssim for scores in baselines)),
        Bar("mean CIE-94", min(colours), output.cie94 or 0.0, at_most=True),
    ]


def _write(demo: Demo, images: dict[str, Micrograph]) -> None:
    for name, image in images.items():
        write(image, demo.folder / "images" / f"{name.replace(', ', '-').replace(' ', '-')}.tif")
    demo.unseen.registration.save(demo.folder / "images" / "registration.npz")
    demo.model.save(demo.folder / "model.safetensors")
    demo.report.save(demo.folder / "scores.csv")
    with (
        replacing(demo.folder / "registration.csv") as temporary,
        temporary.open("w", newline="") as file,
    ):
        table = csv.writer(file)
        table.writerow(["field", "median_error_px", "p95_error_px", "correlation", "inliers"])
        for field in (*demo.fields, demo.unseen):
            median, p95 = np.percentile(field.error_px, (50, 95))
            found = field.registration
            table.writerow(
                [field.truth.name, median, p95, found.correlation[1], len(found.fixed_points)]
            )
    write_report(demo, images, demo.folder / "report.html")


class _Clock:
    """How long each step took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.seconds[name], self._last = now - self._last, now

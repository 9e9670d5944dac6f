"""What the demo made, and its report: what was gained on the unseen field, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from .core.quality.reports.page import Picture, Section, Table, figure_png, versions, write_html
from .core.quality.reports.pictures import beside_each_other, map_picture
from .core.quality.reports.saving import definitions_section, scores_table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from .core.micrograph import Micrograph
    from .core.model import Model
    from .core.pairs.pair import Pair
    from .core.quality.measure import Report
    from .core.registration.registration import Registration
    from .core.simulate import Capture
    from .core.training.session import Epoch

__all__ = ["Bar", "Demo", "Field", "write_report"]


@dataclass(frozen=True, eq=False)
class Field:
    """A field, its capture, and how well the two were registered.

    Parameters
    ----------
    truth : Micrograph
        The field as the slide scanner saw it.
    capture : Capture
        What the phone saw of it, and the true map.
    registration : Registration
        The map that was found.
    error_px : (n,) float64
        End-point errors on a grid over the field, px of the field.
    pair : Pair
        The capture on the field's grid / 2.5, and the field.
    """

    truth: Micrograph
    capture: Capture
    registration: Registration
    error_px: NDArray[np.float64]
    pair: Pair


@dataclass(frozen=True)
class Bar:
    """A figure that was asked for, and what was reached."""

    name: str
    asked: float
    reached: float
    at_most: bool = False

    @property
    def met(self) -> bool:
        """Whether it was reached."""
        return self.reached < self.asked if self.at_most else self.reached >= self.asked

    def __str__(self) -> str:
        sign = "below" if self.at_most else "at least"
        verdict = "met" if self.met else "MISSED"
        return f"{verdict:6}  {self.name}: {self.reached:.3f} ({sign} {self.asked:g} asked)"


@dataclass(frozen=True, eq=False)
class Demo:
    """What the demo made.

    Parameters
    ----------
    folder : Path
        Where it lies.
    report : Report
        Output and baselines against the truth, on the unseen field.
    unseen : Field
        That field.
    fields : list of Field
        Those that were trained on.
    epochs : list of Epoch
        The course of training.
    model : Model
        The trained model.
    bars : list of Bar
        What was asked and reached.
    seconds : dict
        How long each step took.
    """

    folder: Path
    report: Report
    unseen: Field
    fields: Sequence[Field]
    epochs: Sequence[Epoch]
    model: Model
    bars: Sequence[Bar]
    seconds: dict[str, float]


def write_report(demo: Demo, images: dict[str, Micrograph], path: Path) -> None:
    """Write the demo's page.

    Parameters
    ----------
    demo : Demo
    images : dict of str to Micrograph
        Input, baselines, output and truth of the unseen field, in the order to show them.
    path : Path
        The ``.html`` file.
    """
    sections = [
        _summary(demo),
        Section(
            "Scores on the unseen field",
            "Each against the truth. The colour fit is one affine map of colours, learnt on the training "
            "fields: what it gains is a colour cast undone, not resolution.",
            scores_table(demo.report),
        ),
        *beside_each_other(images),
        Section(
            "Where the output differs from the truth",
            pictures=[map_picture(score, values) for score, values in demo.report.maps.items()],
        ),
        _registration(demo),
        Section(
            "Training",
            f"{demo.epochs[-1].number} epochs, {demo.epochs[-1].step} steps. The best validation loss was "
            f"kept; the unseen field is not among the validation fields.",
            pictures=[
                Picture(_loss_curve(demo.epochs), "Loss after each epoch"),
                Picture(_psnr_curve(demo.epochs), "PSNR on the validation fields after each epoch"),
            ],
        ),
        definitions_section(demo.report.measured),
        _provenance(demo),
    ]
    write_html(path, "napari-acuity: the main job on one page", sections)


def _summary(demo: Demo) -> Section:
    missed = [bar for bar in demo.bars if not bar.met]
    verdict = (
        "Every bar was met."
        if not missed
        else f"{len(missed)} of {len(demo.bars)} bars missed: "
        + "; ".join(bar.name for bar in missed)
        + "."
    )
    text = (
        f"{len(demo.fields) + 1} fields of a real H&E slide were seen through a simulated phone microscope, "
        f"registered, and paired; a network was trained on {len(demo.fields)} of the pairs and applied to "
        "the one it never saw. Gains are over the better of the two baselines, bicubic enlargement and "
        f"bicubic after a colour fit.\n\n{verdict}"
    )
    rows = [
        (
            bar.name,
            f"{'below' if bar.at_most else 'at least'} {bar.asked:.3g}",
            f"{bar.reached:.3f}",
            "met" if bar.met else "missed",
        )
        for bar in demo.bars
    ]
    table = Table(
        ("Bar", "Asked", "Reached", ""),
        rows,
        emphasis=frozenset((row, 3) for row, bar in enumerate(demo.bars) if not bar.met),
    )
    return Section("", text, table)


def _registration(demo: Demo) -> Section:
    rows = []
    for field in (*demo.fields, demo.unseen):
        found, (median, p95) = field.registration, np.percentile(field.error_px, (50, 95))
        before, after = found.correlation
        rows.append(
            (
                field.truth.name + (" (unseen)" if field is demo.unseen else ""),
                f"{median:.3f}",
                f"{p95:.3f}",
                f"{before:.2f}",
                f"{after:.2f}",
                f"{found.largest_shift_px:.1f}",
            )
        )
    header = (
        "Field",
        "Median error, px",
        "95th percentile, px",
        "Correlation, start",
        "after elastic",
        "Largest shift, px",
    )
    return Section(
        "Registration",
        "The end-point error compares the map that was found with the simulator's true one, in pixels of "
        "the field.",
        Table(header, rows),
        pictures=[Picture(_shift_map(demo.unseen), "Shift map of the unseen field, arrows x 8")],
    )


def _shift_map(field: Field) -> bytes:
    shift = field.registration.shift_map
    step = shift.shape[1] // 24
    rows, cols = np.mgrid[step // 2 : shift.shape[1] : step, step // 2 : shift.shape[2] : step]
    dy, dx = shift[:, rows, cols]
    figure = Figure(figsize=(6.4, 5.2), layout="constrained")
    axes = figure.add_subplot()
    pixels = field.truth.pixels
    axes.imshow(pixels, alpha=0.35)
    arrows = axes.quiver(
        cols,
        rows,
        8 * dx,
        8 * dy,
        np.hypot(dy, dx),
        angles="xy",
        scale_units="xy",
        scale=1,
        width=0.003,
    )
    figure.colorbar(arrows, ax=axes, label="shift, px of the field")
    axes.set_axis_off()
    return figure_png(figure)


def _loss_curve(epochs: Sequence[Epoch]) -> bytes:
    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel="loss (mean squared error)", yscale="log")
    steps = [epoch.step for epoch in epochs]
    axes.plot(steps, [epoch.train_loss for epoch in epochs], "--", label="training")
    axes.plot(steps, [epoch.validation_loss for epoch in epochs], label="validation")
    axes.legend()
    return figure_png(figure)


def _psnr_curve(epochs: Sequence[Epoch]) -> bytes:
    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel="PSNR, dB")
    axes.plot([epoch.step for epoch in epochs], [epoch.psnr for epoch in epochs], label="network")
    axes.axhline(epochs[0].bicubic_psnr, linestyle=":", label="bicubic")
    axes.legend()
    return figure_png(figure)


def _provenance(demo: Demo) -> Section:
    rows = [(name, f"{seconds:.1f} s") for name, seconds in demo.seconds.items()]
    rows += list({**demo.model.header.versions, **versions()}.items())
    rows += [("slide", "CMU-1 small region, OpenSlide test data, CC0-1.0")]
    rows += list(demo.report.fingerprints.items())
    return Section("Times, data and versions", table=Table(("Item", "Value"), rows, numeric=False))

"""Measure an image, and baselines beside it, against a reference."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np

from .. import jobs
from ..errors import ImageError
from ..micrograph import ImageLike, Micrograph, as_micrograph, fingerprint
from .alignment import OFFSET_TO_WARN_PX, offset
from .baselines import Fit, bicubic, enlargement, fit_colour, fit_intensity
from .columns import aligned
from .definitions import DEFINITIONS
from .matching import DataRange, as_range, inside, matched
from .scores import Scores, score
from .similarity import psnr

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from numpy.typing import NDArray

    from .reports.page import Box
    from .scores import Maps

    Scorer = Callable[[Micrograph, Micrograph], tuple[Scores, Maps]]

__all__ = ["Report", "measure", "measure_steps"]

# Where colours agree, a fit of them gains 0.05 to 0.13 dB, measured on two stains at x2 and x4.
_WORTH_DB = 0.3


@dataclass(frozen=True, eq=False)
class Report:
    """What `measure` found.

    Parameters
    ----------
    reference : Micrograph
        The reference, without the border that was cut.
    images : dict of str to Micrograph
        What was compared with it: the baselines first, the image last.
    scores : dict of str to Scores
        In the order of `images`.
    maps : dict of str to ndarray
        "ssim", "cie94" (RGB only) and "difference" of the image itself, (H, W); that of SSIM begins
        5 px further inside. float32 where a GPU made them.
    fingerprints : dict of str to str
        The first 16 hex digits of a SHA-256 of each image as it was given.
    border_px : int
        The border that was cut from every image.
    fit : "none", "intensity" or "colour"
        What was fitted to the reference before each image was scored.
    offsets : dict of str to (float, float)
        (dy, dx) in px of each image as a whole against the reference, from `offset`.
    region : (int, int, int, int), optional
        What was measured, px of the reference: first row and column, last row and column + 1.
    """

    reference: Micrograph
    images: dict[str, Micrograph]
    scores: dict[str, Scores]
    maps: dict[str, NDArray[np.float64]]
    fingerprints: dict[str, str]
    border_px: int = 0
    fit: Fit = "none"
    offsets: dict[str, tuple[float, float]] = field(default_factory=dict)
    region: Box | None = None

    @property
    def name(self) -> str:
        """The name of the image in `images` and `scores`."""
        return list(self.scores)[-1]

    @property
    def psnr(self) -> float:
        """PSNR of the image, dB."""
        return self.scores[self.name].psnr

    @property
    def ssim(self) -> float:
        """Mean SSIM of the image."""
        return self.scores[self.name].ssim

    @property
    def cie94(self) -> float | None:
        """Mean CIE-94 of the image; None for grey."""
        return self.scores[self.name].cie94

    @property
    def difference(self) -> float:
        """Mean absolute difference of the image, percent of the range."""
        return self.scores[self.name].difference

    @property
    def measured(self) -> list[str]:
        """The scores there are; those of colours for RGB only, "ms_ssim" for large images only."""
        found = self.scores[self.name]
        return [name for name in DEFINITIONS if getattr(found, name) is not None]

    @property
    def title(self) -> str:
        """What heads the report."""
        return f"{self.name}, measured against {self.reference.name}"

    @property
    def warnings(self) -> list[str]:
        """What makes the scores say less than they seem to, in sentences."""
        return [
            f"{name} is shifted by ({dy:+.2f}, {dx:+.2f}) px (rows, columns) against the reference, "
            "which lowers its scores. Register it first."
            for name, (dy, dx) in self.offsets.items()
            if np.hypot(dy, dx) > OFFSET_TO_WARN_PX
        ]

    def rows(self) -> list[list[str]]:
        """Return the table as text: a header, then a row an image."""
        body = [[name, *map(row.text, self.measured)] for name, row in self.scores.items()]
        return [["Image", *(DEFINITIONS[score].label for score in self.measured)], *body]

    def table(self) -> str:
        """Return the table in aligned columns, for a terminal."""
        return "\n".join(aligned(self.rows()))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the report.

        Parameters
        ----------
        path : path
            ``.html``: one self-contained page with images, maps, table and definitions.
            ``.pdf``: the same on pages. ``.csv``: the numbers, a row an image.

        Raises
        ------
        FileError
            For another suffix, a folder that is missing or may not be written, or a full disk.
        """
        from .reports.saving import save

        save(self, Path(path))


def measure(
    reference: ImageLike,
    image: ImageLike,
    *,
    low: ImageLike | None = None,
    baselines: dict[str, ImageLike] | None = None,
    fit: Fit = "none",
    border_px: int = 0,
    region: Box | None = None,
    data_range: DataRange = None,
    scorer: Scorer = score,
) -> Report:
    """Measure an image against a reference: similarity, error and colour, and their maps.

    Parameters
    ----------
    reference, image : Micrograph, array or napari Image layer
        (Y, X) or (Y, X, 3), registered, of the same shape.
    low : image, optional
        What the image was made of, as many pixels as the reference or fewer. Its bicubic enlargement on
        aligned pixel centres is measured beside the image, and where colours or brightness differ also
        after an affine fit to the reference, which resolves nothing. Scores without a baseline do not
        tell what was gained.
    baselines : dict of str to image, optional
        Others to show beside the image, by name, on the grid of the reference.
    fit : {"none", "intensity", "colour"}
        Fit each image to the reference before it is scored, by least squares: a gain and an offset for
        each channel, or for RGB an affine map of colour.
    border_px : int
        Pixels to leave out along every side.
    region : (int, int, int, int), optional
        First row, first column, last row + 1 and last column + 1 of the part to measure, px of the
        reference; by default the whole. The border is cut from it.
    data_range : (float, float) or float, optional
        Black and white of all images; one number stands for (0, number). The default is the range
        the reference states or its dtype says; images of unlike dtype are each scaled by their own.
    scorer : callable, optional
        What scores each image, as `core.quality.scores.score` does; `core.scoring.scorer_for` returns
        one that works on a GPU.

    Returns
    -------
    Report

    Raises
    ------
    ImageError
        When the images cannot be compared, are smaller than SSIM's window, or a baseline has the name of
        the image.
    """
    steps = measure_steps(
        reference,
        image,
        low=low,
        baselines=baselines,
        fit=fit,
        border_px=border_px,
        region=region,
        data_range=data_range,
        scorer=scorer,
    )
    return jobs.run(steps)


def measure_steps(
    reference: ImageLike,
    image: ImageLike,
    *,
    low: ImageLike | None = None,
    baselines: dict[str, ImageLike] | None = None,
    fit: Fit = "none",
    border_px: int = 0,
    region: Box | None = None,
    data_range: DataRange = None,
    scorer: Scorer = score,
) -> jobs.Steps[Report]:
    """Measure step by step: yields an Event for each image and returns the Report, as `measure`."""
    truth = as_micrograph(reference, name="reference")
    if fit not in get_args(Fit):
        raise ImageError(f"There is no fit '{fit}'.", "Use 'none', 'intensity' or 'colour'.")
    last = as_micrograph(image, name="image")
    enlarged = _enlarged(truth, low, data_range, last.name, fit)
    given = _named(last, {**enlarged, **(baselines or {})})
    scores: dict[str, Scores] = {}
    cropped: dict[str, Micrograph] = {}
    offsets: dict[str, tuple[float, float]] = {}
    for done, (name, each) in enumerate(given.items()):
        yield jobs.Event(f"measuring {name}", done / len(given))
        shown, column = (_crop(m, border_px, region) for m in matched(truth, each, data_range))
        column = _fitted(column, shown, fit)
        scores[name], maps = scorer(shown, column)
        offsets[name], cropped[name] = offset(shown, column), column
    yield jobs.Event("measured", 1.0)
    hashed = {f"{truth.name} (reference)": truth, **given}
    fingerprints = {name: fingerprint(each) for name, each in hashed.items()}
    return Report(shown, cropped, scores, maps, fingerprints, border_px, fit, offsets, region)


def _enlarged(
    truth: Micrograph, low: ImageLike | None, data_range: DataRange, image: str, fit: Fit
) -> dict[str, ImageLike]:
    """Return what enlarging the input reaches, and where it is better, what a colour fit adds to `fit`."""
    if low is None:
        return {}
    low = as_micrograph(low, name="input")
    scale = enlargement(low.shape, truth.shape)
    if scale is None:
        raise ImageError(
            f"No plain enlargement brings the {low.shape[0]} x {low.shape[1]} px of '{low.name}' to "
            f"{truth.shape[0]} x {truth.shape[1]} px.",
            "Give the input that belongs to this reference, or none.",
        )
    # Its own black and white, unless it is known to be in the reference's units.
    if data_range is not None:
        low = replace(low, value_range=as_range(data_range))
    large = bicubic(low, float(scale), truth.shape)
    name = low.name if scale == 1 else f"{low.name}, bicubic"
    if name == image:  # files of one field are often called alike
        name = f"{name} (input)"
    fitted = fit_colour([(large, truth)]).apply(large)
    gain = psnr(truth, fitted, data_range) - psnr(truth, _fitted(large, truth, fit), data_range)
    return {name: large} if gain < _WORTH_DB else {name: large, f"{name}, colour fitted": fitted}


def _fitted(image: Micrograph, reference: Micrograph, fit: Fit) -> Micrograph:
    if fit == "none":
        return image
    made = (fit_intensity if fit == "intensity" else fit_colour)([(image, reference)])
    return made.apply(image)


def _named(image: Micrograph, baselines: dict[str, ImageLike]) -> dict[str, Micrograph]:
    """Return baselines, then the image, by name."""
    if image.name in baselines:
        raise ImageError(
            f"A baseline has the name of the image, '{image.name}'.", "Give each its own name."
        )
    columns = {name: replace(as_micrograph(each), name=name) for name, each in baselines.items()}
    return {**columns, image.name: image}


def _crop(image: Micrograph, border_px: int, region: Box | None) -> Micrograph:
    part = image.pixels[inside(region, image.shape)]
    rows, columns = part.shape[:2]
    if not (isinstance(border_px, Integral) and 0 <= 2 * border_px < min(rows, columns)):
        raise ImageError(
            f"A border of {border_px} px leaves nothing of {rows} x {columns} px.",
            "Give a whole number, 0 or more, and less than half of the shorter side.",
        )
    kept = slice(border_px, rows - border_px), slice(border_px, columns - border_px)
    return image.with_pixels(part[kept], value_range=image.range())

"""Measure an image, and baselines beside it, against a reference."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .. import jobs
from ..errors import FileError, ImageError
from ..micrograph import ImageLike, Micrograph, as_micrograph, fingerprint
from .colour import cie94
from .definitions import DEFINITIONS
from .matching import DataRange, matched
from .similarity import ScoreMap, difference, psnr, ssim

if TYPE_CHECKING:
    import os

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Report", "Scores", "measure", "measure_steps"]


@dataclass(frozen=True)
class Scores:
    """What one image scores against the reference; `core.quality.definitions` defines each score.

    Parameters
    ----------
    psnr : float
        dB.
    ssim, ssim_std : float
        Mean and standard deviation over the image.
    cie94, cie94_std : float or None
        None for grey images.
    difference, difference_std : float
        Percent of the range.
    """

    psnr: float
    ssim: float
    ssim_std: float
    cie94: float | None
    cie94_std: float | None
    difference: float
    difference_std: float

    def text(self, score: str) -> str:
        """Return a score as people read it: mean, and standard deviation where there is one."""
        mean, std = getattr(self, score), getattr(self, f"{score}_std", None)
        digits = 3 if score == "ssim" else 2
        return f"{mean:.{digits}f}" if std is None else f"{mean:.{digits}f} ± {std:.{digits}f}"


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
        5 px further inside.
    fingerprints : dict of str to str
        The first 16 hex digits of a SHA-256 of each image as it was given.
    border_px : int
        The border that was cut from every image.
    """

    reference: Micrograph
    images: dict[str, Micrograph]
    scores: dict[str, Scores]
    maps: dict[str, NDArray[np.float64]]
    fingerprints: dict[str, str]
    border_px: int = 0

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
        """The scores there are: "psnr", "ssim", "cie94" (RGB only) and "difference"."""
        return [score for score in DEFINITIONS if score != "cie94" or self.cie94 is not None]

    def rows(self) -> list[list[str]]:
        """Return the table as text: a header, then a row an image."""
        body = [[name, *map(row.text, self.measured)] for name, row in self.scores.items()]
        return [["Image", *(DEFINITIONS[score].label for score in self.measured)], *body]

    def table(self) -> str:
        """Return the table in aligned columns, for a terminal."""
        rows = self.rows()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = (
            "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
            for row in rows
        )
        return "\n".join(lines)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the report.

        Parameters
        ----------
        path : path
            ``.html``: one self-contained page with images, maps, table and definitions.
            ``.csv``: the numbers, a row an image.

        Raises
        ------
        FileError
            For another suffix, a folder that is missing or may not be written, or a full disk.
        """
        from .saving import save_csv, save_html

        writers = {".html": save_html, ".csv": save_csv}
        path = Path(path)
        if path.suffix.lower() not in writers:
            raise FileError(
                f"A report cannot be written as '{path.suffix or path.name}'.",
                "Choose a name that ends in .html or .csv.",
            )
        writers[path.suffix.lower()](self, path)


def measure(
    reference: ImageLike,
    image: ImageLike,
    *,
    baselines: dict[str, ImageLike] | None = None,
    border_px: int = 0,
    data_range: DataRange = None,
) -> Report:
    """Measure an image against a reference: PSNR, SSIM, CIE-94 and difference.

    Parameters
    ----------
    reference, image : Micrograph, array or napari Image layer
        (Y, X) or (Y, X, 3), registered, of the same shape.
    baselines : dict of str to image, optional
        What to show beside the image, by name: bicubic enlargement of the input, the same after a
        colour fit. Scores without a baseline do not tell what was gained.
    border_px : int
        Pixels to leave out along every side.
    data_range : (float, float) or float, optional
        Black and white of all images; one number stands for (0, number). The default is the range
        the reference states or its dtype says; images of unlike dtype are each scaled by their own.

    Returns
    -------
    Report

    Raises
    ------
    ImageError
        When the images cannot be compared, are smaller than SSIM's window, or share a name.
    """
    steps = measure_steps(
        reference, image, baselines=baselines, border_px=border_px, data_range=data_range
    )
    return jobs.run(steps)


def measure_steps(
    reference: ImageLike,
    image: ImageLike,
    *,
    baselines: dict[str, ImageLike] | None = None,
    border_px: int = 0,
    data_range: DataRange = None,
) -> jobs.Steps[Report]:
    """Measure step by step: yields an Event for each image and returns the Report, as `measure`."""
    truth = as_micrograph(reference, name="reference")
    given = _named(image, baselines or {})
    scores: dict[str, Scores] = {}
    cropped: dict[str, Micrograph] = {}
    maps: dict[str, NDArray[np.float64]] = {}
    for done, (name, each) in enumerate(given.items()):
        yield jobs.Event(f"measuring {name}", done / len(given))
        shown, column = (_crop(m, border_px) for m in matched(truth, each, data_range))
        scores[name], maps = _score(shown, column)
        cropped[name] = column
    yield jobs.Event("measured", 1.0)
    hashed = {f"{truth.name} (reference)": truth, **given}
    fingerprints = {name: fingerprint(each) for name, each in hashed.items()}
    return Report(shown, cropped, scores, maps, fingerprints, border_px)


def _named(image: ImageLike, baselines: dict[str, ImageLike]) -> dict[str, Micrograph]:
    """Return baselines, then the image, by name."""
    last = as_micrograph(image, name="image")
    if last.name in baselines:
        raise ImageError(
            f"A baseline has the name of the image, '{last.name}'.", "Give each its own name."
        )
    columns = {name: replace(as_micrograph(each), name=name) for name, each in baselines.items()}
    return {**columns, last.name: last}


def _crop(image: Micrograph, border_px: int) -> Micrograph:
    if not 0 <= 2 * border_px < min(image.shape):
        raise ImageError(
            f"A border of {border_px} px leaves nothing of {image.shape[0]} x {image.shape[1]} px.",
            "Give 0 or more, and less than half of the shorter side.",
        )
    rows, columns = image.shape
    kept = slice(border_px, rows - border_px), slice(border_px, columns - border_px)
    return image.with_pixels(image.pixels[kept])


def _score(
    reference: Micrograph, image: Micrograph
) -> tuple[Scores, dict[str, NDArray[np.float64]]]:
    found: dict[str, ScoreMap] = {"ssim": ssim(reference, image)}
    if reference.rgb:
        found["cie94"] = cie94(reference, image)
    found["difference"] = difference(reference, image)
    colour = found.get("cie94")
    scores = Scores(
        psnr(reference, image),
        found["ssim"].mean,
        found["ssim"].std,
        colour.mean if colour else None,
        colour.std if colour else None,
        found["difference"].mean,
        found["difference"].std,
    )
    return scores, {figure: score.map for figure, score in found.items()}

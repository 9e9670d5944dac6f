"""What a comparison of modalities found, as a table and as files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..columns import aligned
from ..definitions import DEFINITIONS
from ..plane import full_scale
from ..spots.spots import FwhmSummary, fwhm_summary

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    from ...micrograph import Micrograph
    from ..reports.page import Box
    from ..resolution.error_map import ErrorMap
    from ..resolution.frc import Resolution
    from ..spots.spots import SpotTable
    from .scores import Deconvolution

__all__ = ["ModalityReport", "ModalityScores"]

_RSP_MARGIN = 0.03
_MOST_SATURATED = 0.001


@dataclass(frozen=True, eq=False)
class ModalityScores:
    """What one image of a comparison scores.

    Parameters
    ----------
    psnr, ssim : float or None
        After the fit of gain and offset, for a range of 1; dB. None for the truth.
    error : ErrorMap
        Blurred back, against the low-resolution image.
    spots : dict or None
        What `fwhm_spots` found; None where spots were not asked for or could not be looked for.
    pairs : dict or None
        What `close_pairs` found.
    frc : Resolution or None
        Of two acquisitions, where there are two.
    """

    psnr: float | None
    ssim: float | None
    error: ErrorMap
    spots: SpotTable | None = None
    pairs: SpotTable | None = None
    frc: Resolution | None = None

    @property
    def fwhm(self) -> FwhmSummary | None:
        """Count, median and quartiles of the widths of the spots."""
        return None if self.spots is None else fwhm_summary(self.spots)

    @property
    def distances(self) -> NDArray[np.float64] | None:
        """Peak-to-peak distances of the close pairs that are ok."""
        return None if self.pairs is None else self.pairs["distance"][self.pairs["ok"]]


@dataclass(frozen=True, eq=False)
class ModalityReport:
    """What `compare_modalities` found.

    Parameters
    ----------
    truth, low : Micrograph
        What was measured of them, in their own units.
    images : dict of str to Micrograph
        The baselines, then the images: float32, fitted to the truth, whose percentiles are 0 and 1.
    scores : dict of str to ModalityScores
        In the order of `images`, the truth last.
    limits : (float, float)
        The 0.1 and 99.9 percentiles of the whole truth, in its grey values.
    deconvolution : Deconvolution
        How the Richardson-Lucy baseline was made.
    unit : "um" or "px"
        Of lengths; px where no pixel size is known.
    fingerprints : dict of str to str
        The first 16 hex digits of a SHA-256 of each image as it was given.
    disagreement : dict of str to ndarray
        How far the members of an ensemble disagree, by the name of the image, where it was given.
    region : (int, int, int, int), optional
        What was measured, px of the truth: first row and column, last row and column + 1.
    notes : tuple of str
        What could not be measured, and why.
    """

    truth: Micrograph
    low: Micrograph
    images: dict[str, Micrograph]
    scores: dict[str, ModalityScores]
    limits: tuple[float, float]
    deconvolution: Deconvolution
    unit: str
    fingerprints: dict[str, str]
    disagreement: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    region: Box | None = None
    notes: tuple[str, ...] = ()

    @property
    def baselines(self) -> list[str]:
        """The names of the two baselines."""
        return list(self.images)[:2]

    @property
    def title(self) -> str:
        """What heads the report."""
        names = ", ".join(list(self.images)[2:]) or "The baselines"
        return f"{names}, from {self.low.name}, measured against {self.truth.name}"

    @property
    def warnings(self) -> list[str]:
        """What makes the scores say less than they seem to, in sentences."""
        return [*self._about_truth(), *self._about_images(), *self.notes]

    def rows(self) -> list[list[str]]:
        """Return the table as text: a header, then a row an image; a cell without a figure is empty."""
        unit = self.unit.replace("um", "µm")
        head = ["Image", "PSNR (dB)", "SSIM", "RSP", "RSE (% of range)"]
        columns = [_fit_cells]
        if any(one.spots is not None for one in self.scores.values()):
            head += ["Spots", f"FWHM ({unit})", "Quartiles", "Pairs", f"Peak to peak ({unit})"]
            columns.append(_spot_cells)
        if any(one.frc for one in self.scores.values()):
            head.append(f"FRC ({unit})")
            columns.append(_frc_cells)
        body = [
            [name, *(cell for cells in columns for cell in cells(one))]
            for name, one in self.scores.items()
        ]
        return [head, *body]

    def table(self) -> str:
        """Return the table in aligned columns, for a terminal."""
        return "\n".join(aligned(self.rows()))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the report.

        Parameters
        ----------
        path : path
            ``.html``: one self-contained page with pictures, error maps, histograms and definitions.
            ``.pdf``: the same on pages. ``.csv``: the numbers, a row an image.

        Raises
        ------
        FileError
            For another suffix, a folder that is missing or may not be written, or a full disk.
        """
        from ..reports.modality_parts import save

        save(self, Path(path))

    def _about_truth(self) -> list[str]:
        white = full_scale(self.truth)[1]
        share = float(np.mean(self.truth.pixels >= white))
        if share <= _MOST_SATURATED:
            return []
        return [
            f"{share:.1%} of {self.truth.name} is saturated: what is cut off cannot be compared, and "
            "widths come out too large. Record it with less light."
        ]

    def _about_images(self) -> list[str]:
        own = self.scores[self.truth.name].error.rsp
        deconvolved = self.scores[self.baselines[1]].psnr or 0.0
        found = []
        for name in self.images:
            one = self.scores[name]
            if one.error.rsp < own - _RSP_MARGIN:
                found.append(
                    f"{name} explains {self.low.name} less well than the truth does (RSP "
                    f"{one.error.rsp:.3f} against {own:.3f}): it invents structure, or loses some. Look "
                    "at its error map."
                )
            if name not in self.baselines and one.psnr is not None and one.psnr <= deconvolved:
                found.append(
                    f"{name} comes no closer to the truth than Richardson-Lucy deconvolution of "
                    f"{self.low.name} does (PSNR {one.psnr:.2f} against {deconvolved:.2f} dB)."
                )
        return found


def _fit_cells(one: ModalityScores) -> list[str]:
    cells = [
        "" if value is None else f"{value:.{DEFINITIONS[score].digits}f}"
        for score, value in (("psnr", one.psnr), ("ssim", one.ssim))
    ]
    return [*cells, f"{one.error.rsp:.3f}", f"{100 * one.error.rse_normalised:.2f}"]


def _spot_cells(one: ModalityScores) -> list[str]:
    widths, distances = one.fwhm, one.distances
    if widths is None or distances is None:
        return [""] * 5
    cells = [str(widths.count), "none", ""]
    if widths.count:
        low, high = widths.quartiles
        cells[1:] = [f"{widths.median:.3g}", f"{low:.3g} to {high:.3g}"]
    return [*cells, str(len(distances)), f"{np.median(distances):.3g}" if len(distances) else ""]


def _frc_cells(one: ModalityScores) -> list[str]:
    if one.frc is None:
        return [""]
    value = one.frc.resolution
    if np.isfinite(value):
        return [f"{value:.3g}"]
    return ["not reached" if np.isnan(value) else "nothing in common"]

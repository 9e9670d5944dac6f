"""Compare images made to look like those of a better modality with the truth, beside baselines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ... import jobs
from ...errors import ImageError
from ...micrograph import ImageLike, Micrograph, fingerprint
from ..resolution.error_map import error_map
from ..resolution.frc import frc
from ..spots.spot_pairs import close_pairs
from ..spots.spots import fwhm_spots
from .inputs import Field, baselines, disagreements, given_images, second_acquisitions
from .report import ModalityReport, ModalityScores
from .scores import best_deconvolution_steps, fitted_scores, limits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike

    from ..reports.page import Box
    from ..resolution.frc import Resolution
    from ..spots.spots import SpotTable
    from .scores import FittedScores

__all__ = ["compare_modalities", "compare_modalities_steps"]

# Share of the time that the fifteen trials of the deconvolution take.
_CHOOSING = 0.6


def compare_modalities(
    truth: ImageLike,
    images: Mapping[str, ImageLike],
    *,
    low: ImageLike,
    na: float | None = None,
    wavelength_um: float | None = None,
    psf: ArrayLike | None = None,
    pixel_size: float | None = None,
    region: Box | None = None,
    repeat: Mapping[str, ImageLike] | None = None,
    disagreement: Mapping[str, ArrayLike] | None = None,
    spots: bool = True,
) -> ModalityReport:
    """Compare images made from a low-resolution one with the truth of another modality [1]_.

    Beside the images stand, always, the low-resolution image enlarged bicubically and its
    Richardson-Lucy deconvolution, whose settings are chosen with the truth in hand. Brightness differs
    between modalities, so each image is fitted to the truth before PSNR and SSIM: see `fitted_scores`.
    RSP and RSE, against the low-resolution image, tell what was invented; those of the truth itself are
    the ones to compare with. Widths of spots, and distances of those close together, need single spots,
    such as beads. All images must be registered.

    Parameters
    ----------
    truth : Micrograph, array or napari Image layer
        (Y, X) grey, 32 px or more.
    images : dict of str to image
        By name, of the shape of the truth.
    low : image
        What they were made from, as many pixels as the truth or fewer, such as a half or 1 / 2.5.
    na, wavelength_um : float, optional
        Numerical aperture and wavelength in vacuum of the low-resolution microscope, for the
        deconvolution.
    psf : array, optional
        (n, m) of odd sides: its point spread function on the grid of the truth, instead.
    pixel_size : float, optional
        Side of a pixel of the truth, um; by default what it states, or `low` does. Lengths are in px
        where nobody does.
    region : (int, int, int, int), optional
        First row, first column, last row + 1 and last column + 1 of the part to measure, px of the
        truth, such as the part a network has not seen. Its corners must be corners of pixels of `low`.
    repeat : dict of str to image, optional
        Second acquisitions, by the name of what they repeat: the truth's, an image's, or that of `low`,
        which then stands for both baselines. They give the Fourier ring correlation.
    disagreement : dict of str to array, optional
        (Y, X) by the name of the image: the standard deviation between the members of an ensemble, say,
        to be shown beside it.
    spots : bool
        Whether to look for spots.

    Returns
    -------
    ModalityReport
        `.scores`, `.rows()`, `.table()`, `.warnings`, `.save(path)`.

    Raises
    ------
    ImageError
        When images are RGB, stacks, constant, hold NaN or do not fit together; when names are unknown or
        given twice; when the optics are missing.

    References
    ----------
    .. [1] H. Wang et al., "Deep learning enables cross-modality super-resolution in fluorescence
       microscopy", Nat. Methods 16, 103-110 (2019). :doi:`10.1038/s41592-018-0239-0`
    """
    return jobs.run(
        compare_modalities_steps(
            truth,
            images,
            low=low,
            na=na,
            wavelength_um=wavelength_um,
            psf=psf,
            pixel_size=pixel_size,
            region=region,
            repeat=repeat,
            disagreement=disagreement,
            spots=spots,
        )
    )


def compare_modalities_steps(
    truth: ImageLike,
    images: Mapping[str, ImageLike],
    *,
    low: ImageLike,
    na: float | None = None,
    wavelength_um: float | None = None,
    psf: ArrayLike | None = None,
    pixel_size: float | None = None,
    region: Box | None = None,
    repeat: Mapping[str, ImageLike] | None = None,
    disagreement: Mapping[str, ArrayLike] | None = None,
    spots: bool = True,
) -> jobs.Steps[ModalityReport]:
    """Compare step by step: yields an Event for each image and returns the report."""
    field = Field.of(truth, low, pixel_size, region)
    given = given_images(field, images)
    maps = disagreements(field, given, disagreement or {})
    again = second_acquisitions(field, given, repeat or {})
    choosing = best_deconvolution_steps(
        field.truth,
        field.low,
        field.scale,
        na=na,
        wavelength_um=wavelength_um,
        psf=psf,
        pixel_size=field.side,
    )
    method = yield from jobs.within(choosing, 0.0, _CHOOSING)
    columns = {**baselines(field, field.low, method), **given}
    if field.low.name in again:
        again |= baselines(field, again[field.low.name], method)
    scores: dict[str, ModalityScores] = {}
    fitted: dict[str, Micrograph] = {}
    notes = list[str]()
    for done, (name, image) in enumerate(columns.items()):
        yield jobs.Event(f"measuring {name}", _CHOOSING + (1 - _CHOOSING) * done / len(columns))
        found = fitted_scores(field.truth, image, region=region)
        scores[name] = _scores(field, image, again.get(name), spots, notes, found)
        fitted[name] = field.truth.with_pixels(
            found.image.astype(np.float32), name=name, value_range=(0.0, 1.0)
        )
    scores[field.truth.name] = _scores(
        field, field.truth, again.get(field.truth.name), spots, notes
    )
    yield jobs.Event("measured", 1.0)
    hashed = {each.name: each for each in (field.truth, field.low, *given.values())}
    return ModalityReport(
        truth=field.cut(field.truth),
        low=field.cut_low(),
        images=fitted,
        scores=scores,
        limits=limits(field.truth.name, field.truth.pixels),
        deconvolution=method,
        unit="um" if field.side else "px",
        fingerprints={name: fingerprint(each) for name, each in hashed.items()},
        disagreement=maps,
        region=region,
        notes=tuple(notes),
    )


def _scores(
    field: Field,
    image: Micrograph,
    again: Micrograph | None,
    spots: bool,
    notes: list[str],
    fitted: FittedScores | None = None,
) -> ModalityScores:
    """Measure an image; what cannot be measured goes to the notes."""
    cut = field.cut(image)
    found, pairs = _spots(field, cut, notes) if spots else (None, None)
    return ModalityScores(
        psnr=None if fitted is None else fitted.psnr,
        ssim=None if fitted is None else fitted.ssim,
        error=error_map(field.cut_low(), cut),
        spots=found,
        pairs=pairs,
        frc=None if again is None else _resolution(field, cut, again),
    )


def _spots(
    field: Field, image: Micrograph, notes: list[str]
) -> tuple[SpotTable | None, SpotTable | None]:
    side = field.side or 1.0
    try:
        found = fwhm_spots(image, side)
        pairs = close_pairs(image, side, spots=found)
    except ImageError as error:  # an image without single spots is no reason to stop
        notes.append(f"No widths of spots in {image.name}: {error}")
        return None, None
    if not found["ok"].any():
        notes.append(f"No spot whose width can be measured was found in {image.name}.")
    return found, pairs


def _resolution(field: Field, image: Micrograph, again: Micrograph) -> Resolution:
    return frc(image, field.cut(again), field.side or 1.0)

"""What a comparison of modalities is given: checked, named and brought onto one grid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ...errors import ImageError
from ...micrograph import ImageLike, Micrograph, as_micrograph
from ..baselines import enlargement
from ..deconvolution import enlarged
from ..matching import inside, matched
from ..plane import square_pixel_size
from .scores import one_channel

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import ArrayLike, NDArray

    from ..reports.page import Box
    from .scores import Deconvolution

__all__ = ["Field", "baselines", "disagreements", "given_images", "second_acquisitions"]


@dataclass(frozen=True, eq=False)
class Field:
    """The truth and the low-resolution image, and what is measured of them.

    Parameters
    ----------
    truth, low : Micrograph
        Grey, whole.
    scale : float
        Pixels of the truth per pixel of `low`.
    side : float or None
        Of a pixel of the truth, um; None where nobody knows.
    region : (int, int, int, int) or None
        What is measured, px of the truth.
    """

    truth: Micrograph
    low: Micrograph
    scale: float
    side: float | None
    region: Box | None

    @classmethod
    def of(
        cls, truth: ImageLike, low: ImageLike, pixel_size: float | None, region: Box | None
    ) -> Field:
        """Check what is given.

        Raises
        ------
        ImageError
            When the two do not fit together or share a name, or the region fits neither.
        """
        fine, coarse = (
            one_channel(as_micrograph(image, name=name))[0]
            for image, name in ((truth, "truth"), (low, "low"))
        )
        scale = enlargement(coarse.shape, fine.shape)
        if scale is None:
            raise ImageError(
                f"No plain enlargement brings the {coarse.shape[0]} x {coarse.shape[1]} px of "
                f"'{coarse.name}' to the {fine.shape[0]} x {fine.shape[1]} px of '{fine.name}'.",
                "Give the low-resolution image of the same field, registered.",
            )
        if fine.name == coarse.name:
            raise ImageError(
                f"The truth and the low-resolution image are both called '{fine.name}'.",
                "Give each its own name.",
            )
        known = pixel_size is not None or fine.pixel_size or coarse.pixel_size
        shown = (
            fine
            if fine.pixel_size
            else coarse.with_pixels(coarse.pixels, pixel_size=coarse.finer_pixel_size(float(scale)))
        )
        side = square_pixel_size(shown, pixel_size) if known else None
        field = cls(fine, coarse, float(scale), side, region)
        field.cut_low()
        return field

    def cut(self, image: Micrograph) -> Micrograph:
        """Return what is measured of an image on the truth's grid."""
        return image.with_pixels(image.pixels[inside(self.region, self.truth.shape)])

    def cut_low(self) -> Micrograph:
        """Return what is measured of the low-resolution image."""
        if self.region is None:
            return self.low
        inside(self.region, self.truth.shape)
        corners = np.array(self.region) / self.scale
        whole = np.rint(corners).astype(int)
        if np.abs(corners - whole).max() > 1e-6:
            raise ImageError(
                f"The region {self.region} cuts pixels of '{self.low.name}' in two.",
                f"Choose corners that are multiples of {self.scale:g}, in whole pixels of both.",
            )
        top, left, bottom, right = whole
        return self.low.with_pixels(self.low.pixels[top:bottom, left:right])


def given_images(field: Field, images: Mapping[str, ImageLike]) -> dict[str, Micrograph]:
    """Check the images, and give them their names."""
    found = {}
    taken = {field.truth.name, *_baseline_names(field)}
    for name, image in images.items():
        if name in taken:
            raise ImageError(
                f"'{name}' is the name of the truth or of a baseline.", "Give each its own name."
            )
        found[name] = _on_grid(field, image, name)
    return found


def _on_grid(field: Field, image: ImageLike, name: str) -> Micrograph:
    shown, _ = one_channel(replace(as_micrograph(image), name=name))
    matched(field.truth, shown, 1.0)
    return shown


def disagreements(
    field: Field, given: Mapping[str, Micrograph], disagreement: Mapping[str, ArrayLike]
) -> dict[str, NDArray[np.float64]]:
    """Check the maps of disagreement; return the part that is measured."""
    found = {}
    for name, values in disagreement.items():
        _check_known(name, given, "disagreement")
        shown = np.asarray(values, dtype=np.float64)
        if shown.shape != field.truth.shape or not np.isfinite(shown).all():
            raise ImageError(
                f"The disagreement of '{name}' has the shape {shown.shape}, or holds NaN.",
                "Give one number for each pixel of the image.",
            )
        found[name] = shown[inside(field.region, field.truth.shape)]
    return found


def _baseline_names(field: Field) -> tuple[str, str]:
    name = field.low.name
    return (name if field.scale == 1 else f"{name}, bicubic"), f"{name}, Richardson-Lucy"


def baselines(field: Field, low: Micrograph, method: Deconvolution) -> dict[str, Micrograph]:
    """Return a low-resolution image enlarged, and deconvolved."""
    plain, sharp = _baseline_names(field)
    large = enlarged(low, field.scale, field.truth.shape)
    deconvolved = method.apply(large)
    # Deconvolution piles light up beyond the detector's white, which saturates nothing.
    return {
        plain: large.with_pixels(large.pixels, name=plain),
        sharp: large.with_pixels(deconvolved.pixels, name=sharp, value_range=None),
    }


def second_acquisitions(
    field: Field, given: Mapping[str, Micrograph], repeat: Mapping[str, ImageLike]
) -> dict[str, Micrograph]:
    """Check the second acquisitions; return them by the name of the first."""
    found: dict[str, Micrograph] = {}
    for name, image in repeat.items():
        _check_known(name, {*given, field.low.name, field.truth.name}, "second acquisition")
        if name == field.low.name:
            found[name], _ = one_channel(replace(as_micrograph(image), name=name))
            matched(field.low, found[name], 1.0)
        else:
            found[name] = _on_grid(field, image, name)
    return found


def _check_known(name: str, known: Collection[str], what: str) -> None:
    if name not in known:
        raise ImageError(
            f"There is a {what} of '{name}', but no image of that name.",
            f"Use one of: {', '.join(sorted(known))}.",
        )

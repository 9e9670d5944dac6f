"""Measure images that do not fit into the memory, part by part, to the same figures."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from .. import jobs
from ..errors import ImageError
from ..io.pyramid import opened
from .colour import colour_differences
from .matching import matched, shares_range, unit
from .scores import Scores
from .similarity import SSIM_MARGIN_PX, difference, ssim

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from ..io.pyramid import Pyramid
    from ..micrograph import ImageLike, Micrograph
    from .matching import DataRange

__all__ = ["measure_large", "measure_large_steps"]

_PART_PX = 1024


def measure_large(
    reference: ImageLike, image: ImageLike, *, data_range: DataRange = None
) -> Scores:
    """Measure an image of any size against a reference: the scores of `measure`, without maps.

    Parameters
    ----------
    reference, image : path, Micrograph, array or napari Image layer
        Of one shape, registered. A tiled TIFF, a slide or an OME-Zarr folder is read part by part, so
        that neither image is ever whole in memory; so are Dask and Zarr arrays.
    data_range : (float, float) or float, optional
        Black and white of both images. It must be given for values that are not 8 bit, unless the
        files state it: what their brightest pixel is, no part of them tells.

    Returns
    -------
    Scores
        Equal to those of `measure` to rounding; `ms_ssim`, which has no parts, is None.

    Raises
    ------
    ImageError
        When the images cannot be compared, or their range is unknown.
    FileError
        When a file is missing or damaged.
    """
    return jobs.run(measure_large_steps(reference, image, data_range=data_range))


def measure_large_steps(
    reference: ImageLike, image: ImageLike, *, data_range: DataRange = None
) -> jobs.Steps[Scores]:
    """Do what `measure_large` does, yielding an Event after every part."""
    with ExitStack() as stack:
        truth, found = (stack.enter_context(opened(each)) for each in (reference, image))
        if truth.shape != found.shape:
            raise ImageError(
                f"The reference is {truth.shape[0]} x {truth.shape[1]} px, but '{found.name}' is "
                f"{found.shape[0]} x {found.shape[1]} px.",
                "Bring both onto one grid first.",
            )
        if data_range is None:
            _check_ranges(truth, found)
        sums = _Sums()
        parts = list(_parts(truth.shape))
        for count, part in enumerate(parts, start=1):
            sums = sums.with_part(_read(truth, part), _read(found, part), part, data_range)
            yield jobs.Event(f"measured part {count} of {len(parts)}", count / len(parts))
    return sums.scores()


@dataclass(frozen=True)
class _Part:
    """What is read, and how much of it, at its top and left, belongs to parts before it."""

    box: tuple[int, int, int, int]
    own: tuple[slice, slice]


@dataclass(frozen=True)
class _Sums:
    """What is known of all parts so far: of each score the count, the sum and that of the squares."""

    of: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    def with_part(
        self, truth: Micrograph, image: Micrograph, part: _Part, data_range: DataRange
    ) -> _Sums:
        reference, image = matched(truth, image, data_range)
        values = {"ssim": ssim(reference, image).map}
        reference, image = _own(reference, part), _own(image, part)
        values["difference"] = difference(reference, image).map
        if reference.rgb:
            colour, young = colour_differences(reference, image)
            values["cie94"], values["ciede2000"] = colour.map, young.map
        a, b = unit(reference), unit(image)
        values |= {"a": a, "b": b, "product": a * b, "error": a - b}
        found = {
            name: np.array([each.size, each.sum(), np.square(each).sum()])
            for name, each in values.items()
        }
        return _Sums({name: each + self.of.get(name, 0.0) for name, each in found.items()})

    def scores(self) -> Scores:
        mean = {name: float(total / count) for name, (count, total, _) in self.of.items()}
        square = {name: float(squares / count) for name, (count, _, squares) in self.of.items()}
        std = {name: float(np.sqrt(max(0.0, square[name] - mean[name] ** 2))) for name in mean}
        covariance = mean["product"] - mean["a"] * mean["b"]
        # What rounding leaves of a constant image's spread is none.
        known = all(std[name] ** 2 > 1e-13 * square[name] for name in ("a", "b"))
        with np.errstate(divide="ignore", invalid="ignore"):
            nrmse = float(np.sqrt(np.divide(square["error"], square["a"])))
            decibels = -10 * float(np.log10(square["error"]))
        return Scores(
            psnr=decibels,
            ssim=mean["ssim"],
            ssim_std=std["ssim"],
            cie94=mean.get("cie94"),
            cie94_std=std.get("cie94"),
            difference=mean["difference"],
            difference_std=std["difference"],
            ms_ssim=None,
            nrmse=nrmse,
            pearson=covariance / (std["a"] * std["b"]) if known else float("nan"),
            ciede2000=mean.get("ciede2000"),
            ciede2000_std=std.get("ciede2000"),
        )


def _parts(shape: tuple[int, int]) -> Iterator[_Part]:
    """Cut an image into parts that overlap by SSIM's window, so that each window lies in one of them."""
    for (top, bottom, rows), (left, right, columns) in product(*map(_cuts, shape)):
        yield _Part((top, left, bottom, right), (rows, columns))


def _cuts(length: int) -> list[tuple[int, int, slice]]:
    """Return where the parts of a side begin and end, and which of it no part before them holds."""
    margin = 2 * SSIM_MARGIN_PX
    starts = range(0, max(1, length - margin), _PART_PX)
    stops = [min(length, start + _PART_PX + margin) for start in starts]
    return [
        (start, stop, slice(margin if start else 0, stop - start))
        for start, stop in zip(starts, stops, strict=True)
    ]


def _read(image: Pyramid, part: _Part) -> Micrograph:
    return image.region(part.box)[0]


def _own(image: Micrograph, part: _Part) -> Micrograph:
    return image.with_pixels(image.pixels[part.own], value_range=image.range())


def _check_ranges(truth: Pyramid, found: Pyramid) -> None:
    """Raise where black and white would be guessed from pixels, which each part would do otherwise."""
    reference, image = (_pixel(each.levels[0]) for each in (truth, found))
    # Floats of 0..1 mean that; each part says so where they are not.
    known = shares_range(image, reference) or image.pixels.dtype.kind == "f"
    one_for_both = "State it: data_range=(0, 65535), or --range 0 65535 on the command line."
    one_type = (
        f"Save it as {reference.pixels.dtype}, as the reference is, or with black and white stated."
    )
    for each, is_known, cure in ((reference, False, one_for_both), (image, known, one_type)):
        dtype = each.pixels.dtype
        if not is_known and each.value_range is None and dtype not in (np.uint8, np.bool_):
            raise ImageError(
                f"'{each.name}' holds {dtype} values, and nothing says which of them are black and white.",
                cure,
            )


def _pixel(image: Micrograph) -> Micrograph:
    """Return a pixel of an image, of the type that is read."""
    dtype = image.pixels.dtype.newbyteorder("=")
    return image.with_pixels(np.zeros((1, 1, 3)[: 2 + image.rgb], dtype))

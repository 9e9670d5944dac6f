"""How well a lens labels, places and shows one kind of thing."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from ..micrograph import grey
from ..quality.matching import unit
from ..quality.similarity import psnr, ssim
from ..quality.spots.positions import PositionErrors, position_errors
from .features import displacements
from .label_maps import of_kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..micrograph import Micrograph
    from .data import Triple

__all__ = ["LEAST_PX", "KindScores", "Tally", "grains"]

LEAST_PX = 64
"""Connected parts of a kind with fewer pixels are no grain to place."""

_EIGHT = np.ones((3, 3))


@dataclass(frozen=True, eq=False)
class KindScores:
    """The scores of one kind over the held-out images.

    Parameters
    ----------
    iou, iou_alone, iou_mixed : float or None
        Intersection of the lens's labels and the true ones over their union, all pixels of all images
        taken together: of all images, of those that show one kind, and of those that show several. None
        where neither has the kind.
    ssim, psnr : float or None
        Of "only:KIND" against the magnified image, black but for the kind: means over the images that show
        it; None where there is none.
    trace : float or None
        Mean intensity of "only:KIND" where another kind is, as a share of the range, black being 0; None
        where no other kind is.
    positions : PositionErrors
        Of the centroids of its grains, connected parts of the labels of 64 px or more.
    features : PositionErrors
        Of what "only:KIND" shows of each of its true grains, see `displacements`: a matched feature lies
        within half a diameter, the others are missed.
    diameter_px : float or None
        Mean diameter of its true grains, of the circle of their area; None where there is none.
    """

    iou: float | None
    iou_alone: float | None
    iou_mixed: float | None
    ssim: float | None
    psnr: float | None
    trace: float | None
    positions: PositionErrors
    features: PositionErrors
    diameter_px: float | None

    @property
    def sd_share(self) -> tuple[float, float] | None:
        """Standard deviation of the features' position along (y, x), as a share of the mean diameter."""
        if not self.diameter_px or not len(self.features.errors):
            return None
        y, x = self.features.sd_px
        return y / self.diameter_px, x / self.diameter_px

    def as_dict(self) -> dict[str, Any]:
        """Return all figures, JSON-able; errors as [y, x], and None for what is not known."""
        names = ("iou", "iou_alone", "iou_mixed", "ssim", "psnr", "trace", "diameter_px")
        at = self.positions
        return {name: finite(getattr(self, name)) for name in names} | {
            "grains": {"matched": len(at.matches), "missed": at.missed, "invented": at.invented},
            "position_mean_px": _both(at.mean_px),
            "position_sd_px": _both(at.sd_px),
            "position_mean_um": _both(at.mean_um),
            "position_sd_um": _both(at.sd_um),
            "features": {"matched": len(self.features.matches), "missed": self.features.missed},
            "feature_mean_px": _both(self.features.mean_px),
            "feature_sd_px": _both(self.features.sd_px),
            "feature_mean_um": _both(self.features.mean_um),
            "feature_sd_um": _both(self.features.sd_um),
            "feature_sd_share": _both(self.sd_share),
        }


@dataclass
class Tally:
    """What is counted of a kind, image by image.

    Parameters
    ----------
    number : int
        The kind's label.
    """

    number: int
    _common: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _either: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _ssims: list[float] = field(default_factory=list)
    _psnrs: list[float] = field(default_factory=list)
    _others: list[float] = field(default_factory=lambda: [0.0, 0])
    _centres: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = field(default_factory=list)
    _diameters: list[float] = field(default_factory=list)
    _sizes: list[tuple[float, float] | None] = field(default_factory=list)
    _features: list[NDArray[np.float64]] = field(default_factory=list)

    def add(self, triple: Triple, labels: NDArray[np.uint8], shown: Micrograph) -> None:
        """Count an image.

        Parameters
        ----------
        triple : Triple
            The truth.
        labels : (H, W) uint8 array
            The lens's.
        shown : Micrograph
            The lens's image of this kind only.
        """
        truth, found = triple.labels == self.number, labels == self.number
        for part in ("all", "alone" if len(triple.present) == 1 else "mixed"):
            self._common[part] += int(np.count_nonzero(truth & found))
            self._either[part] += int(np.count_nonzero(truth | found))
        objects, count, places, diameters = _objects(truth)
        if truth.any():
            wanted = of_kind(triple.magnified, triple.labels, self.number)
            self._ssims.append(ssim(wanted, shown).mean)
            self._psnrs.append(psnr(wanted, shown))
            self._features.append(displacements(_luma(wanted), _luma(shown), objects, count))
        others = (triple.labels > 0) & ~truth
        if others.any():
            self._others[0] += float(unit(shown)[others].mean(axis=-1).sum())
            self._others[1] += int(others.sum())
        self._centres.append((places, grains(found)[0]))
        self._diameters += diameters
        self._sizes.append(triple.magnified.pixel_size or triple.input.pixel_size)

    def scores(self) -> KindScores:
        """Return what the count comes to."""
        diameter = float(np.mean(self._diameters)) if self._diameters else None
        total, count = self._others
        return KindScores(
            iou=self._iou("all"),
            iou_alone=self._iou("alone"),
            iou_mixed=self._iou("mixed"),
            ssim=_mean(self._ssims),
            psnr=_mean(self._psnrs),
            trace=total / count if count else None,
            positions=self._positions(diameter),
            features=self._found(diameter),
            diameter_px=diameter,
        )

    def _iou(self, part: str) -> float | None:
        return self._common[part] / self._either[part] if self._either[part] else None

    def _found(self, diameter: float | None) -> PositionErrors:
        errors = np.concatenate([np.empty((0, 2)), *self._features])
        near = np.hypot(*errors.T) <= (diameter or 1.0) / 2  # NaN is not
        rows = np.flatnonzero(near)
        missed = len(errors) - len(rows)
        return PositionErrors(np.stack([rows, rows], -1), errors[near], missed, 0, self._size())

    def _size(self) -> tuple[float, float] | None:
        known = set(self._sizes)
        return known.pop() if len(known) == 1 else None

    def _positions(self, diameter: float | None) -> PositionErrors:
        # Further off than half a grain, it is another one.
        furthest = diameter / 2 if diameter else 1.0
        each = [position_errors(*both, max_distance_px=furthest) for both in self._centres]
        before = np.cumsum([(0, 0), *([len(a), len(b)] for a, b in self._centres)], axis=0)
        return PositionErrors(
            np.concatenate(
                [
                    np.empty((0, 2), int),
                    *(e.matches + start for e, start in zip(each, before, strict=False)),
                ]
            ),
            np.concatenate([np.empty((0, 2)), *(e.errors for e in each)]),
            sum(e.missed for e in each),
            sum(e.invented for e in each),
            self._size(),
        )


def grains(mask: NDArray[np.bool_]) -> tuple[NDArray[np.float64], list[float]]:
    """Return centroids (n, 2), (row, col), and diameters of the connected parts of 64 px or more, px."""
    return _objects(mask)[2:]


def _objects(
    mask: NDArray[np.bool_],
) -> tuple[NDArray[np.int32], int, NDArray[np.float64], list[float]]:
    """Return the connected parts of 64 px or more: their map, number, centroids and diameters."""
    numbers, count = ndimage.label(mask, _EIGHT)
    areas = np.bincount(numbers.ravel(), minlength=count + 1)
    kept = [number for number in range(1, count + 1) if areas[number] >= LEAST_PX]
    centres = np.reshape(ndimage.center_of_mass(mask, numbers, kept), (-1, 2)).astype(float)
    new = np.zeros(count + 1, np.int32)
    new[kept] = np.arange(1, len(kept) + 1)
    return new[numbers], len(kept), centres, [2 * math.sqrt(areas[n] / math.pi) for n in kept]


def _luma(image: Micrograph) -> NDArray[np.float64]:
    return grey(image.with_pixels(unit(image).astype(np.float32))).astype(np.float64)


def finite(value: float | None) -> float | None:
    """Return a number that JSON has, or None."""
    return float(value) if value is not None and math.isfinite(value) else None


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _both(values: tuple[float, float] | None) -> list[float | None] | None:
    return None if values is None else [finite(value) for value in values]

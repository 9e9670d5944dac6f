"""A start by template: one image found, shrunk, somewhere in the other's larger field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ..looks import fisher, normalised
from ..plane import implausible, shrunk
from ..polish import polish

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["find_by_template"]

# The template's shorter side while it is searched, px, and the share of the image it is cut from:
# the rest gives room to turn.
_SIDE, _SHARE = 56, 0.85
_LEAST_SIDE = 40
# "Local" in the local normalisation: a Gaussian sigma in px of the shrunk images.
_LOCAL_PX = 8.0
# Side of the template to side of the field: what is tried where the scale is not known.
_RATIOS = np.geomspace(0.1, 1.0, 31)
_DEGREES = (-6.0, -3.0, 0.0, 3.0, 6.0)
_LARGEST_FIELD = 1500
# The peak must stand so many times above the second one and above what a template turned over
# reaches, on Fisher's scale (arctanh of the correlation), and the polished map must reach this
# correlation. True places were 2.3 times as high or more, the best place of unrelated images mostly
# 1.4 times; of 210 unrelated crops of 64 to 150 px two passed 2, with 2.1 and 3.5 times.
_CLEAR, _POLISHED = 2.2, 3
_LEAST_CORRELATION = 0.5


def find_by_template(
    fixed: NDArray[np.float32], moving: NDArray[np.float32], *, scale: float | None = None
) -> tuple[NDArray[np.float64] | None, str]:
    """Search the smaller field, as a template, in the larger one by normalised correlation.

    The start of Rivenson et al. 2017 (Optica 4:1437, doi:10.1364/OPTICA.4.001437): a high-resolution
    image, shrunk by the ratio of the pixel sizes, is found in a large low-resolution field or mosaic;
    here on locally normalised grey, for turns of up to 6 degrees, in either direction.

    Parameters
    ----------
    fixed, moving : (H, W) float32
    scale : float, optional
        Moving px per fixed px, from the pixel sizes, right to 5 %. Without it, scales are searched at
        which the smaller field covers 1 to 100 % of the larger.

    Returns
    -------
    (3, 3) float64 or None
        (x, y, 1) px of fixed -> (x, y, 1) px of moving; None when no place stands out.
    str
        What was found, in words.
    """
    ratio = None if scale is None else scale * np.sqrt(fixed.size / moving.size)
    places = [
        *_search(fixed, moving, _ladder(ratio)),
        *_search(moving, fixed, _ladder(None if ratio is None else 1 / ratio)),
    ]
    if not places:
        return None, "one image is too small, or too empty, to be searched in the other"
    likely = sorted(places, key=lambda place: place.height - place.level)[-_POLISHED:]
    place, plane, correlation = max(
        ((place, *polish(place.part, place.field, place.plane, small=True)) for place in likely),
        key=lambda polished: polished[2],
    )
    words = (
        f"correlation {place.correlation:.2f} where it fits best, {place.chance:.2f} elsewhere, "
        f"{correlation:.2f} polished"
    )
    if place.height < _CLEAR * place.level or correlation < _LEAST_CORRELATION:
        return None, f"only {words}"
    if place.part is moving:
        plane = np.asarray(np.linalg.inv(plane), np.float64)
    reason = implausible(plane, fixed.shape, moving.shape)
    return (None, f"{words}, but {reason}") if reason else (plane, words)


@dataclass(frozen=True, eq=False)
class _Place:
    """Where a template of one scale and turn fits best, and how well.

    `chance` is how well it fits at the next best place, or anywhere turned by half, if that is more.
    """

    part: NDArray[np.float32]
    field: NDArray[np.float32]
    plane: NDArray[np.float64]
    correlation: float
    chance: float

    @property
    def height(self) -> float:
        """The correlation on Fisher's scale."""
        return fisher(self.correlation)

    @property
    def level(self) -> float:
        """That of chance."""
        return fisher(self.chance)


def _ladder(ratio: float | None) -> NDArray[np.float64]:
    """Return the ratios of the sides, of the template to its field, to try."""
    tried = _RATIOS if ratio is None else ratio * np.array([0.96, 1.0, 1.04])
    return tried[tried <= 1.1]


def _search(
    part: NDArray[np.float32], field: NDArray[np.float32], ratios: NDArray[np.float64]
) -> Iterator[_Place]:
    """Search a field for a part of it, at each scale and turn."""
    whole, (field, to_field) = field, shrunk(field, _LARGEST_FIELD)
    for ratio in ratios:
        # Field px per part px, and what both are shrunk by, after that, to be compared.
        scale = ratio * np.sqrt(field.size / part.size)
        factor = min(1.0, 1 / scale, _SIDE / (min(part.shape) * scale * _SHARE))
        small_p, to_small_p = shrunk(part, max(part.shape) * scale * factor)
        small_f, to_small_f = shrunk(field, max(field.shape) * factor)
        if min(small_p.shape) < _LEAST_SIDE or min(small_f.shape) < _LEAST_SIDE:
            continue
        seen_p, seen_f = (normalised(image, sigma_px=_LOCAL_PX) for image in (small_p, small_f))
        for degrees in _DEGREES:
            template, cut = _cut(seen_p, degrees, seen_f.shape)
            if template.std() < 0.1:
                continue
            (x, y), correlation, second = _peak(seen_f, template)
            _, turned, _ = _peak(seen_f, np.ascontiguousarray(template[::-1, ::-1]))
            placed = np.array([[1, 0, x], [0, 1, y], [0, 0, 1]]) @ np.linalg.inv(cut)
            plane = np.linalg.inv(to_small_f @ to_field) @ placed @ to_small_p
            yield _Place(part, whole, plane, correlation, max(second, turned))


def _cut(
    image: NDArray[np.float32], degrees: float, limit: tuple[int, ...]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Cut a turned template from an image's middle; also return the map from it to the image."""
    height, width = (
        int(min(_SHARE * n, 0.95 * most)) for n, most in zip(image.shape, limit, strict=True)
    )
    middle = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    middle[:, 2] += (image.shape[1] - width) / 2, (image.shape[0] - height) / 2
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    template = cv2.warpAffine(image, middle, (width, height), flags=flags)
    return np.asarray(template, np.float32), np.vstack([middle, [0, 0, 1]])


def _peak(
    field: NDArray[np.float32], template: NDArray[np.float32]
) -> tuple[tuple[int, int], float, float]:
    """Return where (x, y) a template fits best, how well, and how well in the next best place."""
    surface = np.nan_to_num(cv2.matchTemplate(field, template, cv2.TM_CCOEFF_NORMED))
    _, correlation, _, (x, y) = cv2.minMaxLoc(surface)
    down, right = (n // 2 for n in template.shape)
    surface[max(0, y - down) : y + down + 1, max(0, x - right) : x + right + 1] = 0
    return (x, y), correlation, float(surface.max())

"""Polish a rough plane map: an affine map by maximising the correlation of the whole overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from ..geometry import scale_at_centre
from .looks import normalised
from .plane import shrunk

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["polish"]

_ENDS = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 50, 1e-4)
_MOST_DRIFT = 1.25
_LEAST_LOCAL_PX = 8.0


def polish(
    part: NDArray[np.float32],
    field: NDArray[np.float32],
    plane: NDArray[np.float64],
    *,
    sides: tuple[int, ...] = (96, 256),
    small: bool = False,
) -> tuple[NDArray[np.float64], float]:
    """Refine the map of an image into another by enhanced correlation, coarse to fine.

    Evangelidis and Psarakis 2008 (doi:10.1109/TPAMI.2008.113), on locally normalised grey.

    Parameters
    ----------
    part, field : (H, W) float32
        The part lies, at least mostly, within the field.
    plane : (3, 3) float64
        (x, y, 1) px of part -> (x, y, 1) px of field, right to a twentieth of the part.
    sides : tuple of int
        Longer side of the part, in px, at each step.
    small : bool
        Whether the part may be smaller than that: what is local is then as much less wide. Unlike images
        of few pixels agree better then, by chance.

    Returns
    -------
    (3, 3) float64
        The refined map; the given one where nothing correlates.
    float
        Pearson correlation where the images overlap; 0 where nothing correlates.
    """
    rough_plane, correlation = plane, 0.0
    for side in sides:
        scale = scale_at_centre(plane, part.shape)
        factor = min(1.0, 1 / scale, side / (max(part.shape) * scale))
        (small_p, to_small_p), (small_f, to_small_f) = (
            shrunk(part, max(part.shape) * scale * factor),
            shrunk(field, max(field.shape) * factor),
        )
        local_px = max(_LEAST_LOCAL_PX, max(small_p.shape) / 12) if small else side / 12
        seen_p, seen_f = (normalised(image, sigma_px=local_px) for image in (small_p, small_f))
        start = to_small_f @ plane @ np.linalg.inv(to_small_p)
        try:
            correlation, refined = cv2.findTransformECC(
                seen_p,
                seen_f,
                start[:2].astype(np.float32),
                cv2.MOTION_AFFINE,
                _ENDS,
                np.full(seen_f.shape, 255, np.uint8),
                5,
            )
        except cv2.error:  # the images do not correlate, or no longer overlap
            return rough_plane, 0.0
        affine = np.vstack([refined, [0, 0, 1]]).astype(np.float64)
        plane = np.linalg.inv(to_small_f) @ affine @ to_small_p
        # A map that shrinks the overlap to a patch of even grey correlates, too.
        drift = scale_at_centre(plane, part.shape) / scale_at_centre(rough_plane, part.shape)
        if not 1 / _MOST_DRIFT < drift < _MOST_DRIFT:
            return rough_plane, 0.0
    return plane, float(correlation)

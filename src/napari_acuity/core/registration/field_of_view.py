"""Where in a frame the field of view lies: through an eyepiece, the rest of it is dark."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from .plane import shrunk

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["field_of_view"]

_SIDE_PX = 256
# Parts of the range, from the darkest to the brightest: what is dark, and what 95 % of a lit field exceed, as
# those of fluorescence do not.
_DARK, _LIT = 0.12, 0.2
# A field of view is round, and something is left of the frame.
_LEAST_CONVEX, _LEAST_OUTSIDE = 0.95, 0.08
# Its rim is blurred by so much of the frame.
_RIM = 0.02


def field_of_view(image: NDArray[np.float32]) -> NDArray[np.bool_] | None:
    """Return where the field of view of a grey image (H, W) is; None where it fills the frame.

    It is what is lit, round, and dark around, at all four corners of the frame.
    """
    small = cv2.GaussianBlur(shrunk(image, _SIDE_PX)[0], (0, 0), 1.0)
    low, high = float(small.min()), float(np.percentile(small, 99))
    _, parts = cv2.connectedComponents((small < low + _DARK * (high - low)).astype(np.uint8))
    corners = {int(parts[row, col]) for row in (0, -1) for col in (0, -1)}
    outside = np.isin(parts, list(corners))
    if 0 in corners or not _LEAST_OUTSIDE < outside.mean() < 1:
        return None
    outlines, _ = cv2.findContours(
        (~outside).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    outline = max(outlines, key=cv2.contourArea)
    area, hull = cv2.contourArea(outline), cv2.contourArea(cv2.convexHull(outline))
    field = cv2.drawContours(np.zeros(small.shape, np.uint8), [outline], -1, 1, cv2.FILLED)
    lit = np.percentile(small[field > 0], 5) > low + _LIT * (high - low)
    if not (lit and area > _LEAST_CONVEX * hull):
        return None
    width = 2 * round(_RIM * max(small.shape)) + 1
    inner = cv2.erode(field, np.ones((width, width), np.uint8))
    whole = cv2.resize(inner, image.shape[::-1], interpolation=cv2.INTER_NEAREST)
    return whole > 0 if inner.any() else None

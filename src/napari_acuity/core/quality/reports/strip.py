"""Before, after and truth in one picture, side by side."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from ...errors import ImageError
from ...micrograph import ImageLike, Micrograph, as_micrograph, from_unit, to_unit
from ..baselines import bicubic, enlargement
from ..matching import check_plane

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["side_by_side"]

_GAP = 0.02


def side_by_side(images: Sequence[ImageLike]) -> Micrograph:
    """Lay images of one field in a row, in the type and on the grid of the last, the finest.

    Parameters
    ----------
    images : sequence of Micrograph, array or napari Image layer
        All grey or all RGB. Those of fewer pixels are enlarged by bicubic interpolation; each is shown
        from its own black to its own white.

    Returns
    -------
    Micrograph
        With white gaps, a fiftieth of an image wide.

    Raises
    ------
    ImageError
        When there is none, one is a stack, they mix grey and RGB, or one is no plain reduction of the
        last.
    """
    shown = [as_micrograph(image) for image in images]
    for image in shown:
        check_plane(image)
    if not shown or len({image.rgb for image in shown}) > 1:
        raise ImageError(
            "There is nothing to lay side by side, or grey beside RGB.",
            "Give images of one field, all grey or all RGB.",
        )
    last = shown[-1]
    parts = list[np.ndarray]()
    for image in shown:
        if parts:
            gap = (last.shape[0], ceil(_GAP * last.shape[1]))
            parts.append(np.ones(gap + (3,) * last.rgb, np.float32))
        parts.append(_enlarged(image, last.shape))
    return last.with_pixels(from_unit(np.clip(np.concatenate(parts, axis=1), 0, 1), last))


def _enlarged(image: Micrograph, shape: tuple[int, int]) -> np.ndarray:
    scale = enlargement(image.shape, shape)
    if scale is None:
        raise ImageError(
            f"'{image.name}' has {image.shape[0]} x {image.shape[1]} px, which no plain enlargement "
            f"brings to {shape[0]} x {shape[1]} px.",
            "Bring the images onto one grid first.",
        )
    return to_unit(image if scale == 1 else bicubic(image, float(scale), shape))

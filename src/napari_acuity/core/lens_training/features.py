"""How far what a lens shows lies from where it is in the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from skimage.registration import phase_cross_correlation

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["displacements"]

_UPSAMPLED = 20
# Around an object, so that it may lie so far off; and the least that must be there to be placed at all.
_ROOM_PX, _LEAST_SHARE = 8, 0.25


def displacements(
    truth: NDArray[np.float64], shown: NDArray[np.float64], objects: NDArray[np.int32], count: int
) -> NDArray[np.float64]:
    """Find each object of the truth in what is shown, by cross-correlation.

    Of each object the part of both images within 8 px of it is taken. Their plain, mean-subtracted
    cross-correlation has its peak, sought to a twentieth of a pixel, where the two look most alike.

    Parameters
    ----------
    truth, shown : (H, W) float64 arrays
        On black.
    objects : (H, W) int array
        0 the background, 1 to `count` the objects.
    count : int

    Returns
    -------
    (count, 2) float64
        (dy, dx) of what is shown, px; NaN where next to nothing is shown.
    """
    found = np.full((count, 2), np.nan)
    for number, box in enumerate(ndimage.find_objects(objects, max_label=count)):
        if box is None:
            continue
        part = tuple(slice(max(0, side.start - _ROOM_PX), side.stop + _ROOM_PX) for side in box)
        mine = objects[part] == number + 1
        near = (ndimage.distance_transform_edt(~mine) <= _ROOM_PX) & (mine | (objects[part] == 0))
        wanted, given = (image[part] * near for image in (truth, shown))
        if given.sum() <= _LEAST_SHARE * wanted.sum():
            continue
        wanted, given = (image - image.mean() for image in (wanted, given))
        shift, _, _ = phase_cross_correlation(  # type: ignore[no-untyped-call]
            wanted, given, upsample_factor=_UPSAMPLED, normalization=None
        )
        found[number] = -np.asarray(shift)
    return found

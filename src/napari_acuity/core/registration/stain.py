"""The nuclei of a stained section: what it shares with fluorescence that marks nuclei."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..micrograph import wide_enough
from .hot_pixels import without_hot_pixels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..micrograph import Micrograph

__all__ = ["is_stained", "nuclei_of"]

# Parts of the range, from dark to bright: half of the pixels lie beyond the first, as the ground of
# fluorescence does not; a twentieth have channels that differ by more than the second.
_BRIGHT, _COLOURED, _STEP_PX = 0.25, 0.1, 8
# Zero has no logarithm, and the darkest grey levels are noise.
_DARKEST = 1 / 255


def is_stained(image: Micrograph, field: NDArray[np.bool_] | None = None) -> bool:
    """Say whether an image is of a stained section: coloured, and in its field not on a dark ground."""
    if not image.rgb:
        return False
    few = image.pixels[::_STEP_PX, ::_STEP_PX].astype(wide_enough(image.pixels.dtype))
    if field is not None and field[::_STEP_PX, ::_STEP_PX].any():
        few = few[field[::_STEP_PX, ::_STEP_PX]]
    few = (few - few.min()) / max(float(np.ptp(few)), 1e-30)
    bright, coloured = np.median(few) > _BRIGHT, np.percentile(np.ptp(few, axis=-1), 95) > _COLOURED
    return bool(bright and coloured and np.max(image.pixels) > 0)


def nuclei_of(image: Micrograph) -> NDArray[np.float32]:
    """Return how much haematoxylin there is, by colour deconvolution, from 0 to 255.

    Ruifrok and Johnston 2001 (Anal. Quant. Cytol. Histol. 23:291), with scikit-image's colours of
    haematoxylin, eosin and DAB. The colour of the light adds the same everywhere, and is left in.

    Parameters
    ----------
    image : Micrograph
        (H, W, 3), of any dtype and range.

    Returns
    -------
    (H, W) float32
    """
    from skimage.color import hed_from_rgb

    wide = wide_enough(image.pixels.dtype)
    brightest = np.max(image.pixels).astype(wide)
    amount = np.zeros(image.shape, np.float32)
    for channel, share in enumerate(hed_from_rgb[:, 0]):
        light = np.divide(image.pixels[..., channel], brightest, dtype=wide)
        amount -= wide(share) * np.log(np.maximum(light, wide(_DARKEST)))
    amount -= amount.min()
    amount *= np.float32(255) / max(amount.max(), np.float32(1e-6))
    return without_hot_pixels(amount)

"""The image that an exported model is tested with and shown by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from ..errors import ImageError
from ..inference.planes import Layout
from ..micrograph import as_micrograph, check_content, to_unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..micrograph import ImageLike
    from ..model import Model

__all__ = ["example_pixels", "least_side"]

# Large enough to show something, small enough to be tested within a second.
_SIDE, _LEAST_SIDE = 128, 64


def least_side(network: Any) -> int:
    """Return the smallest side an exported model states: a multiple of its stride, wider than its halo.

    One that takes statistics over its whole image states the side of those that it was trained on.
    """
    stride: int = network.stride
    if getattr(network, "size", None) is not None:
        return stride
    return -(-max(_LEAST_SIDE, 2 * network.halo + stride) // stride) * stride


def example_pixels(model: Model, example: ImageLike | None) -> NDArray[np.uint8]:
    """Return the middle of an image as a (C, S, S) square, S a multiple of the model's stride.

    Parameters
    ----------
    model : Model
    example : Micrograph, array or napari Image layer, optional
        The first plane of it; by default a texture of smoothed noise.

    Raises
    ------
    ImageError
        When the image does not fit the model or is too small.
    """
    stride: Any = model.network.stride
    least = least_side(model.network)
    most = least if model.window_px else max(_SIDE, least) // stride * stride
    if example is None:
        return _texture(model.channels, most)
    image = check_content(as_micrograph(example, name="example"))
    layout = Layout.of(image, model.channels)
    if layout is None:
        stack = image.pixels.ndim > 2 and not image.rgb
        given = image.pixels.shape[-3] if stack else image.channels
        raise ImageError(
            f"The example has {given} channels, and '{model.name}' takes {model.channels}.",
            "Give an image of the kind the model is for.",
        )
    rows, cols = image.shape
    if min(rows, cols) < least:
        raise ImageError(
            f"The example has {rows} x {cols} pixels.", f"Give one of at least {least} x {least}."
        )
    side = min(most, rows, cols) // stride * stride
    unit = layout.planes(to_unit(image))[0]
    top, left = (rows - side) // 2, (cols - side) // 2
    return _as_bytes(unit[:, top : top + side, left : left + side])


def _texture(channels: int, side: int) -> NDArray[np.uint8]:
    noise = np.random.default_rng(0).standard_normal((side, side, channels))
    smooth = ndimage.gaussian_filter(noise, (2, 2, 0), mode="wrap")
    return _as_bytes(np.moveaxis(0.5 + smooth / (6 * smooth.std()), -1, 0))


def _as_bytes(unit: NDArray[Any]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.clip(np.rint(unit * 255), 0, 255).astype(np.uint8))

"""The images that a lens takes, one for each of its channels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ...errors import ImageError, ModelError
from ...micrograph import ImageLike, Micrograph, as_micrograph, check_content
from ..planes import Layout

if TYPE_CHECKING:
    from ...lens import Input, Lens

__all__ = ["images_for"]

_PIXEL_SIZES_AGREE = 1e-3


def images_for(image: ImageLike, lens: Lens) -> dict[str, Micrograph]:
    """Return an image for each input of a lens, with black and white stated.

    Parameters
    ----------
    image : ImageLike, dict or list of such
        For a lens of several channels a dict by their names, a list in their order, or one image
        (..., C, Y, X); for a lens of one, the image itself. Where the lens takes RGB, a grey image is
        taken as RGB whose channels are alike.
    lens : Lens

    Raises
    ------
    ModelError
        When there is no image for a channel, one for a channel that the lens does not have, or one that is
        RGB where grey is needed.
    ImageError
        When the channels are of unlike shapes or pixel sizes, constant or NaN, or their black and white are
        unknown.
    """
    wanted = [each.name for each in lens.inputs]
    named = _named(image, wanted, lens.name)
    _check_names(list(named), wanted, lens.name)
    found = {
        each.name: _fitting(as_micrograph(named[each.name], name=each.name), each, lens)
        for each in lens.inputs
    }
    _check_grids(list(found.values()))
    for each in found.values():
        check_content(each)
    return {
        name: each.with_pixels(each.pixels, value_range=each.range())
        for name, each in found.items()
    }


def _fitting(image: Micrograph, entry: Input, lens: Lens) -> Micrograph:
    """Return an image with the channels that an input has."""
    if Layout.of(image, entry.channels) is not None:
        return image
    if entry.channels == 3:
        return image.with_pixels(np.repeat(image.pixels[..., None], 3, axis=-1), rgb=True)
    words = {1: "grey images"}.get(entry.channels, f"images ({entry.channels}, rows, columns)")
    raise ModelError(
        f"The lens '{lens.name}' takes {words}, and '{image.name}' is "
        f"{'RGB' if image.rgb else ' x '.join(map(str, image.pixels.shape))}.",
        "Choose another lens, or convert the image.",
    )


def _named(image: ImageLike, wanted: list[str], lens: str) -> Mapping[str, ImageLike]:
    if isinstance(image, Mapping):
        return image
    if isinstance(image, list | tuple):
        return _in_order(list(image), wanted, lens)
    if len(wanted) == 1:
        return {wanted[0]: image}
    given = as_micrograph(image, name="image")
    if given.rgb:
        raise ModelError(
            f"The lens '{lens}' takes the grey channels {', '.join(wanted)}, and '{given.name}' is RGB.",
            f"Give an image ({len(wanted)}, rows, columns), or a dict of grey images by channel.",
        )
    given = given.with_pixels(given.pixels, value_range=given.range())
    if given.pixels.ndim == 2:
        return {wanted[0]: given}
    planes = np.moveaxis(given.pixels, -3, 0)
    return _in_order([given.with_pixels(plane, name="") for plane in planes], wanted, lens)


def _in_order(images: list[ImageLike], wanted: list[str], lens: str) -> dict[str, ImageLike]:
    if len(images) > len(wanted):
        raise ModelError(
            f"There are {len(images)} channels, and the lens '{lens}' takes {len(wanted)}: "
            f"{', '.join(wanted)}.",
            "Leave the others out, or give a dict of images by channel.",
        )
    return dict(zip(wanted, images, strict=False))


def _check_names(given: list[str], wanted: list[str], lens: str) -> None:
    if missing := [name for name in wanted if name not in given]:
        words = ", ".join(f"'{name}'" for name in missing)
        raise ModelError(
            f"The lens '{lens}' takes {', '.join(wanted)}, and there is no image for {words}.",
            "Give all its channels: by name, or in this order.",
        )
    if strange := [name for name in given if name not in wanted]:
        raise ModelError(
            f"The lens '{lens}' has no channel '{strange[0]}': it takes {', '.join(wanted)}.",
            "Leave it out, or give it the name it has in the lens.",
        )


def _check_grids(images: list[Micrograph]) -> None:
    shapes = {each.name: each.pixels.shape[: -1 if each.rgb else None] for each in images}
    if len(set(shapes.values())) > 1:
        told = ", ".join(f"'{name}' {' x '.join(map(str, s))}" for name, s in shapes.items())
        raise ImageError(
            f"The channels are of unlike shapes: {told}.",
            "Bring them onto one grid: register them.",
        )
    sizes = [each.pixel_size for each in images if each.pixel_size is not None]
    if sizes and not np.allclose(sizes, sizes[0], rtol=_PIXEL_SIZES_AGREE):
        raise ImageError(
            "The channels have pixels of unlike size.", "Bring them onto one grid: register them."
        )

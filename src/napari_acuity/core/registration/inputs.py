"""What is registered, checked where it enters: two images, landmarks, and what is left out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from ..errors import RegistrationError
from ..jobs import at_once
from ..micrograph import ImageLike, Micrograph, as_micrograph, check_content, grey, wide_enough
from .field_of_view import field_of_view
from .hot_pixels import without_hot_pixels
from .looks import EDGES, edges_of, smooth
from .stain import is_stained, nuclei_of
from .starts.landmarks import paired

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .looks import Look
    from .plane import Transform

    # An image and its field of view, None for the whole frame.
    _Seen = tuple[Micrograph, NDArray[np.bool_] | None]

__all__ = ["Images", "check_start", "checked", "even_grey"]

Role = Literal["fixed", "moving"]
Section = tuple[Role, Micrograph]

_LEAST_SIDE_PX = 32
# The shift map of a larger fixed image, and what it takes to find it, would fill the memory.
_LARGEST_SIDE_PX = 12_000
# Where all detail lies in fewer cells, one or two spots on an even ground, any other spot matches it.
_CELL_PX, _FEWEST_CELLS = 16, 10


@dataclass(frozen=True, eq=False)
class Images:
    """What is registered: two grey images, their names, and what the user says of them.

    `trusted` is where the fixed one may be compared, `lit` where the moving one shows something, None for
    everywhere. `section` is the one that is a stained section where the other is none; `by_nuclei` says that
    its nuclei stand in the place of its grey.
    """

    fixed: NDArray[np.float32]
    moving: NDArray[np.float32]
    names: tuple[str, str]
    trusted: NDArray[np.bool_]
    landmarks: tuple[NDArray[np.float64], NDArray[np.float64]] | None
    scale: float | None
    pixel_size: tuple[float, float] | None = None
    device: str = "cpu"
    transform: Transform = "auto"
    smallest_block: int | None = None
    local_px: float | None = None
    is_inverted: bool = False
    section: Section | None = None
    by_nuclei: bool = False
    lit: NDArray[np.bool_] | None = None

    def inverted(self) -> Images:
        """Return them with the moving image bright where it was dark."""
        low, high = self.moving.min(), self.moving.max()
        return replace(self, moving=low + (high - self.moving), is_inverted=not self.is_inverted)

    def as_nuclei(self) -> Images | None:
        """Return them with nuclei in the place of the grey, where one of both is a stained section."""
        if self.section is None:
            return None
        role, image = self.section
        if role == "fixed":
            return replace(self, fixed=nuclei_of(image), by_nuclei=True)
        return replace(self, moving=_levelled(nuclei_of(image), self.lit), by_nuclei=True)

    def as_edges(self) -> Images:
        """Return them with edges in the place of the grey, for a start to compare."""
        fixed, moving = (
            edges_of(smooth(torch.from_numpy(image), EDGES.blur_px)).numpy()
            for image in (self.fixed, np.ascontiguousarray(self.moving))
        )
        return replace(self, fixed=fixed, moving=moving)

    def seen_by(self, look: Look) -> Look:
        """Return a look with the blocks and the local scale that the user chose."""
        if self.local_px is not None and look.dense:
            look = replace(look, local_px=self.local_px)
        return look if self.smallest_block is None else look.down_to(self.smallest_block)

    @cached_property
    def at_start(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Fixed and moving for a start to compare: no details where they are not trusted."""
        return _levelled(self.fixed, self.trusted), self.moving


def checked(
    moving: ImageLike,
    fixed: ImageLike,
    landmarks: tuple[Any, Any] | None,
    exclude: NDArray[np.bool_] | None,
) -> Images:
    """Check what `register` is given, and make the images grey."""
    moving, fixed = _planar(moving, "moving"), _planar(fixed, "fixed", largest=_LARGEST_SIDE_PX)
    trusted = np.ones(fixed.shape, bool) if exclude is None else ~np.asarray(exclude, bool)
    if trusted.shape != fixed.shape:
        raise RegistrationError(
            f"What to exclude has {trusted.shape} pixels, '{fixed.name}' {fixed.shape}.",
            "Give a mask of the fixed image's rows and columns.",
        )
    if not trusted.any():
        raise RegistrationError(
            f"All of '{fixed.name}' is excluded.", "Leave something of it to be compared."
        )
    points = None if landmarks is None else paired(landmarks)
    scale = None
    if fixed.pixel_size is not None and moving.pixel_size is not None:
        scale = fixed.pixel_size[0] / moving.pixel_size[0]
    names = moving.name, fixed.name
    grey_fixed, grey_moving = at_once(_grey, (fixed, moving))
    field, lit = map(field_of_view, (grey_fixed, grey_moving))
    if field is not None and (field & trusted).any():
        trusted = field & trusted
    return Images(
        grey_fixed,
        _levelled(grey_moving, lit),
        names,
        trusted,
        points,
        scale,
        pixel_size=fixed.pixel_size,
        section=_section((fixed, field), (moving, lit)),
        lit=lit,
    )


def _section(fixed: _Seen, moving: _Seen) -> Section | None:
    """Return which of both is a stained section, and its image; None where neither or each of them is."""
    roles: tuple[Role, Role] = ("fixed", "moving")
    found = [
        (role, image)
        for role, (image, field) in zip(roles, (fixed, moving), strict=True)
        if is_stained(image, field)
    ]
    return found[0] if len(found) == 1 else None


def _levelled(image: NDArray[np.float32], kept: NDArray[np.bool_] | None) -> NDArray[np.float32]:
    """Return an image with its mean where it is not kept; as it is where all is, or nothing."""
    if kept is None or kept.all() or not kept.any():
        return image
    return np.where(kept, image, image[kept].mean())


def check_start(images: Images) -> None:
    """Refuse images that show too little for a start to be found from, as what is excluded leaves them."""
    fixed, moving = images.at_start
    for name, blank in zip(images.names, at_once(_blank, (moving, fixed)), strict=True):
        if blank:
            raise RegistrationError(
                f"'{name}' is nearly blank: it shows no more than a spot or two.",
                "Choose a field with more in it, or set landmarks in both images.",
            )


def _blank(image: NDArray[np.float32]) -> bool:
    """Return whether all detail of an image lies in a few cells."""
    rows, cols = (n // _CELL_PX for n in image.shape)
    tiled = image[: rows * _CELL_PX, : cols * _CELL_PX].reshape(rows, _CELL_PX, -1)
    # Along columns first: what is left to look at along rows is a sixteenth.
    low, high = (
        limit(limit(tiled, axis=1).reshape(rows, cols, _CELL_PX), axis=2)
        for limit in (np.min, np.max)
    )
    detail = high - low > np.ptp(image) / 250
    return bool(detail.sum() < min(_FEWEST_CELLS, detail.size / 2))


def _grey(image: Micrograph) -> NDArray[np.float32]:
    """Return an image as grey without hot pixels, in about the range of 8 bits where it may be any."""
    return without_hot_pixels(even_grey(image, image))


def even_grey(image: Micrograph, like: Micrograph) -> NDArray[np.float32]:
    """Return an image as grey; of floats and long integers as if `like` were about one of 8 bits.

    The squares of very large and very small values have no place in float32, nor have small steps far
    from zero.
    """
    if image.pixels.dtype.kind in "bui" and image.pixels.dtype.itemsize <= 2:
        return grey(image)
    wide = wide_enough(image.pixels.dtype)
    low, high = (limit(like.pixels).astype(wide) for limit in (np.min, np.max))
    _, exponent = np.frexp(high - low)
    return grey(image.with_pixels(np.ldexp(image.pixels.astype(wide) - low, 8 - exponent)))


def _planar(image: ImageLike, role: str, *, largest: int | None = None) -> Micrograph:
    micrograph = as_micrograph(image, name=role)
    if largest is not None and max(micrograph.shape) > largest:
        raise RegistrationError(
            f"'{micrograph.name}' has {micrograph.shape[0]} x {micrograph.shape[1]} pixels, too many to "
            "be registered at once.",
            "Use register_large, which goes over it tile by tile, or crop it.",
        )
    check_content(micrograph)
    if micrograph.pixels.ndim != 2 + micrograph.rgb:
        raise RegistrationError(
            f"'{micrograph.name}' is a stack of shape {micrograph.pixels.shape}.",
            "Choose one plane or channel of it.",
        )
    if min(micrograph.shape) < _LEAST_SIDE_PX:
        raise RegistrationError(
            f"'{micrograph.name}' is only {micrograph.shape[0]} x {micrograph.shape[1]} pixels.",
            f"Choose an image of at least {_LEAST_SIDE_PX} x {_LEAST_SIDE_PX}.",
        )
    return micrograph

"""Micrograph: pixels with a pixel size, and the checks every image passes on its way in."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from .errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = [
    "ImageLike",
    "Micrograph",
    "above",
    "as_lazy_micrograph",
    "as_micrograph",
    "channel_mean",
    "check_content",
    "fingerprint",
    "from_unit",
    "grey",
    "kind_of",
    "opaque",
    "plane_of",
    "to_unit",
    "wide_enough",
]

ImageLike: TypeAlias = Any
"""A `Micrograph`, a plain array, or a napari Image layer."""

# Filters leave floats of 0..1 a last digit beyond.
_ROUNDING = 1e-6
_GREY_ROWS = 32
_FLATTEN = "Flatten it onto a background first, then save it without an alpha channel."


@dataclass(frozen=True, eq=False, repr=False)
class Micrograph:
    """An image and what is known of it.

    Parameters
    ----------
    pixels : ndarray
        (..., Y, X), or (..., Y, X, 3) when `rgb`; 8 or 16 bit integers, bool or float. They are brought
        into the machine's byte order; those of a Zarr array or a memory map when they are read.
    pixel_size : (float, float), optional
        Size of a pixel along (y, x) in micrometres; None when unknown.
    rgb : bool
        Whether the last axis holds red, green and blue.
    name : str
        What the image is called in tables, layers and file names.
    value_range : (float, float), optional
        The values that mean black and white. None: what the dtype says (0..255 for 8 bit, 0..65535 for
        16 bit, 0..1 for floats); state it for 12-bit data in 16-bit files and for floats beyond 0..1.
    notes : tuple of str
        What whoever uses the pixels should know of how they came about.
    """

    pixels: NDArray[Any]
    pixel_size: tuple[float, float] | None = None
    rgb: bool = False
    name: str = ""
    value_range: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_shape(self)
        # NumPy takes types of another byte order for other types. What Zarr reads, and what is mapped from
        # a file, is native once it is read.
        mapped = isinstance(self.pixels, np.memmap)
        if not self.pixels.dtype.isnative and hasattr(self.pixels, "astype") and not mapped:
            native = self.pixels.astype(self.pixels.dtype.newbyteorder("="))
            object.__setattr__(self, "pixels", native)
        if self.pixel_size is not None:
            y, x = _two_numbers(self.pixel_size)
            if not (np.isfinite([y, x]).all() and y > 0 and x > 0):
                raise ImageError(
                    f"{self._title} has the pixel size {self.pixel_size}.",
                    "Give two positive lengths in micrometres, or None when it is unknown.",
                )
            object.__setattr__(self, "pixel_size", (y, x))
        if self.value_range is not None:
            low, high = _two_numbers(self.value_range)
            if not (np.isfinite([low, high]).all() and low < high):
                raise ImageError(
                    f"{self._title} has the value range {self.value_range}.",
                    "Give the finite values of black and white, black first, such as (0, 4095).",
                )
            object.__setattr__(self, "value_range", (low, high))

    def __repr__(self) -> str:
        pixels, size = self.pixels, self.pixel_size
        words = [" x ".join(map(str, pixels.shape)), str(pixels.dtype)]
        words += ["RGB"] * self.rgb + ([f"{size[0]:g} x {size[1]:g} um"] if size else [])
        words += ["black {:g}, white {:g}".format(*self.value_range)] if self.value_range else []
        return f"Micrograph({self.name!r}, {', '.join(words)})"

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        y, x = self.pixels.shape[-3:-1] if self.rgb else self.pixels.shape[-2:]
        return y, x

    @property
    def channels(self) -> int:
        """3 for RGB, else 1."""
        return 3 if self.rgb else 1

    @property
    def _title(self) -> str:
        return f"'{self.name}'" if self.name else "The image"

    def with_pixels(self, pixels: NDArray[Any], **changes: Any) -> Micrograph:
        """Return a copy with other pixels, and any further changes."""
        return replace(self, pixels=pixels, **changes)

    def finer_pixel_size(self, scale: float) -> tuple[float, float] | None:
        """Return the size of a pixel, in um, on a grid `scale` times as fine; None when unknown."""
        return self.pixel_size and (self.pixel_size[0] / scale, self.pixel_size[1] / scale)

    def range(self) -> tuple[float, float]:
        """Return the values that mean black and white.

        Raises
        ------
        ImageError
            When they cannot be known: floats beyond 0..1, integers other than unsigned 8 and 16 bit, or
            16-bit pixels that only use 12 bits or fewer; and `value_range` does not say.
        """
        if self.value_range is not None:
            return self.value_range
        dtype = self.pixels.dtype.newbyteorder("=")
        if dtype.kind == "b":
            return 0.0, 1.0
        if dtype == np.uint8:
            return 0.0, 255.0
        low, high = float(np.min(self.pixels)), float(np.max(self.pixels))
        if dtype.kind == "f" and low >= -_ROUNDING and high <= 1 + _ROUNDING:
            return 0.0, 1.0
        if dtype == np.uint16 and high > 4095:
            return 0.0, 65535.0
        _check_finite(self)
        raise _unknown_range(self._title, dtype, low, high)


def as_micrograph(image: ImageLike, *, name: str | None = None) -> Micrograph:
    """Turn any accepted image into a Micrograph.

    Parameters
    ----------
    image : Micrograph, array or napari Image layer
        A layer is recognised by its attributes (`data`, `scale`, `units`, `rgb`). A plain array with
        three or more axes whose last has length 3 or 4 is taken as RGB(A). An opaque alpha channel
        is dropped. Dask and Zarr arrays are read whole.
    name : str, optional
        A name for an image that has none.

    Returns
    -------
    Micrograph

    Raises
    ------
    ImageError
        For what is not an image, is empty, holds complex numbers or objects, or is transparent.
    """
    if isinstance(image, Micrograph):
        if _is_lazy(image.pixels):
            image = image.with_pixels(np.asarray(image.pixels))
        return replace(image, name=name) if name and not image.name else image
    if all(hasattr(image, attribute) for attribute in ("data", "scale", "units", "rgb")):
        data = np.asarray(_finest(image))
        return _from_layer(image, opaque(data, image.name) if image.rgb else data)
    pixels = _array(image)
    rgb = pixels.ndim >= 3 and pixels.shape[-1] in (3, 4)
    return Micrograph(opaque(pixels, name or "") if rgb else pixels, rgb=rgb, name=name or "")


def as_lazy_micrograph(image: ImageLike) -> Micrograph:
    """Turn any accepted image into a Micrograph, without reading the pixels of a Dask, Zarr or mapped array.

    Parameters
    ----------
    image : Micrograph, array or napari Image layer
        As for `as_micrograph`. With an alpha channel, which must be looked at, it is read whole.

    Returns
    -------
    Micrograph
        Its pixels may be an array that is read where it is sliced.

    Raises
    ------
    ImageError
        As `as_micrograph`.
    """
    if isinstance(image, Micrograph):
        return image
    if all(hasattr(image, attribute) for attribute in ("data", "scale", "units", "rgb")):
        data = _finest(image)
        if _is_lazy(data) and not (image.rgb and data.shape[-1] == 4):
            return _from_layer(image, data)
    elif _is_lazy(image) and not (image.ndim >= 3 and image.shape[-1] == 4):
        return Micrograph(image, rgb=image.ndim >= 3 and image.shape[-1] == 3)
    return as_micrograph(image)


def check_content(image: Micrograph) -> Micrograph:
    """Raise ImageError where there is nothing to work on: NaN, infinite or all-constant pixels."""
    pixels = image.pixels
    _check_finite(image)
    if np.min(pixels) == np.max(pixels):
        raise ImageError(
            f"{image._title} has nothing to see: every pixel is {np.min(pixels)}.",
            "Choose an image with content.",
        )
    return image


def grey(image: Micrograph) -> NDArray[np.float32]:
    """Return the luma of an image as float32 (Rec. 601 weights for RGB), in the image's own units."""
    if not image.rgb:
        return np.asarray(image.pixels, dtype=np.float32)
    import cv2

    lines = image.pixels.reshape(-1, image.pixels.shape[-2], 3)
    luma = np.empty(lines.shape[:2], np.float32)
    # So many at once as stay in a processor's cache: twice as fast.
    for at in range(0, len(lines), _GREY_ROWS):
        part = slice(at, at + _GREY_ROWS)
        cv2.cvtColor(lines[part].astype(np.float32), cv2.COLOR_RGB2GRAY, luma[part])
    return luma.reshape(image.pixels.shape[:-1])


def kind_of(channels: int, *, rgb: bool) -> str:
    """Return what a kind of image is called: "RGB", "grey" (also where 0 channels are told), "4-channel"."""
    return "RGB" if rgb else "grey" if channels < 2 else f"{channels}-channel"


def plane_of(image: Micrograph) -> NDArray[Any]:
    """View an image of one plane, (H, W), (C, H, W) or RGB, as (C, H, W)."""
    if image.rgb:
        return np.moveaxis(image.pixels, -1, 0)
    return image.pixels if image.pixels.ndim > 2 else image.pixels[None]


def channel_mean(image: Micrograph) -> Micrograph:
    """Return the mean over the channels of (C, Y, X) as one plane, (Y, X) float32; others as they are."""
    if image.rgb or image.pixels.ndim != 3:
        return image
    mean: NDArray[np.float32] = np.asarray(image.pixels, dtype=np.float32).mean(axis=0)
    return image.with_pixels(mean, value_range=image.range())


def to_unit(image: Micrograph) -> NDArray[np.float32]:
    """Scale pixels so that black is 0 and white is 1, as float32."""
    low, high = image.range()
    if low or wide_enough(image.pixels.dtype) is np.float64:
        values = above(image.pixels, low)
        values /= np.float32(high - low)
        return values
    unit: NDArray[np.float32] = np.divide(image.pixels, np.float32(high - low), dtype=np.float32)
    return unit


def above(pixels: NDArray[Any], black: float) -> NDArray[np.float32]:
    """Return by how much pixels exceed a value, as float32, whatever they can count that it cannot."""
    if wide_enough(pixels.dtype) is np.float64:
        return (np.asarray(pixels, dtype=np.float64) - black).astype(np.float32)
    raised: NDArray[np.float32] = np.subtract(pixels, np.float32(black), dtype=np.float32)
    return raised


def from_unit(unit: NDArray[np.float32], like: Micrograph) -> NDArray[Any]:
    """Undo `to_unit`: back to the range and dtype of `like`; integers are rounded and clipped.

    What is so already is returned as it is.
    """
    low, high = like.range()
    dtype = like.pixels.dtype
    values: NDArray[Any] = unit.astype(wide_enough(dtype), copy=False)
    if dtype == np.float32 and (low, high) == (0.0, 1.0):
        return values
    values = values * (high - low)
    if low:
        values += low
    if np.issubdtype(dtype, np.floating):
        return values.astype(dtype, copy=False)
    if dtype.kind == "b":
        return values >= 0.5
    limits = np.iinfo(dtype)
    np.rint(values, out=values)
    np.clip(values, max(low, limits.min), min(high, limits.max), out=values)
    return values.astype(dtype)


def fingerprint(image: Micrograph) -> str:
    """Return what identifies the pixels: a short SHA-256 of dtype, shape and bytes."""
    pixels = np.ascontiguousarray(image.pixels)
    digest = hashlib.sha256(f"{pixels.dtype.str} {pixels.shape}".encode())
    digest.update(pixels.data)
    return digest.hexdigest()[:16]


def wide_enough(dtype: np.dtype[Any]) -> type[np.float32 | np.float64]:
    """Return float32 where it tells all values of a type apart, else float64."""
    return np.float32 if np.can_cast(dtype, np.float32) else np.float64


def _check_finite(image: Micrograph) -> None:
    pixels = image.pixels
    if np.issubdtype(pixels.dtype, np.floating) and not np.isfinite(pixels).all():
        bad = int(pixels.size - np.isfinite(pixels).sum())
        raise ImageError(
            f"{image._title} holds {bad} values that are NaN or infinite.",
            "Replace them, for example with numpy.nan_to_num, or crop them away.",
        )


def _check_shape(image: Micrograph) -> None:
    pixels, title = image.pixels, image._title
    if not isinstance(getattr(pixels, "dtype", None), np.dtype) or pixels.dtype.kind not in "buif":
        raise ImageError(
            f"{title} is no picture: its pixels are of type "
            f"{getattr(pixels, 'dtype', type(pixels).__name__)}.",
            "Give a numeric array: 8 or 16 bit integers, or floats.",
        )
    if pixels.ndim < (3 if image.rgb else 2) or 0 in pixels.shape:
        raise ImageError(
            f"{title} has the shape {tuple(pixels.shape)}: it is no picture.",
            "Give an array (..., rows, columns), or (..., rows, columns, 3) for RGB, with pixels in it.",
        )
    if image.rgb and pixels.shape[-1] != 3:
        raise ImageError(
            f"{title} is said to be RGB, but its last axis has length {pixels.shape[-1]}.",
            "Bring red, green and blue to the last axis, or set rgb=False.",
        )


def _array(image: Any) -> NDArray[Any]:
    if isinstance(image, str | os.PathLike):
        raise ImageError(
            f"'{os.fspath(image)}' is the name of a file, not an image.",
            "Read it first: read(path).",
        )
    try:
        return np.asarray(image)
    except ValueError as error:  # lists of unequal lengths
        raise ImageError(f"The image is no array: {error}.", "Give all rows one length.") from error


def _unknown_range(title: str, dtype: np.dtype[Any], low: float, high: float) -> ImageError:
    cause = (
        f"{title} holds {dtype} values from {low:g} to {high:g}, so black and white are unknown."
    )
    example = "black, white"
    if dtype == np.uint16:
        bits = max(8, int(high).bit_length())
        cause = f"{title} has 16-bit pixels but ends at {high:g}: it looks like {bits}-bit data."
        example = f"0, {2**bits - 1}"
    return ImageError(
        cause,
        "State it: Options > Value range in a panel, "
        f"--range {example.replace(',', '').upper()} on the command line, or value_range=({example}) "
        "in Python.",
    )


def opaque(pixels: NDArray[Any], name: str, *, cure: str = _FLATTEN) -> NDArray[Any]:
    """Drop an alpha channel that hides nothing; refuse one that does, with a cure.

    Parameters
    ----------
    pixels : ndarray
        (..., Y, X, 3), returned as it is, or (..., Y, X, 4).
    name : str
        Of the image, for the error.
    cure : str
        What the error advises.

    Raises
    ------
    ImageError
        When something shows through.
    """
    if pixels.shape[-1] != 4:
        return pixels
    alpha = pixels[..., 3]
    full = np.iinfo(pixels.dtype).max if np.issubdtype(pixels.dtype, np.integer) else 1
    if alpha.size and np.min(alpha) < full:
        raise ImageError(
            f"{f'{name!r}' if name else 'The image'} is partly transparent: "
            f"{np.mean(alpha < full):.0%} of its pixels.",
            cure,
        )
    return pixels[..., :3]


def _finest(layer: Any) -> Any:
    return layer.data[0] if getattr(layer, "multiscale", False) else layer.data


def _is_lazy(data: Any) -> bool:
    return isinstance(data, np.memmap) or type(data).__module__.partition(".")[0] in (
        "dask",
        "zarr",
    )


def _two_numbers(values: Any) -> tuple[float, float]:
    """Return two floats, NaN for what is none."""
    try:
        first, second = (float(value) for value in values)
    except (TypeError, ValueError):
        return np.nan, np.nan
    return first, second


def _from_layer(layer: Any, pixels: Any) -> Micrograph:
    recipe = getattr(layer, "metadata", {}).get("acuity", {})
    return Micrograph(
        pixels,
        pixel_size=_micrometres(layer.scale, layer.units),
        rgb=bool(layer.rgb),
        name=layer.name,
        value_range=recipe.get("value_range"),
        notes=tuple(recipe.get("notes", ())),
    )


def _micrometres(scale: Sequence[float], units: Sequence[Any]) -> tuple[float, float] | None:
    """Return the layer's pixel size in um, or None where its units are no lengths (pixels, say)."""
    sizes = []
    for step, unit in zip(scale[-2:], units[-2:], strict=True):
        if dict(getattr(unit, "dimensionality", {})) != {"[length]": 1}:
            return None
        sizes.append(float((abs(float(step)) * unit).to("micrometer").magnitude))
    return sizes[0], sizes[1]

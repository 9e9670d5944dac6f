"""Contrast of every element of a USAF-1951 target in an image."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Literal

import numpy as np

from ...errors import AcuityError, ImageError
from ...micrograph import check_content
from .bars import NARROWEST_BAR_PX, unit_grey, usaf_frequency
from .usaf_layout import Layout, count_widths, fit_layout
from .usaf_patterns import measure_pattern
from .usaf_result import UsafContrast, UsafResult
from .usaf_search import Patterns, find_patterns

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...micrograph import ImageLike, Micrograph

__all__ = ["mtf_usaf"]


def mtf_usaf(
    image: ImageLike,
    *,
    pixel_size: float | None = None,
    polarity: Literal["auto", "dark", "bright"] = "auto",
    at: tuple[float, float, int, int] | None = None,
    like: UsafResult | None = None,
) -> UsafResult:
    """Find a USAF-1951 target and measure the contrast of its elements.

    Patterns of three bars are found wherever they are seen clearly, at any turn and size, upside down
    or mirrored; the target's arrangement is fitted to them; and every element that it places in the
    image is measured there, resolved or not, by the definition of `bar_contrast`. The place of each
    pattern is refined by correlation, at most one bar width. Left out are patterns that are not wholly
    in the image, bars narrower than 1.5 px, and places where nothing stands out from the ground: there
    the target ends.

    Parameters
    ----------
    image : Micrograph, array or napari Image layer
        (Y, X) or (Y, X, 3), with square pixels.
    pixel_size : float, optional
        Side of a pixel in um, which tells the groups' numbers, and may be wrong by 5 %; by default that
        of the image.
    polarity : "auto", "dark" or "bright"
        Dark bars on a bright ground, or the reverse; "auto" finds out.
    at : (row, col, group, element), optional
        A position in one clearly seen pattern, px, and its number on the target. It is used rather than
        the pixel size.
    like : UsafResult, optional
        Of another image of the very same field, with more or fewer pixels: its layout, numbers and polarity
        are used, and nothing is sought.

    Returns
    -------
    UsafResult
        `.elements`, `.table()`, `.limit()`, `.pixel_size`, `.rotation_deg` and `.polarity`.

    Raises
    ------
    ImageError
        When there is no target, or its numbers cannot be told; when the image is constant or a stack,
        holds NaN, has no known black and white, or shows another field than `like`.
    AcuityError
        For an unknown polarity, or an element other than 1 to 6.

    References
    ----------
    .. [1] MIL-STD-150A, "Photographic lenses", section 5.1.1.7 (1959).
    .. [2] Y. Rivenson et al., "Deep learning microscopy", Optica 4(11), 1437-1443 (2017), section 6
       of the supplement. :doi:`10.1364/OPTICA.4.001437`
    """
    if polarity not in ("auto", "dark", "bright"):
        raise AcuityError(f"There is no polarity '{polarity}'.", "Use 'auto', 'dark' or 'bright'.")
    pixels, image = unit_grey(image)
    check_content(image)
    if like is not None:
        layout, found = _scaled(like, image), like.polarity
    else:
        _check_number(at)
        size = None if at is not None else _side(image, pixel_size)
        found, patterns = _searched(pixels, polarity)
        layout = _located(patterns, size, at)
    return UsafResult(
        elements=tuple(_elements(pixels, layout, found)),
        pixel_size=500 / layout.bar_px,
        rotation_deg=float(np.rad2deg(np.angle(np.exp(-1j * layout.angle)))),
        polarity=found,
        layout=layout,
        shape=image.shape,
    )


def _check_number(at: tuple[float, float, int, int] | None) -> None:
    if at is not None and (len(at) != 4 or not all(float(each).is_integer() for each in at[2:])):
        raise ImageError(
            f"{at} names no element of the target.",
            "Give (row, col, group, element), group and element in whole numbers.",
        )


def _side(image: Micrograph, pixel_size: float | None) -> float:
    """Return the side of a square pixel, um."""
    if pixel_size is None and image.pixel_size is None:
        raise ImageError(
            "The pixel size is unknown, so the elements cannot be numbered.",
            "State pixel_size (--pixel-size) in micrometres, or name one element: "
            "at=(row, col, group, element) (--at ROW COLUMN GROUP ELEMENT).",
        )
    sizes = (pixel_size, pixel_size) if pixel_size is not None else image.pixel_size
    y, x = (float(v) for v in sizes or ())
    if not (np.isfinite([y, x]).all() and min(y, x) > 0 and abs(np.log(y / x)) < 0.01):
        raise ImageError(
            f"Pixels of {y:g} x {x:g} um cannot be measured.",
            "Give the side of a square pixel; bring an image whose pixels are not square onto a grid "
            "of square ones first.",
        )
    return (y + x) / 2


def _searched(
    pixels: NDArray[np.float64], polarity: str
) -> tuple[Literal["dark", "bright"], Patterns]:
    """Find the patterns, in the polarity of which there are more."""
    found: dict[Literal["dark", "bright"], Patterns] = {
        kind: find_patterns(pixels.astype(np.float32), kind)
        for kind in ("dark", "bright")
        if polarity in ("auto", kind)
    }
    kind = max(found, key=lambda kind: len(found[kind]))
    if not len(found[kind]):
        raise ImageError(
            "No pattern of three bars was found.",
            "Choose an image of a USAF-1951 target with some bars seen clearly, 4 px wide or more.",
        )
    return kind, found[kind]


def _located(
    patterns: Patterns, pixel_size: float | None, at: tuple[float, float, int, int] | None
) -> Layout:
    """Number the patterns and fit the layout to them."""
    steps, bar_px = count_widths(patterns.width)

    def fitted(first: int) -> Layout:
        """Fit where step 0 is the element of index `first`."""
        return fit_layout(patterns, steps + first, bar_px * 2 ** (first / 6))

    if at is not None:
        index = _index(at)
        return fitted(index - int(steps[_nearest(patterns, at)]))
    # bar_px is the width of step 0, and 500 um that of element 1 of group 0.
    exact = 6 * float(np.log2(500 / (bar_px * (pixel_size or 1))))
    try:
        return fitted(round(exact))
    except ImageError as error:
        # An arrangement repeats every two groups: within one, it tells the true pixel size.
        for off in (1, -1, 2, -2, 3, -3, 4, -4, 5, -5):
            with suppress(ImageError):
                size = 500 / fitted(round(exact) + off).bar_px
                break
        else:
            raise
        raise ImageError(
            f"At {pixel_size:g} um a pixel, the patterns found do not lie as on a USAF-1951 target.",
            f"They do at {size:.4g} um: state that size, or name one element: `at` (--at).",
        ) from error


def _nearest(patterns: Patterns, at: tuple[float, float, int, int]) -> int:
    """Return which pattern a position is in."""
    row, col = at[:2]
    away = np.abs(patterns.centre - complex(col, row)) / patterns.width
    nearest = int(away.argmin())
    # The corners are 3.5 bar widths away; NaN is nowhere.
    if not away[nearest] <= 3.6:
        raise ImageError(
            f"No pattern was found at row {row:g}, column {col:g}.",
            "Name one whose three bars are seen clearly.",
        )
    return nearest


def _index(at: tuple[float, float, int, int]) -> int:
    group, element = at[2:]
    usaf_frequency(group, element)
    return 6 * int(group) + int(element) - 1


def _scaled(like: UsafResult, image: Micrograph) -> Layout:
    """Return the layout of another image of the same field."""
    rows, cols = (new / old for new, old in zip(image.shape, like.shape, strict=True))
    if abs(rows / cols - 1) > 0.01 + 1 / min(*image.shape, *like.shape):
        raise ImageError(
            f"The image is {image.shape[0]} x {image.shape[1]} px, but the one it is to be like "
            f"{like.shape[0]} x {like.shape[1]} px: they cannot show the same field.",
            "Crop both to one field, or measure each by itself.",
        )
    return like.layout.scaled((rows + cols) / 2)


def _elements(pixels: NDArray[np.float64], layout: Layout, polarity: str) -> list[UsafContrast]:
    """Measure every element that the layout places in the image, from coarse to fine."""
    coarsest = int(np.ceil(6 * np.log2(5 * layout.bar_px / max(pixels.shape))))
    finest = int(np.floor(6 * np.log2(layout.bar_px / NARROWEST_BAR_PX)))
    span = float(np.subtract(*np.percentile(pixels, (99.5, 0.5))))
    # Which of the two patterns has its modulation along the image's rows.
    x = int(round(layout.angle / (np.pi / 2)) % 2)
    found = []
    for index in range(coarsest, finest + 1):
        both = [
            measure_pattern(
                pixels,
                layout.place(index, direction),
                layout.angle + direction * np.pi / 2,
                layout.width(index),
                polarity,
                span,
            )
            for direction in (x, 1 - x)
        ]
        if any(np.isfinite(one.contrast) for one in both):
            contrasts, outlines = zip(*both, strict=True)
            found.append(UsafContrast(index // 6, index % 6 + 1, *contrasts, *outlines))
    return found

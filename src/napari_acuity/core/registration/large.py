"""Register an image to one that is too large for the memory: coarsely as a whole, then tile by tile."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from numbers import Integral
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ..errors import AcuityError, ImageError, PairError, RegistrationError
from ..geometry import apply_homography, as_points
from ..io.pyramid import opened
from ..jobs import Event, Steps, altered, run, within
from ..pairs.pair import Pair, exact_scale
from ..pairs.pair_set import PairSet
from .register import Start, register_steps
from .registration import Registration

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    from ..io.pyramid import Box, Pyramid
    from ..micrograph import ImageLike, Micrograph

__all__ = ["LargeRegistration", "RegisteredTile", "register_large", "register_large_steps"]

# Longer side of what is compared coarsely; a field too small to be found at the first is at the second.
_COARSE_PX = (2048, 4096)
_LEAST_TILE_PX = 128
# Points along each side of a region, to carry a map over; room round what is cut, as a share of it.
_POINTS = 17
_MARGIN = 0.1
# Below this share covered by the moving image a tile is left, and below this correlation it failed:
# unrelated images stay below 0.1.
_LEAST_COVERED = 0.2
_LEAST_CORRELATION = 0.15
# Where the coarse map of the whole reference shows the covered field this small, it is made anew.
_SMALL = 0.67


@dataclass(frozen=True, eq=False)
class RegisteredTile:
    """What became of one tile of the reference.

    Parameters
    ----------
    box : (int, int, int, int)
        Top, left, bottom, right, px of the reference; bottom and right lie behind the last pixel.
    correlation : float
        Mean local correlation that was reached, -1 to 1; NaN where it failed.
    largest_shift_px : float
        The longest elastic shift where the images overlap, px of the reference; NaN where it failed.
    error : AcuityError or None
        Why it failed.
    """

    box: Box
    correlation: float = math.nan
    largest_shift_px: float = math.nan
    error: AcuityError | None = None


@dataclass(frozen=True, eq=False)
class LargeRegistration:
    """A coarse map from a large reference to a moving image, and what became of its tiles.

    Parameters
    ----------
    coarse : Registration
        From px of a shrunk region of the reference to px of the moving image.
    to_coarse : (3, 3) float64
        (x, y, 1) px of the reference -> (x, y, 1) px of that region.
    tiles : tuple of RegisteredTile
        Those that the moving image covers, row by row.
    """

    coarse: Registration
    to_coarse: NDArray[np.float64]
    tiles: tuple[RegisteredTile, ...] = ()

    @property
    def shrinkage(self) -> float:
        """How many px of the reference one px of the coarse map spans."""
        return float(1 / self.to_coarse[0, 0])

    def map_points(self, points_rc: NDArray) -> NDArray[np.float64]:
        """Map points of the reference into the moving image by the coarse map.

        Parameters
        ----------
        points_rc : (n, 2)
            (row, col) in px of the reference.

        Returns
        -------
        (n, 2) float64
            (row, col) in px of the moving image.
        """
        return self.coarse.map_points(apply_homography(self.to_coarse, as_points(points_rc)))

    def inverse_points(self, points_rc: NDArray) -> NDArray[np.float64]:
        """Map points (n, 2) of the moving image into the reference: the inverse of `map_points`."""
        back = np.asarray(np.linalg.inv(self.to_coarse), np.float64)
        return apply_homography(back, self.coarse.inverse_points(points_rc))


def register_large(
    moving: ImageLike,
    reference: ImageLike,
    *,
    out: str | os.PathLike[str],
    start: Start = "auto",
    tile_px: int = 2048,
    scale: float | None = None,
    group: str = "",
) -> LargeRegistration:
    """Register an image to a slide too large for the memory, and write a pair for every tile.

    The slide's coarser levels place the moving image, which may show all of it or a small part; the
    part that it covers is registered again at up to 2048 px a side. From that map each tile is
    registered at full resolution, reading no more than the tile. A tile that fails, such as bare
    glass, is told of, and the others are done.

    Parameters
    ----------
    moving : path, Micrograph, array or napari Image layer
        A capture or a mosaic, grey or RGB as `reference` is. Of a path only the parts needed are read, as
        of `reference`.
    reference : path
        A tiled TIFF (also SVS and other slides in TIFF) or an OME-Zarr, grey or RGB, best with coarser
        levels; an image in memory will do, too.
    out : path
        The folder of pairs to add to, as `PairSet.open` takes it.
    start
        As in `register`, for the coarse map; "landmarks" needs points and cannot be used.
    tile_px : int
        Longest side of a tile, px of the reference, at least 128. Memory grows with its square.
    scale : float, optional
        Of the pairs, as in `Registration.pair`.
    group : str
        Slide or patient of all the pairs; the reference's name if empty.

    Returns
    -------
    LargeRegistration

    Raises
    ------
    RegistrationError
        When no common content is found, or the tiles are too small.
    FileError
        When a file is missing, damaged or cannot be read in parts; when pairs cannot be written.
    ImageError
        When an image is constant, NaN or a stack.
    PairError
        When one image is grey and the other RGB, `scale` is no ratio of small numbers, or the pairs do
        not fit those in `out`.
    """
    pairs = PairSet.open(out)
    steps = register_large_steps(
        moving, reference, start=start, tile_px=tile_px, scale=scale, group=group
    )
    return run(altered(steps, partial(_kept, pairs)))


def register_large_steps(
    moving: ImageLike,
    reference: ImageLike,
    *,
    start: Start = "auto",
    tile_px: int = 2048,
    scale: float | None = None,
    group: str = "",
) -> Steps[LargeRegistration]:
    """Do what `register_large` does, yielding events; nothing is written.

    Yields
    ------
    Event
        `new` is the `LargeRegistration` without tiles once the coarse map stands; then for each tile
        its `Pair`, or its `RegisteredTile` where it failed.
    """
    if not isinstance(tile_px, Integral) or tile_px < _LEAST_TILE_PX:
        raise RegistrationError(
            f"Tiles of {tile_px} px cannot be registered.",
            f"Choose a whole number from {_LEAST_TILE_PX} on.",
        )
    if scale is not None:
        exact_scale(scale)
    with opened(moving) as small, opened(reference) as large:
        _check_colour(small, large)
        small, large = _told(small), _told(large)
        found = yield from within(_coarse(small, large, start), 0.0, 0.2)
        yield Event(f"coarse map, 1 px spans {found.shrinkage:.1f}", 0.2, found)
        boxes = [box for box in _boxes(found, small, large, tile_px) if _covered(found, box, small)]
        tiles = list[RegisteredTile]()
        for number, box in enumerate(boxes):
            begin, end = (0.2 + 0.8 * n / len(boxes) for n in (number, number + 1))
            title = f"tile {number + 1} of {len(boxes)}"
            one = altered(_tile(found, small, large, box, scale), partial(_titled, title))
            tile, pair = yield from within(one, begin, end)
            tiles.append(tile)
            words = f"{title}, registered" if pair else f"{title}, failed: {tile.error}"
            yield Event(words, end, (pair and replace(pair, group=group or large.name)) or tile)
    return replace(found, tiles=tuple(tiles))


def _check_colour(small: Pyramid, large: Pyramid) -> None:
    """Refuse grey against RGB: every tile would be registered, and none make a pair."""
    if small.levels[0].rgb != large.levels[0].rgb:
        colour, grey = (small, large) if small.levels[0].rgb else (large, small)
        raise PairError(
            f"'{colour.name}' has colour and '{grey.name}' has none: they make no pairs.",
            "Convert both to RGB or both to grey.",
        )


def _told(image: Pyramid) -> Pyramid:
    """Tell the black and white of 16 bits where the whole image uses them: a dark tile alone may not."""
    finest = image.levels[0]
    if finest.value_range or finest.pixels.dtype.newbyteorder("=") != np.uint16:
        return image
    overview, _ = image.region(image.box, side_px=_COARSE_PX[0])
    try:
        known = overview.range()
    except ImageError:
        return image
    return replace(image, levels=tuple(replace(one, value_range=known) for one in image.levels))


def _kept(pairs: PairSet, event: Event) -> Event:
    """Write a pair when it comes."""
    if isinstance(event.new, Pair):
        pairs.add(event.new)
    return event


def _titled(title: str, event: Event) -> Event:
    # The maps of a tile's levels are of no use outside.
    return Event(f"{title}, {event.stage}", event.fraction)


def _coarse(small: Pyramid, large: Pyramid, start: Start) -> Steps[LargeRegistration]:
    """Place the moving image on the whole reference, then on the part of it that it covers."""
    found = yield from within(_placed(small, large, start), 0.0, 0.6)
    box = _field(found, small, large)
    if max(box[2] - box[0], box[3] - box[1]) > _SMALL * max(large.shape):
        return found
    refining = _refined(found, small, large, box, _COARSE_PX[0])
    views = yield from within(altered(refining, partial(_titled, "coarse")), 0.6, 1.0)
    return _whole(views, small)


def _placed(small: Pyramid, large: Pyramid, start: Start) -> Steps[LargeRegistration]:
    """Register the whole images, shrunk; a small field may only be found at the larger size."""
    for step, side in enumerate(_COARSE_PX):
        moving, to_moving = small.region(small.box, side_px=_COARSE_PX[0])
        fixed, to_fixed = large.region(large.box, side_px=side)
        steps = altered(register_steps(moving, fixed, start=start), partial(_titled, "overview"))
        try:
            found = yield from within(steps, step / 2, (step + 1) / 2)
        except RegistrationError:
            if side == _COARSE_PX[-1] or max(fixed.shape) >= max(large.shape):
                raise
        else:
            break
    return _whole(_Views(found, fixed, moving, to_fixed, to_moving), small)


@dataclass(frozen=True, eq=False)
class _Views:
    """A registration between a region of each image, and where the regions lie."""

    registration: Registration
    fixed: Micrograph
    moving: Micrograph
    to_fixed: NDArray[np.float64]
    to_moving: NDArray[np.float64]


def _whole(views: _Views, small: Pyramid) -> LargeRegistration:
    """Turn a map to a shrunk region of the moving image into one to the moving image."""
    found, back = views.registration, np.asarray(np.linalg.inv(views.to_moving), np.float64)
    plane = back if found.homography is None else back @ found.homography
    whole = replace(
        found,
        homography=plane,
        moving_shape=small.shape,
        moving_points=apply_homography(back, found.moving_points),
    )
    return LargeRegistration(whole, views.to_fixed)


def _refined(
    known: LargeRegistration, small: Pyramid, large: Pyramid, box: Box, side_px: int | None
) -> Steps[_Views]:
    """Register a region of the reference, and what lies there of the moving image, from a known map."""
    points = _grid(box)
    landed = known.map_points(points)
    fixed, to_fixed = large.region(box, side_px=side_px)
    moving, to_moving = small.region(_frame(landed, small.shape), side_px=side_px)
    plane, _ = cv2.findHomography(
        apply_homography(to_fixed, points)[:, ::-1], apply_homography(to_moving, landed)[:, ::-1]
    )
    start = Registration(
        homography=np.asarray(plane, np.float64),
        shift_map=np.zeros((2, *fixed.shape), np.float32),
        moving_shape=moving.shape,
        correlation=(math.nan, math.nan),
        start=known.coarse.start,
    )
    found = yield from register_steps(moving, fixed, start=start)
    if not found.correlation[1] >= _LEAST_CORRELATION:
        raise RegistrationError(
            f"The images do not agree there: their correlation is only {found.correlation[1]:.2f}.",
            "Leave the tile out where it shows bare glass or dirt.",
        )
    return _Views(found, fixed, moving, to_fixed, to_moving)


def _tile(
    known: LargeRegistration, small: Pyramid, large: Pyramid, box: Box, scale: float | None
) -> Steps[tuple[RegisteredTile, Pair | None]]:
    try:
        views = yield from _refined(known, small, large, box, None)
        found = views.registration
        pair = found.pair(views.moving, views.fixed, scale=scale)
    except AcuityError as error:
        return RegisteredTile(box, error=error), None
    name = f"{large.name} {box[0]:05d} {box[1]:05d}"
    return RegisteredTile(box, found.correlation[1], found.largest_shift_px), replace(
        pair, name=name
    )


def _field(found: LargeRegistration, small: Pyramid, large: Pyramid) -> Box:
    """Return the part of the reference that the moving image covers, with a margin."""
    seen = found.inverse_points(_grid(small.box))
    return _frame(seen[np.isfinite(seen).all(axis=1)], large.shape)


def _boxes(found: LargeRegistration, small: Pyramid, large: Pyramid, tile_px: int) -> list[Box]:
    """Part the field that the moving image covers into tiles of one size."""
    top, left, bottom, right = _field(found, small, large)
    rows, cols = (
        np.linspace(first, last, -(-(last - first) // tile_px) + 1).round().astype(int).tolist()
        for first, last in ((top, bottom), (left, right))
    )
    return [(y, x, end_y, end_x) for y, end_y in pairwise(rows) for x, end_x in pairwise(cols)]


def _covered(found: LargeRegistration, box: Box, small: Pyramid) -> bool:
    landed = found.map_points(_grid(box))
    inside = ((landed >= 0) & (landed <= np.subtract(small.shape, 1))).all(axis=1)
    return bool(inside.mean() >= _LEAST_COVERED)


def _grid(box: Box) -> NDArray[np.float64]:
    """Return points spread over a box, (n, 2)."""
    rows, cols = (np.linspace(box[k], box[k + 2] - 1, _POINTS) for k in (0, 1))
    return np.stack(np.meshgrid(rows, cols, indexing="ij"), axis=-1).reshape(-1, 2)


def _frame(points: NDArray[np.float64], shape: tuple[int, int]) -> Box:
    """Return the box round points, with a margin, as far as it lies on an image."""
    low, high = points.min(axis=0), points.max(axis=0)
    margin = _MARGIN * (high - low)
    top, left = np.clip(np.floor(low - margin), 0, np.subtract(shape, 1)).astype(int).tolist()
    bottom, right = np.clip(np.ceil(high + margin) + 1, 1, shape).astype(int).tolist()
    return top, left, max(bottom, top + 1), max(right, left + 1)

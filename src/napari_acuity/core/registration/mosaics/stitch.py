"""Stitch overlapping tiles into one field.

The places come from our own short code (`overlaps`, `links`), not from multiview-stitcher
0.1.62: on twenty simulated tiles of 270 x 260 px with vignetting, noise and bare glass at the slide's edge,
its best settings left three or four tiles 16 to 33 px off and took 15 s; this takes 0.3 s, has the same or a
smaller median error, and names the tiles that it could not link. The library would also add twelve packages.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from ...errors import AcuityError, ImageError, RegistrationError
from ...io import check_folder, check_target, read, write
from ...io.ngff import check_zarr, lazy_zarr, replacing_zarr
from ...io.ngff_levels import finish_zarr, new_zarr
from ...jobs import Event, Steps, run, within
from ...micrograph import ImageLike, Micrograph, as_micrograph
from ..inputs import even_grey
from .fusion import BAND_ROWS, bands, field_shape, fused, in_band
from .layout import grid_positions, stage_positions
from .links import Link, grouped, placed
from .overlaps import detail, measured, overlaps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["Mosaic", "stitch", "stitch_steps"]

_SEARCH = 0.1
_LEAST_SIDE_PX = 32


@dataclass(frozen=True, eq=False)
class Mosaic:
    """A field stitched from tiles, and how well they agree.

    Parameters
    ----------
    image : Micrograph
        The field, in the tiles' dtype, colour and pixel size; 0 where no tile lies. Written to OME-Zarr,
        its pixels are a Dask array, read when used.
    positions_px : (n, 2) float64
        (row, col) of each tile's first pixel in the field, in the order the tiles were given.
    links : tuple of Link
        What each overlap says, and how far the places are from it.
    unlinked : tuple of int
        Tiles, counted from 0, that no overlap links to the others: they lie at their nominal places.
    left_out : dict of int to AcuityError
        Tiles that could not be used, and why.
    """

    image: Micrograph
    positions_px: NDArray[np.float64]
    links: tuple[Link, ...]
    unlinked: tuple[int, ...]
    left_out: dict[int, AcuityError]

    @property
    def residual_px(self) -> float:
        """Root mean square of the residuals of the links used, px."""
        return float(np.sqrt(np.mean([link.residual_px**2 for link in self.links if link.used])))


def stitch(
    tiles: Sequence[ImageLike],
    *,
    grid: tuple[int, int] | None = None,
    overlap: float | tuple[float, float] = 0.1,
    snake: bool = False,
    positions_px: ArrayLike | None = None,
    positions_um: ArrayLike | None = None,
    search_px: int | None = None,
    out: str | os.PathLike[str] | None = None,
) -> Mosaic:
    """Stitch overlapping tiles of one field.

    The overlaps are measured, the tiles are placed so that all overlaps agree best, and the seams are
    blended.

    Parameters
    ----------
    tiles : sequence of Micrograph, array, napari Image layer or path
        Of one size, dtype and colour, row by row from the top left. Files are read when their turn
        comes: memory holds the tiles of a row or two, not all.
    grid : (int, int), optional
        Rows and columns of tiles. Either this or positions must be given.
    overlap : float or (float, float)
        Share of a tile's height and width by which neighbours in the grid overlap, in [0, 0.9].
    snake : bool
        The grid's odd rows run from right to left, as the stage went.
    positions_px, positions_um : (n, 2) array-like, optional
        Nominal (row, col) of each tile's first pixel, in px or in um (the tiles then need a pixel size);
        any origin.
    search_px : int, optional
        How far two neighbours may lie from their nominal places to each other, px along each axis. By
        default a tenth of a tile's shorter side.
    out : path, optional
        Where to write the field, in any format of `write`; what is there is replaced when the new one is
        complete. An ``.ome.zarr`` is written band by band, with coarser levels, for fields larger than
        the memory; it needs the extra ``napari-acuity[mosaic]``.

    Returns
    -------
    Mosaic

    Raises
    ------
    RegistrationError
        When the layout does not fit the tiles, fewer than two of them can be used, no two show common
        content, or the field is too large for the memory and `out` is no ``.ome.zarr``.
    ImageError
        When the tiles differ in size, dtype or colour, or are stacks.
    FileError
        When `out` cannot be written.

    Notes
    -----
    A tile that cannot be read, or holds NaN, is left out and told of; so is an overlap without content or
    one that contradicts the others. Preibisch et al. 2009, doi:10.1093/bioinformatics/btp184, describe
    the scheme: pairwise correlation, then one optimisation over all tiles.
    """
    return run(
        stitch_steps(
            tiles,
            grid=grid,
            overlap=overlap,
            snake=snake,
            positions_px=positions_px,
            positions_um=positions_um,
            search_px=search_px,
            out=out,
        )
    )


def stitch_steps(
    tiles: Sequence[ImageLike],
    *,
    grid: tuple[int, int] | None = None,
    overlap: float | tuple[float, float] = 0.1,
    snake: bool = False,
    positions_px: ArrayLike | None = None,
    positions_um: ArrayLike | None = None,
    search_px: int | None = None,
    out: str | os.PathLike[str] | None = None,
) -> Steps[Mosaic]:
    """Do what `stitch` does, yielding events.

    Yields
    ------
    Event
        `new` is the tuple of a tile's `Link`s once the tile and its neighbours are read, then the (n, 2)
        positions once all tiles are placed.
    """
    given = list(tiles)
    like = _first_usable(given)
    out = None if out is None else Path(out)
    if out is not None:
        _check_out(out, like)
    if positions_px is None and positions_um is None:
        nominal = grid_positions(len(given), like.shape, grid, overlap, snake)
    elif grid is not None:
        raise RegistrationError(
            "Both a grid and positions are given.", "Give only one of them: where the tiles lie."
        )
    else:
        nominal = stage_positions(len(given), positions_px, positions_um, like)
    search = round(_SEARCH * min(like.shape)) if search_px is None else search_px
    if not isinstance(search, Integral) or search < 0:
        raise RegistrationError(f"search_px is {search}.", "Give a whole number of px, at least 0.")
    links, left_out = yield from within(_measure(given, nominal, like, search), 0.0, 0.6)
    positions, links = placed(nominal, links)
    if not any(link.used for link in links):
        raise _nothing_in_common(len(given), len(links), left_out)
    positions -= positions.min(0)
    yield Event("tiles placed", 0.6, positions)
    usable = {k: tile for k, tile in enumerate(given) if k not in left_out}
    image = yield from within(_fuse(usable, positions, like, out), 0.6, 1.0)
    held = grouped(len(given), links)
    unlinked = tuple(k for k in usable if not held[k])
    return Mosaic(image, positions, tuple(links), unlinked, left_out)


def _measure(
    given: list[ImageLike], nominal: NDArray[np.float64], like: Micrograph, search: int
) -> Steps[tuple[list[Link], dict[int, AcuityError]]]:
    """Read each tile once; keep only the parts that overlap tiles still to come."""
    pairs = overlaps(nominal, like.shape, search)
    waiting: dict[tuple[int, int], NDArray[np.float32]] = {}
    links, left_out = list[Link](), dict[int, AcuityError]()
    for number, given_tile in enumerate(given):
        yield Event(f"overlaps, tile {number + 1} of {len(given)}", number / len(given))
        try:
            tile = detail(even_grey(_tile(given_tile, number, like), like))
        except _Unlike:
            raise
        except AcuityError as error:
            left_out[number] = error
            continue
        new = []
        for pair in pairs:
            if number == pair.first:
                waiting[pair.first, pair.second] = tile[pair.part(number)].copy()
            elif number == pair.second and (pair.first, number) in waiting:
                first = waiting.pop((pair.first, number))
                new.append(measured(pair, first, tile[pair.part(number)]))
        links += new
        yield Event(
            f"overlaps, tile {number + 1} of {len(given)}", (number + 1) / len(given), (*new,)
        )
    if len(given) - len(left_out) < 2:
        raise _too_few(len(given), left_out)
    return links, left_out


def _fuse(
    usable: dict[int, ImageLike],
    positions: NDArray[np.float64],
    like: Micrograph,
    out: Path | None,
) -> Steps[Micrograph]:
    shape = field_shape(positions, like.shape)
    like = replace(like, name=out.stem.removesuffix(".ome") if out else "mosaic")
    if out is not None and _is_zarr(out):
        with replacing_zarr(out) as folder:
            target = new_zarr(folder, shape, like)
            yield from within(_fill(target, usable, positions, like, shape), 0.0, 0.8)
            yield Event("coarser levels", 0.8)
            finish_zarr(folder, like)
        return lazy_zarr(out)
    _check_memory(shape, like)
    pixels = np.empty((*shape, 3)[: 2 + like.rgb], like.pixels.dtype)
    planes = np.moveaxis(pixels, -1, 0) if like.rgb else pixels
    yield from _fill(planes, usable, positions, like, shape)
    image = like.with_pixels(pixels)
    if out is not None:
        write(image, out)
    return image


def _fill(
    target: Any,
    usable: dict[int, ImageLike],
    positions: NDArray[np.float64],
    like: Micrograph,
    shape: tuple[int, int],
) -> Steps[None]:
    """Fuse band by band into an array (Y, X) or (3, Y, X); hold the tiles of the band only."""
    held: dict[int, NDArray[Any]] = {}
    for band in bands(shape[0]):
        yield Event(f"fusion, row {band[0]} of {shape[0]}", band[0] / shape[0])
        wanted = [int(k) for k in in_band(positions, like.shape, band) if k in usable]
        held = {k: held[k] if k in held else _tile(usable[k], k, like).pixels for k in wanted}
        pixels = fused(held, positions, band, shape[1], like.pixels.dtype)
        target[..., band[0] : band[1], :] = np.moveaxis(pixels, -1, 0) if like.rgb else pixels


def _is_zarr(path: Path) -> bool:
    return path.suffix.lower() == ".zarr"


def _check_out(out: Path, like: Micrograph) -> None:
    """Raise where the field could not be written, before the work."""
    if _is_zarr(out):
        check_zarr(out)
        check_folder(out)
    else:
        check_target(like, out)


def _first_usable(given: list[ImageLike]) -> Micrograph:
    """Return the first tile that can be used: the others must be like it."""
    left_out = dict[int, AcuityError]()
    for number, tile in enumerate(given if len(given) > 1 else ()):
        try:
            like = _tile(tile, number)
        except AcuityError as error:
            left_out[number] = error
            continue
        if like.pixels.ndim != 2 + like.rgb or min(like.shape) < _LEAST_SIDE_PX:
            raise ImageError(
                f"'{like.name}' has the shape {like.pixels.shape}.",
                f"Give single planes of at least {_LEAST_SIDE_PX} x {_LEAST_SIDE_PX} pixels.",
            )
        return like
    raise _too_few(len(given), left_out)


class _Unlike(ImageError):
    """A tile of another kind than the first: no reason to leave it out, but to ask."""


def _tile(tile: ImageLike, number: int, like: Micrograph | None = None) -> Micrograph:
    is_path = isinstance(tile, str | os.PathLike)
    image = read(tile) if is_path else as_micrograph(tile, name=f"tile {number + 1}")
    if image.pixels.dtype.kind == "f" and not np.isfinite(image.pixels).all():
        raise ImageError(
            f"'{image.name}' holds values that are NaN or infinite.",
            "Replace them, for example with numpy.nan_to_num.",
        )
    kinds = [(i.pixels.shape, i.rgb, i.pixels.dtype) for i in (image, like or image)]
    if kinds[0] != kinds[1]:
        (shape, _, dtype), (first_shape, _, first_dtype) = kinds
        raise _Unlike(
            f"'{image.name}' is {shape}, {dtype}; the first tile is {first_shape}, {first_dtype}.",
            "Give tiles of one size, type and colour.",
        )
    return image


def _check_memory(shape: tuple[int, int], like: Micrograph) -> None:
    """Raise where the field and a band of it in float32 would not fit."""
    values = shape[0] * shape[1] * like.pixels.dtype.itemsize + BAND_ROWS * shape[1] * 12
    needed, free = values * like.channels, psutil.virtual_memory().available
    if needed > 0.8 * free:
        raise RegistrationError(
            f"The field of {shape[0]} x {shape[1]} pixels needs {needed / 2**30:.1f} GiB of memory, and "
            f"{free / 2**30:.1f} GiB are free.",
            "Give out='field.ome.zarr', or --out field.ome.zarr: it is then written as it is made.",
        )


def _first_left_out(left_out: dict[int, AcuityError]) -> str:
    return (
        f" The first of those left out: {next(iter(left_out.values())).cause}" if left_out else ""
    )


def _too_few(count: int, left_out: dict[int, AcuityError]) -> RegistrationError:
    return RegistrationError(
        f"Of {count} tiles {count - len(left_out)} can be used.{_first_left_out(left_out)}",
        "Give at least two tiles that overlap.",
    )


def _nothing_in_common(
    count: int, pairs: int, left_out: dict[int, AcuityError]
) -> RegistrationError:
    return RegistrationError(
        f"No two of {count - len(left_out)} tiles show common content; {pairs} overlaps were looked at."
        f"{_first_left_out(left_out)}",
        "Check the order of the tiles, the grid and the overlap; search_px (--search) widens the search.",
    )

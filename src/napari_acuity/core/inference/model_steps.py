"""A model applied to an image: plane by plane, tile by tile, once or to its own output."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..device import choose_device, free_memory
from ..errors import ImageError
from ..jobs import Event, altered, within
from ..micrograph import from_unit, to_unit
from ..quality import bicubic
from .deploy import engine_for
from .halving import pieces_done
from .planes import Layout
from .tiles import Grid, TileDone, output_shape
from .windows import windowed

if TYPE_CHECKING:
    from ..jobs import Steps
    from ..micrograph import Micrograph
    from ..model import Model
    from .deploy import Engine
    from .tiles import Tile

__all__ = [
    "Generation",
    "OnGrid",
    "cautioned",
    "change_by",
    "converted",
    "model_steps",
    "of_type",
    "told",
]

OnGrid = Literal["finer", "same"]

# Bytes of feature maps an input pixel costs at its peak, in units of its `widest` layer (float32).
_COPIES = 6
_HALOS_A_TILE = 24
_FEW_GREY_VALUES = 64
_SMALLEST_TILE, _LARGEST_TILE, _LARGEST_TILE_ON_GPU = 64, 512, 4096


@dataclass(frozen=True, eq=False)
class Generation:
    """What one iteration made.

    Parameters
    ----------
    number : int
        From 1.
    image : Micrograph
    change : float
        How much it differs from its input enlarged bicubically: root mean square, in units of the range.
    """

    number: int
    image: Micrograph
    change: float


def model_steps(
    image: Micrograph,
    model: Model,
    *,
    iterations: int = 1,
    grid: OnGrid = "finer",
    stop_below: float = 0.0,
    tile: int | Literal["auto"] | None = "auto",
    device: str = "auto",
    exact: bool = False,
    dtype: str | None = None,
    look_at: tuple[int, float, float] = (0, 0.0, 0.0),
) -> Steps[Micrograph]:
    """Apply a model to an image that was checked, or flows within a lens; options as for `enhance_steps`.

    It may be blank; and it is computed in half precision where that is faster unless `exact` is asked for,
    whatever its type.
    """
    given, where = image.with_pixels(image.pixels, value_range=image.range()), choose_device(device)
    layout = Layout.fitting(given, model)
    # A graph or a conversion must not cost more than it saves.
    work = given.pixels.size * iterations
    engine = engine_for(model, where, exact=exact, work=work)
    current, result = given, given
    for number in range(1, iterations + 1):
        last = number == iterations
        like = of_type(given, dtype if last else "float32")
        part = _once(current, like, engine, layout, model, tile, look_at)
        words = "" if iterations == 1 else f"iteration {number} of {iterations}, "
        part = altered(part, partial(_announced, words=words, tiles_wanted=last))
        result = yield from within(part, (number - 1) / iterations, number / iterations)
        if iterations == 1:
            break
        change = change_by(current, result, model.scale)
        shown = result if last else converted(result, of_type(given, dtype))
        done = Generation(number, shown, change)
        yield Event(f"{words}changed {change:.2%} of the range", number / iterations, done)
        if last or change < stop_below:
            result = shown
            break
        current = result if grid == "finer" else _shrunk(result, given, model.scale)
    return told(result, given, model)


def told(result: Micrograph, image: Micrograph, model: Model) -> Micrograph:
    """Note where whole numbers are too coarse for a result, and where three planes were taken for colours."""
    result = cautioned(result, model.levels[1])
    if image.rgb or not model.rgb:
        return result
    note = (
        "the three planes before the rows were taken for red, green and blue; for a stack, choose a grey "
        "model"
    )
    return replace(result, notes=(*result.notes, note))


# One iteration


def _once(
    image: Micrograph,
    like: Micrograph,
    engine: Engine,
    layout: Layout,
    model: Model,
    tile: int | Literal["auto"] | None,
    look_at: tuple[int, float, float],
) -> Steps[Micrograph]:
    """Apply an engine once, in the way that the network allows."""
    if model.window_px is not None:
        return windowed(image, like, engine, layout, model.window_px, whole=tile is None)
    side = _side(tile, image.shape, model, engine.device)
    return _apply(image, like, engine, layout, Grid.of(image.shape, model), side, look_at)


def _apply(
    image: Micrograph,
    like: Micrograph,
    engine: Engine,
    layout: Layout,
    grid: Grid,
    side: int,
    look_at: tuple[int, float, float],
) -> Steps[Micrograph]:
    """Apply an engine once, tile by tile; the result has dtype and range of `like`."""
    planes = layout.planes(image.pixels)
    pixels = np.empty(layout.shape(*output_shape(image.shape, grid.scale)), like.pixels.dtype)
    output = layout.planes(pixels)
    cuts = _in_order(list(grid.tiles(side)), len(planes), look_at)
    for count, (plane, cut) in enumerate(cuts, start=1):
        done = pieces_done(engine, grid, cut, planes[plane], output[plane], image=image, like=like)
        for piece in done:
            index = (plane, *piece.write)
            new = TileDone(index, layout.piece(output[plane][(slice(None), *piece.write)]))
            yield Event(f"tile {count} of {len(cuts)}", count / len(cuts), new)
    return like.with_pixels(pixels, pixel_size=image.finer_pixel_size(grid.scale))


def _in_order(
    cuts: list[Tile], planes: int, look_at: tuple[int, float, float]
) -> list[tuple[int, Tile]]:
    """Return planes and tiles, those first that lie nearest to where the user looks."""
    first, row, col = look_at

    def distance(cut: Tile) -> float:
        return max(
            max(part.start - at, 0, at - part.stop)
            for part, at in zip(cut.core, (row, col), strict=True)
        )

    order = sorted(range(planes), key=lambda plane: (plane != first, abs(plane - first)))
    near = sorted(cuts, key=distance)
    return [(plane, cut) for plane in order for cut in near]


def _announced(event: Event, words: str, *, tiles_wanted: bool) -> Event:
    return replace(event, stage=words + event.stage, new=event.new if tiles_wanted else None)


# What goes in and out


def of_type(image: Micrograph, dtype: str | None) -> Micrograph:
    """Return a small image of the dtype and range that an output shall have."""
    shape = (1, 1, 3) if image.rgb else (1, 1)
    if dtype is None:
        return image.with_pixels(np.zeros(shape, image.pixels.dtype))
    if dtype not in ("uint8", "uint16", "float32"):
        raise ImageError(
            f"The output cannot be of type '{dtype}'.", "Use uint8, uint16 or float32."
        )
    full = np.dtype(dtype)
    white = 1.0 if full.kind == "f" else float(np.iinfo(full).max)
    return image.with_pixels(np.zeros(shape, full), value_range=(0.0, white))


def cautioned(image: Micrograph, levels: tuple[float, float]) -> Micrograph:
    """Return an output with a note, where its whole numbers are too coarse for what it shows.

    Parameters
    ----------
    image : Micrograph
    levels : (float, float)
        Its black and white, in units of its range.
    """
    (low, high), (black, white) = image.range(), levels
    grey_values = (white - black) * (high - low)
    if image.pixels.dtype.kind == "f" or grey_values >= _FEW_GREY_VALUES:
        return image
    note = (
        "the image is of black and white alone, and so is the result; output of a finer type shows more"
        if image.pixels.dtype.kind == "b"
        else f"the result lies within {grey_values:.0f} grey values of {image.pixels.dtype}: the better "
        "instrument fills less of its range; output of a finer type shows more"
    )
    return replace(image, notes=(*image.notes, note))


def converted(image: Micrograph, like: Micrograph) -> Micrograph:
    """Bring an image to the dtype and range of another."""
    pixels = from_unit(to_unit(image), like)
    return like.with_pixels(pixels, pixel_size=image.pixel_size, notes=image.notes)


def _side(
    tile: int | Literal["auto"] | None, shape: tuple[int, int], model: Model, device: str
) -> int:
    if tile is None:
        return max(shape)
    if tile != "auto":
        return tile
    network: Any = model.network
    pixels = free_memory(choose_device(device)) / 4 / (_COPIES * 4 * network.widest)
    # A halo that is wide beside its tile is computed again and again.
    largest = max(_LARGEST_TILE, _HALOS_A_TILE * network.halo)
    if device.startswith("cuda"):
        largest = max(largest, _LARGEST_TILE_ON_GPU)
    return int(np.clip(pixels**0.5, _SMALLEST_TILE, largest))


# From one iteration to the next


def _shrunk(image: Micrograph, like: Micrograph, scale: float) -> Micrograph:
    """Bring an output back to the grid of its input."""
    return bicubic(image, 1 / scale, like.shape)


def change_by(before: Micrograph, after: Micrograph, scale: float) -> float:
    """Return how much an iteration changed: see `Generation`."""
    enlarged = to_unit(bicubic(before, scale, after.shape))
    return float(np.sqrt(np.mean((to_unit(after) - enlarged) ** 2)))

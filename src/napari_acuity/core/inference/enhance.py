"""Apply a model to an image of any size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from ..device import choose_device, free_memory
from ..errors import ImageError
from ..jobs import Event, Steps, altered, run, within
from ..lens import Lens, load
from ..micrograph import (
    ImageLike,
    Micrograph,
    as_lazy_micrograph,
    as_micrograph,
    check_content,
    from_unit,
    to_unit,
)
from ..model import Model
from ..quality import bicubic
from .deploy import Engine, engine_for
from .halving import pieces_done
from .planes import Layout, new_pixels
from .tiles import Grid, Tile, output_shape
from .windows import windowed

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

__all__ = [
    "Generation",
    "OnGrid",
    "TileDone",
    "converted",
    "enhance",
    "enhance_steps",
    "generations",
    "of_type",
    "unchecked_steps",
]

OnGrid = Literal["finer", "same"]

# Bytes of feature maps an input pixel costs at its peak, in units of its `widest` layer (float32).
_COPIES = 6
_HALOS_A_TILE = 24
_SMALLEST_TILE, _LARGEST_TILE, _LARGEST_TILE_ON_GPU = 64, 512, 4096


@dataclass(frozen=True, eq=False)
class TileDone:
    """A finished tile of the last iteration.

    Parameters
    ----------
    index : tuple
        (plane, rows, columns): which of the planes, and the slices of the output where it belongs.
    pixels : array
        (h, w), (h, w, 3) for RGB, or (C, h, w).
    """

    index: tuple[Any, ...]
    pixels: NDArray[Any]


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


def enhance(
    image: ImageLike,
    model: Model | Lens | str | os.PathLike[str],
    *,
    iterations: int = 1,
    grid: OnGrid = "finer",
    stop_below: float = 0.0,
    tile: int | Literal["auto"] | None = "auto",
    device: str = "auto",
    exact: bool = False,
    dtype: str | None = None,
) -> Micrograph | Any:
    """Apply a model, or a lens, to an image.

    Parameters
    ----------
    image : Micrograph, array or napari Image layer
        (..., Y, X), (..., Y, X, 3) for an RGB model, or (..., C, Y, X) for a model of C channels;
        leading axes are done plane by plane. A Dask array, alone or as the pixels of a Micrograph, is
        enhanced lazily: tile by tile, when and where the result is computed. For a lens of several
        channels also a dict of images by channel, or a list of them in its order; a lens takes no Dask
        array lazily.
    model : Model, Lens or path
        Or "default", the model that ships with the package. A lens is applied once.
    iterations : int
        How often to apply it, from the second time on to its own output (self-feeding, Rivenson et al.
        2017, doi:10.1364/OPTICA.4.001437).
    grid : {"finer", "same"}
        With several iterations: "finer" makes the image `model.scale` times larger each time; "same"
        brings the output back to the input's grid before the next, so that the result is `model.scale`
        times larger however often the model is applied.
    stop_below : float
        End after an iteration that changes less than this share of the range (root mean square).
    tile : int, "auto" or None
        Side of a tile in input px. "auto" fits the free memory; None takes the whole image at once. The
        result is the same; but for networks that take statistics over their whole image (pix2pix), which
        see windows of their training size, blended, or with None the whole: the result's notes say so.
    device : str
        "auto" or torch's name of a device. Of a lens also several, such as "cuda:0,cuda:1": networks that do
        not wait for each other are then applied at once.
    exact : bool
        Compute in float32 throughout. Otherwise 8-bit images are computed in half precision where the
        device is faster in it, which changes them by one grey level at most.
    dtype : str, optional
        Of the output: "uint8" or "uint16" over their whole range, "float32" from 0 to 1; by default dtype
        and range of the input.

    Returns
    -------
    Micrograph
        ceil(scale * n) pixels a side, its pixel size divided by the scale. Of a lens, a dict of Micrograph:
        its outputs by name, also where there is only one.

    Raises
    ------
    ModelError
        When the model's channels do not fit the image, or one that a lens needs is missing.
    ImageError
        When the image is empty, constant, NaN, or its range is unknown.
    """
    model = _loaded(model)
    if _is_dask(image) and isinstance(model, Model):
        if (iterations, dtype) != (1, None):
            raise ImageError(
                "A Dask array is enhanced once, in the type it has.",
                "Enhance the result again, or load the image first.",
            )
        return _lazily(image, model, tile=tile or "auto", device=device, exact=exact)
    steps = enhance_steps(
        image,
        model,
        iterations=iterations,
        grid=grid,
        stop_below=stop_below,
        tile=tile,
        device=device,
        exact=exact,
        dtype=dtype,
    )
    return run(steps)


def enhance_steps(
    image: ImageLike,
    model: Model | Lens | str | os.PathLike[str],
    *,
    iterations: int = 1,
    grid: OnGrid = "finer",
    stop_below: float = 0.0,
    tile: int | Literal["auto"] | None = "auto",
    device: str = "auto",
    exact: bool = False,
    dtype: str | None = None,
    look_at: tuple[int, float, float] = (0, 0.0, 0.0),
) -> Steps[Micrograph | Any]:
    """Do what `enhance` does, yielding events.

    Parameters
    ----------
    image, model, iterations, grid, stop_below, tile, device, exact, dtype
        As for `enhance`.
    look_at : (int, float, float)
        Plane, row and column of the input to begin with; tiles near it come first.

    Yields
    ------
    Event
        `new` is a `TileDone` after every tile of the last iteration, and a `Generation` after every
        iteration where there are several. Of a lens it is None.
    """
    model = _loaded(model)
    _check_options(iterations, grid, stop_below, tile)
    if isinstance(model, Lens):
        from .lens_apply import lens_steps

        if iterations != 1:
            raise ImageError("A lens is applied once.", "Leave the iterations at 1.")
        of_lens: dict[str, Any] = {"tile": tile, "device": device, "exact": exact}
        return (yield from lens_steps(image, model, dtype=dtype, **of_lens))
    given = check_content(as_micrograph(image, name="image"))
    how: dict[str, Any] = {
        "iterations": iterations,
        "grid": grid,
        "stop_below": stop_below,
        "look_at": look_at,
    }
    # Of finer steps than 8 bit, half precision would lose some.
    exact = exact or given.pixels.dtype != np.uint8
    how |= {"tile": tile, "device": device, "exact": exact, "dtype": dtype}
    return (yield from unchecked_steps(given, model, **how))


def unchecked_steps(
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
    """Do what `enhance_steps` does with a model, to an image within a lens.

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
        change = _change(current, result, model.scale)
        shown = result if last else converted(result, of_type(given, dtype))
        done = Generation(number, shown, change)
        yield Event(f"{words}changed {change:.2%} of the range", number / iterations, done)
        if last or change < stop_below:
            result = shown
            break
        current = result if grid == "finer" else _shrunk(result, given, model.scale)
    return result


def generations(
    image: ImageLike, model: Model | str | os.PathLike[str], *, iterations: int, **options: Any
) -> list[Generation]:
    """Apply a model several times and keep what each iteration makes; `options` as for `enhance`."""
    kept = list[Generation]()

    def keeping() -> Steps[None]:
        for event in enhance_steps(image, model, iterations=iterations, **options):
            if isinstance(event.new, Generation):
                kept.append(event.new)
            yield event

    run(keeping())
    return kept


def _loaded(model: Model | Lens | str | os.PathLike[str]) -> Model | Lens:
    return model if isinstance(model, Model | Lens) else load(model)


def _is_dask(image: ImageLike) -> bool:
    pixels = image.pixels if isinstance(image, Micrograph) else image
    return type(pixels).__module__.partition(".")[0] == "dask"


def _lazily(image: ImageLike, model: Model, **options: Any) -> Micrograph:
    from .lazy import enhance_lazy

    return enhance_lazy(as_lazy_micrograph(image), model, **options)


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
    size = getattr(model.network, "size", None)
    if size is not None:
        return windowed(image, like, engine, layout, size, whole=tile is None, news=TileDone)
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
    shape = layout.shape(*output_shape(image.shape, grid.scale))
    pixels = new_pixels(shape, like.pixels.dtype, engine.device)
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


def _check_options(
    iterations: int, grid: str, stop_below: float, tile: int | Literal["auto"] | None
) -> None:
    if iterations < 1:
        raise ImageError(f"{iterations} iterations cannot be done.", "Use at least 1.")
    if grid not in get_args(OnGrid):
        raise ImageError(f"There is no grid '{grid}'.", "Use 'finer' or 'same'.")
    if not 0 <= stop_below < 1:
        raise ImageError(
            f"A change below {stop_below} cannot be waited for.", "Give a share, 0 to below 1."
        )
    if isinstance(tile, int) and tile < 1:
        raise ImageError(f"A tile of {tile} pixels cannot be cut.", "Use at least 1, or 'auto'.")


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


def _change(before: Micrograph, after: Micrograph, scale: float) -> float:
    enlarged = to_unit(bicubic(before, scale, after.shape))
    return float(np.sqrt(np.mean((to_unit(after) - enlarged) ** 2)))

"""Apply a model to an image of any size."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from ..device import Device, choose_device, free_memory, place
from ..errors import ImageError, ModelError
from ..jobs import Event, Steps, run
from ..micrograph import ImageLike, Micrograph, as_micrograph, check_content, from_unit, to_unit
from ..model import Model, load
from .tiles import Tile, output_shape, tiles

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["TileDone", "enhance", "enhance_steps"]

# Bytes of feature maps an input pixel costs at its peak, in units of the network's widest layer (float32).
_COPIES = 6
_SMALLEST_TILE, _LARGEST_TILE = 64, 512


@dataclass(frozen=True, eq=False)
class TileDone:
    """A finished tile: its pixels, and where in the output they belong."""

    index: tuple[Any, ...]
    pixels: NDArray[Any]


def enhance(
    image: ImageLike,
    model: Model | str | os.PathLike[str],
    *,
    iterations: int = 1,
    tile: int | Literal["auto"] | None = "auto",
    device: str = "auto",
) -> Micrograph:
    """Apply a model to an image.

    Parameters
    ----------
    image : Micrograph, array or napari Image layer
        (..., Y, X), or (..., Y, X, 3) for an RGB model; leading axes are done plane by plane.
    model : Model or path
    iterations : int
        How often to apply it; from the second time on to its own output, each time `model.scale` finer.
    tile : int, "auto" or None
        Side of a tile in input px. "auto" fits the free memory; None takes the whole image at once. The
        result is the same.
    device : str
        "auto" or torch's name of a device.

    Returns
    -------
    Micrograph
        ceil(scale * n) pixels a side, in the dtype and range of the input, its pixel size divided by the
        scale.

    Raises
    ------
    ModelError
        When the model's channels do not fit the image.
    ImageError
        When the image is empty, constant, NaN, or its range is unknown.
    """
    steps = enhance_steps(image, model, iterations=iterations, tile=tile, device=device)
    return run(steps)


def enhance_steps(
    image: ImageLike,
    model: Model | str | os.PathLike[str],
    *,
    iterations: int = 1,
    tile: int | Literal["auto"] | None = "auto",
    device: str = "auto",
) -> Steps[Micrograph]:
    """Do what `enhance` does, yielding events.

    Yields
    ------
    Event
        `new` is a `TileDone` after every tile of the last iteration.
    """
    model = model if isinstance(model, Model) else load(model)
    micrograph, where = check_content(as_micrograph(image, name="image")), choose_device(device)
    _check_fits(micrograph, model)
    if iterations < 1:
        raise ImageError(f"{iterations} iterations cannot be done.", "Use at least 1.")
    if isinstance(tile, int) and tile < 1:
        raise ImageError(f"A tile of {tile} pixels cannot be cut.", "Use at least 1, or 'auto'.")
    like = micrograph.with_pixels(micrograph.pixels, value_range=micrograph.range())
    planes = _planes(to_unit(micrograph), micrograph.rgb)
    network = place(copy.deepcopy(model.network), where).eval()
    for generation in range(1, iterations + 1):
        last = generation == iterations
        side = _tile_side(tile, planes.shape[-2:], network, where)
        cuts = list(_cuts(planes.shape[-2:], model, network, side))
        output = np.empty(
            (*planes.shape[:-2], *output_shape(planes.shape[-2:], model.scale)), np.float32
        )
        total = len(planes) * len(cuts)
        for count, (plane, cut) in enumerate(
            ((p, c) for p in range(len(planes)) for c in cuts), start=1
        ):
            where_to = (plane, slice(None), *cut.write)
            output[where_to] = _apply(network, planes[plane], cut, where)
            done = TileDone((plane, *cut.write), _pixels(output[where_to], like)) if last else None
            fraction = (generation - 1 + count / total) / iterations
            yield Event(_words(generation, iterations, count, total), fraction, done)
        planes = output
    shape = (
        *micrograph.pixels.shape[: micrograph.pixels.ndim - 2 - micrograph.rgb],
        *planes.shape[-2:],
    )
    pixels = from_unit(_channels_last(planes, micrograph.rgb), like)
    size, factor = micrograph.pixel_size, model.scale**iterations
    return like.with_pixels(
        pixels.reshape(*shape, 3) if micrograph.rgb else pixels.reshape(shape),
        pixel_size=(size[0] / factor, size[1] / factor) if size else None,
    )


def _check_fits(image: Micrograph, model: Model) -> None:
    if model.channels == image.channels:
        return
    kinds = {1: "grey", 3: "RGB"}
    wanted, given = kinds.get(model.channels, str(model.channels)), kinds[image.channels]
    raise ModelError(
        f"Model '{model.name}' takes {wanted} images, and '{image.name}' is {given}.",
        f"Choose a {given} model, or convert the image to {wanted}.",
    )


def _planes(unit: NDArray[np.float32], rgb: bool) -> NDArray[np.float32]:
    """Return (n, C, H, W)."""
    if rgb:
        return np.moveaxis(unit.reshape(-1, *unit.shape[-3:]), -1, 1)
    return unit.reshape(-1, 1, *unit.shape[-2:])


def _channels_last(planes: NDArray[np.float32], rgb: bool) -> NDArray[np.float32]:
    return np.moveaxis(planes, 1, -1) if rgb else planes[:, 0]


def _pixels(planes: NDArray[np.float32], like: Micrograph) -> NDArray[Any]:
    return from_unit(np.moveaxis(planes, 0, -1) if like.rgb else planes[0], like)


def _cuts(shape: tuple[int, int], model: Model, network: Any, side: int) -> Iterator[Tile]:
    return tiles(shape, scale=model.scale, stride=network.stride, halo=network.halo, tile=side)


def _tile_side(
    tile: int | Literal["auto"] | None,
    shape: tuple[int, int],
    network: torch.nn.Module,
    where: Device,
) -> int:
    if tile is None:
        return max(shape)
    if tile != "auto":
        return tile
    widest = max(parameter.shape[0] for parameter in network.parameters())
    pixels = free_memory(where) / 4 / (_COPIES * 4 * widest)
    return int(np.clip(pixels**0.5, _SMALLEST_TILE, _LARGEST_TILE))


@torch.inference_mode()
def _apply(
    network: torch.nn.Module, plane: NDArray[np.float32], cut: Tile, where: Device
) -> NDArray[np.float32]:
    piece = torch.from_numpy(np.ascontiguousarray(plane[(slice(None), *cut.read)]))[None]
    piece = piece.to(where.name).contiguous(memory_format=torch.channels_last)
    output: NDArray[np.float32] = network(piece)[0].cpu().numpy()
    return output[(slice(None), *cut.keep)]


def _words(generation: int, iterations: int, count: int, total: int) -> str:
    words = f"tile {count} of {total}"
    return words if iterations == 1 else f"iteration {generation} of {iterations}, {words}"

"""Many images one after the other, with the copies to and from a GPU under its work."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..device import choose_device
from ..memory import memory_errors
from ..micrograph import ImageLike, Micrograph, as_micrograph, check_content
from ..model import Model, load
from .deploy import engine_for
from .enhance import enhance, with_notes
from .planes import Layout, leaving, to_device
from .tiles import output_shape

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

    from .deploy import Engine

__all__ = ["enhance_many"]

# Larger ones are done tile by tile, and the GPU is busy with each of them long enough.
_LARGEST_PX = 3000 * 3000


def enhance_many(
    images: Iterable[ImageLike], model: Model | str | os.PathLike[str], *, device: str = "auto"
) -> Iterator[Micrograph]:
    """Apply a model to image after image, as `enhance` does.

    Parameters
    ----------
    images : iterable of Micrograph, array or napari Image layer
        Taken one ahead of what is returned; on a CUDA GPU two.
    model : Model or path
    device : str
        "auto" or torch's name of a device. On a CUDA GPU 8-bit images are copied there and back while
        others are computed.

    Yields
    ------
    Micrograph
        Of each image, in turn.

    Raises
    ------
    ModelError, ImageError
        As `enhance`.
    """
    model = model if isinstance(model, Model) else load(model)
    where = choose_device(device)
    # One that is computed, and on a GPU one that is waiting there meanwhile.
    ahead = 2 if where.name.startswith("cuda") else 1
    waiting = deque[Callable[[], Micrograph]]()
    with ThreadPoolExecutor(1, thread_name_prefix="acuity-copies") as copier:
        for image in images:
            given = check_content(as_micrograph(image, name="image"))
            layout = Layout.of(given, model.channels)
            started: Callable[[], Micrograph] | None = None
            whole = layout is not None and model.window_px is None
            if layout is not None and whole and _overlaps(given, layout, where.name):
                # Not an `except` clause: while one runs, the error keeps hold of what fills the memory.
                with suppress(MemoryError), memory_errors():
                    started = _start(given, layout, engine_for(model, where), model, copier)
            waiting.append(started or _returning(enhance(given, model, device=device)))
            if len(waiting) > ahead:
                yield waiting.popleft()()
        while waiting:
            yield waiting.popleft()()


def _overlaps(image: Micrograph, layout: Layout, device: str) -> bool:
    small = int(np.prod(image.shape)) <= _LARGEST_PX
    return (
        device.startswith("cuda")
        and image.pixels.dtype == np.uint8
        and not layout.leading
        and small
    )


def _returning(image: Micrograph) -> Callable[[], Micrograph]:
    return lambda: image


def _start(
    image: Micrograph, layout: Layout, engine: Engine, model: Model, copier: ThreadPoolExecutor
) -> Callable[[], Micrograph]:
    """Launch all that an image needs, and its copy in a thread; return what waits for it."""
    given = image.with_pixels(image.pixels, value_range=image.range())
    shape = layout.shape(*output_shape(given.shape, model.scale))
    pixels = np.empty(shape, given.pixels.dtype)
    inward, outward = _streams(engine.device)
    here = torch.cuda.current_stream(engine.device)
    with torch.cuda.stream(inward):
        piece = to_device(layout.planes(given.pixels)[0], given, engine.device)
    here.wait_stream(inward)
    piece.record_stream(here)
    output = engine.run(piece)
    outward.wait_stream(here)
    with torch.cuda.stream(outward):
        copy = leaving(output, given, layout.planes(pixels)[0])
        output.record_stream(outward)
    copied = copier.submit(copy)
    size = given.finer_pixel_size(model.scale)

    def finished() -> Micrograph:
        copied.result()
        return with_notes(given.with_pixels(pixels, pixel_size=size), image, model)

    return finished


_kept: dict[str, tuple[Any, Any]] = {}


def _streams(device: str) -> tuple[Any, Any]:
    if device not in _kept:
        make: Any = torch.cuda.Stream
        _kept[device] = make(device), make(device)
    return _kept[device]

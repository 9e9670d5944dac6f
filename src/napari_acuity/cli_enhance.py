"""What the command enhance does around the enhancing: checks before it, and words after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import napari_acuity as acuity
from napari_acuity.core.io import check_target
from napari_acuity.core.jobs import altered

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["applied", "check_made"]


def check_made(image: acuity.Micrograph, dtype: str | None, out: Path) -> None:
    """Raise where what is made of an image cannot be written, before it is made."""
    from napari_acuity.core.inference.model_steps import of_type

    pixel = np.zeros((), of_type(image, dtype).pixels.dtype)
    check_target(image.with_pixels(np.broadcast_to(pixel, image.pixels.shape)), out)


def applied(
    image: acuity.Micrograph, model: acuity.Model, options: dict[str, Any]
) -> tuple[acuity.Micrograph, int]:
    """Enhance an image, and tell what to know of it -> the result, after how many iterations."""
    from napari_acuity.core.inference.model_steps import Generation

    changes = list[float]()

    def noted(event: acuity.Event) -> acuity.Event:
        if isinstance(event.new, Generation):
            changes.append(event.new.change)
        return event

    result = acuity.run(altered(acuity.enhance_steps(image, model, **options), noted))
    for number, change in enumerate(changes, start=1):
        print(f"iteration {number} changed {change:.2%} of the range")
    if 0 < len(changes) < options["iterations"]:
        print(f"ended there: that is less than {options['stop_below']:.2%}")
    for note in result.notes:
        print(f"warning: {note}")
    return result, max(1, len(changes))

"""Apply a lens to an image: step by step, holding no more images than the steps to come need."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..jobs import Event, altered, within
from .enhance import converted, enhance_steps, of_type
from .lens_input import images_for
from .lens_operations import gatherer_for

if TYPE_CHECKING:
    from ..jobs import Steps
    from ..lens import Lens, Output, Step
    from ..micrograph import ImageLike, Micrograph

__all__ = ["lens_steps"]


def lens_steps(
    image: ImageLike, lens: Lens, *, dtype: str | None = None, **options: Any
) -> Steps[dict[str, Micrograph]]:
    """Apply a lens, yielding events.

    Parameters
    ----------
    image : ImageLike, dict or list of such
        See `images_for`.
    lens : Lens
    dtype : str, optional
        Of the outputs, as for `enhance`; a spread is float32 in the units of that type, and a merged image
        is 8 bit, whatever is asked for.
    **options
        "tile", "device" and "exact", as for `enhance`.

    Returns
    -------
    dict of Micrograph
        The outputs by name, in the lens's order.

    Raises
    ------
    ModelError, ImageError
        As `enhance` and `images_for`.
    """
    given = images_for(image, lens)
    likes = {
        each.name: of_type(given[lens.inputs_of(each.name)[0]], dtype) for each in lens.outputs
    }
    made: dict[str, Micrograph] = {}
    flow = _Flow(lens)
    for name, channel in given.items():
        flow.hand_on(name, channel)
    models = sum(step.op == "model" for step in lens.order)
    done = 0
    for step in lens.order:
        yield Event(step.name, done / models if models else 0.0)
        if step.op == "model":
            part = _modelled(flow.taken(step), step, lens, options)
            result = yield from within(part, done / models, (done + 1) / models)
            done += 1
        else:
            result = flow.taken(step)
        for output in lens.outputs:
            if output.step == step.name:
                made[output.name] = _finished(result, output, lens, likes[output.name])
        flow.hand_on(step.name, result)
        del result  # the next step may need the memory
    return {output.name: made[output.name] for output in lens.outputs}


class _Flow:
    """Hands each image on to the steps that need it, as soon as it is there, and holds none itself."""

    def __init__(self, lens: Lens) -> None:
        self._lens = lens
        self._gatherers = {
            step.name: gatherer_for(step, lens.kinds[step.of[0]].channels) for step in lens.order
        }

    def hand_on(self, name: str, image: Micrograph) -> None:
        """Give an image to all steps that are done with it."""
        for step in self._lens.order:
            for place, wanted in enumerate(step.of):
                if wanted == name:
                    self._gatherers[step.name].take(place, image)

    def taken(self, step: Step) -> Micrograph:
        """Return what a step makes of the images it was given, and forget them."""
        return self._gatherers.pop(step.name).result()


def _modelled(
    image: Micrograph, step: Step, lens: Lens, options: dict[str, Any]
) -> Steps[Micrograph]:
    """Apply the model of a step; in float32, so that nothing is rounded before the end."""
    model = lens.models[step.settings["model"]]
    steps = enhance_steps(image, model, dtype="float32", **options)
    return (yield from altered(steps, partial(_told, words=step.name)))


def _told(event: Event, words: str) -> Event:
    return replace(event, stage=f"{words}: {event.stage}", new=None)


def _finished(image: Micrograph, output: Output, lens: Lens, like: Micrograph) -> Micrograph:
    """Return an output in the type and range it should have."""
    values = lens.kinds[output.step].values
    if values == "image":
        return replace(converted(image, like), name=output.name)
    if values == "spread":
        low, high = like.range()
        pixels = image.pixels * np.float32(high - low)
        # Values within a range deviate from their mean by half of it at most.
        return replace(image, pixels=pixels, name=output.name, value_range=(0.0, (high - low) / 2))
    return replace(image, name=output.name)

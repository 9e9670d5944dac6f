"""Apply a lens to an image: step by step, holding no more images than the steps to come need."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...device import choose_device
from ...jobs import Event, altered, together, within
from ..model_steps import cautioned, model_steps, of_type
from ..planes import from_device, unit_pixels
from .inputs import images_for
from .operations import gatherer_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...jobs import Steps
    from ...lens import Lens, Output, Step
    from ...micrograph import ImageLike, Micrograph

__all__ = ["lens_steps"]


def lens_steps(
    image: ImageLike,
    lens: Lens,
    *,
    dtype: str | None = None,
    device: str = "auto",
    **options: Any,
) -> Steps[dict[str, Micrograph]]:
    """Apply a lens, yielding events.

    Parameters
    ----------
    image : ImageLike, dict or list of such
        See `images_for`.
    lens : Lens
    dtype : str, optional
        Of the outputs, as for `enhance`; a spread is float32 in the units of that type, and a merged image
        and labels are 8 bit, whatever is asked for.
    device : str
        As for `enhance`; or several, such as "cuda:0,cuda:1" or "cpu,cpu": models that do not wait for
        each other are then applied at once, one a device.
    **options
        "tile" and "exact", as for `enhance`.

    Returns
    -------
    dict of Micrograph
        The outputs by name, in the lens's order.

    Raises
    ------
    ModelError, ImageError
        As `enhance` and `images_for`.
    """
    devices = _devices(device)
    given = images_for(image, lens)
    # What flows inside is float32; how fine it has to be is told by what comes in.
    options["exact"] = options.get("exact", False) or any(
        each.pixels.dtype != np.uint8 for each in given.values()
    )
    likes = {
        each.name: of_type(given[lens.inputs_of(each.name)[0]], dtype) for each in lens.outputs
    }
    made: dict[str, Micrograph] = {}
    flow = _Flow(lens)
    for name, channel in given.items():
        flow.take_in(name, channel)
    models, done = max(1, sum(step.op == "model" for step in lens.order)), 0
    for wave in _waves(lens, len(devices)):
        yield Event(", ".join(step.name for step in wave), done / models)
        before, done = done, done + sum(step.op == "model" for step in wave)
        part = _results(wave, flow, lens, devices, options)
        results = yield from within(part, before / models, done / models)
        for step in wave:
            result = results.pop(0)
            for output in lens.outputs:
                if output.step == step.name:
                    made[output.name] = _finished(result, output, lens, likes[output.name])
            flow.hand_on(step.name, result)
            del result  # the next step may need the memory
    return {output.name: made[output.name] for output in lens.outputs}


def _devices(names: str) -> list[str]:
    """Return the devices named, a GPU once: a processor can do several things at a time, a GPU one."""
    chosen = [choose_device(name.strip()).name for name in names.split(",")]
    return [name for n, name in enumerate(chosen) if name == "cpu" or name not in chosen[:n]]


def _waves(lens: Lens, devices: int) -> Iterator[list[Step]]:
    """Yield steps that can be done at once: models, one a device at most, or one of the others.

    With one device that is the order of the lens. With several, what models wait for is done first, until
    there is work for all devices.
    """
    waiting, there = list(lens.order), {each.name for each in lens.inputs}
    while waiting:
        ready = [step for step in waiting if there.issuperset(step.of)]
        models = [step for step in ready if step.op == "model"][:devices]
        others = [step for step in ready if step.op != "model"][:1]
        wave = models if ready[0] in models and len(models) == devices else others or models
        yield wave
        there |= {step.name for step in wave}
        waiting = [step for step in waiting if step not in wave]


class _Flow:
    """Hands each image on to the steps that need it, as soon as it is there, and holds none itself."""

    def __init__(self, lens: Lens) -> None:
        self._lens = lens
        self._gatherers = {
            step.name: gatherer_for(step, [lens.kinds[name] for name in step.of])
            for step in lens.order
        }

    def take_in(self, name: str, image: Micrograph) -> None:
        """Give an input to its steps: to models as it is, to arithmetic with black 0 and white 1."""
        takers = self._takers(name)
        if any(step.op != "model" for step, _ in takers):
            unit = image.with_pixels(unit_pixels(image), value_range=(0.0, 1.0))
        for step, place in takers:
            self._gatherers[step.name].take(place, image if step.op == "model" else unit)

    def hand_on(self, name: str, image: Micrograph) -> None:
        """Give what a step made to all steps that are done with it."""
        for step, place in self._takers(name):
            self._gatherers[step.name].take(place, image)

    def taken(self, step: Step) -> Micrograph:
        """Return what a step makes of the images it was given, and forget them."""
        return self._gatherers.pop(step.name).result()

    def _takers(self, name: str) -> list[tuple[Step, int]]:
        return [
            (step, place)
            for step in self._lens.order
            for place, wanted in enumerate(step.of)
            if wanted == name
        ]


def _results(
    wave: list[Step], flow: _Flow, lens: Lens, devices: list[str], options: dict[str, Any]
) -> Steps[list[Micrograph]]:
    """Do the steps of a wave."""
    if wave[0].op != "model":
        return [flow.taken(wave[0])]
    parts = [
        _modelled(flow.taken(step), step, lens, device=device, **options)
        for step, device in zip(wave, devices, strict=False)
    ]
    if len(parts) == 1:
        return [(yield from parts[0])]
    return (yield from together(parts))


def _modelled(image: Micrograph, step: Step, lens: Lens, **options: Any) -> Steps[Micrograph]:
    """Apply the model of a step; in float32, so that nothing is rounded before the end."""
    model = lens.models[step.settings["model"]]
    # What flows in a lens may be blank: the mask of a kind that an image does not show.
    steps = model_steps(image, model, dtype="float32", **options)
    return (yield from altered(steps, partial(_told, words=step.name)))


def _told(event: Event, words: str) -> Event:
    return replace(event, stage=f"{words}: {event.stage}", new=None)


def _finished(image: Micrograph, output: Output, lens: Lens, like: Micrograph) -> Micrograph:
    """Return an output in the type and range it should have."""
    image = replace(image, name=output.name)
    kind = lens.kinds[output.step]
    values = kind.values
    if values in ("image", "mask"):
        pixels = np.empty(image.pixels.shape, like.pixels.dtype)
        unit, target = (each.reshape(-1, *each.shape[-2:]) for each in (image.pixels, pixels))
        from_device(torch.from_numpy(unit)[None], like, target)
        return cautioned(replace(image, pixels=pixels, value_range=like.value_range), kind.levels)
    if values == "spread":
        low, high = like.range()
        pixels = image.pixels * np.float32(high - low)
        # Values within a range deviate from their mean by half of it at most.
        return replace(image, pixels=pixels, value_range=(0.0, (high - low) / 2))
    return image

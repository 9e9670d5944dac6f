"""The parts of the lenses that are built in: bundles, ensembles, and lenses of kinds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

from ..colours import full_colour
from ..errors import ImageError, ModelError
from ..model import Model
from ..model import load as load_model
from .checks import check_unlike
from .steps import Input, Output, Step

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

__all__ = ["Loadable", "Parts", "parts_of_channels", "parts_of_ensemble", "parts_of_kinds"]

Loadable: TypeAlias = "Model | str | os.PathLike[str]"
Parts: TypeAlias = tuple[
    tuple[Input, ...], tuple[Step, ...], tuple[Output, ...], Mapping[str, Model]
]
"""Inputs, steps, outputs and models of a lens."""

# Rivenson et al. and Wang et al. show magenta, green and blue.
_COLOURS = ("#ff00ff", "#00ff00", "#0000ff", "#ffff00", "#00ffff", "#ff0000")


def parts_of_channels(
    models: Mapping[str, Loadable], colours: Mapping[str, str] | Sequence[str] | None
) -> Parts:
    """Return what `Lens.of_channels` is made of."""
    channels = list(models)
    if not channels:
        raise ModelError("A bundle of no models shows nothing.", "Give a model for each channel.")
    shown = dict(zip(channels, _hex(channels, colours, "channels"), strict=True))
    held, used = _held(models)
    steps = [
        Step(f"{channel} enhanced", "model", (channel,), {"model": used[channel]})
        for channel in channels
    ]
    names = tuple(step.name for step in steps)
    merge = Step("all merged", "merge", names, {"colours": list(shown.values())})
    outputs = [
        Output(channel, step, colormap=shown[channel])
        for channel, step in zip(channels, names, strict=True)
    ]
    inputs = tuple(Input(channel) for channel in channels)
    return inputs, (*steps, merge), (*outputs, Output("merged", merge.name)), held


def parts_of_ensemble(models: Sequence[Loadable]) -> Parts:
    """Return what `Lens.ensemble` is made of."""
    members = [_loaded(model) for model in models]
    if len(members) < 2:
        raise ModelError(
            f"An ensemble of {len(members)} model{'s' * (len(members) != 1)} tells nothing of disagreement.",
            "Give at least two, such as those of runs with several seeds.",
        )
    check_unlike(members)
    held = {f"member {number}": model for number, model in enumerate(members, start=1)}
    steps = [Step(key, "model", ("image",), {"model": key}) for key in held]
    names = tuple(held)
    steps += [Step("mean of all", "mean", names), Step("spread of all", "sd", names)]
    outputs = (
        Output("mean", "mean of all"),
        Output("disagreement", "spread of all", colormap="inferno", shown=False),
    )
    return (Input("image", members[0].channels),), tuple(steps), outputs, held


def parts_of_kinds(
    kinds: Mapping[str, str],
    labelling: Loadable,
    magnifying: Mapping[str, Loadable],
    shadowing: Loadable | None,
) -> Parts:
    """Return what `Lens.of_kinds` is made of."""
    names = list(kinds)
    _check_magnifying(names, list(magnifying))
    roles = {"labelling": labelling, **{_magnifying(name): magnifying[name] for name in names}}
    held, used = _held(roles if shadowing is None else {**roles, "shadowing": shadowing})
    _check_colour_to_colour({role: held[name] for role, name in used.items()})
    classes = {"kinds": names, "colours": _hex(names, kinds, "kinds")}
    steps = [
        Step("class colours", "model", ("image",), {"model": used["labelling"]}),
        Step("kinds", "classify", ("class colours",), classes),
    ]
    for name in names:
        model = used[_magnifying(name)]
        steps += [
            Step(f"mask of {name}", "mask", ("kinds",), {"kind": name}),
            Step(f"only {name}", "multiply", ("image", f"mask of {name}")),
            Step(_magnifying(name), "model", (f"only {name}",), {"model": model}),
        ]
    last = _magnifying(names[0])
    if len(names) > 1:
        last = "sum"
        steps.append(Step(last, "add", tuple(map(_magnifying, names))))
    if shadowing is not None:
        steps.append(Step("shadows", "model", (last,), {"model": used["shadowing"]}))
        last = "shadows"
    steps.append(Step("kinds in colour", "colourise", ("kinds", last)))
    outputs = (
        Output("magnified", last),
        Output("labels", "kinds", kind="labels"),
        Output("coloured", "kinds in colour", shown=False),
        *(Output(f"only:{name}", _magnifying(name), shown=False) for name in names),
    )
    return (Input("image", 3),), tuple(steps), outputs, held


def _magnifying(kind: str) -> str:
    return f"magnifying {kind}"


def _check_magnifying(kinds: list[str], given: list[str]) -> None:
    if not kinds:
        raise ModelError(
            "A lens of no kinds labels nothing.", "Give at least one, with its colour."
        )
    if missing := [name for name in kinds if name not in given]:
        raise ModelError(
            f"There is no magnifying model for the kind '{missing[0]}'.",
            "Give one for each kind; one model may serve several.",
        )
    if strange := [name for name in given if name not in kinds]:
        raise ModelError(
            f"There is a magnifying model for '{strange[0]}', which is not among the kinds: "
            f"{', '.join(kinds)}.",
            "Leave it out, or give the kind a colour.",
        )


def _check_colour_to_colour(models: Mapping[str, Model]) -> None:
    for role, model in models.items():
        if (model.channels, model.scale) != (3, 1):
            raise ModelError(
                f"The {role} model takes {model.channels} channel{'s' * (model.channels != 1)} and has the "
                f"scale {model.scale:g}.",
                "A lens of kinds takes models from RGB to RGB of scale 1.",
            )


def _loaded(model: Loadable) -> Model:
    return model if isinstance(model, Model) else load_model(model)


def _held(given: Mapping[str, Loadable]) -> tuple[dict[str, Model], dict[str, str]]:
    """Return the models, each once, by names that a file can have; and the name for each use."""
    held, used, known = dict[str, Model](), dict[str, str](), dict[Model | str, str]()
    for number, (use, model) in enumerate(given.items(), start=1):
        key = model if isinstance(model, Model) else str(model)
        if key not in known:
            plain = re.sub(r"[^\w.+-]+", "-", use)[:60].strip("._+-") or f"{number}"
            while plain in held:
                plain = f"{plain}-{number}"
            held[plain], known[key] = _loaded(model), plain
        used[use] = known[key]
    return held, used


def _hex(
    names: list[str], colours: Mapping[str, str] | Sequence[str] | None, words: str
) -> list[str]:
    from matplotlib.colors import to_hex

    if isinstance(colours, Mapping):
        listed = [colours[name] for name in names if name in colours]
    else:
        listed = list(_COLOURS[: len(names)] if colours is None else colours)
    if len(listed) != len(names):
        raise ModelError(
            f"There are {len(names)} {words}, and {len(listed)} colour{'s' * (len(listed) != 1)} for them.",
            f"Give one for each of the {words}: names, or #rrggbb.",
        )
    try:
        return [to_hex(full_colour(colour)) for colour in listed]
    except ImageError as error:
        raise ModelError(f"A colour is not known: {error.cause}", error.cure) from error

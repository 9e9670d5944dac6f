"""What a package says of its model, from the model's header."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..micrograph import kind_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..model import Model

__all__ = ["CITATIONS", "documentation"]

# Of each network, the paper it was published in and its DOI.
CITATIONS = {
    "pyramid_resnet": (
        "Rivenson et al. 2017, Deep learning microscopy, Optica 4, 1437",
        "10.1364/OPTICA.4.001437",
    ),
}


def documentation(model: Model) -> str:
    """Return a page of Markdown: input and output, recipe, data, scores and limits.

    It states what the header states and nothing else.
    """
    header = model.header
    kind = kind_of(model.channels, rgb=model.rgb)
    size = " x ".join(f"{n:g}" for n in header.pixel_size) if header.pixel_size else None
    at = (
        f"It was trained on pixels of {size} µm (y, x)." if size else "Its pixel size is not known."
    )
    network = {"network": header.network, **header.arguments}
    parts = [
        f"# {model.name}",
        f"Super-resolution of {kind} images: {model.scale:g} times as many pixels a side. {at} Trained and "
        "written with napari-acuity.",
        "## Input and output",
        "Input: 8 bit, 0 is black and 255 white; the network sees value / 255. For 16 bit divide by 65535, "
        "for floats in 0..1 by nothing. Scale by the data type or a stated black and white, never by the "
        "content. Output: float32, clipped and scaled back to 0..255. Its pixels cover the same field.",
        _borders(model.window_px),
        *_section("Network", network, "The header does not say."),
        *_section("Training", header.recipe, "The header does not name a recipe."),
        *_section("Data", _fields(header.data), "The header names no data."),
        *_section("Validation", header.scores, "The header holds no scores on held-out fields."),
        "To check the model on images of your own, take fields that both instruments captured and that were "
        "not used in training, register them, and score the output against the truth beside bicubic "
        "enlargement.",
        "## Limits",
        "A model adds the structures it was trained on, at the size it was trained on. On another sample, "
        "stain, instrument or pixel size it can draw detail that is not there. Compare with a better "
        "instrument's image before you rely on it.",
        *_section("Versions", header.versions, "The header names no versions."),
    ]
    return "\n\n".join(parts) + "\n"


def _borders(size: int | None) -> str:
    if size is not None:
        return (
            f"The network takes statistics over its whole image and was trained at {size} x {size} px. Give "
            "it that size; tiles of a larger image differ from the whole, so blend them."
        )
    return "The outermost pixels depend on what lies outside the image; the halo states how many."


def _fields(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the names of the pairs of each part, without their fingerprints."""
    return {
        part: f"{len(pairs)}: {', '.join(pairs)}" if isinstance(pairs, dict) else pairs
        for part, pairs in data.items()
    }


def _section(title: str, facts: Mapping[str, Any], otherwise: str) -> Iterator[str]:
    yield f"## {title}"
    rows = [f"| {name} | {_cell(value)} |" for name, value in _flat(facts)]
    yield "\n".join(["| | |", "| --- | --- |", *rows]) if rows else otherwise


def _flat(facts: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in facts.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name}, ")
        else:
            yield _cell(f"{above}{name}"), value


def _cell(value: Any) -> str:
    words = f"{value:.4g}" if isinstance(value, float) else str(value)
    return " ".join(words.replace("|", "\\|").split())

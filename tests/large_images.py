"""What the tests of large images share: a model, and what a job said and left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from napari_acuity import Model

if TYPE_CHECKING:
    from pathlib import Path


def model_of(channels: int = 3, *, seed: int = 7, scale: float = 2.5) -> Model:
    """Return a small model with weights as lively as a trained one's."""
    arguments = {"width": 6, "growth": 2, "blocks": 1, "init": "published"}
    model = Model.new(scale=scale, channels=channels, **arguments)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.network.named_parameters():
            spread = 0.1 if name.endswith("bias") else 0.5 * parameter[0].numel() ** -0.5
            parameter += spread * torch.randn(parameter.shape, generator=generator)
    return model


def content(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def stages(steps: Any) -> list[str]:
    """Drain a job and return its words; its fractions must not fall."""
    words, last = [], 0.0
    for event in steps:
        assert last <= event.fraction <= 1
        words.append(event.stage)
        last = event.fraction
    return words


def tiles_done(words: list[str]) -> int:
    return sum(word.startswith("tile ") for word in words)


def left_behind(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]

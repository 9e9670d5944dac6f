"""The state of a run in one file: written whole or not at all, read without executing anything."""

from __future__ import annotations

import io
import pickle
from typing import TYPE_CHECKING, Any

import torch

from ..errors import TrainingError
from ..io import replacing

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["load_state", "save_state"]


def save_state(state: dict[str, Any], path: Path) -> None:
    """Write a nested dict of tensors, numbers and text.

    Raises
    ------
    FileError
        When there is no space left or the folder may not be written; what was there stays.
    """
    # By way of the memory: torch tells a full disk as an error of its own, we as what it is.
    content = io.BytesIO()
    torch.save(state, content)
    with replacing(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def load_state(path: Path) -> dict[str, Any]:
    """Read what `save_state` wrote.

    Raises
    ------
    TrainingError
        When the file is missing or damaged.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise pickle.UnpicklingError("it holds no table")
    except FileNotFoundError as error:
        raise TrainingError(
            f"{path.parent} holds no checkpoint to go on from.", "Begin another run."
        ) from error
    except Exception as error:  # torch raises all kinds at a damaged file
        raise TrainingError(
            f"The checkpoint {path} is damaged or cut short.",
            "Begin another run; with start, from this one's best model.",
        ) from error
    return state

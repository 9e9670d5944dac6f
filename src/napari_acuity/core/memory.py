"""Memory that is used up: one error for it, whoever says so, and however."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from .errors import AcuityError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MOST_BYTES", "memory_errors", "memory_problems"]

MOST_BYTES = 1_000_000_000
"""A result that is larger is for OME-Zarr."""

# How torch says it of a processor's memory, by errors that have no type of their own; the second, of
# oneDNN, where a convolution cannot have what it needs beside its input and output.
_OF_PROCESSOR = ("DefaultCPUAllocator", "could not create a primitive")


@contextmanager
def memory_errors() -> Iterator[None]:
    """Raise MemoryError where torch finds no memory, on a GPU or on a processor."""
    try:
        yield
    except RuntimeError as error:
        import torch

        if isinstance(error, torch.OutOfMemoryError) or _of_processor(error):
            raise MemoryError(str(error)) from error
        raise


@contextmanager
def memory_problems() -> Iterator[None]:
    """Raise AcuityError where NumPy or torch finds no memory."""
    try:
        with memory_errors():
            yield
    except MemoryError as error:
        said = str(error).splitlines() or ["it is used up"]
        raise AcuityError(
            f"The memory does not hold all of this: {said[0]}.",
            "Close other programs, or work on a part of the image.",
        ) from error


def _of_processor(error: RuntimeError) -> bool:
    return any(words in str(error) for words in _OF_PROCESSOR)

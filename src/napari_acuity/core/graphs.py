"""What a function launches on a CUDA GPU, kept: small work is done faster than it is launched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Graph"]

Made = TypeVar("Made")


class Graph(Generic[Made]):
    """The launches of a function as one CUDA graph.

    Parameters
    ----------
    run : function of tensors
        What it launches may depend on the shapes of its tensors, not on their values; it may change them.
    given : sequence of tensors
        Such as it is called with, on the GPU.

    Attributes
    ----------
    given : tuple of tensors
        Those it works on.
    made : object
        What the function returned; its tensors stay in one place and are overwritten.

    Raises
    ------
    RuntimeError
        When the function launches what cannot be kept, or the memory does not suffice.
    """

    def __init__(self, run: Callable[..., Made], given: Sequence[torch.Tensor]) -> None:
        self.given = tuple(tensor.clone() for tensor in given)
        with torch.cuda.device(self.given[0].device):
            here = torch.cuda.current_stream()
            aside: torch.cuda.Stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            aside.wait_stream(here)
            # This puts the stream back, too, should the inner one fail.
            with torch.cuda.stream(aside):
                # Once before: kernels are compiled and chosen now.
                run(*self.given)
                self._graph = torch.cuda.CUDAGraph()
                # Other threads may go on using the GPU.
                with torch.cuda.graph(self._graph, stream=aside, capture_error_mode="thread_local"):
                    self.made = run(*self.given)
            here.wait_stream(aside)

    def fits(self, *given: torch.Tensor) -> bool:
        """Return whether tensors have the shapes it was made for."""
        return all(a.shape == b.shape for a, b in zip(given, self.given, strict=True))

    def take(self, *given: torch.Tensor) -> None:
        """Copy tensors into those it works on."""
        torch._foreach_copy_(list(self.given), list(given))

    def replay(self) -> Made:
        """Launch all there is; return what the function made."""
        with torch.cuda.device(self.given[0].device):
            self._graph.replay()
        return self.made

    def __call__(self, *given: torch.Tensor) -> Made:
        """Do it with other tensors."""
        self.take(*given)
        return self.replay()

"""A limit to the weights of a network that is built: the header of a file can ask for any number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["OverBudgetError", "WeightBudget"]


class OverBudgetError(Exception):
    """More weights were asked for than allowed."""


class WeightBudget(TorchFunctionMode):
    """While entered, the layers made in this thread may have so many weights in all.

    Layers make their weights with `torch.empty`, which takes no memory until they are filled, and count
    before that. Building on the device "meta" would need none either, but loads torch's compiler: seconds.

    Parameters
    ----------
    weights : int

    Raises
    ------
    OverBudgetError
        Where a layer is made that exceeds it.
    """

    def __init__(self, weights: int) -> None:
        super().__init__()
        self._left = weights

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run a function of torch, and count what it makes."""
        if func is not torch.empty:
            return func(*args, **(kwargs or {}))
        try:
            made = func(*args, **(kwargs or {}))
        except RuntimeError as error:
            raise OverBudgetError from error  # more than can be asked for
        self._left -= made.numel()
        if self._left < 0:
            raise OverBudgetError
        return made

"""The scores of `core.quality`, computed on a GPU."""

from .on_device import GPU_LEAST_PX, score_on_device, scorer_for

__all__ = ["GPU_LEAST_PX", "score_on_device", "scorer_for"]

"""Several models and plain arithmetic joined into one thing, from one image to several named outputs."""

from .lens import Lens, load
from .steps import Input, Output, Step

__all__ = ["Input", "Lens", "Output", "Step", "load"]

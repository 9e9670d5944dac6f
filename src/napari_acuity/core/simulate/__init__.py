"""A forward model of a modest microscope and test targets, each with its truth."""

from .microscope import NEUTRAL, PHONE, Capture, Microscope, capture
from .targets import (
    UsafElement,
    beads,
    slanted_edge,
    usaf_elements,
    usaf_frequency,
    usaf_target,
)

__all__ = [
    "NEUTRAL",
    "PHONE",
    "Capture",
    "Microscope",
    "UsafElement",
    "beads",
    "capture",
    "slanted_edge",
    "usaf_elements",
    "usaf_frequency",
    "usaf_target",
]

"""A forward model of a modest microscope and test targets, each with its truth."""

from .fluorescence import STED, BeadPair, bead_pair
from .microscope import NEUTRAL, PHONE, Capture, Microscope, capture
from .scanning import ScanningMicroscope
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
    "STED",
    "BeadPair",
    "Capture",
    "Microscope",
    "ScanningMicroscope",
    "UsafElement",
    "bead_pair",
    "beads",
    "capture",
    "slanted_edge",
    "usaf_elements",
    "usaf_frequency",
    "usaf_target",
]

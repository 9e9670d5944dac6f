"""A forward model of a modest microscope and test targets, each with its truth."""

from .fluorescence import STED, BeadPair, bead_pair
from .grains import KINDS, Grain, GrainScene, grain_scene
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
    "KINDS",
    "NEUTRAL",
    "PHONE",
    "STED",
    "BeadPair",
    "Capture",
    "Grain",
    "GrainScene",
    "Microscope",
    "ScanningMicroscope",
    "UsafElement",
    "bead_pair",
    "beads",
    "capture",
    "grain_scene",
    "slanted_edge",
    "usaf_elements",
    "usaf_frequency",
    "usaf_target",
]

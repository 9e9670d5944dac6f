"""Starts: plane maps that bring two images roughly onto each other."""

from __future__ import annotations

from .plane import Matches, implausible
from .start_features import find_by_features
from .start_landmarks import find_by_landmarks
from .start_phase import find_by_phase
from .start_structure import find_by_structure
from .start_template import find_by_template

__all__ = [
    "Matches",
    "find_by_features",
    "find_by_landmarks",
    "find_by_phase",
    "find_by_structure",
    "find_by_template",
    "implausible",
]

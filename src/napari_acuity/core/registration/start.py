"""Starts: plane maps that bring two images roughly onto each other."""

from __future__ import annotations

from .plane import Matches, implausible
from .start_features import find_by_features
from .start_structure import find_by_structure

__all__ = ["Matches", "find_by_features", "find_by_structure", "implausible"]

"""Frames of one field: their drift, their average, and the average of lines scanned several times."""

from .average import Averaged, average, average_lines, average_steps
from .drift import drift, drift_steps

__all__ = ["Averaged", "average", "average_lines", "average_steps", "drift", "drift_steps"]

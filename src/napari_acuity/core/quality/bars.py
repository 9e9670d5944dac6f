"""The bars of the USAF-1951 resolution target."""

from ..simulate.targets import usaf_frequency

__all__ = ["usaf_frequency"]

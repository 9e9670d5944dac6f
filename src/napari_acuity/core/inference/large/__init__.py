"""Enhance images that are larger than the memory, or that are only there in parts."""

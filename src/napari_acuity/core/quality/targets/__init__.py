"""Targets whose truth is known: USAF-1951 bars and slanted edges."""

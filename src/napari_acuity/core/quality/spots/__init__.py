"""Spots and positions of features."""

"""Bring two images of one field onto each other."""

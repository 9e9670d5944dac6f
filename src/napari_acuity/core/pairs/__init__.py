"""Registered image pairs, and the patches cut from them."""

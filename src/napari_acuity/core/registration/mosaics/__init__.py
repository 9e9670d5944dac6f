"""One field of overlapping tiles."""

"""Read and write micrographs with their pixel size, and replace files without half-written ones."""

from .files import read, write
from .replacing import replacing

__all__ = ["read", "replacing", "write"]

"""Read and write micrographs with their pixel size, and replace files without half-written ones."""

from .files import check_target, images_by_name, images_in, read, write
from .replacing import check_folder, check_makable, make_folder, replacing

__all__ = [
    "check_folder",
    "check_makable",
    "check_target",
    "images_by_name",
    "images_in",
    "make_folder",
    "read",
    "replacing",
    "write",
]

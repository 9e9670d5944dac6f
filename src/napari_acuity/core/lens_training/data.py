"""The data of a lens: input, high-magnification image and label map of each field, in one folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import AcuityError, PairError
from ..io import images_by_name, make_folder, read, write
from ..micrograph import Micrograph, as_micrograph, check_content, to_unit
from .labels import as_labels, check_labels, from_colours

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from ..micrograph import ImageLike
    from .kinds import Kind

__all__ = ["PARTS", "Triple", "add_triple", "fields_in", "read_field", "read_triples"]

PARTS = ("input", "magnified", "labels")
"""The sub-folders; files of one name in them belong together."""

_LONGEST_NAME = 100


@dataclass(frozen=True, eq=False)
class Triple:
    """One field: as the lens gets it, as it should show it, and what is where.

    Parameters
    ----------
    input, magnified : Micrograph, array or napari Image layer
        (H, W) or (H, W, 3), registered and of one size; grey ones become RGB, all channels alike.
    labels : (H, W) uint8 array
        0 the background, k the kind of number k.
    name : str
    group : str
        Fields of one group (slide, plant) are never split between training and test; its name if empty.

    Raises
    ------
    PairError
        When the sizes differ, an image is a stack, or the labels are no label map.
    ImageError
        When an image holds NaN, or its black and white are unknown.
    """

    input: Micrograph
    magnified: Micrograph
    labels: NDArray[np.uint8]
    name: str
    group: str = ""

    def __post_init__(self) -> None:
        for part in PARTS[:2]:
            image = as_micrograph(getattr(self, part), name=f"{part}/{self.name}")
            object.__setattr__(self, part, _rgb(image, self.name))
        sizes = {part: getattr(self, part).shape for part in PARTS}
        if len(set(sizes.values())) > 1:
            told = ", ".join(f"{part} {size[0]} x {size[1]} px" for part, size in sizes.items())
            raise PairError(
                f"The images '{self.name}' differ in size: {told}.",
                "Bring the magnified image onto the grid of the input, and label it there.",
            )
        object.__setattr__(self, "labels", as_labels(self.labels))
        object.__setattr__(self, "group", self.group or self.name)

    @property
    def present(self) -> tuple[int, ...]:
        """The kinds in it, by number."""
        return tuple(int(label) for label in np.unique(self.labels) if label)


def read_triples(
    folder: str | os.PathLike[str],
    kinds: Sequence[Kind],
    groups: Mapping[str, str] | None = None,
) -> list[Triple]:
    """Read the fields of a folder.

    Parameters
    ----------
    folder : path
        Holds ``input``, ``magnified`` and ``labels``, each with an image NAME.tif, .png or .jpg a field.
        Labels are whole numbers, 0 to the number of kinds, or RGB in the kinds' exact colours.
    kinds : sequence of Kind
    groups : dict, optional
        Name of a field -> its group; those left out are a group of their own.

    Returns
    -------
    list of Triple
        By name.

    Raises
    ------
    PairError
        When a field lacks a part or has it twice, sizes differ, a label or colour is of no kind, a group is
        told of a field that is not there, or there are no fields.
    FileError, ImageError
        When a file cannot be read or used.
    """
    fields, groups = fields_in(folder), groups or {}
    if strange := sorted(set(groups) - set(fields)):
        raise PairError(
            f"A group is told of '{strange[0]}', which {folder} does not hold.",
            "Correct the groups in the lens.toml.",
        )
    return [read_field(name, files, kinds, groups.get(name, "")) for name, files in fields.items()]


def fields_in(folder: str | os.PathLike[str]) -> dict[str, dict[str, Path]]:
    """Return the files of each field in a folder: name -> part -> path.

    Raises
    ------
    PairError
        When a field lacks a part or has it twice, or there are none.
    """
    folder = Path(folder)
    files = {part: _files(folder / part) for part in PARTS}
    names = sorted({name for found in files.values() for name in found})
    if not names:
        raise PairError(
            f"{folder} holds no images in {', '.join(PARTS)}.",
            "Add some, each under one name in all three.",
        )
    for name in names:
        if missing := [part for part in PARTS if name not in files[part]]:
            there = next(found[name] for found in files.values() if name in found)
            raise PairError(
                f"{folder / missing[0]} holds no image '{name}', which belongs to {there}.",
                "Add it under that name, or remove the others.",
            )
    return {name: {part: files[part][name] for part in PARTS} for name in names}


def add_triple(
    folder: str | os.PathLike[str],
    input: ImageLike,
    magnified: ImageLike,
    labels: Any,
    name: str,
) -> str:
    """Add a field to a folder that `read_triples` reads; nothing in it is overwritten.

    Parameters
    ----------
    folder : path
        Made where it is missing.
    input, magnified, labels
        As for `Triple`. An image whose black and white a file cannot tell is written with 16 bit, from
        black to white.
    name : str
        What a file cannot be called is replaced by "-".

    Returns
    -------
    str
        The name it has there.

    Raises
    ------
    PairError
        When they do not fit together, or the folder has a field of this name.
    FileError
        When the folder may not be written, or the disk is full; what was written of the field is removed.
    """
    plain = "".join(c if c.isalnum() or c in "-_. " else "-" for c in name)
    plain = plain[:_LONGEST_NAME].strip(". ") or "field"
    triple = Triple(as_micrograph(input), as_micrograph(magnified), as_labels(labels), plain)
    folders = {part: make_folder(Path(folder) / part) for part in PARTS}
    # Some disks tell no upper from lower case.
    taken = {each.casefold() for path in folders.values() for each in _files(path)}
    if plain.casefold() in taken:
        raise PairError(
            f"{folder} holds a field '{plain}' already.",
            f"Give this one another name, or remove that one from {', '.join(PARTS)}.",
        )
    images = (_storable(triple.input), _storable(triple.magnified), Micrograph(triple.labels))
    written: list[Path] = []
    try:
        for part, image in zip(PARTS, images, strict=True):
            written.append(write(image, folders[part] / f"{plain}.tif"))
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise
    return plain


def _files(folder: Path) -> dict[str, Path]:
    """Return the images of a folder by name; none where it is missing."""
    return images_by_name(folder, error=PairError) if folder.is_dir() else {}


def read_field(
    name: str, files: Mapping[str, Path], kinds: Sequence[Kind], group: str = ""
) -> Triple:
    """Read a field that `fields_in` told of.

    Raises
    ------
    PairError
        When sizes differ, or a label or colour is of no kind.
    FileError, ImageError
        When a file cannot be read or used.
    """
    images = {part: read(path) for part, path in files.items()}
    title = f"{files['labels']}"
    try:
        colours = [kind.colour for kind in kinds]
        drawn = images["labels"]
        labels = from_colours(drawn, colours) if drawn.rgb else as_labels(drawn)
    except AcuityError as error:
        raise PairError(f"{title}: {error.cause}", error.cure) from error
    check_labels(labels, len(kinds), title)
    return Triple(images["input"], images["magnified"], labels, name, group)


def _rgb(image: Micrograph, name: str) -> Micrograph:
    """Return an image as RGB, black and white stated."""
    if image.pixels.ndim != 2 + image.rgb:
        raise PairError(
            f"Of the images '{name}' one is a stack of shape {image.pixels.shape}.",
            "Make one image of every plane.",
        )
    if image.pixels.dtype.kind == "f" and not np.isfinite(image.pixels).all():
        check_content(image)
    pixels = image.pixels if image.rgb else np.repeat(image.pixels[..., None], 3, axis=-1)
    return replace(image, pixels=pixels, rgb=True, value_range=image.range())


def _storable(image: Micrograph) -> Micrograph:
    """Return an image whose black and white its file will tell."""
    low, high = image.range()
    dtype = image.pixels.dtype
    if dtype in (np.uint8, np.uint16) and (low, high) == (0, np.iinfo(dtype).max):
        return replace(image, value_range=None)
    pixels = np.rint(65535 * np.clip(to_unit(image), 0, 1)).astype(np.uint16)
    return replace(image, pixels=pixels, value_range=(0, 65535))

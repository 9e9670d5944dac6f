"""Write a model in a form that other programs run without napari-acuity."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import FileError, ModelError
from ..io import check_folder, replacing
from ..model import Model, load
from .example import example_pixels

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from ..micrograph import ImageLike

__all__ = ["export"]

# What the best model of every run is called.
_BEST = "best.safetensors"


def export(
    model: Model | str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    authors: Sequence[str] = (),
    license: str = "",
    example: ImageLike | None = None,
) -> Path:
    """Write a model as ONNX, or as a bioimage.io package that holds it as ONNX.

    The file is checked before it appears: ONNX Runtime must give what torch gives, to 1e-5 of the range, on
    images of two sizes; a package must be valid and, where bioimageio.core is installed, pass its test.

    Parameters
    ----------
    model : Model or path
    path : path
        ``.onnx``, or ``.zip`` (usually ``.bioimageio.zip``) for a package. A file that is there is replaced.
    authors : sequence of str
        Names of those who made the model. A package needs at least one.
    license : str
        SPDX identifier of the licence that the model is given away under, such as "CC-BY-4.0". A package
        needs one.
    example : Micrograph, array or napari Image layer, optional
        An image of the kind the model is for; its middle becomes the test image and the cover. By default
        a made-up texture.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ModelError
        When the extra ``napari-acuity[export]`` is not installed, the network cannot be written as ONNX, or
        the file does not give the same output.
    FileError
        When the suffix is unknown, authors or licence are missing, or the file cannot be written.
    ImageError
        When the example does not fit the model or is too small.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".onnx", ".zip"):
        raise FileError(
            f"'{path.name}' names no format that models are exported to.",
            "End it in .onnx, or in .bioimageio.zip for a bioimage.io package.",
        )
    authors = [authors] if isinstance(authors, str) else list(authors)
    if suffix == ".zip" and not (authors and all(authors) and license):
        raise FileError(
            "A bioimage.io package names its authors and its licence, and they were not given.",
            'Add authors=["Your Name"] and license="CC-BY-4.0" (or another SPDX identifier); '
            "on the command line --author and --license.",
        )
    check_folder(path)
    model = model if isinstance(model, Model) else _named(model)
    image = example_pixels(model, example)
    write = _writer(suffix)
    with replacing(path) as temporary:
        write(model, temporary, image, authors, license)
    return path


def _named(path: str | os.PathLike[str]) -> Model:
    """Load a model; the best one of a run is called after its run."""
    model, whole = load(path), Path(path).resolve()
    return replace(model, name=whole.parent.name) if whole.name == _BEST else model


def _writer(suffix: str) -> Callable[[Model, Path, NDArray[np.uint8], Sequence[str], str], None]:
    """Import the module that writes a format, and with it the libraries of the extra."""
    try:
        if suffix == ".onnx":
            from .onnx_file import write_onnx

            return write_onnx
        from .zoo_package import write_package

        return write_package
    except ImportError as error:
        raise ModelError(
            f"Models are exported with libraries of which {error.name} is not installed.",
            "Install them: pip install 'napari-acuity[export]'.",
        ) from error

"""The errors a user can meet: each names its cause and its cure."""

from __future__ import annotations

__all__ = [
    "AcuityError",
    "FileError",
    "ImageError",
    "ModelError",
    "PairError",
    "RegistrationError",
    "TrainingError",
]


class AcuityError(Exception):
    """A problem the user can act on.

    Parameters
    ----------
    cause : str
        What is wrong, in one sentence.
    cure : str
        What to do about it, in one sentence.
    """

    def __init__(self, cause: str, cure: str) -> None:
        super().__init__(f"{cause} {cure}")
        self.cause = cause
        self.cure = cure

    def __reduce__(self) -> tuple[type[AcuityError], tuple[str, str]]:
        return type(self), (self.cause, self.cure)


class ImageError(AcuityError):
    """An image that cannot be used: empty, constant, NaN, of the wrong channels or range."""


class FileError(AcuityError):
    """A file or folder that cannot be read or written."""


class RegistrationError(AcuityError):
    """Two images that could not be brought onto each other."""


class PairError(AcuityError):
    """A pair of images, or a set of pairs, that does not fit together."""


class ModelError(AcuityError):
    """A model file that cannot be loaded, or a model that does not fit the image."""


class TrainingError(AcuityError):
    """A training run that cannot start or go on."""

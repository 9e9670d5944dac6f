"""The kinds of things a lens tells apart: a name and a colour each."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..colours import full_colour
from ..errors import ImageError, TrainingError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MOST_KINDS", "Kind", "check_kinds", "rgb_of"]

MOST_KINDS = 255
"""Label maps are 8 bit, and 0 is the background."""


@dataclass(frozen=True)
class Kind:
    """One kind of thing.

    Parameters
    ----------
    name : str
        Of letters, digits, spaces and "-_.+"; it names an output of the lens and a folder.
    colour : str
        "#rrggbb" or a name; kept as "#rrggbb". Not black, which is the background.

    Raises
    ------
    TrainingError
        When name or colour cannot be used.
    """

    name: str
    colour: str

    def __post_init__(self) -> None:
        name = self.name
        if not isinstance(name, str) or not name.strip() or name != name.strip():
            raise TrainingError(f"A kind has the name {name!r}.", "Give each kind a name.")
        if wrong := [c for c in name if not (c.isalnum() or c in " -_.+")]:
            raise TrainingError(
                f"The name of the kind '{name}' holds '{wrong[0]}'.",
                "Use letters, digits, spaces and -_.+ only: it also names a folder.",
            )
        try:
            rgb = rgb_of(self.colour)
        except ImageError as error:
            raise TrainingError(f"Kind '{name}': {error.cause}", error.cure) from error
        if rgb == (0, 0, 0):
            raise TrainingError(
                f"The colour of the kind '{name}' is black, which is the background.",
                "Choose another one.",
            )
        object.__setattr__(self, "colour", "#{:02x}{:02x}{:02x}".format(*rgb))

    @property
    def plain(self) -> str:
        """The name as a part of a folder's name."""
        return self.name.replace(" ", "-")


def check_kinds(kinds: Sequence[Kind]) -> None:
    """Raise TrainingError where there are no kinds, too many, or two of one name, folder or colour."""
    if wrong := [kind for kind in kinds if not isinstance(kind, Kind)]:
        raise TrainingError(
            f"{wrong[0]!r} is no kind.", 'Give Kind("spiny", "red"), with a name and a colour each.'
        )
    if not 0 < len(kinds) <= MOST_KINDS:
        raise TrainingError(
            f"The lens has {len(kinds) or 'no'} kinds.",
            f"Name 1 to {MOST_KINDS}, each with a colour.",
        )
    # Some disks tell no upper from lower case.
    for words, values in (
        ("name", [kind.plain.casefold() for kind in kinds]),
        ("colour", [kind.colour for kind in kinds]),
    ):
        value, count = Counter(values).most_common(1)[0]
        if count > 1:
            raise TrainingError(
                f"{count} kinds have the {words} '{value}'.",
                f"Give each kind a {words} of its own.",
            )


def rgb_of(colour: object) -> tuple[int, int, int]:
    """Return red, green and blue of a colour, 0 to 255; "green" is (0, 255, 0).

    Raises
    ------
    ImageError
        When it is no colour.
    """
    red, green, blue = full_colour(colour)
    return round(255 * red), round(255 * green), round(255 * blue)

"""Recipes: everything that decides how a model is trained, in one table."""

from __future__ import annotations

import math
import tomllib
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import TrainingError
from .io import replacing

if TYPE_CHECKING:
    import os

__all__ = ["RECIPES", "Recipe", "recipe_by_name"]

_WORDS = {
    "crops": ("random", "grid"),
    "schedule": ("constant", "cosine", "linear"),
    "precision": ("auto", "float32"),
    "levels": ("range", "percentiles"),
    "weighing": ("weights", "shares"),
}
_LOSSES = ("mse", "mae", "ssim", "gradient", "adversarial")
_ADVERSARIAL = ("judges", "width", "blocks", "learning_rate", "every")
_JUDGES = ("image", "patches")
# Networks that are built for the size of the patches.
_SIZED = ("pix2pix",)
_FILTERS = ("least_similarity", "least_contrast")


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Parameters
    ----------
    name : str
        What models and tables call it.
    network : str
        A name in `NETWORKS`.
    network_arguments : dict
        Its arguments, but for the scale, which the pairs decide, as they do the channels where none are
        told. A run that starts from a model has that model's network instead.
    patch : int
        Side of the square training patches, in px of the low-resolution image.
    crops : {"random", "grid"}
        Where patches are cut: anywhere, or on the seeds' grid, on which they overlap by 40 %.
    patch_filter : dict
        Which patches are left out: "least_similarity" of the registration and "least_contrast", see
        `Patches.of`.
    augmentation : dict
        How patches are varied: "turns", "translation", "colour", "brightness", "jpeg", see `Augmentation`.
    batch : int
        Patches a step, over all devices.
    learning_rate : float
        Of Adam, at the start.
    beta_1 : float
        Of Adam: decay of its mean of the gradients.
    schedule : {"constant", "cosine", "linear"}
        "cosine": rises over the first 2 % of the run, then falls to a hundredth along a cosine. "linear":
        falls to zero along a line, over the second half.
    levels : {"range", "percentiles"}
        What the network sees as black and white: those of the images' range, or the 0.1 and 99.9
        percentiles of all training images of each instrument, which the model keeps.
    losses : dict
        Weight of each term that is minimised: those of `losses.TERMS`, "mse", "mae", "ssim", "gradient",
        and "adversarial", which the discriminator decides.
    weighing : {"weights", "shares"}
        "shares": `losses` tells the share that each term takes of their sum at the start, where the
        weights are measured; the first one named has weight 1.
    adversarial : dict
        The discriminator: what it judges, "image" or "patches"; "width", "blocks", "learning_rate" and
        "every", see `Critic`.
    averaging : float
        Decay of the running mean of the weights that is validated and kept; 0 keeps the weights as is.
    precision : {"auto", "float32"}
        "auto" computes in 16 bits where the device does that faster.
    epochs : int
        Passes over the training fields, when no other bound is given.
    patience : int
        Stop after so many epochs without a better one; 0 goes on to the end.
    seed : int
        Of weights, patches and split; below 2**63.
    """

    name: str = "brightfield"
    network: str = "pyramid_resnet"
    network_arguments: dict[str, Any] = field(default_factory=lambda: {"init": "interpolation"})
    patch: int = 48
    crops: str = "random"
    patch_filter: dict[str, float] = field(default_factory=dict)
    augmentation: dict[str, Any] = field(default_factory=dict)
    batch: int = 8
    learning_rate: float = 1e-3
    beta_1: float = 0.9
    schedule: str = "cosine"
    levels: str = "range"
    losses: dict[str, float] = field(default_factory=lambda: {"mse": 1.0, "ssim": 0.02})
    weighing: str = "weights"
    adversarial: dict[str, Any] = field(default_factory=dict)
    averaging: float = 0.998
    precision: str = "auto"
    epochs: int = 200
    patience: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if wrong := self._of_wrong_kind() or self._impossible():
            values = ", ".join(f"{name} = {getattr(self, name)!r}" for name in wrong)
            raise TrainingError(
                f"The recipe '{self.name}' cannot be used: {values}.",
                "Counts must be whole numbers and, like rates and a loss, above 0, averaging and beta_1 "
                "below 1, a seed below 2**63; "
                + "; ".join(
                    f"{name} is one of {', '.join(known)}" for name, known in _WORDS.items()
                )
                + "; losses, adversarial and patch_filter hold numbers by the names that the docs page Train "
                "lists.",
            )

    def _of_wrong_kind(self) -> list[str]:
        kinds: dict[str, Any] = {"int": int, "float": (int, float), "str": str}
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return [
            entry.name
            for entry in fields(self)
            # True and False count as numbers in Python.
            if isinstance(values[entry.name], bool)
            or not isinstance(values[entry.name], kinds.get(str(entry.type), dict))
        ]

    def _impossible(self) -> list[str]:
        positive = ("patch", "batch", "learning_rate", "epochs")
        wrong = [name for name in positive if not 0 < getattr(self, name) < math.inf]
        wrong += [name for name, known in _WORDS.items() if getattr(self, name) not in known]
        wrong += [name for name in ("averaging", "beta_1") if not 0 <= getattr(self, name) < 1]
        wrong += [name for name in ("patience", "seed") if not 0 <= getattr(self, name) < 2**63]
        wrong += ["losses"] * (
            not _are_weights(self.losses, _LOSSES) or not any(self.losses.values())
        )
        wrong += ["adversarial"] * (not _makes_a_critic(self.adversarial))
        wrong += ["patch_filter"] * (not _are_weights(self.patch_filter, _FILTERS, least=-1.0))
        return wrong

    @property
    def arguments(self) -> dict[str, Any]:
        """The network's arguments; those that are built for the size of the patches are told it."""
        size = {"size": self.patch} if self.network in _SIZED else {}
        return {**size, **self.network_arguments}

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Recipe:
        """Read a recipe from a TOML file; keys left out have their default.

        Raises
        ------
        TrainingError
            When the file cannot be read, or has an unknown key or an impossible value.
        """
        try:
            table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
            known = {entry.name for entry in fields(cls)}
            if unknown := sorted(set(table) - known):
                raise TrainingError(
                    f"{path} has the unknown key '{unknown[0]}'.",
                    "Known are: " + ", ".join(sorted(known)) + ".",
                )
            return cls(**table)
        except FileNotFoundError as error:
            raise TrainingError(
                f"There is no recipe {path}.", "Check its name and folder."
            ) from error
        except OSError as error:
            raise TrainingError(
                f"The recipe {path} cannot be read: {error.strerror or error}.",
                "Check its name and the permission to read it.",
            ) from error
        except (ValueError, RecursionError) as error:
            raise TrainingError(
                f"{path} is no recipe that can be read: {error}.",
                "Check it against the docs page Train.",
            ) from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the recipe as TOML."""
        import tomli_w

        with replacing(path) as temporary:
            temporary.write_text(tomli_w.dumps(self.as_table()), encoding="utf-8")

    def as_table(self) -> dict[str, Any]:
        """Return all keys as a file holds them: TOML has no None, which is an augmentation's default."""
        varied = {name: value for name, value in self.augmentation.items() if value is not None}
        return asdict(replace(self, augmentation=varied))


def _are_weights(table: dict[str, Any], known: tuple[str, ...], least: float = 0.0) -> bool:
    return all(
        name in known and type(value) in (int, float) and least <= value < math.inf
        for name, value in table.items()
    )


def _makes_a_critic(table: dict[str, Any]) -> bool:
    counts = [table[name] for name in ("width", "blocks", "every") if name in table]
    rate = table.get("learning_rate", 1.0)
    return (
        set(table) <= set(_ADVERSARIAL)
        and table.get("judges", _JUDGES[0]) in _JUDGES
        and all(type(count) is int and count > 0 for count in counts)
        and type(rate) in (int, float)
        and 0 < rate < math.inf
    )


# As published: Rivenson et al. 2017, Optica 4:1437 and its supplement.
_2017 = Recipe(
    name="brightfield-2017",
    network_arguments={"init": "published"},
    patch=60,
    crops="grid",
    batch=64,
    learning_rate=1e-4,
    schedule="constant",
    losses={"mse": 1.0, "gradient": 1e-3},
    averaging=0.0,
    precision="float32",
)

# As published: Wang et al. 2019, Nat. Methods 16:103, Methods; the shares are the middle of its 1 to 10 %.
_2019 = Recipe(
    name="crossmodality-2019",
    network="unet",
    network_arguments={"channels": 1},
    patch=256,
    batch=8,
    learning_rate=1e-4,
    schedule="constant",
    levels="percentiles",
    losses={"adversarial": 0.9, "mse": 0.05, "ssim": 0.05},
    weighing="shares",
    adversarial={"width": 64, "blocks": 5, "learning_rate": 1e-5},
    averaging=0.0,
    precision="float32",
)

# As published: Isola et al. 2017, CVPR, and Grant-Jacob et al. 2019, J. Phys. Commun. 3:065004. Their L1 term
# counts 100 times on images from -1 to 1; on ours, from 0 to 1, it is half as large. Adam minds no common
# factor: half of the other term is the same.
_PIX2PIX = Recipe(
    name="pix2pix-2017",
    network="pix2pix",
    network_arguments={},
    patch=256,
    augmentation={"translation": 64},
    batch=1,
    learning_rate=2e-4,
    beta_1=0.5,
    schedule="linear",
    losses={"adversarial": 0.5, "mae": 100.0},
    adversarial={
        "judges": "patches",
        "width": 64,
        "blocks": 3,
        "learning_rate": 2e-4,
        "every": 1,
    },
    averaging=0.0,
    precision="float32",
)

RECIPES = {
    "brightfield": Recipe(),
    "brightfield-2017": _2017,
    # The same network and loss: Rivenson et al. 2018, ACS Photonics 5:2354.
    "mobile-2018": replace(_2017, name="mobile-2018", batch=32, learning_rate=2e-4),
    "crossmodality": Recipe(
        name="crossmodality",
        network="compact_unet",
        network_arguments={"channels": 1},
        patch=96,
        batch=4,
        learning_rate=2e-3,
        levels="percentiles",
        losses={"mse": 1.0, "ssim": 0.1},
        # Of one field more is overfitting: see bench/RESULTS.md.
        epochs=24,
    ),
    "crossmodality-2019": _2019,
    # Halved twice: the network sees 56 px around each pixel. One that sees the neighbours learns the kind of
    # the field before that of the object, as many fields show one kind only: see bench/RESULTS.md.
    "lens": Recipe(
        name="lens",
        network="compact_unet",
        network_arguments={"channels": 3, "width": 16, "depth": 2, "norm": True},
        patch=128,
        patch_filter={"least_contrast": 0.0},
        batch=4,
        learning_rate=2e-3,
        losses={"mse": 1.0},
    ),
    "pix2pix-2017": _PIX2PIX,
}


def recipe_by_name(recipe: str | Recipe) -> Recipe:
    """Return a recipe: itself, a built-in one by name, or one from a TOML file.

    Raises
    ------
    TrainingError
        When there is none.
    """
    if isinstance(recipe, Recipe):
        return recipe
    name = str(recipe)
    if name in RECIPES:
        return RECIPES[name]
    if name.endswith(".toml"):
        return Recipe.load(name)
    raise TrainingError(
        f"There is no recipe '{name}'.",
        "Use one of: " + ", ".join(RECIPES) + ", or a .toml file.",
    )

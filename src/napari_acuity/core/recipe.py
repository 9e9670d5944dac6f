"""Recipes: everything that decides how a model is trained, in one table."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .allowed import POSITIVE, SHARE, TEXT, YES_OR_NO, Allowed, not_allowed, number, one_of, whole
from .errors import TrainingError
from .io import replacing

if TYPE_CHECKING:
    import os

__all__ = ["RECIPES", "Recipe", "recipe_by_name"]

_MOST = 10**9
_LARGEST_PATCH, _LARGEST_BATCH = 4096, 65536
# Networks that are built for the size of the patches.
_SIZED = ("pix2pix",)
_NOT_ITS_LEVELS = (
    "left out: the recipe's own levels decide what the network sees as black and white"
)


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
        Side of the square training patches, in px of the low-resolution image; 4096 at most.
    crops : {"random", "grid"}
        Where patches are cut: anywhere, or on the seeds' grid, on which they overlap by 40 %.
    patch_filter : dict
        Which patches are left out: "least_similarity" of the registration and "least_contrast", see
        `Patches.of`.
    augmentation : dict
        How patches are varied: "turns", "translation", "colour", "brightness", "jpeg", see `Augmentation`.
    batch : int
        Patches a step, over all devices; 65536 at most.
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

    Raises
    ------
    TrainingError
        When a value is of the wrong kind or out of its range.
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
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        wrong = not_allowed(values, _ALLOWED)
        if not wrong and not any(self.losses.values()):
            wrong = {"losses": (self.losses, "a table with a weight above 0")}
        if not wrong and (stated := self.network_arguments.get("levels")) is not None:
            wrong = {"network_arguments.levels": (stated, _NOT_ITS_LEVELS)}
        if wrong:
            said = ", ".join(f"{name} = {value!r}" for name, (value, _) in wrong.items())
            raise TrainingError(
                f"The recipe '{self.name}' cannot be used: {said}.",
                "; ".join(f"{name} must be {words}" for name, (_, words) in wrong.items()) + ".",
            )

    @property
    def arguments(self) -> dict[str, Any]:
        """The network's arguments; those that are built for the size of the patches are told it."""
        size = {"size": self.patch} if self.network in _SIZED else {}
        return {**size, **self.network_arguments}

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Recipe:
        """Read a recipe from a TOML file; keys left out have their default, its name that of the file.

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
            return cls(**{"name": Path(path).stem, **table})
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


def _are_qualities(value: Any) -> bool:
    if value is None:
        return True
    whole = isinstance(value, list | tuple) and [*map(type, value)] == [int, int]
    return whole and 1 <= value[0] <= value[1] <= 100


# What each key may be; of a table each of its own.
_ALLOWED: dict[str, Allowed | dict[str, Allowed]] = {
    "name": TEXT,
    "network": TEXT,
    # Checked where the network is built.
    "network_arguments": ("a table", lambda value: isinstance(value, dict)),
    "patch": whole(1, _LARGEST_PATCH),
    "crops": one_of("random", "grid"),
    "patch_filter": {"least_similarity": number(-1, 1), "least_contrast": number(0, 1)},
    "augmentation": {
        "turns": YES_OR_NO,
        "translation": whole(0, _LARGEST_PATCH),
        "colour": SHARE,
        "brightness": SHARE,
        "jpeg": ("two whole numbers from 1 to 100, the lower one first", _are_qualities),
    },
    "batch": whole(1, _LARGEST_BATCH),
    "learning_rate": POSITIVE,
    "beta_1": SHARE,
    "schedule": one_of("constant", "cosine", "linear"),
    "levels": one_of("range", "percentiles"),
    "losses": dict.fromkeys(("mse", "mae", "ssim", "gradient", "adversarial"), number(0, _MOST)),
    "weighing": one_of("weights", "shares"),
    "adversarial": {
        "judges": one_of("image", "patches"),
        "width": whole(1, _MOST),
        "blocks": whole(1, 8),
        "learning_rate": POSITIVE,
        "every": whole(1, _MOST),
    },
    "averaging": SHARE,
    "precision": one_of("auto", "float32"),
    "epochs": whole(1, _MOST),
    "patience": whole(0, _MOST),
    "seed": whole(0, 2**63 - 1),
}


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
    if name.lower().endswith(".toml"):
        return Recipe.load(name)
    raise TrainingError(
        f"There is no recipe '{name}'.",
        "Use one of: " + ", ".join(RECIPES) + ", or a .toml file.",
    )

"""Split groups of pairs into parts that share nothing."""

from __future__ import annotations

import numpy as np

from ..errors import PairError

__all__ = ["split"]


def split(
    groups: dict[str, str], validation: float = 0.2, test: float = 0.0, *, seed: int = 0
) -> dict[str, list[str]]:
    """Split pairs into training, validation and test by group, so that nothing leaks.

    Parameters
    ----------
    groups : dict
        Name of each pair -> its group (slide, patient).
    validation, test : float
        Share of the groups, 0 to 1; each gets at least one group where it is above 0.
    seed : int
        Of the shuffle.

    Returns
    -------
    dict
        "train", "validation" and "test", each a sorted list of names.

    Raises
    ------
    PairError
        When there are too few groups.
    """
    shares = {"validation": validation, "test": test}
    if not (min(shares.values()) >= 0 and sum(shares.values()) < 1):
        raise PairError(
            f"Shares of {validation} for validation and {test} for test leave nothing to train on.",
            "Give shares of at least 0 that add up to less than 1.",
        )
    order = np.random.default_rng(seed).permutation(sorted(set(groups.values()))).tolist()
    counts = {
        part: max(1, round(share * len(order))) if share else 0 for part, share in shares.items()
    }
    if len(order) <= sum(counts.values()):
        raise PairError(
            "One group of fields cannot be split into parts that share nothing."
            if len(order) == 1
            else f"{len(order)} groups of fields are too few for this split.",
            "Add some of other slides or patients" + (", or set test to 0." if test else "."),
        )
    held = {"validation": order[: counts["validation"]]}
    held["test"] = order[counts["validation"] : sum(counts.values())]
    held["train"] = order[sum(counts.values()) :]
    return {
        part: sorted(name for name, group in groups.items() if group in set(held[part]))
        for part in ("train", "validation", "test")
    }

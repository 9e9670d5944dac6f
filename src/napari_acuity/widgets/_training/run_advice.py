"""What to do about the warnings of a training run."""

from __future__ import annotations

__all__ = ["advice_on"]

# What is to be done about the discriminator; the run says the rest.
_ADVICE = {
    "the discriminator wins": "The run goes on from there. Where it wins again and again, train with a "
    "lower Discriminator's rate in Options, or with the recipe crossmodality, which has no discriminator",
    "the discriminator has collapsed": "The run goes on from there. Where it collapses again and again, "
    "train for longer with a lower Discriminator's rate in Options, or with the recipe crossmodality, which "
    "has no discriminator",
}


def advice_on(warning: str) -> str:
    """Say what to do about a warning of a run; nothing where it says so itself."""
    return next((words for begin, words in _ADVICE.items() if warning.startswith(begin)), "")

"""What is said of a training run: where it is, how it ended, and what is to be done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .run_advice import advice_on

if TYPE_CHECKING:
    from pathlib import Path

    from .run_state import RunState

__all__ = ["counted", "outcome_words", "stage_words", "time_words", "why_it_ended"]

_NO_BETTER = "That is no better than plain enlargement: train longer, or on more fields."
_KILLED = (
    "The process ended without a word: it was killed, or the computer ran out of memory or was "
    "switched off."
)
_NO_EPOCH = "Stopped before its first epoch was done. Resume goes on from its last checkpoint."
_GONE = "The folder of the run was moved or removed. Where it was moved, open the run there."


def counted(count: int, one: str, many: str = "") -> str:
    """Return a number with its noun."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def time_words(seconds: float | None) -> str:
    """Say how long something will still take; nothing where that is not known."""
    if seconds is None:
        return ""
    if seconds < 90:
        return f"{max(1, round(seconds))} s left"
    return f"{round(seconds / 60)} min left" if seconds < 5400 else f"{seconds / 3600:.1f} h left"


def stage_words(state: RunState, asked: str = "") -> str:
    """Say where a run is; `asked` is what it was asked to do and has not done yet."""
    if not state.going:
        return ""
    if state.phase == "starting":
        return "starting a process, reading the pairs"
    if asked == "stop" or state.fraction >= 1:
        return "keeping the best model, scoring it on the test fields"
    of = f" of {state.epochs:,.0f}" if state.epochs else ""
    words = f"epoch {max(state.epoch, 1):,}{of}, step {state.step:,}"
    if state.phase == "paused":
        return f"paused, {words}"
    if asked == "pause":
        return f"pausing, {words}"
    best = state.best_row
    return f"{words}; best {best['psnr']:.2f} dB at {best['number']:.0f}" if best else words


def outcome_words(state: RunState, folder: Path) -> str:
    """Say how good the best epoch is, and whether that is better than plain enlargement."""
    best = state.best_row
    if best is None:
        return f"{_NO_EPOCH}\n{folder}" if state.phase == "stopped" else ""
    how = "Done" if state.complete else "Ended"
    psnr, bicubic = best["psnr"], best["bicubic_psnr"]
    words = (
        f"{how} after {counted(len(state.rows), 'epoch')}; the best is epoch {best['number']:.0f}: "
        f"{psnr:.2f} dB on the validation fields, bicubic {bicubic:.2f} dB."
    )
    words += "" if psnr > bicubic else f" {_NO_BETTER}"
    if times := sum(bool(advice_on(warning)) for warning in state.warnings):
        words += f" The discriminator won or collapsed {counted(times, 'time')}: see Details."
    return f"{words}\n{folder}"


def why_it_ended(state: RunState, last_lines: str, folder: Path) -> str:
    """Say why a run failed or crashed, and what is left of it."""
    if not folder.exists():
        return f"{state.words or _GONE}\n{folder}"
    lines = [state.words or _said(last_lines) or _KILLED]
    if best := state.best_row:
        lines.append(
            f"The best model is kept: epoch {best['number']:.0f}, {best['psnr']:.2f} dB on the "
            f"validation fields, bicubic {best['bicubic_psnr']:.2f} dB. Resume goes on from the "
            "last checkpoint."
        )
    return "\n".join([*lines, str(folder)])


def _said(last_lines: str) -> str:
    """Return the cause and cure that the command prints last, where it did."""
    _, found, message = last_lines.rpartition("acuity: ")
    if found:
        return " ".join(message.split())
    last = last_lines.strip().splitlines()[-1:]
    return f"The process ended: {last[0]}." if last and "Error" in last[0] else ""

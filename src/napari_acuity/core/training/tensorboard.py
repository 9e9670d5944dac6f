"""The curves of a run for TensorBoard, written along from the run's event log."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..errors import TrainingError
from ..io import make_folder
from .process import Watch
from .progress import Epoch
from .run_folder import BOARD

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable
    from types import TracebackType

    from ..jobs import Event
    from .run_folder import RunFolder

__all__ = ["Board", "check_tensorboard"]

_TAGS = {
    "train_loss": "loss/train",
    "validation_loss": "loss/validation",
    "psnr": "PSNR (dB)/output",
    "bicubic_psnr": "PSNR (dB)/bicubic",
    "discriminator_loss": "discriminator/loss",
    "discriminator_accuracy": "discriminator/accuracy",
}
_TERM = "loss_"


def check_tensorboard(out: str | os.PathLike[str] | None) -> None:
    """Raise TrainingError where curves for TensorBoard have no folder, or no package that writes them."""
    if out is None:
        raise TrainingError(
            "Without a run's folder there is no place for TensorBoard's curves.", "Give out."
        )
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise TrainingError(
            f"The curves cannot be written for TensorBoard: {error}.",
            "Install it: pip install 'napari-acuity[tensorboard]'; or train without.",
        ) from error


class Board:
    """Event files beside a run, that say what its event log says of each epoch; a context manager.

    Each process at a run writes a file of its own, from the run's first epoch on, and marks what older
    files hold as past. So the curves are whole and show no epoch twice, whatever a run that was killed had
    written, and whenever TensorBoard was asked for.

    Parameters
    ----------
    run : RunFolder
    """

    def __init__(self, run: RunFolder) -> None:
        check_tensorboard(run.path)
        self._folder = make_folder(run.path / BOARD)
        self._watch, self._last = Watch(run.path), 0
        self._writer: Any = None

    def __enter__(self) -> Board:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def seen(self, event: Event) -> Event:
        """Write what is new, where an event of training tells of an epoch; return the event."""
        if isinstance(event.new, Epoch):
            # A full disk costs the curves and not the run; one that is resumed writes them anew.
            with suppress(OSError):
                for epoch in _standing(self._watch.events()):
                    self._write(epoch)
                if self._writer is not None:
                    self._writer.flush()
        return event

    def _write(self, epoch: dict[str, Any]) -> None:
        number = epoch["number"]
        if self._writer is None or number <= self._last:
            self._open(number)
        for name, value in epoch.items():
            tag = f"loss terms/{name.removeprefix(_TERM)}" if name.startswith(_TERM) else None
            if tag := _TAGS.get(name, tag):
                self._writer.add_scalar(tag, value, number, walltime=epoch["time"])
        self._last = number

    def _open(self, number: int) -> None:
        """Begin a file that takes the place of all that was written from an epoch on."""
        from torch.utils.tensorboard import SummaryWriter

        self._close()
        self._writer = SummaryWriter(str(self._folder), purge_step=number)

    def _close(self) -> None:
        if self._writer is not None:
            with suppress(OSError):
                self._writer.close()


def _standing(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the epochs, but for those that the run went back behind."""
    kept: list[dict[str, Any]] = []
    for event in events:
        if event["kind"] == "epoch":
            kept = [epoch for epoch in kept if epoch["number"] < event["number"]]
            kept.append(event)
    return kept

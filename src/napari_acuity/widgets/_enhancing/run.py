"""Enhance at work: the result fills in in the viewer, or is written to OME-Zarr and shown from there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.io.shown import shown_of
from .._layers import pixel_size_of
from .checks import file_of
from .filling import Filling, look_at
from .job import Enhanced, Made, Painted, cautions, enhance_layer, enhance_to_zarr
from .to_zarr import add_levels, kept_words

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image

    from ...core.jobs import Event
    from .._jobs import JobBox
    from .._session import KnownModel
    from .generations import GenerationTable
    from .job import Maps, Written
    from .result_saving import SaveResult
    from .script import Settings

__all__ = ["EnhanceRun", "Work"]

_REMOVED = "Stopped, as its layer was removed."


@dataclass(frozen=True, eq=False)
class Work:
    """What a click enhances.

    Parameters
    ----------
    layer : napari Image layer
    held : object
        What `snapshot` took of it.
    known : KnownModel
    settings : Settings
    recipe : dict
        How it is made, as the result's metadata tell.
    """

    layer: Image
    held: Any
    known: KnownModel
    settings: Settings
    recipe: dict[str, Any]


class EnhanceRun:
    """Does a panel's work in its job box, and shows what comes of it."""

    def __init__(
        self,
        viewer: napari.viewer.Viewer,
        job: JobBox,
        save: SaveResult,
        generations: GenerationTable,
    ) -> None:
        self._viewer, self._job, self._save = viewer, job, save
        self._generations = generations

    def fill(self, work: Work) -> None:
        """Make the result as a layer that fills in tile by tile."""
        filling = Filling(self._viewer, work.layer, work.known, work.settings, work.recipe)
        model = work.known.model
        at = look_at(self._viewer, work.layer, model.channels)
        self._job.run(
            partial(enhance_layer, work.held, model, work.settings, filling.canvas, at),
            done=partial(self._show_maps, filling),
            watch=partial(self._watch, filling, _size_note(work)),
            stopped=partial(self._stopped, filling, work.settings),
        )

    def write_zarr(self, work: Work, out: str) -> None:
        """Write the result to OME-Zarr, and show it from there."""
        layer, known, settings = work.layer, work.known, work.settings
        file, shown = file_of(layer), shown_of(layer)
        steps = partial(enhance_to_zarr, work.held, file, known.model, settings, Path(out), shown)

        def done(written: Written) -> None:
            made = add_levels(self._viewer, layer, known, settings, work.recipe, written.levels)
            self._save.withhold(f"The newest result is written already: {out}.")
            words = f"Written to {out}, and shown as '{made.name}'."
            self._job.say(f"{words}{cautions(written.notes)}")

        def stopped() -> None:
            if self._job.error is None:
                self._job.say(kept_words(layer, out))

        self._job.run(steps, done=done, stopped=stopped)

    def _watch(self, filling: Filling, told_before: str | None, events: list[Event]) -> None:
        if filling.removed and not filling.finished:
            self._job.cancel()
            return
        for event in events:
            if isinstance(event.new, Made):
                self._generations.add(event.new.number, event.new.change)
                filling.keep(event.new)
            elif isinstance(event.new, Enhanced):
                filling.finish(event.new)
                self._save.offer(filling.layer)
                rows, cols = filling.size
                words = f"Made '{filling.layer.name}', {rows} x {cols} pixels."
                if notes := event.new.notes:
                    filling.layer.metadata["acuity"]["notes"] = notes
                self._job.say(f"{words}{cautions(note for note in notes if note != told_before)}")
        if not filling.finished and any(isinstance(e.new, Painted | Made) for e in events):
            filling.draw()

    def _show_maps(self, filling: Filling, maps: Maps | None) -> None:
        if not filling.finished:  # the job was quicker than its cancelling
            self._job.say(_REMOVED)
        if maps is None:
            return
        filling.show_maps(maps)
        words = (
            f"Where it invents is not shown: {maps.problem}"
            if maps.problem
            else "Consistency is clear at the noise of the image, and yellow from five times that on."
        )
        self._job.say(f"{self._job.outcome.text()}\n{words}")

    def _stopped(self, filling: Filling, settings: Settings) -> None:
        if self._job.error is None and filling.finished:
            self._job.say("Cancelled; the result is kept, where it invents is not known.")
        elif self._job.error is None and filling.removed:
            self._job.say(_REMOVED)
        elif words := filling.stop(keep=settings.keep_part):
            self._save.offer(filling.layer)
            failed = "" if self._job.error is None else f"{self._job.error} "
            self._job.say(f"{failed}{words}" if failed else f"Cancelled. {words}")


def _size_note(work: Work) -> str | None:
    """Return the note of pixels of another size, which the panel tells in its own words beforehand."""
    from ...core.inference.pixel_size import size_note

    return size_note(work.known.model.header, pixel_size_of(work.layer))

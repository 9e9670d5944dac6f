"""The panel Register pair: two layers in, the registered image and its shifts out."""

from __future__ import annotations

import shlex
import threading
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QCheckBox, QFileDialog, QLabel, QPushButton, QScrollArea, QToolButton

from ._jobs import JobBox, one_step
from ._layer_settings import offer_settings
from ._layers import LayerChooser, follow, is_plane, made_by, snapshot
from ._panel import add_row, drop_down, enable, form, more_button, panel_layout, side_by_side
from ._registering.adjust import AdjustBox
from ._registering.arrow_box import ArrowBox
from ._registering.compare_views import CompareBox, Kept
from ._registering.evidence import EvidenceButton
from ._registering.guides import Guides
from ._registering.job import Level, Result, load_and_warp, register_and_warp
from ._registering.live import Live
from ._registering.map_box import MapBox
from ._registering.options import RegisterOptions, command_words
from ._registering.script import Script, script_of_load, script_of_run

if TYPE_CHECKING:
    from types import SimpleNamespace

    import napari.viewer
    from napari.layers import Image

    from ..core.jobs import Event
    from ..core.registration.registration import Registration

__all__ = ["RegisterPanel"]

_FIGURES = (
    "Starts tried: the correlation that each start led to after a coarse elastic pass.\n"
    "Correlation: mean local Pearson correlation of the two images, or of their edges where Start says "
    "so, after the start and after the elastic part; 1 is perfect.\n"
    "Residual: the median shift that the last elastic level still found, in pixels of the fixed image.\n"
    "RMS shift: the root of the mean square of the elastic shifts where the images overlap, in pixels of "
    "the fixed image.\n"
    "Largest shift: the longest elastic shift where they overlap, in pixels of the fixed image.\n"
    "Folding: whether the shift map turns a part of the image inside out; such a map is wrong there."
)
_STARTS = ("Auto", "Features", "Structure", "Phase", "Template", "Landmarks", "None")
_TIPS = {
    "moving": "The image to be warped: the modest instrument's.",
    "fixed": "The image that stays, on whose grid the result lies: the better instrument's.",
    "start": "How the images are first brought together.\n"
    "Auto: your landmarks where there are some, else the first of the others that leads to images "
    "that agree.\n"
    "Features: matching details, for any shift, rotation and scale.\n"
    "Structure: outlines and layers, for images whose details differ, such as neighbouring sections "
    "in unlike stains.\n"
    "Phase: rotation, scale and shift of the whole picture, for images of about the same field "
    "without clear details.\n"
    "Template: a small field found in a much larger one.\n"
    "Landmarks: points that you set in both images (Adjust, Add landmarks).\n"
    "None: the frames lie over each other already.",
    "elastic": "Follow with shifts that vary over the field, such as a lens's distortion.",
    "keep": "Stop after the level at work, and keep the map as it then stands: after the first ones it "
    "may be several px off near the corners.",
}
_MOST_RUNS = 5
# Maps of levels are kept to go on from, as far as they take less memory than this.
_LEVELS_BYTES = 512 * 2**20


@dataclass(eq=False)
class _Run:
    """A registration of this panel, what it shows, and what it could be gone on from."""

    live: Live
    script: Script
    seen: tuple[SimpleNamespace, SimpleNamespace]
    stop: threading.Event = field(default_factory=threading.Event)
    count: int = 0
    levels: dict[str, tuple[int, Registration]] = field(default_factory=dict)
    kept: Kept | None = None
    words: str = ""


class RegisterPanel(QScrollArea):
    """Register a moving image onto a fixed one."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._runs: list[_Run] = []
        self._running: _Run | None = None
        self._newest: Registration | None = None
        self.moving, self.fixed = LayerChooser(viewer), LayerChooser(viewer, rank=1)
        self.start = drop_down({name: name.lower() for name in _STARTS})
        self.elastic = QCheckBox("Elastic")
        self.elastic.setChecked(True)
        self.options = RegisterOptions()
        self.job = JobBox("Register", self._register)
        self.evidence = EvidenceButton(viewer)
        self.compare = CompareBox(viewer, self.evidence)
        self.arrows = ArrowBox(viewer)
        self.adjust = AdjustBox(viewer)
        self.maps = MapBox(viewer, self.job)
        self._make_controls()
        self._lay_out()
        self._connect()
        self._update()

    @property
    def _kept(self) -> Kept | None:
        return self._runs[-1].kept if self._runs else None

    def _make_controls(self) -> None:
        self.swap = QToolButton()
        self.swap.setText("⇅")
        self.swap.setToolTip("Swap the moving and the fixed image")
        self.swap.setAccessibleName("Swap")
        self.keep = QPushButton("Keep")
        self.keep.setMinimumHeight(32)
        self.keep.hide()
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(50)

    def _lay_out(self) -> None:
        layout, rows = panel_layout(self), form()
        add_row(rows, "Moving image", self.moving, _TIPS["moving"])
        add_row(rows, "Fixed image", self.fixed, _TIPS["fixed"], beside=self.swap)
        add_row(rows, "Start", self.start, _TIPS["start"], beside=self.elastic)
        self.elastic.setToolTip(_TIPS["elastic"])
        layout.addLayout(rows)
        layout.addWidget(self.options.folded)
        self.job.row.addWidget(self.keep)
        self.job.row.addWidget(self.options.device)
        more = more_button(python=self._python, command=self._command, page="register")
        offer_settings(more, self._viewer, "register", self._show_told)
        self.job.row.addWidget(more)
        self.job.set_tip("Find the map from the fixed image to the moving one")
        outcome = self.job.outcome
        outcome.setToolTip(_FIGURES)
        outcome.setMinimumHeight(4 * outcome.fontMetrics().lineSpacing())  # nothing jumps
        layout.addWidget(self.job)
        layout.addLayout(side_by_side(QLabel("View"), self.compare, stretch=self.compare))
        arrows = form()
        arrows.addRow("Arrow gain", self.arrows)
        layout.addLayout(arrows)
        layout.addWidget(self.adjust)
        layout.addWidget(self.maps)

    def _connect(self) -> None:
        self.swap.clicked.connect(self._swap)
        self.keep.clicked.connect(self._stop_and_keep)
        self._soon.timeout.connect(self._show_arrows)
        self.maps.load.clicked.connect(self._load)
        self.adjust.changed.connect(self._update)
        for channels in self.maps.channels:
            channels.changed.connect(self._update)
        self.adjust.again.connect(self._again)
        self.adjust.undo.clicked.connect(self._undo)
        self.adjust.edit_arrows.clicked.connect(self.arrows.hide_arrows)
        # A view hides the two images, in which landmarks are set.
        self.adjust.add_landmarks.clicked.connect(self.compare.leave)
        for chooser in (self.moving, self.fixed):
            chooser.changed.connect(self._update)
        self.start.currentIndexChanged.connect(self._update)
        self.options.transform.currentIndexChanged.connect(self._update)
        self.elastic.toggled.connect(self._update)
        self.job.busy.connect(self._update)
        follow(self, self._viewer.layers.events, ("removed",), self._update)

    def _update(self, _event: object = None) -> None:
        """Enable what can be done now, and say of the rest why not."""
        busy = "Wait for the running job to end." if self.job.running else None
        moving, fixed, no_pair = self.moving.layer, self.fixed.layer, self._no_pair()
        both = no_pair is None and moving is not None and fixed is not None
        self.adjust.choose((moving, fixed) if both else None)
        self.options.allow(start=self.start.currentData(), elastic=self.elastic.isChecked())
        self.job.disable(no_pair or self._no_landmarks())
        self.maps.update_buttons(busy, no_pair)
        self.adjust.update_buttons(busy, no_pair)
        self.keep.setVisible(self.job.running and self._running is not None)
        self.arrows.update_enabled()

    def _no_pair(self) -> str | None:
        moving, fixed = self.moving.layer, self.fixed.layer
        if moving is None or fixed is None or self.moving.count() < 2:
            return "Open two images of one field first."
        if moving == fixed:
            return "Choose two different images."
        for layer in (moving, fixed):
            if not is_plane(layer):
                return (
                    f"'{layer.name}' is a stack of {layer.ndim} axes. Make single planes of a copy first: "
                    "right-click the layer, Duplicate Layer, then Split Stack. For a pair of several "
                    "channels register one of them and choose the stacks in Options of the pair."
                )
        return None

    def _no_landmarks(self) -> str | None:
        """Say why the landmarks cannot be used as they are; there is a pair."""
        moving, fixed = cast("Image", self.moving.layer), cast("Image", self.fixed.layer)
        problem = self.adjust.landmarks.problem(moving, fixed)
        count, start = len(self.adjust.landmarks.points(fixed)), self.start.currentData()
        least, what = self.options.least_landmarks
        if problem is None and count < least and start in ("landmarks", "auto" if count else ""):
            return (
                f"A start by landmarks needs {least} pairs or more{what}; there "
                f"{'is 1' if count == 1 else f'are {count}'}. Add landmarks or choose layers of them "
                "(Adjust), or choose another start."
            )
        return problem

    def _swap(self) -> None:
        moving, fixed = self.moving.layer, self.fixed.layer
        self.moving.choose(fixed)
        self.fixed.choose(moving)

    # Register

    def _register(self) -> None:
        moving, fixed = self.moving.layer, self.fixed.layer
        if moving is None or fixed is None:
            return
        for chooser in (self.moving, self.fixed):
            chooser.pin()
        how, guides = self._how(), self.adjust.guides(moving, fixed)
        self._run(moving, fixed, how, guides, script_of_run(moving.name, fixed.name, how, guides))

    def _how(self) -> dict[str, Any]:
        """Return what `register` is told beside the guides."""
        start, elastic = self.start.currentData(), self.elastic.isChecked()
        return {"start": start, "elastic": elastic, **self.options.how()}

    def _again(self, level: str | None) -> None:
        """Go on after a level of the last run, or after its start."""
        kept = self._kept
        if kept is None or self.job.running:
            return
        number, before = None, kept.registration
        if level is None:
            before = replace(before, shift_map=0 * before.shift_map, level="")
        else:
            number, before = self._runs[-1].levels[level]
        guides = self.adjust.corrections(kept.moving, kept.fixed)
        how = {"elastic": self.elastic.isChecked(), **self.options.how()}
        how.pop("transform", None)  # the start's map is there
        script = self._runs[-1].script.again(number, how, guides)
        self._run(kept.moving, kept.fixed, {"start": before, **how}, guides, script)

    def _show_told(self, told: dict[str, Any]) -> None:
        """Set the panel as it was when it made a layer."""
        self.moving.choose_named(told.get("moving"))
        self.fixed.choose_named(told.get("fixed"))
        self.start.setCurrentIndex(max(0, self.start.findData(told.get("start"))))
        self.elastic.setChecked(told.get("elastic", True))
        self.options.show_told(told)
        if "landmarks" in told:  # a map that was loaded tells of none
            self._show_guides(told, Guides.told(told["landmarks"], told["excluded"]))

    def _show_guides(self, told: dict[str, Any], guides: Guides) -> None:
        """Bring landmarks and regions back, where the images that they lie on are open."""
        moving, fixed = self.moving.layer, self.fixed.layer
        names = [None if layer is None else layer.name for layer in (moving, fixed)]
        if moving is not None and fixed is not None and names == [told["moving"], told["fixed"]]:
            self.adjust.show_guides(moving, fixed, guides)
        elif guides:
            self.job.say(
                f"Landmarks and excluded regions were left out: they lie on '{told['moving']}' and "
                f"'{told['fixed']}', which are not both open."
            )

    def _run(
        self, moving: Image, fixed: Image, how: dict[str, Any], guides: Guides, script: Script
    ) -> None:
        told = {**how, "start": how["start"] if isinstance(how["start"], str) else "again"}
        recipe = made_by(
            "register",
            script.python(),
            moving=moving.name,
            fixed=fixed.name,
            **told,
            landmarks=(guides.fixed.tolist(), guides.moving.tolist()),
            excluded=[outline.tolist() for outline in guides.excluded],
        )
        self.compare.leave()
        live, seen = Live(self._viewer, moving, fixed, recipe), (snapshot(moving), snapshot(fixed))
        run = self._running = _Run(live, script, seen)
        self._newest = None
        run.live.colour = self.arrows.colour.currentData()
        enable(self.keep, _TIPS["keep"], "No level is done yet.")
        steps = partial(register_and_warp, *seen, how, guides, run.stop)
        self.job.run(
            steps,
            done=partial(self._show, run, moving, fixed, recipe),
            watch=partial(self._watch, run),
            stopped=self._discard,
        )

    def _watch(self, run: _Run, events: list[Event]) -> None:
        """Remember the levels, and show the newest."""
        levels = [event.new for event in events if isinstance(event.new, Level)]
        for level in levels:
            run.count += 1
            run.levels[level.registration.level] = run.count, level.registration
        if not levels:
            return
        _forget(run.levels)
        run.live.show(levels[-1])
        self._newest = levels[-1].registration
        self._soon.start()
        if not run.stop.is_set():
            enable(self.keep, _TIPS["keep"], None)

    def _show_arrows(self) -> None:
        """Let the arrows follow the image, once that is drawn."""
        run = self._running
        if run is None or self._newest is None:
            return
        if run.live.show_arrows(self._newest):
            self._soon.start()
            self.arrows.show_of(run.live)

    def _stop_and_keep(self) -> None:
        if self._running is not None:
            self._running.stop.set()
            enable(self.keep, "", "Stops when the level at work is done.")

    def _discard(self) -> None:
        if self._running is not None:
            self._running.live.remove()
        self._running = None
        self.arrows.show_of(self._runs[-1].live if self._runs else None)

    def _show(
        self, run: _Run, moving: Image, fixed: Image, recipe: dict[str, Any], result: Result
    ) -> None:
        self._running = None
        run.script = replace(run.script, stopped=result.levels)
        recipe = {**recipe, "python": run.script.python()}
        registered = run.live.finish(result, recipe)
        run.kept = Kept(result.registration, moving, fixed, registered, recipe, run.seen)
        run.words = result.words
        # A caution comes after the last level.
        start = result.registration.start.partition("; ")[0]
        run.levels = {
            name: (number, level)
            for name, (number, level) in run.levels.items()
            if level.start == start
        }
        if self._runs and (before := self._runs[-1].live.arrows) is not None:
            before.visible = False
        for past in self._runs:
            past.levels = {}
        self._runs = [*self._runs[1 - _MOST_RUNS :], run]
        self._offer()

    def _offer(self) -> None:
        """Show what belongs to the last run, or that there is none."""
        run = self._runs[-1] if self._runs else None
        kept = run.kept if run else None
        self.compare.compare(kept)
        self.evidence.show_of(kept)
        self.maps.show_of(kept)
        self.adjust.show_of(kept, list(run.levels) if run else [])
        self.arrows.show_of(run.live if run else None)
        self.job.say(run.words if run else "")
        self._update()

    def _undo(self) -> None:
        """Take the last result away, and show the one before as it was."""
        if not self._runs or self.job.running:
            return
        self.compare.leave()
        self._runs.pop().live.remove()
        if self._runs:
            self._runs[-1].live.restore()
        self._offer()

    def _load(self) -> None:
        moving, fixed = self.moving.layer, self.fixed.layer
        path, _ = QFileDialog.getOpenFileName(self, "Load map", "", "Registration (*.npz)")
        if not path or moving is None or fixed is None:
            return
        script = script_of_load(path, moving.name, fixed.name)
        recipe = made_by("register", script.python(), map=path, moving=moving.name)
        live, seen = Live(self._viewer, moving, fixed, recipe), (snapshot(moving), snapshot(fixed))
        run = _Run(live, script, seen)
        load = partial(load_and_warp, path, *seen)
        self.compare.leave()
        self.job.run(
            partial(one_step, "loading the map", load),
            done=partial(self._show, run, moving, fixed, recipe),
        )

    # The same in words

    def _python(self) -> str:
        moving, fixed = self.moving.layer, self.fixed.layer
        if moving is None or fixed is None:
            return ""
        guides = self.adjust.guides(moving, fixed)
        return script_of_run(moving.name, fixed.name, self._how(), guides).python()

    def _command(self) -> str:
        """Return the command, which knows neither landmarks nor regions."""
        moving, fixed = self.moving.layer, self.fixed.layer
        if moving is None or fixed is None or self.adjust.guides(moving, fixed):
            return ""
        paths = [layer.source.path for layer in (moving, fixed)]
        if not all(paths) or self.start.currentData() == "landmarks":
            return ""
        words = ["acuity", "register", *map(str, paths), "--out", "registered"]
        if self.start.currentData() != "auto":
            words += ["--start", self.start.currentData()]
        if not self.elastic.isChecked():
            words += ["--no-elastic"]
        return shlex.join([*words, *command_words(self.options.how())])


def _forget(levels: dict[str, tuple[int, Registration]]) -> None:
    """Drop the oldest levels where all of them take too much memory."""
    while len(levels) > 1 and sum(r.shift_map.nbytes for _, r in levels.values()) > _LEVELS_BYTES:
        levels.pop(next(iter(levels)))

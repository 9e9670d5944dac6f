"""A run under way: what it consists of, and the few things that are done with it over and over."""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import torch

from ..errors import FileError, TrainingError
from .checkpoint import save_state
from .progress import Epoch, Progress
from .run_folder import CHECKPOINT, COMMAND, COMMANDS, FORMAT, MODEL
from .schedule import rate_at
from .steps import Trainee
from .validation import VALIDATION_SIDE, interpolate, middle, preview, validate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..model import Model
    from .critic import Critic
    from .plan import Plan
    from .run_folder import RunFolder
    from .world import World

__all__ = ["Epoch", "Session"]

_INTERRUPTED = "interrupted"
_ORDERS = (*COMMANDS, _INTERRUPTED)
_CHECKPOINT_S = 30.0
_SAY_S = 0.5
# A disk in the network may be away for a moment.
_GONE_S = 2.0
_CHECK_EVERY = 16
_LEAST_BRAKE = 1 / 64
# Times the loss of the best epoch, or the sum of the weights of its terms.
_EXPLODED = 100
# Share of the loss from which on the discriminator decides where the network goes.
_LEADS = 0.5
# Batches on which statistics are measured before they are used.
_SETTLING = 16
# On a GPU: begin uncompiled, and compile where at least so much of the run lies ahead.
_COMPILE_AFTER_S, _COMPILE_S = 3.0, 120.0


class Session:
    """A run under way.

    Parameters
    ----------
    plan : Plan
    world : World
    folder : RunFolder, optional
        Where the first process keeps what happens.
    state : dict, optional
        Of a checkpoint to go on from.
    best : Model, optional
        The best model up to there.
    """

    def __init__(
        self,
        plan: Plan,
        world: World,
        folder: RunFolder | None,
        *,
        state: dict[str, Any] | None = None,
        best: Model | None = None,
    ) -> None:
        self.plan, self.world, self.folder, self.best = plan, world, folder, best
        self.progress, self.ended, self.paused, self.interrupted = Progress(), False, False, False
        # Whether the best model is in memory alone, and what identifies the one that is not; whether log or
        # state are behind what was trained, as the log of a run that was stopped may be, or missing; and the
        # last command that was not understood.
        self._unwritten, self._digest = False, best.digest() if best is not None else ""
        self._behind, self._misheard = state is not None, ""
        # Whether there is nothing (more) to make quicker.
        self._settled = not world.device.name.startswith("cuda")
        self._trainee = Trainee(plan.model, plan.recipe, world, frozen=plan.frozen)
        self._draws = torch.Generator().manual_seed(plan.recipe.seed)
        self._sums: dict[str, torch.Tensor] = {}
        # A network of whole-image statistics is judged at the size at which it takes them.
        side = plan.model.window_px or VALIDATION_SIDE
        self._fields = [middle(pair, side, world.device.name) for pair in plan.validation]
        self.bicubic_psnr = validate(
            lambda low: interpolate(low, plan.patches.scale), self._fields
        )[1]
        if state is not None:
            self._restore(state)
            if best is None:
                # It is lost: the best of the epochs to come is kept, and until then the state's own.
                self.best, self._unwritten = self._trainee.model(), True
                self.progress.best_loss, self.progress.stale = math.inf, 0
        self._good = self._state()
        # A run may have stopped while its discriminator was in trouble.
        self._sound = (state or {}).get("sound", self._good)
        self._clock = self._saved = self._said = self._there = time.monotonic()

    # What is done over and over

    def look(self, *, interrupted: bool = False) -> float:
        """See how far the run is and what it is asked to do; return the fraction done, 0 to 1.

        `interrupted` is whether this process was; of several processes the first one's counts.
        """
        now = time.monotonic()
        self._check_there(now)
        if not self.paused:
            self.progress.seconds += now - self._clock
        self._clock, at = now, self.progress
        epochs = at.epoch + at.steps_in_epoch / self.plan.steps_an_epoch
        done = self.world.agree(self.plan.bound.fraction(epochs, at.seconds))
        asked = _INTERRUPTED if interrupted else self._asked()
        command = _ORDERS[int(self.world.agree(_ORDERS.index(asked)))]
        self.interrupted = command == _INTERRUPTED
        if self.folder and not self.interrupted and (command == "pause") != self.paused:
            self.folder.say("paused" if command == "pause" else "going on")
        self.paused = command == "pause" and done < 1
        self.ended = done >= 1 or command == "stop" or self._out_of_patience
        return min(done, 1.0)

    def step(self, done: float) -> None:
        """Learn from a batch."""
        plan, at = self.plan, self.progress
        self._quicken(done)
        draws = plan.patches.draw(plan.recipe.batch, self._draws, turns=plan.augmentation.turns)
        mine = draws[self.world.part(plan.recipe.batch)]
        low, high = plan.augmentation.apply(*plan.patches.cut(mine), mine)
        rate = plan.recipe.learning_rate * rate_at(done, plan.recipe.schedule) * at.brake
        split, weighed = self._trainee.parts, bool(self._trainee.weights)
        share = len(low) / plan.recipe.batch
        for name, value in self._trainee.step(low, high, rate, share, number=at.step).items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        at.step, at.steps_in_epoch = at.step + 1, at.steps_in_epoch + 1
        self._trainee.follow(min(plan.recipe.averaging, (1 + at.step) / (10 + at.step)))
        if not weighed:
            weights = ", ".join(f"{name} {w:.3g}" for name, w in self._trainee.weights.items())
            self._say("note", words=f"weights of the loss, from the shares asked for: {weights}")
        if self._trainee.parts != split:
            self._say("warning", words=f"out of memory: batches in {self._trainee.parts} parts")
        if self.folder and time.monotonic() - self._said > _SAY_S:
            self._said = time.monotonic()
            self.folder.say("step", step=at.step, epoch=at.epoch + 1, fraction=min(done, 1.0))

    @property
    def epoch_is_over(self) -> bool:
        """Whether all steps of an epoch are done, or some of the last one."""
        return self.progress.steps_in_epoch >= (1 if self.ended else self.plan.steps_an_epoch)

    def diverged(self) -> bool:
        """Whether the loss has exploded; looked at now and then, as a look makes a GPU wait."""
        if not self._sums or not (self.epoch_is_over or self.progress.step % _CHECK_EVERY == 0):
            return False
        return self._exploded()

    def _exploded(self) -> bool:
        """Whether the loss is far off or, as its last step may have made them, the weights are."""
        loss = sum(self._means().values())
        # On images from 0 to 1 no term is far above 1, however wrong the output: that judges the first epoch.
        least = sum(self._trainee.weights.values())
        least = min([least, *(row["train_loss"] for row in self.progress.rows)])
        return not math.isfinite(loss) or loss > _EXPLODED * least or not self._trainee.finite

    def go_back(self) -> str:
        """Go back to the last good state, to go on from it in smaller steps.

        Returns
        -------
        str
            What was done, in words.

        Raises
        ------
        TrainingError
            When small steps have not helped.
        """
        brake = self.progress.brake / 2
        if brake < _LEAST_BRAKE:
            kept = f" The best model so far is in {self.folder.path}." if self.folder else ""
            raise TrainingError(
                f"The loss explodes, however small the steps.{kept if self.best else ''}",
                "Lower the recipe's learning_rate and train again.",
            )
        seconds = self.progress.seconds
        self._restore(self._good)
        self.progress.brake, self.progress.seconds, self.ended = brake, seconds, False
        words = f"the loss exploded: back to step {self.progress.step}, steps half as large"
        self._say("warning", words=words)
        return words

    def soothe(self) -> str | None:
        """See whether the discriminator has won or collapsed; where it has, go back to before that.

        Where it takes less than half of the loss, as in pix2pix, the other terms still show the network a
        way: then it is told, and training goes on. So it does where the discriminator is as gentle as can be:
        from the same state it would do the same again.

        Returns
        -------
        str or None
            What was done, in words.
        """
        critic = self._trainee.critic
        trouble = critic.trouble() if critic is not None else None
        # All processes of a run do alike; the accuracies are those of all of them.
        if critic is None or trouble is None:
            return None
        last = self.progress.rows[-1]
        if last["loss_adversarial"] < _LEADS * last["train_loss"]:
            critic.forgive()
            words = f"{trouble}; the other terms of the loss lead, so training goes on"
        elif critic.be_gentler():
            step = self.progress.step
            self._return_to_sound(critic)
            words = f"{trouble}: back to step {self.progress.step} of {step}, and it learns {critic.rarer} "
            words += "times as rarely as published"
        else:
            words = f"{trouble}, however rarely it learns; training goes on"
        self._say("warning", words=words)
        return words

    def _return_to_sound(self, critic: Critic) -> None:
        """Go back to the last sound state, but for what has been: epochs, time, curves, the best model."""
        kept = ("epoch", "rows", "seconds", "best_loss", "stale")
        been, rarer = {name: getattr(self.progress, name) for name in kept}, critic.rarer
        self._restore(self._sound)
        self.progress = replace(self.progress, **been)
        critic.forgive()
        critic.rarer = rarer

    def end_epoch(self) -> Epoch:
        """Validate, and keep the model where it is the best so far."""
        at, means = self.progress, self._means()
        at.epoch, at.steps_in_epoch = at.epoch + 1, 0
        self._sums.clear()
        average = self._trainee.average
        if self._trainee.has_statistics:
            self._trainee.settle(self._typical_patches())
        loss, psnr = validate(average, self._fields) if self.world.first else (0.0, 0.0)
        loss = self.world.agree(loss)
        improved = loss < at.best_loss
        if improved:
            at.best_loss, self.best, self._unwritten = loss, self._trainee.model(), True
        at.stale = 0 if improved else at.stale + 1
        self.ended = self.ended or self._out_of_patience
        epoch = Epoch(
            at.epoch,
            at.step,
            sum(means.values()),
            loss,
            psnr,
            self.bicubic_psnr,
            means,
            round(at.seconds, 3),
            self._trainee.critic.end_epoch() if self._trainee.critic is not None else {},
            self.best if improved else None,
            preview(average, self._fields[0], self.plan.patches.scale),
        )
        at.rows.append(epoch.row())
        return epoch

    def keep(self, epoch: Epoch | None, *, now: bool = False) -> str | None:
        """Write what must not be lost, where it is time to or now; return what went wrong, or None.

        A full disk does not end the run: the best model is in memory, and is written again later.
        """
        due = now or epoch is not None or time.monotonic() - self._saved >= _CHECKPOINT_S
        # Clocks differ, and all processes of a run must have one state to go back to.
        if not self.world.agree(float(due)) or self._exploded():
            return None
        self._saved, self._good = time.monotonic(), self._state()
        if epoch is not None and self._trainee.critic is not None and self._trainee.critic.sound:
            self._sound = self._good
        if self.folder is None:
            return None
        problems = self._written(self.folder, epoch)
        for problem in problems:
            self._say("warning", words=problem)
        if epoch is not None:
            self._say("epoch", **epoch.row(), best=epoch.best is not None)
        return problems[0] if problems else None

    def _written(self, folder: RunFolder, epoch: Epoch | None) -> list[str]:
        """Write model and state, and what an epoch brought; return what went wrong."""
        problems: list[str] = []
        if epoch is not None:
            with _noted(problems):
                folder.log(self.progress.rows)
        with _noted(problems):
            self._save(folder)
        # The log is written after an epoch alone.
        self._behind = bool(problems) or (self._behind and epoch is None)
        if epoch is not None:
            with _noted(problems):
                folder.show(epoch.preview)
        return problems

    def _save(self, folder: RunFolder) -> None:
        # The state tells how good the best model is: never one that is not on disk.
        if self.best is not None and self._unwritten:
            self.best.save(folder.path / MODEL)
            self._unwritten, self._digest = False, self.best.digest()
        sound = {} if self._trainee.critic is None else {"sound": self._sound}
        save_state({**self._good, **sound, "best": self._digest}, folder.path / CHECKPOINT)

    def catch_up(self) -> None:
        """Write the log and the state where a full disk left them behind.

        Raises
        ------
        FileError
            When they cannot be written yet.
        """
        if self.folder and self._behind:
            self.folder.log(self.progress.rows)
            self._save(self.folder)
            self._behind = False

    # What it consists of

    @property
    def _out_of_patience(self) -> bool:
        return 0 < self.plan.recipe.patience <= self.progress.stale

    def _check_there(self, now: float) -> None:
        """Raise TrainingError where the folder is gone: nothing that is learnt could be kept."""
        if self.folder is None or self.folder.there:
            self._there = now
        elif now - self._there > _GONE_S:
            raise TrainingError(
                f"The folder {self.folder.path} was moved or removed while the run was going on.",
                "Where it was moved, resume the run there; else begin another one.",
            )

    def _asked(self) -> str:
        """Return what the run is asked to do; a word that it does not know changes nothing."""
        asked = self.folder.command() if self.folder else "go"
        if asked in COMMANDS:
            return asked
        if asked != self._misheard:
            self._misheard = asked
            words = f"'{asked}' in the file {COMMAND} is none of {', '.join(COMMANDS)}: passed over"
            self._say("warning", words=words)
        return "pause" if self.paused else "go"

    def _quicken(self, done: float) -> None:
        """Compile once it is known that the run ahead is long enough to win the time back."""
        if self._settled:
            return
        seconds = self.progress.seconds
        # The first steps are slower than the rest, and say little.
        worth = seconds > _COMPILE_AFTER_S and seconds * (1 - done) / max(done, 1e-9) > _COMPILE_S
        # All processes of a run decide alike.
        if self.world.agree(float(worth)):
            self._settled = True
            self._say("note", words="compiling the network for the GPU")
            self._trainee.quicken()

    def _typical_patches(self) -> Iterator[torch.Tensor]:
        """Yield some batches of training patches, always the same."""
        plan, draws = self.plan, torch.Generator().manual_seed(self.plan.recipe.seed)
        for _ in range(_SETTLING):
            drawn = plan.patches.draw(plan.recipe.batch, draws, turns=plan.augmentation.turns)
            yield plan.augmentation.apply(*plan.patches.cut(drawn), drawn)[0]

    def _totals(self) -> dict[str, torch.Tensor]:
        """Return the sums over the steps of the epoch, of all processes."""
        sums = {name: value.clone() for name, value in self._sums.items()}
        self.world.sum(sums.values())
        return sums

    def _means(self) -> dict[str, float]:
        count = max(self.progress.steps_in_epoch, 1)
        return {name: float(value) / count for name, value in self._totals().items()}

    def _say(self, kind: str, **facts: Any) -> None:
        if self.folder:
            self.folder.say(kind, **facts)

    def _state(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "recipe": self.plan.recipe.as_table(),
            "progress": {**asdict(self.progress), "rows": [*self.progress.rows]},
            "sums": self._totals(),
            "draws": self._draws.get_state(),
            "trainee": self._trainee.state(),
        }

    def _restore(self, state: dict[str, Any]) -> None:
        device = self.world.device.name
        try:
            self.progress = Progress(**state["progress"])
            self.progress.rows = [*self.progress.rows]
            # Of a run of any number of processes: each takes its part.
            sums = {name: value.to(device) for name, value in state["sums"].items()}
            self._sums = {name: value / self.world.size for name, value in sums.items()}
            self._draws.set_state(state["draws"])
            self._trainee.restore(state["trainee"])
        except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise TrainingError(
                "The checkpoint is damaged or does not fit the recipe's network: "
                f"{type(error).__name__}, {error}.",
                "Begin another run; with start, from this one's best model.",
            ) from error


@contextmanager
def _noted(problems: list[str]) -> Iterator[None]:
    """Note that something could not be written, and go on."""
    try:
        yield
    except FileError as error:
        problems.append(str(error))

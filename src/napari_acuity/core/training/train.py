"""Train a network on registered pairs; one loop, readable from top to bottom."""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING

from ..errors import FileError, PairError, TrainingError
from ..inference.capture import fit_capture
from ..io import check_makable
from ..jobs import Event, Steps, altered, run, within
from ..pairs.usable import pairs_in
from ..recipe import Recipe, recipe_by_name
from .interrupts import Interrupts
from .plan import Plan, facts_of, make_plan
from .resuming import Stopped
from .run_folder import BOARD, MODEL, START, RunFolder, check_free, new_run
from .schedule import Bound
from .score import score_steps
from .session import Session
from .tensorboard import Board, check_tensorboard
from .world import joined

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..model import Model
    from ..pairs.pair import Pair
    from ..pairs.pair_set import PairSet

__all__ = ["resume", "resume_steps", "train", "train_steps"]

_PAUSE_S = 0.2
_SCORING = 0.98


def train(
    pairs: PairSet | Iterable[Pair] | str | os.PathLike[str],
    recipe: str | Recipe = "brightfield",
    out: str | os.PathLike[str] | None = None,
    *,
    epochs: int | None = None,
    minutes: float | None = None,
    device: str = "auto",
    start: Model | str | os.PathLike[str] | None = None,
    frozen: int = 0,
    test: float = 0.2,
    tensorboard: bool = False,
) -> Model:
    """Train a model on pairs.

    Parameters
    ----------
    pairs : PairSet, iterable of Pair, or folder
        All of one scale and one kind of image. Groups of them are kept to validate and to test on.
    recipe : str or Recipe
        The name of a built-in one, a ``.toml`` file, or a Recipe.
    out : path, optional
        A new folder for the run, see `RunFolder`; with it, the run can be watched, resumed and steered.
    epochs : int, optional
        Passes over the training fields; by default the recipe's, unless `minutes` is given.
    minutes : float, optional
        Stop after this long; the learning rate's schedule is laid over it.
    device : str
        "auto" or torch's name of a device. Under ``torchrun`` each process takes a GPU of its own.
    start : Model or path, optional
        Go on from the weights of a model of the same network, whose width and depth count, not the
        recipe's.
    frozen : int
        How many of the first layers of `start` stay as they are.
    test : float
        Share of the groups that is kept to score the model on at the end; 0 where other fields are.
    tensorboard : bool
        Write the curves for TensorBoard too, into the run's folder; `resume` goes on with them. Needs the
        extra ``napari-acuity[tensorboard]``.

    Returns
    -------
    Model
        The one with the lowest validation loss, with its scores on the test fields in its header.

    Raises
    ------
    TrainingError
        When the recipe is impossible, the folder holds another run, or the loss explodes however
        small the steps; for TensorBoard, when it is not installed or the run has no folder.
    PairError
        When the pairs do not fit together, or are too few or too small.
    ModelError
        When the network cannot be built, or the model to start from not be loaded.
    FileError
        When the folder may not be written.
    """
    return run(
        train_steps(
            pairs,
            recipe,
            out,
            epochs=epochs,
            minutes=minutes,
            device=device,
            start=start,
            frozen=frozen,
            test=test,
            tensorboard=tensorboard,
        )
    )


def train_steps(
    pairs: PairSet | Iterable[Pair] | str | os.PathLike[str],
    recipe: str | Recipe = "brightfield",
    out: str | os.PathLike[str] | None = None,
    *,
    epochs: int | None = None,
    minutes: float | None = None,
    device: str = "auto",
    start: Model | str | os.PathLike[str] | None = None,
    frozen: int = 0,
    test: float = 0.2,
    tensorboard: bool = False,
) -> Steps[Model]:
    """Do what `train` does, yielding events.

    Yields
    ------
    Event
        `new` is an `Epoch` after every epoch, else None. Closing the generator ends training; the best
        model so far is in the last epoch that had one, and in the run's folder.
    """
    chosen = recipe_by_name(recipe)
    if tensorboard:
        check_tensorboard(out)
    unbounded = epochs is None and minutes is None
    bound = Bound(chosen.epochs if unbounded else epochs, minutes)
    yield Event("reading pairs", 0.0)
    with joined(device) as world, ExitStack() as opened:
        if out is not None and world.first:
            check_free(out)
            check_makable(out)
        given = _opened(pairs)
        plan = make_plan(given, chosen, bound, world, start=start, frozen=frozen, test=test)
        folder = board = None
        # Only now: pairs that cannot be used leave no folder behind.
        if out is not None and world.first:
            folder = opened.enter_context(new_run(out))
            opened.enter_context(_ending_told(folder))
            if plan.before is not None:
                plan.before.save(folder.path / START)
            folder.begin(plan.recipe, facts_of(plan, given))
            board = opened.enter_context(Board(folder)) if tensorboard else None
        return (yield from _told(plan, Session(plan, world, folder), board))


def resume(
    out: str | os.PathLike[str],
    *,
    pairs: PairSet | Iterable[Pair] | str | os.PathLike[str] | None = None,
    device: str = "auto",
) -> Model:
    """Go on with a run that was stopped or killed, from its last checkpoint.

    Recipe, bound and division of the pairs are the run's; on the CPU it ends as if it had never stopped,
    bit for bit, unless it is bounded by minutes or was asked to "stop": the epoch that this broke off counts
    as a whole one, see `RunFolder.ask`.

    Parameters
    ----------
    out : path
        The run's folder.
    pairs : PairSet, iterable of Pair, or folder, optional
        Its pairs, where they have moved or did not come from a folder.
    device : str
        "auto" or torch's name of a device.

    Returns
    -------
    Model

    Raises
    ------
    TrainingError
        When there is no run in the folder, another process is at it, its checkpoint or another file is
        damaged, or its recipe was changed; when it writes curves for TensorBoard, which is not installed.
    PairError
        When pairs that it was trained on are missing.
    """
    return run(resume_steps(out, pairs=pairs, device=device))


def resume_steps(
    out: str | os.PathLike[str],
    *,
    pairs: PairSet | Iterable[Pair] | str | os.PathLike[str] | None = None,
    device: str = "auto",
) -> Steps[Model]:
    """Do what `resume` does, yielding the events of `train_steps`."""
    run_folder = RunFolder(Path(out))
    run_folder.facts  # noqa: B018 - says so where there is no run
    yield Event("reading pairs", 0.0)
    with joined(device) as world, ExitStack() as opened:
        if world.first:
            opened.enter_context(run_folder.held())
            # First: one that was stopped says that it is done, and while nobody asks it to stop that counts.
            run_folder.begun(str(world.device), "")
            opened.enter_context(_ending_told(run_folder))
            run_folder.ask("go")
        stopped = Stopped.of(run_folder)
        facts = stopped.facts
        pairs = facts["pairs"] if pairs is None else pairs
        if pairs is None:
            raise TrainingError(
                f"The pairs of the run in {run_folder.path} came from no folder.",
                "Give them with pairs.",
            )
        if pairs is facts["pairs"] and not Path(pairs).exists():
            raise PairError(
                f"The pairs of the run in {run_folder.path} are no longer in {pairs}.",
                "Put them back, or say where they are: acuity resume RUN --pairs FOLDER, in Python pairs.",
            )
        plan = make_plan(
            _opened(pairs),
            stopped.recipe,
            Bound(facts["epochs"], facts["minutes"]),
            world,
            start=stopped.start,
            frozen=facts["frozen"],
            table=facts["division"],
        )
        words = [*plan.words, *stopped.words]
        if plan.model.header.data != facts["data"]:
            words.append("some pairs have changed since the run began")
        plan = replace(plan, words=tuple(words))
        folder = run_folder if world.first else None
        session = Session(plan, world, folder, state=stopped.state, best=stopped.best)
        followed = folder is not None and (folder.path / BOARD).is_dir()
        board = opened.enter_context(Board(run_folder)) if followed else None
        return (yield from _told(plan, session, board))


def _opened(
    pairs: PairSet | Iterable[Pair] | str | os.PathLike[str],
) -> PairSet | Iterable[Pair]:
    return pairs_in(pairs) if isinstance(pairs, str | os.PathLike) else pairs


def _told(plan: Plan, session: Session, board: Board | None) -> Steps[Model]:
    """Train and score, and say in the run's folder how it began and what came of it."""
    folder = session.folder
    for words in plan.words:
        yield Event(words, 0.0)
    if folder is None:
        return (yield from _trained(session))
    folder.begun(str(session.world.device), "; ".join(plan.words))
    steps = _trained(session)
    model = yield from altered(steps, board.seen) if board else steps
    folder.say("done", scores=model.header.scores)
    return model


@contextmanager
def _ending_told(folder: RunFolder) -> Iterator[None]:
    """Say in the run's folder that it was stopped or has failed, where it was or has."""
    try:
        yield
    except (GeneratorExit, KeyboardInterrupt):
        folder.say("stopped")
        raise
    except Exception as error:
        folder.say("failed", words=str(error) or type(error).__name__)
        raise


def _trained(session: Session) -> Steps[Model]:
    best = yield from within(_loop(session), 0.0, _SCORING)
    if not session.world.first:
        return best
    division = session.plan.division
    scores = yield from within(
        score_steps(
            best,
            division.test,
            colour_from=division.train,
            before=session.plan.before,
            device=session.world.device.name,
        ),
        _SCORING,
        1.0,
    )
    capture = asdict(fit_capture(division.train))
    header = replace(best.header, scores=scores.as_dict(), capture=capture)
    best = replace(best, header=header)
    if session.folder:
        yield from _kept(best, session, session.folder)
    yield Event("done", 1.0)
    return best


def _kept(model: Model, session: Session, folder: RunFolder) -> Steps[None]:
    """Write the model; a full disk is said and waited out, as what was learnt is in memory alone.

    A run that is asked to stop meanwhile ends with what could not be written.
    """
    said, asked = False, folder.asked_at
    while True:
        try:
            session.catch_up()
            model.save(folder.path / MODEL)
            return
        except FileError as error:
            if getattr(error.__cause__, "errno", None) not in (errno.ENOSPC, errno.EDQUOT):
                raise
            # What it was asked before, as by Stop and keep, is no reason not to wait.
            if folder.command() == "stop" and folder.asked_at != asked:
                raise
            words = str(error)
        if not said:
            folder.say("warning", words=words)
        said = True
        yield Event(words, 1.0)
        sleep(_PAUSE_S)


def _loop(session: Session) -> Steps[Model]:
    """Train until the bound is reached, patience ends, or the run is asked to stop.

    Interrupted, it keeps its state after the step in hand; closed, that of the last checkpoint.
    """
    with Interrupts() as interrupts:
        yield from _until_it_ends(session, interrupts)
    if interrupts.came:  # in the last step, whose state is kept
        raise KeyboardInterrupt
    if session.best is None:
        raise TrainingError(
            "Training ended before its first epoch was done: there is no model to keep.",
            "Let it run longer.",
        )
    return session.best


def _until_it_ends(session: Session, interrupts: Interrupts) -> Steps[None]:
    while not session.ended:
        done, epoch = session.look(interrupted=interrupts.came), None
        if session.interrupted:
            session.keep(None, now=True)
            raise KeyboardInterrupt
        if session.paused:
            sleep(_PAUSE_S)
            yield Event("paused", done)
            continue
        if not session.ended:
            session.step(done)
            yield Event(f"epoch {session.progress.epoch + 1}", done)
        if session.diverged():
            yield Event(session.go_back(), done)
        elif session.epoch_is_over:
            epoch = session.end_epoch()
            if words := session.soothe():
                yield Event(words, done)
        problem = session.keep(epoch)
        if epoch is not None:
            words = f"epoch {epoch.number}, {epoch.psnr:.2f} dB"
            yield Event(f"{words} (bicubic {epoch.bicubic_psnr:.2f})", done, epoch)
        if problem is not None:
            yield Event(problem, done)

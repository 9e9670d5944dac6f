"""The choice of a model or a lens: those of this session, those used before, and the shipped one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QComboBox
from superqt.utils import create_worker

from ...core.errors import AcuityError
from .. import _lenses, _session
from .._layers import follow
from .._lenses import KnownLens, is_lens_file, lens_title
from .._panel import let_shrink
from .._recent_models import recent_models
from .._session import SHIPPED, KnownModel, title_of

if TYPE_CHECKING:
    from typing import TypeAlias

    Known: TypeAlias = KnownModel | KnownLens

__all__ = ["ModelChooser", "load_known"]

_SHIPPED_TITLE = "Bright-field (shipped)"
_loaded: dict[str, KnownLens] = {}  # lenses that were read to be looked at


@dataclass(frozen=True, eq=False)
class _Entry:
    title: str
    load_as: str
    known: Known | None = None

    @property
    def now(self) -> Known | None:
        """The model or lens, once it is loaded."""
        return self.known or _session.loaded.get(self.load_as) or _loaded.get(self.load_as)


class ModelChooser(QComboBox):
    """Lists models and lenses; one that is not in memory is read in a thread when it is chosen.

    Attributes
    ----------
    problem : str or None
        Why the chosen model cannot be used (yet).
    reading : bool
        Whether it is being read.
    """

    changed = Signal()
    """Emitted at another choice, and when the chosen model has been read."""

    def __init__(self) -> None:
        super().__init__()
        let_shrink(self)
        self.problem: str | None = None
        self.reading = False
        self._entries: list[_Entry] = []
        self.currentIndexChanged.connect(self._on_index)
        for listed in (_session.models, _lenses.lenses):
            follow(self, listed.events, ("inserted", "removed"), self._list)
        self._list()

    @property
    def known(self) -> KnownModel | None:
        """The chosen model; None while it is being read, and where a lens is chosen."""
        now = None if self._entry is None else self._entry.now
        return now if isinstance(now, KnownModel) else None

    @property
    def lens(self) -> KnownLens | None:
        """The chosen lens; None while it is being read, and where a model is chosen."""
        now = None if self._entry is None else self._entry.now
        return now if isinstance(now, KnownLens) else None

    def choose(self, known: Known) -> None:
        """Choose a listed model or lens."""
        for index, entry in enumerate(self._entries):
            if _same(entry, known):
                self.setCurrentIndex(index)
                return

    def choose_named(self, name: object) -> bool:
        """Choose a listed model or lens by what it is loaded as, or its title; tell whether there is one."""
        for index, entry in enumerate(self._entries):
            if name in (entry.load_as, entry.title):
                self.setCurrentIndex(index)
                return True
        return False

    @property
    def _entry(self) -> _Entry | None:
        index = self.currentIndex()
        return self._entries[index] if 0 <= index < len(self._entries) else None

    def _list(self, _event: object = None) -> None:
        before, last = self._entry, recent_models()
        here = [*_session.models, *_lenses.lenses]
        entries = [_Entry(known.title, known.load_as, known) for known in here]
        files = {entry.load_as for entry in entries} | {SHIPPED}
        entries += [_Entry(_title_of(text), text) for text in last if text not in files]
        entries.append(_Entry(_SHIPPED_TITLE, SHIPPED))
        self.blockSignals(True)
        self.clear()
        for index, entry in enumerate(entries):
            self.addItem(entry.title)
            where = "came with the plugin" if entry.load_as == SHIPPED else entry.load_as
            self.setItemData(index, where, Qt.ItemDataRole.ToolTipRole)
        self._entries = entries
        self.setCurrentIndex(_kept(entries, before, last))
        self.blockSignals(False)
        self._on_index()

    def _on_index(self, _index: int = 0) -> None:
        entry, self.problem = self._entry, None
        self.reading = entry is not None and entry.now is None
        if entry is not None and self.reading:
            self.problem = "The model is being read."
            worker = create_worker(load_known, entry.load_as)
            worker.returned.connect(self._keep)
            worker.start()
        self.changed.emit()

    def _keep(self, read: tuple[str, Known | None, str]) -> None:
        load_as, known, problem = read
        if isinstance(known, KnownLens):
            _loaded[load_as] = known
        elif known is not None:
            _session.loaded[load_as] = known
        entry = self._entry
        if entry is not None and entry.load_as == load_as:
            self.problem, self.reading = problem or None, False
            self.changed.emit()


def load_known(load_as: str) -> tuple[str, Known | None, str]:
    """Read a model or lens; return what was asked for, what it is, and what is wrong, if anything is."""
    from ...core.lens import Lens
    from ...core.model import load

    try:
        if is_lens_file(load_as):
            return load_as, KnownLens(Lens.load(load_as), Path(load_as)), ""
        model = load(load_as)
    except AcuityError as error:
        return load_as, None, str(error)
    if load_as == SHIPPED:
        return load_as, KnownModel(model, shipped=True), ""
    return load_as, KnownModel(model, Path(load_as)), ""


def _title_of(load_as: str) -> str:
    path = Path(load_as)
    return lens_title(path) if is_lens_file(load_as) else title_of(path)


def _same(entry: _Entry, known: Known) -> bool:
    return entry.known is known or bool(known.load_as and entry.load_as == known.load_as)


def _kept(entries: list[_Entry], before: _Entry | None, last: list[str]) -> int:
    """Return which entry to choose: the one before, else this session's newest, else the one used last."""
    if before is not None:
        for index, entry in enumerate(entries):
            named = bool(before.load_as) and entry.load_as == before.load_as
            if named or (entry.known is not None and entry.known is before.known):
                return index
    if entries[0].known is not None or not last:
        return 0 if entries[0].known is not None else len(entries) - 1
    return next(index for index, entry in enumerate(entries) if entry.load_as == last[0])

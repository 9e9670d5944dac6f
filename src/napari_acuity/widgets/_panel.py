"""What the four panels share: a frame that scrolls, rows, options, the device chip, the ... menu."""

from __future__ import annotations

import os
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QApplication,
    QCheckBox,
    QComboBox,
    QDockWidget,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QMenu,
    QScrollArea,
    QSizePolicy,
    QSlider,
    QToolButton,
    QVBoxLayout,
    QWidget,
)
from superqt.utils import create_worker

from ._help import HelpWindow, docs_folder

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..core.device import Device

__all__ = [
    "DeviceChip",
    "add_option",
    "add_row",
    "browse_button",
    "copy_text",
    "drop_down",
    "follow_with_tab",
    "form",
    "let_shrink",
    "more_button",
    "enable",
    "options",
    "panel_layout",
    "scroll_to",
    "side_by_side",
    "typed_path",
]

_LEAST_WIDTH_PX = 320


def typed_path(text: str) -> Path | None:
    """Return the path that a user typed; None for nothing."""
    # pathlib's own expanduser fails at users that are not known.
    return Path(os.path.expanduser(text.strip())) if text.strip() else None


def panel_layout(panel: QScrollArea) -> QVBoxLayout:
    """Make a panel scroll where the window is low, and return the layout to fill from the top."""
    body, layout = QWidget(), QVBoxLayout()
    layout.setSpacing(8)
    # A stretch below, not AlignTop: an aligned layout gives wrapped text too little height.
    frame = QVBoxLayout(body)
    frame.setContentsMargins(6, 6, 6, 6)
    frame.addLayout(layout)
    frame.addStretch(1)
    panel.setWidget(body)
    panel.setWidgetResizable(True)
    panel.setFrameShape(QFrame.Shape.NoFrame)
    panel.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    panel.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
    _Keeper(panel, body)
    return layout


def scroll_to(panel: QScrollArea, widget: QWidget) -> None:
    """Scroll a panel so that a widget in it begins at the top, as far as that goes."""
    body: Any = panel.widget()
    body.layout().activate()  # what was just shown or hidden has not been laid out yet
    panel.verticalScrollBar().setValue(widget.mapTo(body, widget.rect().topLeft()).y())


class _Keeper(QObject):
    """Keeps a panel as wide as its contents need, in a tab beside other panels; deletes it with its dock.

    napari takes a closed panel out of its dock and leaves it to itself, with whatever it is doing;
    deleting it stops its job and ends what it listens to. The wheel scrolls the panel alone: it would
    change what is chosen in passing, and open a file dialog where a list ends with one.
    """

    def __init__(self, panel: QScrollArea, body: QWidget) -> None:
        super().__init__(panel)
        self._panel, self._body, self._placed = panel, body, False
        panel.setMinimumWidth(_LEAST_WIDTH_PX)
        for watched in (panel, body):
            watched.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Wheel and watched not in (self._panel, self._body):
            event.ignore()
            return True
        if event.type() == QEvent.Type.LayoutRequest and watched == self._body:
            for kind in (QComboBox, QAbstractSpinBox, QSlider):
                for widget in self._body.findChildren(kind):
                    widget.installEventFilter(self)  # once, however often it is called
            bar = self._panel.verticalScrollBar().sizeHint().width()
            needed = self._body.minimumSizeHint().width() + bar
            self._panel.setMinimumWidth(max(_LEAST_WIDTH_PX, needed))
        elif event.type() == QEvent.Type.ParentChange and watched == self._panel:
            if self._panel.parent() is None:
                self._panel.deleteLater()
        elif event.type() == QEvent.Type.Show and watched == self._panel and not self._placed:
            self._placed = True
            QTimer.singleShot(0, self._share_a_tab)  # once napari has placed the dock
        return False

    def _share_a_tab(self) -> None:
        """Lie over the panels that are docked at this side: one below the other they are too low to use."""
        dock: Any = self._panel.parent()
        while dock is not None and not isinstance(dock, QDockWidget):
            dock = dock.parent()
        if dock is None or dock.isFloating():
            return
        # Tabs are narrow, and the name of the plugin is the same on all of them.
        dock.setWindowTitle(dock.windowTitle().removesuffix(" (napari-acuity)"))
        window: Any = dock.parent()
        for other in window.findChildren(QDockWidget):
            at_this_side = window.dockWidgetArea(other) == window.dockWidgetArea(dock)
            panel = other is not dock and other.findChild(_Keeper) is not None
            if panel and at_this_side and not other.isFloating():
                window.tabifyDockWidget(other, dock)
                dock.raise_()
                break


def form() -> QFormLayout:
    """Return a layout of labelled rows."""
    layout = QFormLayout()
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
    layout.setLabelAlignment(Qt.AlignmentFlag.AlignLeft)
    return layout


def add_row(
    layout: QFormLayout, label: str, widget: QWidget, tip: str, *, beside: QWidget | None = None
) -> None:
    """Add a labelled row whose label and widget say what it is, with a small widget at its right."""
    title = QLabel(label)
    title.setBuddy(widget)
    widget.setAccessibleName(label)
    for part in (title, widget):
        part.setToolTip(tip)
    layout.addRow(title, side_by_side(widget, beside, stretch=widget) if beside else widget)


def browse_button(tip: str, clicked: Callable[[], None]) -> QToolButton:
    """Return a small button that opens a file dialog."""
    button = QToolButton()
    button.setText("...")
    button.setToolTip(tip)
    button.setAccessibleName(tip)
    button.clicked.connect(lambda _checked=False: clicked())
    return button


def side_by_side(*widgets: QWidget, stretch: QWidget | None = None) -> QHBoxLayout:
    """Lay widgets in a row; `stretch` is the one that takes the room left."""
    layout = QHBoxLayout()
    layout.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        layout.addWidget(widget, stretch=int(widget is stretch))
    return layout


def follow_with_tab(*widgets: QWidget) -> None:
    """Let the Tab key go from each to the next; else those laid out later come last."""
    stops = [each for each in widgets if each.focusPolicy() != Qt.FocusPolicy.NoFocus]
    for before, after in pairwise(stops):
        QWidget.setTabOrder(before, after)


def drop_down(choices: dict[str, Any]) -> QComboBox:
    """Return a drop-down list; `currentData()` is the value that belongs to the shown text."""
    box = QComboBox()
    for text, value in choices.items():
        box.addItem(text, value)
    return let_shrink(box)


def let_shrink(box: QComboBox) -> QComboBox:
    """Keep long entries of a drop-down list from widening the panel."""
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(6)
    box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return box


def options(title: str = "Options") -> tuple[QWidget, QFormLayout]:
    """Return a folded section and the layout of its rows."""
    section, header, body = QWidget(), QToolButton(), QWidget()
    header.setText(title)
    header.setToolTip(f"Show or hide {title}")
    header.setCheckable(True)
    header.setArrowType(Qt.ArrowType.RightArrow)
    header.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
    header.setStyleSheet("QToolButton, QToolButton:checked { background: transparent; border: 0; }")
    rows = form()
    rows.setContentsMargins(12, 0, 0, 0)
    body.setLayout(rows)
    body.hide()

    def unfold(shown: bool) -> None:
        body.setVisible(shown)
        header.setArrowType(Qt.ArrowType.DownArrow if shown else Qt.ArrowType.RightArrow)

    header.toggled.connect(unfold)
    layout = QVBoxLayout(section)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.addWidget(header)
    layout.addWidget(body)
    return section, rows


def add_option(rows: QFormLayout, label: str, widget: QWidget, tip: str) -> None:
    """Add a row whose label turns bold, with a button to reset, where the value is not the default.

    The default is what the widget holds now; it is a QCheckBox, a QComboBox or a spin box.
    """
    default, reset = _value(widget), QToolButton()
    reset.setText("↺")
    reset.setToolTip(f"Reset to the default: {_text(widget)}")
    reset.setAccessibleName(f"Reset {label}")
    policy = reset.sizePolicy()
    policy.setRetainSizeWhenHidden(True)
    reset.setSizePolicy(policy)
    title = QLabel(label)
    title.setBuddy(widget)
    widget.setAccessibleName(label)
    for part in (title, widget):
        part.setToolTip(tip)
    rows.addRow(title, side_by_side(widget, reset, stretch=widget))

    def mark(_value_now: object = None) -> None:
        changed = _value(widget) != default
        reset.setVisible(changed)
        font = title.font()
        font.setBold(changed)
        title.setFont(font)
        title.setText(f"{label} *" if changed else label)

    reset.clicked.connect(lambda: _set_value(widget, default))
    _changed(widget).connect(mark)
    mark()


class DeviceChip(QToolButton):
    """Names the device that will compute, and why; a click offers the others.

    `device` is "auto", or torch's name of the chosen one. torch is asked in a thread: importing it
    takes seconds. With `cuda_only`, "auto" stands for a CUDA GPU or the CPU.
    """

    def __init__(self, *, cuda_only: bool = False) -> None:
        super().__init__()
        self.device, self._cuda_only = "auto", cuda_only
        self.setText("device")
        self.setStyleSheet("QToolButton::menu-indicator { image: none; }")
        self.setToolTip("Looking for devices")
        self.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextOnly)
        self.setMenu(QMenu(self))
        self._look()

    def _look(self) -> None:
        worker = create_worker(_devices, self.device, self._cuda_only)
        worker.returned.connect(self._show)
        worker.start()

    def _show(self, found: tuple[Device, list[str]]) -> None:
        chosen, names = found
        self.setText(f"{chosen.label.partition(',')[0]} ▾")
        self.setToolTip(f"Computes on {chosen}. Click to choose another.")
        self.menu().clear()
        for name in ("auto", *names):
            action = self.menu().addAction("Automatic" if name == "auto" else name)
            action.setCheckable(True)
            action.setChecked(name == self.device)
            action.triggered.connect(partial(self._choose, name))

    def _choose(self, name: str, _checked: bool = True) -> None:
        self.device = name
        self._look()


def more_button(
    *,
    python: Callable[[], str],
    command: Callable[[], str],
    page: str,
    why_not: Callable[[], str | None] = lambda: None,
) -> QToolButton:
    """Return the ... menu.

    Parameters
    ----------
    python, command : callable
        Return the text to copy for what the panel is set to now; "" where there is none yet.
    page : str
        The docs page that Help shows: "register".
    why_not : callable
        Returns why nothing can be copied, where the panel is set to what cannot be done.
    """
    button, menu = QToolButton(), QMenu()
    button.setText("...")
    button.setStyleSheet("QToolButton::menu-indicator { image: none; }")
    button.setToolTip("Copy as Python or as a command; help; information for a bug report")
    button.setAccessibleName("More")
    button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
    button.setMenu(menu)
    menu.setParent(button, menu.windowFlags())
    menu.setToolTipsVisible(True)
    texts = {
        menu.addAction("Copy as Python"): (python, "Choose the inputs first."),
        menu.addAction("Copy as command"): (
            command,
            "Needs images that were opened from files, and nothing set by hand in the viewer.",
        ),
    }
    for action, (text, _) in texts.items():
        what = action.text().replace("Copy", "Copied")
        action.triggered.connect(partial(_copy_now, text, what))
    shown = menu.addAction("Help")
    shown.triggered.connect(lambda _checked=False: _show_help(page, button))
    if docs_folder() is None:
        shown.setEnabled(False)
        shown.setToolTip("The docs pages were not installed.")
    menu.addAction("Info for a bug report").triggered.connect(copy_info)

    def update() -> None:
        wrong = why_not()
        for action, (text, missing) in texts.items():
            reason = wrong or ("" if text() else missing)
            action.setEnabled(not reason)
            action.setToolTip(reason)

    menu.aboutToShow.connect(update)
    return button


def enable(widget: QWidget, tip: str, why_not: str | None) -> None:
    """Enable a widget with a tooltip that says what it does, or disable it with one that says why."""
    widget.setEnabled(why_not is None)
    widget.setToolTip(why_not or tip)


def copy_text(text: str, what: str = "Copied") -> None:
    """Put text on the clipboard and say so; a folded notification shows `what` alone."""
    from napari.utils.notifications import show_info

    QApplication.clipboard().setText(text)
    show_info(f"{what}\n{text}")


def copy_info() -> None:
    """Put versions and devices on the clipboard, for a bug report."""
    worker = create_worker(_info)
    worker.returned.connect(partial(copy_text, what="Copied information for a bug report"))
    worker.start()


def _show_help(page: str, button: QToolButton) -> None:
    if (folder := docs_folder()) is not None:
        HelpWindow(folder / f"{page}.md", button.window()).show()


def _copy_now(text: Callable[[], str], what: str, _checked: bool = False) -> None:
    copy_text(text(), what)


def _info() -> str:
    from ..core.device import info

    return "\n".join(f"{name}: {value}" for name, value in info().items())


def _devices(name: str, cuda_only: bool) -> tuple[Device, list[str]]:
    from ..core.device import available_devices, choose_device

    return choose_device(name, cuda_only=cuda_only), available_devices()


def _value(widget: Any) -> Any:
    if isinstance(widget, QCheckBox):
        return widget.isChecked()
    return widget.currentIndex() if isinstance(widget, QComboBox) else widget.value()


def _set_value(widget: Any, value: Any) -> None:
    if isinstance(widget, QCheckBox):
        widget.setChecked(value)
    elif isinstance(widget, QComboBox):
        widget.setCurrentIndex(value)
    else:
        widget.setValue(value)


def _text(widget: Any) -> str:
    if isinstance(widget, QCheckBox):
        return "on" if widget.isChecked() else "off"
    return str(widget.currentText() if isinstance(widget, QComboBox) else widget.text())


def _changed(widget: Any) -> Any:
    if isinstance(widget, QCheckBox):
        return widget.toggled
    return widget.currentIndexChanged if isinstance(widget, QComboBox) else widget.valueChanged

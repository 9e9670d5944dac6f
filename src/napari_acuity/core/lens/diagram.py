"""A picture of a lens: what flows from its inputs to its outputs."""

from __future__ import annotations

import textwrap
import unicodedata
import warnings
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

from .layout import Node, laid_out

if TYPE_CHECKING:
    from .lens import Lens
    from .steps import Kind, Step

__all__ = ["drawn"]

# What flows, its colour in arrows and rims, and a pale one to fill boxes with.
_COLOURS = {
    "image": ("#2f6f9f", "#e3eef6"),
    "mask": ("#666666", "#eeeeee"),
    "labels": ("#b05a00", "#fbead7"),
    "model": ("#2e7d4f", "#e0f2e6"),
}
_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: to be found, read aloud, and in any script
    "svg.hashsalt": "napari-acuity",
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "path.simplify": False,
    "text.usetex": False,
}
_NAME_PT, _OP_PT = 10, 8
# In inches.
_LINE, _PAD, _BETWEEN, _ABOVE, _ROUND = 0.17, 0.1, 0.45, 0.22, 0.14
# So far from a column arrows stay level: none crosses a wider box beside its own.
_LEVEL = 0.05
# In characters.
_LONGEST_NAME, _LONGEST_OP = 20, 28


@dataclass(frozen=True)
class _Box:
    """A box of a diagram: its name, what is in small print, what flows out of it, and how it looks."""

    name: list[str]
    small: list[str]
    flow: str
    look: str

    @property
    def width(self) -> float:
        lines = [_width(line, _NAME_PT) for line in self.name]
        return max(lines + [_width(line, _OP_PT) for line in self.small]) + 2 * _PAD

    @property
    def height(self) -> float:
        return (len(self.name) + len(self.small)) * _LINE + _PAD


def drawn(lens: Lens) -> str:
    """Return the picture of a lens as SVG; the same lens gives the same text."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with rc_context(_STYLE), warnings.catch_warnings():
        # Names may be in a script that the font lacks; who shows the picture has another font.
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        picture = _Picture(lens)
        figure = Figure(figsize=picture.size)
        FigureCanvasSVG(figure)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, picture.size[0]), ylim=(picture.size[1], 0))
        axes.set_axis_off()
        picture.draw(axes)
        text = StringIO()
        facts = {"Date": None, "Creator": "napari-acuity", "Title": _plain(lens.name)}
        figure.savefig(text, format="svg", metadata=facts)
    return text.getvalue()


class _Picture:
    """Boxes and arrows in inches, from the top left."""

    def __init__(self, lens: Lens) -> None:
        self._boxes = _boxes(lens)
        outputs = [node for node in self._boxes if node[0] == "output"]
        nodes, self._paths = laid_out(list(self._boxes), _edges(lens), outputs)
        columns = range(1 + max(column for column, _ in nodes.values()))
        widths = [
            max(box.width for node, box in self._boxes.items() if nodes[node][0] == column)
            for column in columns
        ]
        self._widths, left = widths, [_BETWEEN / 2]
        for width in widths:
            left.append(left[-1] + width + _BETWEEN)
        row = max(box.height for box in self._boxes.values()) + _ABOVE
        self._at = {
            node: (left[column] + widths[column] / 2, (height + 0.5) * row)
            for node, (column, height) in nodes.items()
        }
        self._half = {node: widths[column] / 2 for node, (column, _) in nodes.items()}
        bottom = max(y for _, y in self._at.values()) + row / 2
        self._key_at = bottom + 0.2
        self.size = (max(left[-1] - _BETWEEN / 2, 6.0), bottom + 0.45)

    def draw(self, axes: Any) -> None:
        for path in self._paths:
            self._arrow(axes, path)
        for node, box in self._boxes.items():
            self._box(axes, *self._at[node], box)
        self._key(axes)

    def _arrow(self, axes: Any, path: list[Node]) -> None:
        """Draw an arrow that is level where it passes a column, and bends between columns."""
        from matplotlib.patches import FancyArrowPatch
        from matplotlib.path import Path

        start = self._boxes[path[0]]
        points, codes = list[tuple[float, float]](), list[Any]()
        for node in path:
            x, y = self._at[node]
            reach = self._half[node] + _LEVEL
            half = self._boxes[node].width / 2 if node in self._boxes else reach
            if points:
                middle = (points[-1][0] + x - reach) / 2
                points += [(middle, points[-1][1]), (middle, y), (x - reach, y), (x - half, y)]
                codes += [Path.CURVE4] * 3 + [Path.LINETO]
            if node != path[-1]:
                points += [(x + half, y), (x + reach, y)]
                codes += [Path.LINETO if codes else Path.MOVETO, Path.LINETO]
        arrow = FancyArrowPatch(
            path=Path(points, codes),
            arrowstyle="-|>,head_length=4,head_width=2",
            color=_COLOURS[start.flow][0],
            linewidth=1.2,
        )
        axes.add_patch(arrow)

    def _box(self, axes: Any, x: float, y: float, box: _Box) -> None:
        from matplotlib.patches import FancyBboxPatch

        rim, fill = _COLOURS["model" if box.look == "model" else box.flow]
        ends = box.look in ("input", "output")
        axes.add_patch(
            FancyBboxPatch(
                (x - box.width / 2, y - box.height / 2),
                box.width,
                box.height,
                boxstyle=f"round,pad=0,rounding_size={_ROUND if ends else _ROUND / 4}",
                edgecolor=rim,
                facecolor="white" if ends else fill,
                linewidth=1.2,
            )
        )
        lines = [(line, _NAME_PT, "black") for line in box.name]
        lines += [(line, _OP_PT, "#444444") for line in box.small]
        top = y - (len(lines) - 1) * _LINE / 2
        for number, (text, size, colour) in enumerate(lines):
            _write(axes, x, top + number * _LINE, text, size, color=colour)

    def _key(self, axes: Any) -> None:
        """Say what the colours stand for."""
        from matplotlib.patches import Rectangle

        x = _BETWEEN / 2
        used = {box.flow for box in self._boxes.values()} | {"model"}
        for word, (rim, fill) in _COLOURS.items():
            if word in used:
                box = Rectangle((x, self._key_at - 0.06), 0.18, 0.12, edgecolor=rim, facecolor=fill)
                axes.add_patch(box)
                _write(axes, x + 0.25, self._key_at, word, _OP_PT, ha="left")
                x += 0.55 + _width(word, _OP_PT)


def _write(axes: Any, x: float, y: float, text: str, size: int, **how: Any) -> None:
    how = {"ha": "center", "va": "center_baseline", **how}
    axes.text(x, y, text, fontsize=size, parse_math=False, **how)


def _width(text: str, size: int) -> float:
    """Return how wide a text is, in inches; rather too much, as other fonts may be used."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    # Characters of the far east are as wide as high, and the font has none of them.
    known = "".join("W" if unicodedata.east_asian_width(c) in "WF" else c for c in text)
    width, _, _ = text_to_path.get_text_width_height_descent(
        known, FontProperties(size=size), ismath=False
    )
    return float(width) / 72


# What a lens looks like as boxes


def _boxes(lens: Lens) -> dict[Node, _Box]:
    boxes: dict[Node, _Box] = {
        ("input", each.name): _box(each.name, _channels(each.channels), "image", "input")
        for each in lens.inputs
    }
    for step in lens.order:
        look = "model" if step.op == "model" else "step"
        boxes["step", step.name] = _box(step.name, _words(step), _flow(lens.kinds[step.name]), look)
    for output in lens.outputs:
        flow = _flow(lens.kinds[output.step])
        boxes["output", output.name] = _box(output.name, "", flow, "output")
    return boxes


def _box(name: str, small: str, flow: str, look: str) -> _Box:
    lines = textwrap.wrap(_plain(name), _LONGEST_NAME) or [" "]
    return _Box(lines, textwrap.wrap(_plain(small), _LONGEST_OP), flow, look)


def _edges(lens: Lens) -> list[tuple[Node, Node]]:
    inputs = {each.name for each in lens.inputs}
    edges: list[tuple[Node, Node]] = [
        (("input" if name in inputs else "step", name), ("step", step.name))
        for step in lens.order
        for name in dict.fromkeys(step.of)
    ]
    return edges + [(("step", each.step), ("output", each.name)) for each in lens.outputs]


def _flow(kind: Kind) -> str:
    return kind.values if kind.values in _COLOURS else "image"


def _words(step: Step) -> str:
    """Return in small print what a step does."""
    if step.op == "model":
        return f"model {step.settings['model']}"
    return f"{step.op} {step.settings['at']:g}" if step.op == "threshold" else step.op


def _channels(count: int) -> str:
    return {1: "grey", 3: "RGB"}.get(count, f"{count} channels")


def _plain(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)

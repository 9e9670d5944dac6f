"""Where the boxes of a diagram stand: in columns, in an order with few crossings."""

from __future__ import annotations

from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

__all__ = ["Node", "laid_out"]

Node: TypeAlias = tuple[str, ...]
"""("input" | "step" | "output", name); or ("way", from, to, column): where an arrow passes a column."""

_SWEEPS = 12
# Room for an arrow beside boxes, which are 1 apart.
_WAY = 0.45


def laid_out(
    nodes: Sequence[Node], edges: Sequence[tuple[Node, Node]], last: Iterable[Node]
) -> tuple[dict[Node, tuple[int, float]], list[list[Node]]]:
    """Return column and height of each node, and the nodes that each edge leads over.

    Parameters
    ----------
    nodes : sequence of Node
    edges : sequence of (Node, Node)
        Without circles.
    last : iterable of Node
        What stands in the last column.

    Returns
    -------
    dict
        Node to (column from 0, height); nodes of a column are at least 1 apart.
    list of list of Node
        A path for each edge; one that passes columns does so beside the boxes there.

    References
    ----------
    .. [1] K. Sugiyama, S. Tagawa and M. Toda, "Methods for visual understanding of hierarchical system
       structures", IEEE Trans. Syst. Man Cybern. 11(2), 109-125 (1981).
       :doi:`10.1109/TSMC.1981.4308636`
    """
    import networkx

    graph = networkx.DiGraph()
    graph.add_nodes_from(nodes)
    graph.add_edges_from(edges)
    generations = list(networkx.topological_generations(graph))
    column = {node: n for n, generation in enumerate(generations) for node in generation}
    column.update(dict.fromkeys(last, len(generations) - 1))
    paths = [_path(start, end, column) for start, end in edges]
    for path in paths:
        column.update(zip(path, range(column[path[0]], len(generations)), strict=False))
    columns: list[list[Node]] = [[] for _ in generations]
    for node, place in column.items():
        columns[place].append(node)
    heights = _heights(columns, [link for path in paths for link in pairwise(path)])
    return {node: (place, heights[node]) for node, place in column.items()}, paths


def _path(start: Node, end: Node, column: dict[Node, int]) -> list[Node]:
    passed = range(column[start] + 1, column[end])
    return [start, *(("way", *start, *end, str(place)) for place in passed), end]


def _heights(columns: list[list[Node]], links: list[tuple[Node, Node]]) -> dict[Node, float]:
    """Draw nodes towards those they are linked with, from the left and from the right in turn."""
    before: dict[Node, list[Node]] = {node: [] for nodes in columns for node in nodes}
    after: dict[Node, list[Node]] = {node: [] for node in before}
    for start, end in links:
        before[end].append(start)
        after[start].append(end)
    heights = {node: float(n) for nodes in columns for n, node in enumerate(nodes)}
    for sweep in range(_SWEEPS):
        neighbours, order = (before, columns) if sweep % 2 == 0 else (after, columns[::-1])
        for nodes in order:
            wanted = {node: fmean(heights[n] for n in neighbours[node] or [node]) for node in nodes}
            nodes.sort(key=lambda node: wanted[node])
            heights.update(zip(nodes, _apart(nodes, [wanted[n] for n in nodes]), strict=True))
    lowest = min(heights.values())
    return {node: height - lowest for node, height in heights.items()}


def _apart(nodes: list[Node], wanted: Sequence[float]) -> NDArray[np.float64]:
    """Return the heights nearest to those wanted (least squares) that leave the nodes their room."""
    from scipy.optimize import isotonic_regression

    room = [_WAY if node[0] == "way" else 1.0 for node in nodes]
    # Measured from where nodes that touch would stand, heights must only not fall.
    touching = np.cumsum([0.0, *((a + b) / 2 for a, b in pairwise(room))])
    found = isotonic_regression(np.asarray(wanted) - touching)
    return np.asarray(found.x) + touching

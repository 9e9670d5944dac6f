"""Who may import whom: the engine knows no viewer, and imports point down only."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(__file__).parents[1] / "src" / "napari_acuity"
VIEWER = {
    *("napari", "magicgui", "superqt", "pyqtgraph", "vispy"),
    *("qtpy", "PySide2", "PySide6", "PyQt5", "PyQt6"),
}
HEAVY = {"torch", "numpy", "scipy", "skimage", "cv2", "matplotlib"}

# Top to bottom; a room is a module or subpackage of napari_acuity or napari_acuity.core.
FLOORS = (
    {
        "widgets",
        "cli",
        "cli_enhance",
        "cli_options",
        "cli_quality",
        "cli_fluorescence",
        "cli_lens",
        "cli_register",
        "__main__",
        "samples",
        "demo",
        "demo_report",
    },
    {
        "training",
        "inference",
        "registration",
        "quality",
        "scoring",
        "simulate",
        "exporting",
        "fusion",
        "frames",
        "lens_training",
    },
    {"lens", "pairs", "model", "recipe"},
    {"geometry", "scales", "networks", "io", "wavelets", "colours"},
    {"micrograph", "device", "graphs", "jobs", "errors", "versions", "allowed", "memory"},
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
FORBIDDEN_ON_ONE_FLOOR = {("inference", "training"), ("training", "registration")}


def modules_under(folder: Path) -> dict[str, Path]:
    """Name every module under a folder, packages included, by walking the files."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def loaded_after(statements: str, suspects: set[str]) -> set[str]:
    """Run statements in a fresh interpreter; return which of the suspects got loaded."""
    report = "import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    code = f"{statements}\n{report}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return suspects & set(run.stdout.split())


def culprits(modules: list[str], suspects: set[str]) -> list[str]:
    """Say which modules load a suspect: all in one interpreter, and one by one only on failure."""
    if not loaded_after("\n".join(f"import {module}" for module in modules), suspects):
        return []
    loads = {module: loaded_after(f"import {module}", suspects) for module in modules}
    return [f"{module} loads {', '.join(sorted(what))}" for module, what in loads.items() if what]


def room_of(module: str) -> str:
    """Return the room a dotted name lies in; "" for the package itself and for core."""
    parts = module.split(".")[1:]
    if parts[:1] == ["core"]:
        parts = parts[1:]
    return parts[0] if parts else ""


def imports_of(module: str, path: Path) -> Iterator[str]:
    """Yield the absolute name of everything a module imports, wherever in it the import stands."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            up = package.split(".")[: package.count(".") + 2 - node.level] if node.level else []
            base = ".".join([*up, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def test_importing_the_package_loads_nothing_heavy() -> None:
    statements = "import napari_acuity\ndir(napari_acuity)"

    assert loaded_after(statements, VIEWER | HEAVY) == set()


def test_the_engine_loads_no_viewer() -> None:
    assert culprits(list(modules_under(PACKAGE / "core")), VIEWER) == []


@pytest.mark.parametrize("room", ["quality", "simulate"])
def test_measuring_and_simulating_load_no_torch(room: str) -> None:
    assert culprits(list(modules_under(PACKAGE / "core" / room)), {"torch"}) == []


@pytest.mark.parametrize("room", ["quality", "simulate"])
def test_measuring_and_simulating_name_no_torch(room: str) -> None:
    for module, path in modules_under(PACKAGE / "core" / room).items():
        names = {name.partition(".")[0] for name in imports_of(module, path)}
        assert "torch" not in names, f"{module} imports torch"


def test_every_module_has_a_floor() -> None:
    homeless = {room_of(module) for module in modules_under(PACKAGE)} - FLOOR.keys() - {""}

    assert not homeless, f"give {homeless} a place in FLOORS"


def test_imports_point_down() -> None:
    wrong = []
    for module, path in modules_under(PACKAGE).items():
        here = room_of(module)
        for name in imports_of(module, path) if here else ():
            if name.partition(".")[0] != "napari_acuity":
                continue
            there = room_of(name)
            # The package itself reaches everything, so to import from it is to import from the top.
            upwards = FLOOR.get(there, 0) < FLOOR.get(here, 0)
            if upwards or (here, there) in FORBIDDEN_ON_ONE_FLOOR:
                wrong.append(f"{module} imports {name}")

    assert wrong == []

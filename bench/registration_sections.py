"""Real neighbouring sections in unlike stains, with landmarks set by experts.

Rat kidney, mouse lung lesions (CIMA and ANHIR collections); laid out as in the repositories Borda/BIRL
(registration/birl) and Borda/dataset-histology-landmarks (registration/cima).
"""

from __future__ import annotations

import csv
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from registration_cases import Case, read_rgb

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Points = NDArray[np.float64]

SECTIONS_GROUP = "real sections"
BIRL = "registration/birl/data-images"
BIRL_PAIRS = (
    (
        "kidney",
        "rat-kidney_/scale-5pc/Rat-Kidney_HE",
        "rat-kidney_/scale-5pc/Rat-Kidney_PanCytokeratin",
    ),
    (
        "lesion",
        "lesions_/scale-5pc/Izd2-29-041-w35_HE",
        "lesions_/scale-5pc/Izd2-29-041-w35_proSPC",
    ),
)
CIMA_IMAGES = "registration/cima/dataset/lung-lesion_3/scale-5pc"
CIMA_LANDMARKS = "registration/cima/annotations/lung-lesion_3/user-PS_scale-50pc"
STAINS = ("He", "CD31-3", "Cc10-5", "Ki67-7", "proSPC-4")


def section_cases(folder: Path) -> list[Case]:
    """Return the pairs of sections that the folder holds, 12 when it holds all."""
    cases = []
    for name, fixed, moving in BIRL_PAIRS:
        paths = [folder / BIRL / f"{stem}.jpg" for stem in (fixed, moving)]
        cases += _case(f"birl {name}", paths, [path.with_suffix(".csv") for path in paths], 1.0)
    for stains in combinations(STAINS, 2):
        stems = [f"29-041-Izd2-w35-{stain}-les3" for stain in stains]
        images = [folder / CIMA_IMAGES / f"{stem}.jpg" for stem in stems]
        # The landmarks were set at half the size of the slide, the images are a twentieth.
        landmarks = [folder / CIMA_LANDMARKS / f"{stem}.csv" for stem in stems]
        cases += _case(f"cima {stains[0]} {stains[1]}", images, landmarks, 0.1)
    return cases


def _case(name: str, images: list[Path], landmarks: list[Path], scale: float) -> list[Case]:
    """Return a pair in a list, or an empty list where a file of it is missing."""
    if not all(path.is_file() for path in (*images, *landmarks)):
        return []
    fixed, moving = (read_rgb(path) for path in images)
    points, true = (read_landmarks(path) * scale for path in landmarks)
    count = min(len(points), len(true))
    true = true[:count]
    diagonal = float(np.hypot(*moving.shape[:2]))

    def errors(estimate: Points) -> Points:
        finite = np.where(np.isfinite(estimate), estimate, -1e4)
        return np.linalg.norm(finite - true, axis=1) / diagonal

    return [Case(name, SECTIONS_GROUP, fixed, moving, points[:count], errors)]


def read_landmarks(path: Path) -> Points:
    """Return the (row, col) of the landmarks in a file of number, x, y."""
    with path.open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    return np.array([[float(row[2]), float(row[1])] for row in rows])

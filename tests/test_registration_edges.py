"""Registration where grey misleads: shadows beside objects, images of which a part is opposite."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

import napari_acuity as acuity
from napari_acuity import samples
from napari_acuity.core.registration.register import register_steps
from napari_acuity.core.simulate import PHONE, capture

if TYPE_CHECKING:
    from pathlib import Path

    from napari_acuity.core.simulate.grains import GrainScene

POINTS = np.mgrid[16:496:8, 16:496:8].reshape(2, -1).T.astype(float)
BY_EDGES = ", compared by edges"


@pytest.fixture(scope="module")
def grains() -> GrainScene:
    return samples.grains()


@pytest.fixture(scope="module")
def of_grains(grains: GrainScene) -> acuity.Registration:
    return acuity.register(grains.high, grains.low)


def check_identity(found: acuity.Registration) -> None:
    misses = np.linalg.norm(found.map_points(POINTS) - POINTS, axis=1)
    assert np.median(misses) < 1.5
    assert np.percentile(misses, 95) < 3
    assert ";" not in found.start


def test_shadows_do_not_pass_for_objects(
    grains: GrainScene, of_grains: acuity.Registration
) -> None:
    check_identity(of_grains)
    assert of_grains.start.endswith(BY_EDGES)
    assert of_grains.scores["phase"] > 0.3
    assert (of_grains.jacobian() > 0).all()
    check_identity(acuity.register(grains.low, grains.high, start="structure"))
    check_identity(acuity.register(grains.low, grains.high, elastic=False))


def test_shadows_do_not_pass_for_objects_in_any_pose(grains: GrainScene) -> None:
    turned = np.rot90(grains.high.pixels)[:, 40:]
    found = acuity.register(turned, grains.low)
    shared = POINTS[POINTS[:, 0] > 60]
    there = np.column_stack([511 - shared[:, 1], shared[:, 0] - 40])
    misses = np.linalg.norm(found.map_points(shared) - there, axis=1)
    assert np.median(misses) < 1.5


def test_a_known_place_is_not_bent_until_shadows_lie_on_objects(grains: GrainScene) -> None:
    check_identity(acuity.register(grains.high, grains.low, start="none"))
    marks = np.array([[50.0, 50], [60, 450], [450, 60], [440, 460], [250, 250]])
    check_identity(acuity.register(grains.high, grains.low, landmarks=(marks, marks)))


def test_going_on_compares_what_was_compared(
    grains: GrainScene, of_grains: acuity.Registration, tmp_path: Path
) -> None:
    loaded = acuity.Registration.load(of_grains.save(tmp_path / "map.npz"))
    assert loaded.level.startswith("edges ")
    again = acuity.register(grains.high, grains.low, start=loaded)
    assert again.start == of_grains.start
    check_identity(again)


def test_steps_go_forward_where_edges_have_the_last_word(grains: GrainScene) -> None:
    events = list(register_steps(grains.high, grains.low))
    fractions = [event.fraction for event in events]
    assert fractions == sorted(fractions)
    assert fractions[-1] <= 1
    assert events[-1].stage.startswith("elastic, edges, ")


@pytest.mark.parametrize("share", [30, 40, 50, 60])
def test_a_part_that_is_opposite_bends_nothing(share: int, tissue: np.ndarray) -> None:
    # Nuclei are bright, the ground between them is bright, too, as where one dye of two fluoresces.
    grey = tissue.mean(-1)
    level = np.percentile(grey, share)
    half_opposite = (level + abs(grey - level)).clip(0, 255).astype(np.uint8)
    phone = capture(acuity.Micrograph(tissue, pixel_size=(0.5, 0.5), rgb=True), PHONE, seed=2)
    found = acuity.register(phone.image, half_opposite)
    true = phone.map_points(POINTS)
    inside = ((true >= 2) & (true <= np.array(phone.image.shape) - 3)).all(1)
    misses = np.linalg.norm(found.map_points(POINTS) - true, axis=1)[inside] * found.scale
    assert found.start.endswith(BY_EDGES)
    assert np.median(misses) < 0.2
    assert np.percentile(misses, 95) < 0.5


def test_images_that_grey_tells_are_left_to_it(tissue: np.ndarray) -> None:
    blurred = cv2.GaussianBlur(tissue, (0, 0), 4.0)
    for start in ("structure", "phase"):
        assert BY_EDGES not in acuity.register(blurred, tissue, start=start).start
    widefield, sim = samples.widefield_sim()
    assert BY_EDGES not in acuity.register(widefield, sim).start
    # What edges would make of it is not shown, and not kept where a user stops.
    new = [event.new for event in register_steps(blurred, tissue, start="structure")]
    assert new[-1] is None
    assert all(each is None or each.level.startswith(("structure", "texture")) for each in new)


def test_where_the_inverted_image_fits_too_the_user_is_told(tissue: np.ndarray) -> None:
    # Differential interference contrast shows slopes, not heights: neither polarity is right.
    soft = cv2.GaussianBlur(tissue.mean(-1), (0, 0), 3.0)
    slopes = np.roll(soft, (-2, -2), (0, 1)) - np.roll(soft, (2, 2), (0, 1))
    relief = (128 + 9 * slopes).clip(0, 255).astype(np.uint8)
    found = acuity.register(relief, tissue, start="structure")
    assert "with one inverted they agree, too" in found.start

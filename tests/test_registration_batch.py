"""Many pairs in one call: a bad one is told of, the rest is done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import ndimage

import napari_acuity as acuity

if TYPE_CHECKING:
    from pathlib import Path

SHIFT = np.array([2.0, -3.0])


@pytest.fixture(scope="module")
def good(tissue: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A moving and a fixed image, `SHIFT` apart."""
    moved = ndimage.shift(tissue[:300, :300, 1], SHIFT, order=1, mode="reflect")
    return moved[20:-20, 20:-20], tissue[20:280, 20:280, 1]


def middle_error(found: acuity.Registration) -> float:
    middle = np.array([[130.0, 130.0]])
    return float(np.linalg.norm(found.map_points(middle) - middle - SHIFT))


def test_bad_pairs_are_told_of_and_the_rest_is_done(good: tuple, tmp_path: Path) -> None:
    moving, fixed = good
    noise = np.random.default_rng(0).integers(0, 255, fixed.shape, dtype=np.uint8)
    blank = np.full_like(fixed, 9)
    pairs = [
        good,
        (noise, fixed),
        (blank, fixed),
        (tmp_path / "missing.tif", fixed),
        (acuity.write(moving, tmp_path / "moving.tif"), fixed),
    ]
    done = acuity.register_all(pairs, start="features")

    assert [pair.number for pair in done] == [1, 2, 3, 4, 5]
    errors = [pair.error for pair in done]
    assert isinstance(errors[1], acuity.RegistrationError)
    assert isinstance(errors[2], acuity.ImageError)
    assert isinstance(errors[3], acuity.FileError)
    assert [errors[0], errors[4]] == [None, None]
    assert [pair.registration is None for pair in done] == [False, True, True, True, False]
    for pair in (done[0], done[4]):
        assert pair.registration is not None
        assert middle_error(pair.registration) < 0.15


def test_entries_that_are_no_pairs_and_a_full_memory_are_told_of(
    good: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = acuity.register_all([(good[0],), good, None], start="none", elastic=False, device="cpu")  # type: ignore[list-item]
    assert [pair.error is None for pair in done] == [False, True, False]
    assert "Pair 3 is not two images" in str(done[2].error)

    def full(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("napari_acuity.core.registration.batch.register_steps", full)
    assert "memory is too small for pair 1" in str(acuity.register_all([good])[0].error)


def test_a_folder_is_no_list_of_pairs(tmp_path: Path) -> None:
    with pytest.raises(acuity.RegistrationError, match="takes two folders"):
        acuity.register_all(str(tmp_path))  # type: ignore[arg-type]


def test_a_bug_is_not_taken_for_a_bad_pair(good: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("napari_acuity.core.registration.batch.register_steps", broken)
    with pytest.raises(ZeroDivisionError):
        acuity.register_all([good])


def test_options_hold_for_every_pair(good: tuple) -> None:
    done = acuity.register_all(iter([good, good]), start="none", elastic=False)
    for pair in done:
        assert pair.registration is not None
        assert pair.registration.homography is None
        assert not pair.registration.shift_map.any()


def test_no_pairs() -> None:
    assert acuity.register_all([]) == []


def test_events_name_the_pair_and_bring_its_result(good: tuple) -> None:
    blank = np.full((64, 64), 9, np.uint8)
    events = list(acuity.register_all_steps([good, (blank, blank)], start="none"))
    fractions = [event.fraction for event in events]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert events[0].stage.startswith("pair 1 of 2, ")
    results = [event for event in events if isinstance(event.new, acuity.RegisteredPair)]
    stages = ["pair 1 of 2, registered", "pair 2 of 2, failed"]
    assert [event.stage for event in results] == stages

"""A neural lens on simulated grains, trained for minutes on a processor."""

from __future__ import annotations

import pytest
import torch

import napari_acuity as acuity
from napari_acuity.core.lens_training.data import Triple
from napari_acuity.core.lens_training.kinds import Kind
from napari_acuity.core.lens_training.scores import score_lens
from napari_acuity.core.lens_training.spec import LensSpec
from napari_acuity.core.lens_training.stages import LABELLING, Stage, pairs_for
from napari_acuity.core.simulate import KINDS, grain_scene

SPEC = LensSpec("grains", "grains", tuple(Kind(name, colour) for name, colour in KINDS.items()))


def scene(number: int) -> Triple:
    """Return a simulated field: of ten, three of either kind alone and four mixtures."""
    spiny, smooth = [*[(5, 0)] * 3, *[(0, 5)] * 3, *[(3, 3)] * 4][number % 10]
    made = grain_scene(spiny=spiny, smooth=smooth, seed=number)
    return Triple(made.low, made.high, made.labels, f"scene {number}")


def trained(stage: Stage, fields: list[Triple], epochs: int) -> acuity.Model:
    recipe = SPEC.chosen_recipe(shaded=stage.shaded)
    pairs = pairs_for(stage, fields, SPEC)
    return acuity.train(pairs, recipe, epochs=epochs, device="cpu", test=0.0)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_grains_are_labelled_placed_and_kept_apart() -> None:
    """A shortened form of `make bench-lens`, with the same bars.

    4096 steps of labelling and 1536 of each magnifying network take a core twelve minutes.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        fields = [scene(number) for number in range(50)]
        labelling = trained(Stage(LABELLING), fields, 32)
        magnifying = {
            kind: trained(Stage(f"magnifying {kind}", kind), fields, 12) for kind in KINDS
        }
        lens = acuity.Lens.of_kinds(KINDS, labelling=labelling, magnifying=magnifying)
        held_out = [scene(number) for number in range(1000, 1024)]
        scores = score_lens(lens, held_out, device="cpu")
    finally:
        torch.set_num_threads(threads)

    for name, kind in scores.kinds.items():
        assert kind.iou_alone is not None
        assert kind.iou_alone >= 0.9, name
        assert kind.iou_mixed is not None
        assert kind.iou_mixed >= 0.8, name
        assert kind.sd_share is not None
        assert max(kind.sd_share) <= 0.02, name
        assert kind.trace is not None
        assert kind.trace <= 0.02, name

"""``python -m napari_acuity`` is the command ``acuity``; ``torchrun -m napari_acuity`` starts several."""

from napari_acuity.cli import main

main()

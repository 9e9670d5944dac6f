"""The engine: images -> pairs -> model -> output -> quality. It imports neither napari nor Qt."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submodules=["quality", "simulate"])

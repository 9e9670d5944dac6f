"""Teach a modest microscope to see like a better one: register, train, enhance, measure.

The public names are listed in `__init__.pyi` and imported when first used, so that importing the
package costs nothing.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""The napari side: panels that hold no science."""

"""From an image and a model to a better image."""

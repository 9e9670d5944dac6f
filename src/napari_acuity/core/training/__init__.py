"""From pairs to a model."""

"""Apply a lens: models and plain arithmetic, step by step."""

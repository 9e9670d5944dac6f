"""From images and label maps to a lens: its data, its stages, its training and its scores."""

"""Ways to find where the images lie to each other, and the one that tries several."""

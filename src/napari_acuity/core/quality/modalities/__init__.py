"""Compare the images of two instruments: what a network gains, and what it makes up."""

"""What the panel Quality is made of."""

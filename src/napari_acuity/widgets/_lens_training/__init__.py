"""What the lens mode of the panel Train model is made of."""

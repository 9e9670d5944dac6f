"""What the panel Train model is made of."""

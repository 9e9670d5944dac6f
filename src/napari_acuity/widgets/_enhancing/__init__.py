"""What the panel Enhance is made of."""

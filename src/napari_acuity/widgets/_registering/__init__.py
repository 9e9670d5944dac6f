"""What the panel Register pair is made of."""

"""Ways to call providers."""

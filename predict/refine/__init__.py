"""Moves predicted bodies towards what was seen, as far as the prediction allows."""

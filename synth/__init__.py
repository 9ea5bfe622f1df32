"""Synthetic people: scenes, rendering, corruption, batches."""

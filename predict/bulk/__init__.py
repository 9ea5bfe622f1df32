"""Predicts many photos: what belongs to a run, and survives its end."""

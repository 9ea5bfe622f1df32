"""Data sets as they are published, but of the open body and drawn here: everything is known."""

"""Plausible bodies from a photo: a distribution, not a guess."""

__version__ = "0.1.0"

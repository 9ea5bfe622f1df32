"""Naming things in messages: the first of them, and how many there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

NAMED = 10


def first_named(things: Sequence[Any], word: str = "") -> str:
    """Names the first `NAMED` of some things, and says how many there are if these are not all.

    Args:
        word: Stands before each: what they are.
    """
    shown = ", ".join(f"{word} {thing}".strip() for thing in things[:NAMED])
    return shown if len(things) <= NAMED else f"{shown}, ... ({len(things):,} in all)"

"""What a training can do without: if it fails, that is told once, and the training goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


class Spared:
    """Does work whose failure must not end a run of days: pictures and plots, but no files."""

    def __init__(self, say: Callable[[str], None]):
        """Args:
        say: Is told of each kind of work, once, that it failed and why.
        """
        self._say, self.faults = say, dict[str, str]()

    def __call__(self, what: str, work: Callable[[], Result]) -> Result | None:
        """Gives what the work gives; None if it fails.

        Args:
            what: Names the work, for people: "pictures of photos".
            work: Reads and computes. It must not write: a full disk is no small matter.
        """
        try:
            return work()
        except Exception as error:  # whatever it is, it must not cost the training
            fault = f"{type(error).__name__}: {error}"
            if what not in self.faults:
                self._say(f"{what} cannot be drawn, the training goes on without: {fault}")
            self.faults[what] = fault
            return None

"""Asking a run to stop: what is being done is finished first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType


class StopRequest:
    """Notes SIGTERM and SIGINT while it is open; a second SIGINT interrupts at once.

    Schedulers send SIGTERM some seconds before they kill. Elsewhere than in the main thread, where
    Python takes no signals, nothing is noted.
    """

    def __init__(
        self,
        say: Callable[[str], None] = lambda message: None,
        first: str = "this step is finished and saved first",
    ):
        """Args:
        say: Is told that a signal came, in a thread of its own: whatever was interrupted may be in
            the middle of telling something too.
        first: What is done before the run ends.
        """
        self._say, self._first, self._who = say, first, ""
        self._before: dict[signal.Signals, object] = {}

    def __call__(self) -> str:
        """Gives the name of the signal that came, or nothing."""
        return self._who

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._who and number == signal.SIGINT:
            # A third one does not even wait for Python: what is on the disk is whole anyway.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            raise KeyboardInterrupt
        self._who = signal.Signals(number).name
        message = f"{self._who}: {self._first}; Ctrl-C ends it at once"
        threading.Thread(target=self._say, args=(message,), daemon=True).start()

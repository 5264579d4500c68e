"""Ctrl-C and its relatives end a training between two steps instead of in the middle of one."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Any

from ..parallel.mpi import launched

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")  # Ctrl-C, `kill`, and the end of the terminal
ECHO = 0.5  # seconds


class Interrupted(KeyboardInterrupt):
    """The signal `number` ended the run."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Interruption:
    """While it is entered, the first signal of SIGNALS raises Interrupted, at once or when the caller asks for it.

    With `waiting` true, the signal is only noted, and `check` raises. The second signal acts as if this object did not
    exist: a second Ctrl-C stops at once. Under mpiexec the second has to come later than `ECHO`, because some launchers
    send a signal to a rank and to its parent, which hands it on (`supervisor`). A signal that the process ignores, as
    SIGHUP under `nohup`, stays ignored. Outside of the main thread, where Python allows no handlers, nothing changes.
    """

    def __init__(self) -> None:
        self.waiting = False
        self.number: int | None = None
        self._previous: dict[int, Any] = {}
        self._echo = 0.0  # until when a signal counts as the first one again

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for name in SIGNALS:
                number = getattr(signal, name, None)  # Windows has no SIGHUP
                if number is not None and signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        if self._previous:
            time.sleep(max(0.0, self._echo - time.monotonic()))
        self._restore()

    def check(self) -> None:
        """Raise Interrupted if a signal has come that has not been raised yet."""
        number, self.number = self.number, None
        if number is not None:
            raise Interrupted(number)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if launched() is None:
            self._restore()
        elif not self._echo:
            self._echo = time.monotonic() + ECHO
        elif time.monotonic() < self._echo:
            return
        else:
            self._restore()
            signal.raise_signal(number)
        self.number = number
        if not self.waiting:
            self.check()

    def _restore(self) -> None:
        while self._previous:
            signal.signal(*self._previous.popitem())

"""The modes: what operations do beside computing.

The flags are local to a context, so that threads and async tasks do not switch off each other's recording.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

RECORD = 1  # operations are recorded
ANOMALY = 2  # values and gradients are checked, see `detect_anomaly`
DIFFERENTIATED = 4  # what runs here is being differentiated: a transform inside it records its own backward pass too
flags: ContextVar[int] = ContextVar("minigraph_flags", default=RECORD)


@contextmanager
def mode(on: int, off: int = 0) -> Iterator[None]:
    """Inside it, the flags `off` are cleared and the flags `on` are set."""
    token = flags.set(flags.get() & ~off | on)
    try:
        yield
    finally:
        flags.reset(token)


@contextmanager
def no_grad() -> Iterator[None]:
    """Context manager or decorator: operations inside are computed, not recorded. It is local to the thread or task."""
    with mode(0, off=RECORD):
        yield


@contextmanager
def detect_anomaly() -> Iterator[None]:
    """Context manager that finds the operation that went wrong. It is slow, and made for debugging.

    Inside it, `AnomalyError` is raised by the first forward value or gradient that becomes NaN or infinite although all
    it was computed from is finite. `MutationError` is raised where an array that an operation saved was changed in
    place before the backward pass. Both name the primitive, its shapes and dtypes, and the line of the user's call.
    NumPy's floating-point warnings, which would come first and say less, are switched off inside. All of this is local
    to the thread or task.
    """
    with mode(ANOMALY), np.errstate(all="ignore"):
        yield


def records(x: Any) -> bool:
    """Whether an operation on x is recorded: x is a Tensor that requires a gradient, and recording is on."""
    return getattr(x, "node", None) is not None and bool(flags.get() & RECORD)

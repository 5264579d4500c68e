"""The modes: what operations do beside computing.

The flags are local to a context, so that threads and async tasks do not switch off each other's recording.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import numpy as np

from .context import Context, setting

RECORD = 1  # operations are recorded
ANOMALY = 2  # values and gradients are checked, see `detect_anomaly`
DIFFERENTIATED = 4  # this code is being differentiated, so a transform inside it has to record its own backward pass
CHECK = 8  # for `minigraph.testing`: forwards and rules get read-only arrays, and nodes keep all their inputs
WATCH = 16  # somebody wants to know about each operation, see `watch.py`
WHOLE = 32  # `checkpoint` calls its function directly, so that the graph has the operations inside
flags: ContextVar[int] = ContextVar("minigraph_flags", default=RECORD)


def mode(on: int, off: int = 0) -> Context:
    """Inside it, the flags `off` are cleared and the flags `on` are set."""
    return setting(flags, lambda now: now & ~off | on)


def no_grad() -> Context:
    """Context manager or decorator: operations inside are computed, not recorded. It is local to the thread or task."""
    return mode(0, off=RECORD)


def detect_anomaly() -> Context:
    """Context manager or decorator that finds the operation that went wrong. It is slow, and made for debugging.

    Inside it, `AnomalyError` is raised by the first forward value or gradient that becomes NaN or infinite although all
    it was computed from is finite. `MutationError` is raised where an array that an operation saved was changed in
    place before the backward pass. Both name the primitive, its shapes and dtypes, and the line of the user's call.
    Forwards and rules get their arrays read-only, so that one that writes into them fails at once. NumPy's
    floating-point warnings, which would come first and say less, are switched off. All of this is local to the thread
    or task.
    """

    def begin() -> Callable[[], None]:
        before, quiet = flags.get(), np.errstate(all="ignore")
        flags.set(before | ANOMALY)
        quiet.__enter__()

        def end() -> None:
            quiet.__exit__(None, None, None)
            flags.set(before)

        return end

    return Context(begin)


def records(x: Any) -> bool:
    """Whether an operation on x is recorded: x is a Tensor that requires a gradient, and recording is on."""
    return getattr(x, "node", None) is not None and bool(flags.get() & RECORD)

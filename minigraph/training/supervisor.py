"""A rank that is killed cannot say so: its parent does."""

from __future__ import annotations

import os
import platform
import signal
import sys
from importlib.util import find_spec
from typing import Any

from ..parallel import mpi
from .interruption import SIGNALS


def supervise(program: str) -> int | None:
    """Go on in a child of this process, if mpiexec has started it; returns None there, or where there is no mpiexec.

    The parent hands signals on, waits, and returns the child's exit code. If a signal has ended the child, the parent
    says on which rank, and ends by the same signal, so that mpiexec ends the other ranks. mpiexec alone would not name
    the rank.

    MPI must not have been initialised before.
    """
    if mpi.launched() is None or not find_spec("fcntl"):  # of the systems that fork
        return None
    sys.stdout.flush()
    numbers = {getattr(signal, name) for name in SIGNALS if signal.getsignal(getattr(signal, name)) != signal.SIG_IGN}
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)  # until there is a child to hand them to
    parent, child = os.getpid(), os.fork()
    if child == 0:
        os.setpgid(0, 0)  # a signal to the parent's group comes once, from the parent
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
        _die_with(parent)
        return None

    def hand_on(number: int, frame: Any) -> None:
        os.kill(child, number)

    for number in numbers:
        signal.signal(number, hand_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code < 0:
        name = signal.Signals(-code).name
        hint = ", as Linux does when memory runs out" if name == "SIGKILL" else ""
        where = f"process {child} on {platform.node()}"
        text = f"{program}: error on rank {mpi.launched()}: {name} ended it{hint} ({where}); go on with --resume"
        print(text, file=sys.stderr, flush=True)
        if name != "SIGKILL":
            signal.signal(-code, signal.SIG_DFL)
        os.kill(parent, -code)
    return code


def _die_with(parent: int) -> None:
    """Have Linux kill this process when its parent has ended, which mpiexec may kill."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)

"""The files of a run: written whole or not at all, in a directory that one process at a time holds."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

from ..serialize import atomic_write
from .errors import Stop

LOCK = ".lock"


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all. Raises Stop, which names the file and the reason."""
    try:
        with atomic_write(path) as file:
            file.write(content)
    except OSError as error:
        raise Stop(f"{path} was not written: {error.strerror or error}") from error


def to_json(value: Any) -> bytes:
    """`value` as indented JSON with a newline at its end."""
    return (json.dumps(value, indent=2) + "\n").encode()


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold `directory` for this process alone; raises Stop if another process holds it.

    The operating system locks the file `.lock`. It frees the lock when the block ends and also when the process dies:
    a file that a dead process left behind locks nothing.
    """
    path = directory / LOCK
    file = _open_locked(path)
    try:
        yield
    finally:
        with suppress(OSError):  # Windows removes no open file
            path.unlink()  # before the lock is freed: afterwards it could be the lock of another process
        file.close()
        if os.name == "nt":
            with suppress(OSError):
                path.unlink()


def _open_locked(path: Path) -> BinaryIO:
    while True:
        file = open(path, "ab")  # noqa: SIM115 (the caller closes it, to free the lock)
        try:
            _lock(file)
            # Another process may have removed the file between our opening and our locking it.
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except (BlockingIOError, PermissionError):
            file.close()
            raise Stop(f"{path.parent}: another process is training here; wait for it or give another --out") from None
        file.close()


def _lock(file: BinaryIO) -> None:
    """Lock an open file; raises BlockingIOError or PermissionError if another process has locked it."""
    if find_spec("fcntl"):
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:
            pass  # a file system without locks: train without one
    elif find_spec("msvcrt"):  # Windows
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]

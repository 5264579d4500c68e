"""What ends a run early: the one error meant for the user, and the check for packages that are missing."""

from __future__ import annotations

from importlib.util import find_spec


class Stop(Exception):
    """The run cannot start or go on. The message is one line for the user, who can mend the cause."""


def need(*packages: str) -> None:
    """Raise Stop, naming the first of `packages` that is not installed, before anything is done."""
    for package in packages:
        if find_spec(package) is None:
            raise Stop(f"{package} is missing: pip install -e '.[train]', in the folder of minigraph")

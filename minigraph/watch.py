"""Watching: how drawings and profiles see operations while they run. Where nobody watches, an operation pays nothing.

A `Watcher` sees what runs in its context, which the threads of `parallel` share. `scope` names parts of a program.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from . import tree
from .context import Context
from .modes import WATCH, flags

if TYPE_CHECKING:
    from .primitive import Primitive
    from .tape import Node

COPY = "copy"  # see `Watcher.derives`

_watcher: ContextVar[Watcher | None] = ContextVar("minigraph_watcher", default=None)
_scopes: ContextVar[tuple[Entry, ...]] = ContextVar("minigraph_scopes", default=())


class Entry:
    """One time that a scope of this name was entered."""

    def __init__(self, name: str):
        self.name = name


class Watcher(Protocol):
    """Who watches. Several threads may call it at once."""

    def operation(self, op: Primitive[Any], run: Callable[[], Any]) -> Any:
        """Return `run()`, the result of an operation."""

    def rule_begins(self, node: Node, g: Any) -> None:
        """The backward pass is about to run the rule of this node, on the gradient `g` of its output."""

    def adds(self, node: Node, i: int, gradient: Any) -> None:
        """The rule has given this gradient for argument `i` of the node, which is now added to that of the input."""

    def rule_ends(self, node: Node) -> None:
        """The rule has run, and its gradients are added to those of the node's inputs. Or it has failed."""

    def derives(self, array: Any, source: Any, how: str) -> None:
        """A function has made the constant `array` of its argument `source`, as the words `how` say.

        If `how` is COPY, then an operation keeps `array` as its copy of `source`.
        """


def watching(watcher: Watcher) -> Context:
    """Inside it, `watcher` sees each operation and each rule. Of watchers one in another, the inner one sees them."""

    def begin() -> Callable[[], None]:
        modes, before, names = flags.get(), _watcher.get(), _scopes.get()
        flags.set(modes | WATCH)
        _watcher.set(watcher)
        _scopes.set(())

        def end() -> None:
            flags.set(modes)
            _watcher.set(before)
            _scopes.set(names)

        return end

    return Context(begin)


def scope(name: str) -> Context:
    """Name a part of a model for drawings, summaries and profiles: a context manager, or a decorator of a function.

        with mg.scope("encoder"):
            h = mg.relu(x @ w)

    Scopes lie in each other. Outside of `mg.draw`, `mg.summary` and `mg.profile` they do nothing.

    Raises TypeError or ValueError for a name that is no string, or an empty one.
    """
    if not isinstance(name, str):
        raise TypeError(f"scope: expected a name, got {name!r}")
    if not name:
        raise ValueError("scope: expected a name, got an empty string")

    def begin() -> Callable[[], None]:
        before = _scopes.get()
        if flags.get() & WATCH:
            _scopes.set((*before, Entry(name)))

        def end() -> None:
            _scopes.set(before)

        return end

    return Context(begin)


def scopes() -> tuple[Entry, ...]:
    """The scopes around this line, the outermost first."""
    return _scopes.get()


def current() -> Watcher | None:
    """Who watches here, or None."""
    return _watcher.get() if flags.get() & WATCH else None


def watched(op: Primitive[Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`op(*args, **kwargs)`, seen by the watcher. What the operation does inside is not seen."""
    watcher = _watcher.get()
    assert watcher is not None

    def run() -> Any:
        before = flags.get()
        flags.set(before & ~WATCH)
        try:
            return op._apply(*args, **kwargs)
        finally:
            flags.set(before)

    y = watcher.operation(op, run)
    kept = getattr(getattr(y, "node", None), "args", None) or ()
    for i in op.static:  # the node keeps copies of these arguments, an index for example
        for copy, source in zip(tree.leaves(kept[i : i + 1]), tree.leaves(args[i : i + 1]), strict=False):
            if isinstance(copy, np.ndarray) and isinstance(source, np.ndarray):
                watcher.derives(copy, source, COPY)
    return y


def derived(array: Any, source: Any, how: str) -> Any:
    """`array`, a constant that a function has made of its argument `source`: "one-hot". Drawings name it so."""
    watcher = current()
    if watcher is not None:
        watcher.derives(array, source, how)
    return array

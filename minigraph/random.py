"""Where random operations such as `dropout` get their random numbers.

An operation draws from the generator that it is given. If there is none, it takes the one that `use` set in this
context, and otherwise that of the process, which `seed` seeds. `checkpoint` runs a function twice and needs equal
numbers both times: `Draws` notes the state of each generator before, and sets it back.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from .context import Context, setting

# A generator, or a function that makes it at the first call and gives the same one later.
_generator: ContextVar[np.random.Generator | Callable[[], np.random.Generator] | None] = ContextVar(
    "minigraph_generator", default=None
)
_draws: ContextVar[Draws | None] = ContextVar("minigraph_draws", default=None)
_default: np.random.Generator | None = None


def seed(value: int) -> None:
    """Seed the generator of the process, which random operations draw from where nothing else is said.

    Raises TypeError or ValueError, as `np.random.default_rng` does, unless value is an integer that is not negative.
    """
    global _default
    _default = np.random.default_rng(value)


def use(generator: np.random.Generator) -> Context:
    """Context manager or decorator: operations inside draw from `generator`, except those that are given another.

    This holds for the current thread or asynchronous task, not for others. Raises TypeError unless `generator` is a
    `np.random.Generator`.
    """
    _check(generator)
    return setting(_generator, lambda _: generator)


def use_made(make: Callable[[], np.random.Generator]) -> Context:
    """`use(make())`, where the generator is not made before something draws from it."""
    made = functools.cache(make)
    return setting(_generator, lambda _: made)


def drawing_from(generator: np.random.Generator | None) -> np.random.Generator:
    """The generator to draw from now: the given one, that of the context, or that of the process.

    An operation calls this each time before it draws, so that a `checkpoint` around it can note the generator's state.
    Raises TypeError unless `generator` is a `np.random.Generator` or None.
    """
    global _default
    if generator is not None:
        _check(generator)
    if generator is None:
        chosen = _generator.get()
        generator = chosen() if callable(chosen) else chosen
    if generator is None:
        if _default is None:
            _default = np.random.default_rng()
        generator = _default
    draws = _draws.get()
    if draws is not None:
        draws.note(generator.bit_generator, generator.bit_generator.state)
    return generator


def _check(generator: object) -> None:
    if not isinstance(generator, np.random.Generator):
        raise TypeError(f"expected a NumPy generator, as np.random.default_rng(seed) makes it, got {generator!r}")


class Draws:
    """Which generators a piece of code drew from, and their states before it, so that it can draw the same again."""

    def __init__(self) -> None:
        self.before: list[tuple[np.random.BitGenerator, Any]] = []

    def note(self, bits: np.random.BitGenerator, state: Any) -> None:
        """Remember the state of a generator, unless it has drawn before."""
        if all(b is not bits for b, _ in self.before):
            self.before.append((bits, state))

    @contextmanager
    def record(self) -> Iterator[None]:
        """In the `with` block, note every generator that is drawn from, in place of what was noted before."""
        self.before.clear()
        token = _draws.set(self)
        try:
            yield
        finally:
            _draws.reset(token)
            outer = _draws.get()
            if outer is not None:  # of a checkpoint around this one, which has to rewind these generators as well
                for bits, state in self.before:
                    outer.note(bits, state)

    @contextmanager
    def replay(self) -> Iterator[None]:
        """In the `with` block, the noted generators give the same numbers again; after it they go on as if unused."""
        now = [(bits, bits.state) for bits, _ in self.before]
        for bits, state in self.before:
            bits.state = state
        try:
            yield
        finally:
            for bits, state in now:
                bits.state = state

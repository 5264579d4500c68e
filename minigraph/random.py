"""The random numbers of operations: one generator a context, which `checkpoint` can rewind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

_generator: ContextVar[np.random.Generator | None] = ContextVar("minigraph_generator", default=None)
_draws: ContextVar[Draws | None] = ContextVar("minigraph_draws", default=None)
_default: np.random.Generator | None = None


def seed(value: int) -> None:
    """Seed the generator that random operations (`dropout`) draw from when they are given none."""
    global _default
    _default = np.random.default_rng(value)


@contextmanager
def use(generator: np.random.Generator) -> Iterator[None]:
    """Random operations inside, in this thread or task, draw from `generator` unless they are given one."""
    token = _generator.set(generator)
    try:
        yield
    finally:
        _generator.reset(token)


def drawing_from(generator: np.random.Generator | None) -> np.random.Generator:
    """The generator an operation is to draw from now: the given one, the context's, or the process's."""
    global _default
    if generator is None:
        generator = _generator.get()
    if generator is None:
        if _default is None:
            _default = np.random.default_rng()
        generator = _default
    draws = _draws.get()
    if draws is not None:
        draws.note(generator.bit_generator, generator.bit_generator.state)
    return generator


class Draws:
    """Which generators a piece of code drew from, and their states before, so that it can draw the same again."""

    def __init__(self) -> None:
        self.before: list[tuple[np.random.BitGenerator, Any]] = []

    def note(self, bits: np.random.BitGenerator, state: Any) -> None:
        if all(b is not bits for b, _ in self.before):
            self.before.append((bits, state))

    @contextmanager
    def record(self) -> Iterator[None]:
        self.before.clear()
        token = _draws.set(self)
        try:
            yield
        finally:
            _draws.reset(token)
            outer = _draws.get()
            if outer is not None:  # a checkpoint in a checkpoint: the outer one has to rewind these too
                for bits, state in self.before:
                    outer.note(bits, state)

    @contextmanager
    def replay(self) -> Iterator[None]:
        now = [(bits, bits.state) for bits, _ in self.before]
        for bits, state in self.before:
            bits.state = state
        try:
            yield
        finally:
            for bits, state in now:
                bits.state = state

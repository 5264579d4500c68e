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
        draws.note(generator)
    return generator


class Draws:
    """Which generators a piece of code drew from, and their states before it did, so that it can draw the same again."""

    def __init__(self) -> None:
        self.before: list[tuple[np.random.Generator, Any]] = []

    def note(self, generator: np.random.Generator) -> None:
        if all(g is not generator for g, _ in self.before):
            self.before.append((generator, generator.bit_generator.state))

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
                for generator, state in self.before:
                    if all(g is not generator for g, _ in outer.before):
                        outer.before.append((generator, state))

    @contextmanager
    def replay(self) -> Iterator[None]:
        now = [(g, g.bit_generator.state) for g, _ in self.before]
        for generator, state in self.before:
            generator.bit_generator.state = state
        try:
            yield
        finally:
            for generator, state in now:
                generator.bit_generator.state = state

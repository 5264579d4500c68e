"""Context managers that can be entered any number of times, and that are decorators for every kind of function."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

# What ends the contexts that are open now, the innermost last. It is local to a thread or asynchronous task.
_open: ContextVar[tuple[Callable[[], None], ...]] = ContextVar("minigraph_open", default=())


class Context:
    """The context manager and decorator for a setting that is local to a thread or task.

    Args:
        begin: makes the setting and returns a function that takes it back.

    As a decorator it makes the setting while the function runs. For a generator that is while it computes its next
    value, not while it waits to be asked for one.
    """

    def __init__(self, begin: Callable[[], Callable[[], None]]):
        self._begin = begin

    def __enter__(self) -> None:
        end = self._begin()
        _open.set((*_open.get(), end))

    def __exit__(self, *error: object) -> None:
        *outer, end = _open.get()
        _open.set(tuple(outer))
        end()

    def __call__(self, f: F) -> F:
        if not callable(f):
            raise TypeError(f"expected a function to decorate, got {f!r}")
        if inspect.isasyncgenfunction(f):
            raise TypeError(f"{f.__name__} is an asynchronous generator: decorate the functions that it calls")
        wrapped: Any
        if inspect.iscoroutinefunction(f):

            async def wrapped(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return await f(*args, **kwargs)

        elif inspect.isgeneratorfunction(f):

            def wrapped(*args: Any, **kwargs: Any) -> Any:
                generator = f(*args, **kwargs)
                resume: Callable[[], Any] = functools.partial(next, generator)
                while True:
                    try:
                        with self:
                            value = resume()
                    except StopIteration as stop:
                        return stop.value
                    try:
                        resume = functools.partial(generator.send, (yield value))
                    except GeneratorExit:
                        with self:
                            generator.close()
                        raise
                    except BaseException as error:
                        resume = functools.partial(generator.throw, error)

        else:

            def wrapped(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return f(*args, **kwargs)

        functools.update_wrapper(wrapped, f)
        return cast(F, wrapped)


def setting(variable: ContextVar[T], change: Callable[[T], T]) -> Context:
    """The context in which `variable` has the value `change(value before)`."""

    def begin() -> Callable[[], None]:
        before = variable.get()
        variable.set(change(before))

        def end() -> None:
            variable.set(before)

        return end

    return Context(begin)

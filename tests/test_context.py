"""Contexts: entered twice, in threads, and as decorators of every kind of function. Held for all that minigraph has."""

import asyncio
import threading

import numpy as np
import pytest

import minigraph as mg
from minigraph import modes, random

GENERATOR = np.random.default_rng(0)
CONTEXTS = {
    "no_grad": (mg.no_grad, lambda: not modes.flags.get() & modes.RECORD),
    "detect_anomaly": (mg.detect_anomaly, lambda: bool(modes.flags.get() & modes.ANOMALY)),
    "random.use": (lambda: mg.random.use(GENERATOR), lambda: random.drawing_from(None) is GENERATOR),
}


@pytest.fixture(params=CONTEXTS.values(), ids=CONTEXTS)
def context(request):
    make, inside = request.param
    assert not inside()
    yield make(), inside
    assert not inside()


def test_one_object_can_be_entered_again_and_in_itself(context):
    c, inside = context
    for _ in range(2):
        with c:
            with c:
                assert inside()
            assert inside()
        assert not inside()
    with pytest.raises(ZeroDivisionError), c:
        raise ZeroDivisionError
    assert not inside()


def test_contexts_nest_in_any_order():
    for a, in_a in CONTEXTS.values():
        for b, in_b in CONTEXTS.values():
            with a():
                with b():
                    assert in_a() and in_b()
                assert in_a()
            assert not in_a() and not in_b()


def test_one_object_in_two_threads(context):
    c, inside = context
    seen, ready, go = [], threading.Event(), threading.Event()

    def work():
        with c:
            ready.set()
            go.wait(10)
            seen.append(inside())
        seen.append(inside())

    thread = threading.Thread(target=work)
    thread.start()
    ready.wait(10)
    assert not inside()
    with c:
        go.set()
        thread.join()
        assert inside()
    assert seen == [True, False]


def test_it_decorates_functions(context):
    c, inside = context

    @c
    def f(n):
        """Its words."""
        return [inside(), *(f(n - 1) if n else [])]

    assert f(3) == [True] * 4 and not inside()
    assert f.__name__ == "f" and f.__doc__ == "Its words."


def test_it_decorates_generators(context):
    c, inside = context
    closed = []

    @c
    def f():
        try:
            got = yield inside()
            try:
                yield got, inside()
            except KeyError:
                yield "caught", inside()
            return "end"
        finally:
            closed.append(inside())

    g = f()
    assert next(g) is True and not inside()
    assert g.send(5) == (5, True) and not inside()
    assert g.throw(KeyError()) == ("caught", True) and not inside()
    with pytest.raises(StopIteration) as stop:
        next(g)
    assert stop.value.value == "end" and closed == [True]
    g = f()
    next(g)
    g.close()
    assert closed == [True, True] and not inside()


def test_it_decorates_coroutines(context):
    c, inside = context

    @c
    async def f():
        await asyncio.sleep(0)
        return inside()

    async def main():
        outside = []

        async def watch():
            for _ in range(3):
                outside.append(inside())
                await asyncio.sleep(0)

        results = await asyncio.gather(f(), watch(), f())
        return results[0], results[2], outside

    assert asyncio.run(main()) == (True, True, [False] * 3)


def test_what_it_does_not_decorate(context):
    c, _ = context

    async def f():
        yield 1

    with pytest.raises(TypeError, match="f is an asynchronous generator: decorate the functions that it calls"):
        c(f)
    with pytest.raises(TypeError, match="expected a function to decorate, got 3"):
        c(3)

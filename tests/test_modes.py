"""The modes: what records, and that modes are local to a thread or task."""

import asyncio
import threading

import numpy as np
import pytest

import minigraph as mg
from minigraph import Tensor, modes
from tests.threads import in_threads

X = np.array([0.5, -1.0, 2.0])


def leaf(a=X):
    return Tensor(a, requires_grad=True)


def test_what_is_not_recorded():
    x = leaf()
    assert type(mg.exp(X)) is np.ndarray and not mg.exp(Tensor(X)).requires_grad
    with mg.no_grad():
        assert not (x * 2).requires_grad
        with pytest.raises(ZeroDivisionError), mg.no_grad():
            raise ZeroDivisionError
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad

    @mg.no_grad()
    def doubled(n):
        return doubled(n - 1) if n else x * 2

    assert not doubled(3).requires_grad and not doubled(0).requires_grad and (x * 2).requires_grad


def test_modes_are_local_to_a_thread():
    off, on = threading.Event(), threading.Event()

    def work(i):
        if i == 0:
            with mg.no_grad(), mg.detect_anomaly():
                off.set()
                assert on.wait(10)
                assert not (leaf() * 2).requires_grad
        else:
            assert off.wait(10)
            assert (leaf() * 2).requires_grad and not modes.flags.get() & modes.ANOMALY
            on.set()

    in_threads(2, work)


def test_modes_are_local_to_a_task():
    async def quiet(ready, done):
        with mg.no_grad():
            ready.set()
            await done.wait()
            assert not (leaf() * 2).requires_grad

    async def main():
        ready, done = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(quiet(ready, done))
        await ready.wait()
        assert (leaf() * 2).requires_grad
        done.set()
        await task

    asyncio.run(main())

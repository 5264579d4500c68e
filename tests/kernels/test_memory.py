"""Recycled memory is given again once free, and not before."""

import threading

import numpy as np
import pytest

import minigraph as mg
from minigraph.kernels import memory


@pytest.fixture(autouse=True)
def pool(monkeypatch):
    monkeypatch.setattr(memory, "_local", memory._Local())


def address(array):
    return array.__array_interface__["data"][0]


def test_memory_is_recycled_once_free():
    a = memory.empty((1 << 18,), np.float32)
    first = address(a)
    view = a[3:7]
    del a
    b = memory.empty((1 << 18,), np.float32)
    assert address(b) != first  # `view` still holds it
    del view
    c = memory.empty((512, 512), np.float32)
    assert address(c) == first


def test_a_block_serves_smaller_arrays_but_not_much_smaller_ones():
    a = memory.empty((1 << 20,), np.uint8)
    first = address(a)
    del a
    assert address(memory.empty((1 << 19,), np.uint8)) == first
    assert address(memory.empty(((1 << 19) - 1,), np.uint8)) != first
    assert address(memory.empty(((1 << 20) + 1,), np.uint8)) != first


def test_the_block_used_last_goes_first():
    a, b = memory.empty((1 << 20,), np.uint8), memory.empty((1 << 20,), np.uint8)
    last = address(b)
    del a, b
    assert address(memory.empty((1 << 20,), np.uint8)) == last


def test_blocks_that_nobody_asks_for_go_back(monkeypatch):
    monkeypatch.setattr(memory, "IDLE", 3)
    memory.empty((1 << 20,), np.uint8)
    for size in range(100_000, 500_000, 50_000):  # none of which that block serves
        memory.empty((size,), np.uint8)
    assert 1 << 20 not in [block.size for block in memory._local.pool.blocks]


def test_a_large_steps_blocks_go_back_though_later_steps_ask_for_none(monkeypatch):
    memory.empty((1 << 20,), np.uint8)
    w = mg.Tensor(np.ones(3), requires_grad=True)
    monkeypatch.setattr(memory, "IDLE", 5)
    memory._local.pool.checked = 0
    for _ in range(10):
        mg.sum(w * w).backward()
    assert memory._local.pool.blocks == []


def test_what_is_kept_is_told_and_given_back_from_any_thread():
    before = memory.memory_stats()
    kept = memory.empty((1 << 20,), np.uint8)
    kept[:] = 7
    workspace = memory.Workspace()

    def work():
        memory.empty((1 << 21,), np.uint8)
        workspace.prepared(lambda: workspace.arrays(np.dtype(np.uint8), (1 << 19,)))
        told.wait()
        emptied.wait()

    told, emptied = threading.Barrier(2), threading.Barrier(2)
    thread = threading.Thread(target=work)
    thread.start()
    told.wait()
    after = memory.memory_stats()
    memory.empty_cache()
    emptied.wait()
    thread.join()
    assert after["recycled"] - before["recycled"] == (1 << 20) + (1 << 21)
    assert after["in_use"] - before["in_use"] == 1 << 20
    assert after["workspaces"] - before["workspaces"] > 1 << 19
    least = memory.memory_stats()
    assert least["recycled"] == least["in_use"] >= 1 << 20 and least["workspaces"] == 0
    assert (kept == 7).all() and memory.empty((1 << 20,), np.uint8) is not kept


def test_sizes_that_grow_do_not_leave_a_block_each():
    kept = memory.empty((1 << 17,), np.uint8)
    for size in range(1 << 17, 1 << 20, 1 << 15):
        memory.empty((size,), np.uint8)
    sizes = [block.size for block in memory._local.pool.blocks]
    assert sizes == [kept.nbytes, (1 << 20) - (1 << 15)]


@pytest.mark.parametrize("dtype", [bool, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (0, 3), (7, 11), (300, 500)])
def test_shape_dtype_and_alignment(shape, dtype):
    a = memory.empty(shape, dtype)
    assert a.shape == shape and a.dtype == dtype and a.flags.c_contiguous and a.flags.writeable
    assert a.nbytes < memory.SMALL or address(a) % memory.LINE == 0


def test_blocks_begin_all_over_a_page():
    blocks = [memory.empty((1 << 17,), np.uint8) for _ in range(memory.PAGE // memory.LINE)]
    assert {address(a) % memory.PAGE for a in blocks} == set(range(0, memory.PAGE, memory.LINE))


@pytest.mark.parametrize("make", [memory.empty, np.empty])
@pytest.mark.parametrize("size", [100, 1 << 20])
def test_pop_unshared_sees_every_other_holder_of_the_memory(make, size):
    arrays = {"a": make((size,), np.float32)}
    a, unshared = memory.pop_unshared(arrays, "a")
    assert unshared and a.shape == (size,) and not arrays
    assert not memory.pop_unshared({"a": a}, "a")[1]
    assert memory.pop_unshared({"a": a}, "a", others=1)[1]
    view = a[1:]
    assert not memory.pop_unshared({"a": a}, "a", others=1)[1]
    arrays["view"] = view
    del a, view
    assert not memory.pop_unshared(arrays, "view")[1]
    assert not memory.pop_unshared({"gaps": make((size,), np.float32)[::2]}, "gaps")[1]


def test_a_workspace_keeps_what_was_prepared_until_it_grows():
    workspace, made = memory.Workspace(), []

    def make(n):
        made.append(n)
        return workspace.arrays(np.dtype(np.float32), (n, 3), (0,), (n,))

    a = workspace.prepared(make, 5000)
    assert workspace.prepared(make, 5000) is a and workspace.prepared(make, 10) is workspace.prepared(make, 10)
    assert made == [5000, 10]
    workspace.prepared(make, 6000)
    assert workspace.prepared(make, 10) is workspace.prepared(make, 10)
    assert made == [5000, 10, 6000, 10]
    assert [x.shape for x in a] == [(5000, 3), (0,), (5000,)]
    a[0][...], a[2][...] = 1, 2
    assert (a[0] == 1).all() and not np.shares_memory(a[0], a[2])
    assert all(address(x) % memory.LINE == 0 for x in a) and address(a[0]) % memory.PAGE != address(a[2]) % memory.PAGE
    assert all(x.flags.c_contiguous and x.flags.writeable for x in a)

"""The order in which values are combined: fixed, whatever comes first and wherever a block is computed."""

import random
import threading

import numpy as np
import pytest

from minigraph.parallel.pairwise import PairwiseTree, blocks, values

SIZES = range(1, 18)


def combined(values, combine, order=None):
    tree = PairwiseTree(len(values), combine)
    for i in order or range(len(values)):
        tree.add(i, values[i])
    return tree.result


def pair(a, b):
    return f"({a} {b})"


def by_definition(values):
    """The tree written level by level, as its docstring has it."""
    while len(values) > 1:
        values = [pair(*values[i : i + 2]) if i + 1 < len(values) else values[i] for i in range(0, len(values), 2)]
    return values[0]


def test_the_example_of_the_docstring():
    assert combined("01234", pair) == "(((0 1) (2 3)) 4)"


@pytest.mark.parametrize("n", SIZES)
def test_the_tree_does_not_depend_on_the_order_in_which_values_come(n):
    values = [str(i) for i in range(n)]
    want = by_definition(values)
    for seed in range(20):
        order = [*range(n)]
        random.Random(seed).shuffle(order)
        assert combined(values, pair, order) == want


@pytest.mark.parametrize("n", SIZES)
def test_aligned_blocks_combined_apart_give_the_bits_of_the_whole(n):
    values = np.random.default_rng(n).standard_normal((n, 50)).astype(np.float32)
    whole = combined(values, np.add)
    for size in (1, 2, 4, 8, 16):
        blocks = [combined(values[i : i + size], np.add) for i in range(0, n, size)]
        assert combined(blocks, np.add).tobytes() == whole.tobytes()
    if n > 8:
        assert whole.tobytes() != values.sum(0).tobytes()  # another order would show


@pytest.mark.parametrize("n", SIZES)
def test_blocks_of_any_range_make_up_the_whole(n):
    whole = by_definition([str(i) for i in range(n)])
    for start in range(n + 1):
        for stop in range(start, n + 1):
            tree, ends = PairwiseTree(n, pair), []
            for level, number in [*blocks(0, start, n), *blocks(start, stop, n), *blocks(stop, n, n)]:
                inside = values((level, number), n)
                ends.append(tree.add(number, combined([*map(str, inside)], pair), level))
            assert tree.result == whole
            assert ends == [False] * (len(ends) - 1) + [True]


def test_blocks_are_as_few_as_can_be():
    assert blocks(0, 16, 16) == [(4, 0)] and blocks(5, 5, 9) == []
    assert blocks(6, 12, 24) == [(1, 3), (2, 2)]
    assert [*values((2, 1), 6)] == [4, 5]
    assert len(blocks(1, 63, 64)) == 10  # 1, 2-3, 4-7, ... and back


def test_one_value_waits_at_each_level_at_most():
    tree = PairwiseTree(64, pair)
    for i in range(63):
        tree.add(i, str(i))
        assert len(tree._waiting) == (i + 1).bit_count() <= 6
    tree.add(63, "63")
    assert not tree._waiting


def test_many_threads_add_at_once():
    n, values = 1001, [str(i) for i in range(1001)]
    tree, numbers = PairwiseTree(n, pair), iter(random.Random(0).sample(range(n), n))
    threads = [threading.Thread(target=lambda: [tree.add(i, values[i]) for i in numbers]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tree.result == by_definition(values)


def test_none_is_a_value():
    assert combined([None, None, None], lambda a, b: None) is None


@pytest.mark.parametrize("n", [0, -1])
def test_no_value(n):
    with pytest.raises(ValueError, match="n should be at least 1, got"):
        PairwiseTree(n, pair)

"""The generators that operations draw from."""

import threading

import numpy as np
import pytest

import minigraph as mg
from minigraph import random


def test_seed_makes_draws_repeatable():
    x = np.ones(50)
    mg.seed(7)
    first = mg.dropout(x, 0.5), mg.dropout(x, 0.5)
    mg.seed(7)
    np.testing.assert_array_equal(first, (mg.dropout(x, 0.5), mg.dropout(x, 0.5)))
    assert (first[0] != first[1]).any()
    with pytest.raises((TypeError, ValueError)):
        mg.seed("a")


def test_which_generator():
    given, outer, inner = (np.random.default_rng(i) for i in range(3))
    default = random.drawing_from(None)
    assert random.drawing_from(None) is default
    with random.use(outer):
        assert random.drawing_from(None) is outer and random.drawing_from(given) is given
        with pytest.raises(ZeroDivisionError), random.use(inner):
            assert random.drawing_from(None) is inner
            raise ZeroDivisionError
        assert random.drawing_from(None) is outer
        seen = []
        thread = threading.Thread(target=lambda: seen.append(random.drawing_from(None)))
        thread.start()
        thread.join()
        assert seen == [default]  # `use` is local to the thread
    assert random.drawing_from(None) is default


@pytest.mark.parametrize("bits", [np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64])
def test_draws_replay_and_leave_no_trace(bits):
    a, b = np.random.Generator(bits(1)), np.random.Generator(bits(2))
    twin = np.random.Generator(a.bit_generator)  # two names of one stream

    def draw():
        return [random.drawing_from(g).random() for g in (a, twin, b, a)]

    a.random()
    draws = random.Draws()
    with draws.record():
        first = draw()
    later = [g.random() for g in (a, b)]
    for _ in range(2):
        with draws.replay():
            assert draw() == first
    with pytest.raises(ZeroDivisionError), draws.replay():
        draw()
        raise ZeroDivisionError
    assert [g.random() for g in (a, b)] != later
    expected = [np.random.Generator(bits(1)), np.random.Generator(bits(2))]
    expected[0].random(size=6)
    expected[1].random(size=3)
    assert [g.random() for g in (a, b)] == [expected[0].random(), expected[1].random()]


def test_a_record_inside_of_a_record_belongs_to_both():
    g = np.random.default_rng(0)
    outer, inner = random.Draws(), random.Draws()
    with outer.record():
        with inner.record():
            first = random.drawing_from(g).random()
        second = random.drawing_from(g).random()
    with inner.replay():
        assert random.drawing_from(g).random() == first
    with outer.replay():
        assert [random.drawing_from(g).random() for _ in range(2)] == [first, second]


@pytest.mark.parametrize("generator", [3, np.random.RandomState(0), np.random.PCG64(0)])
def test_what_is_no_generator(generator):
    with pytest.raises(TypeError, match=r"expected a NumPy generator, as np\.random\.default_rng\(seed\) makes it"):
        random.drawing_from(generator)
    with pytest.raises(TypeError, match="expected a NumPy generator"), random.use(generator):
        pass

"""Slopes and kinks of functions for which they are known."""

import numpy as np
import pytest

from minigraph.testing.differences import Differences, between, dot, flat


def differences(g, *xs):
    xs = [np.array(x, np.float64) for x in xs]
    return Differences(g, xs, flat(g(*xs)), 0.0, 1e-6)


def unit(n, i):
    return np.eye(n)[i]


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_the_slope_is_exact_and_its_error_is_not_understated(size):
    x = np.array([0.3, 1.0, 2.0]) * size
    with np.errstate(all="ignore"):
        line = differences(lambda x: [np.exp(x / size)], x).line(0, unit(3, 1) * size)
    off = np.abs(line.slope - [0, np.e, 0])
    assert off.max() < 1e-9
    assert (off <= line.error).all() and line.error.max() < 1e-7
    assert not line.kinked.size


def test_a_direction_is_of_one_input():
    line = differences(lambda a, b: [a * b, b], [2.0], [3.0]).line(1, np.ones(1))
    assert line.leaf == 1
    np.testing.assert_allclose(line.slope, [2, 1], rtol=1e-10)


def test_kinks_are_found_with_the_slopes_of_both_sides():
    d = differences(lambda x: [np.maximum(x, 0), 5 * np.abs(x) + x], [0.0, 1.0, 0.0])
    line = d.line(0, np.array([1.0, 1.0, 2.0]))
    assert line.kinked.tolist() == [0, 2, 3, 5]
    np.testing.assert_allclose(line.sides, [[0, 0, -4, -8], [1, 2, 6, 12]], atol=1e-6)
    assert line.usable(unit(6, 1)) and not line.usable(unit(6, 2))


@pytest.mark.parametrize(
    "g",
    [lambda x: [np.sqrt(x * x + 1e-6)], lambda x: [np.cbrt(x)], lambda x: [np.floor(x)], lambda x: [x**2]],
    ids=["sharp bend", "cusp", "jump", "smooth"],
)
def test_what_is_no_kink_is_not_taken_for_one(g):
    with np.errstate(all="ignore"):
        assert not differences(g, [0.0]).line(0, np.ones(1)).kinked.size


@pytest.mark.parametrize("near", [1e-3, 1e-5, 1e-7, 1e-8, 1e-9, 1e-10, 0.0])
def test_beside_a_kink_no_wrong_slope_is_taken_for_sure(near):
    """The largest of numbers that are equal or nearly so: most steps see a mean of the slopes."""
    d = differences(
        lambda x: [np.maximum(x, 0), np.max(x).reshape(1), np.max(x[:2]).reshape(1)], [1.0, 1.0 + near, 1.0]
    )
    for direction in (unit(3, 1), unit(3, 0), np.array([0.7, -0.9, 0.5])):
        line = d.line(0, direction)
        truth = np.array([*direction, direction[1], direction[1]])
        sure = np.setdiff1d(np.flatnonzero(line.error < 1e-6), line.kinked)
        assert {0, 1, 2} <= {*sure}
        np.testing.assert_allclose(line.slope[sure], truth[sure], atol=1e-5)
        if near >= 1e-7:
            assert sure.size == 5
        if not near:
            assert {3, 4} <= {*line.kinked}


def test_calls_are_counted_and_bounded():
    for g, calls in (
        (lambda x: [2 * x], 4),
        (lambda x: [x * x], 4),
        (lambda x: [np.abs(x)], 50 + 18),  # all steps, since the slopes stay apart, and the search for kinks
    ):
        seen = []
        d = differences(lambda x, g=g, seen=seen: seen.append(1) or g(x), [0.0])
        with np.errstate(all="ignore"):
            d.line(0, np.ones(1))
        assert d.calls == len(seen) - 1 == calls


def test_flat_dot_and_between():
    assert flat([np.ones((2, 2)), np.float64(3)]).tolist() == [1, 1, 1, 1, 3]
    assert dot(np.array([np.nan, 2.0]), np.array([0.0, 3.0])) == 6
    assert np.isnan(dot(np.array([np.nan, 2.0]), np.array([1.0, 3.0])))
    assert between(0.5, (1.0, 0.0)) and between(1 + 1e-6, (0, 1)) and not between(1.1, (0, 1))

"""Windows of a text: what they hold, their order, and going on at any place."""

import itertools

import numpy as np
import pytest

from minigraph.data import DataError, Windows


def same(a, b):
    return len(a) == len(b) and all(np.array_equal(p, q) for p, q in zip(a, b, strict=True))


def test_side_by_side():
    batches = list(Windows(np.arange(24, dtype=np.uint8), 4, 2))
    assert [x.shape for x, _ in batches] == [(2, 4), (2, 4), (1, 4)]
    x, y = (np.concatenate(part) for part in zip(*batches, strict=True))
    assert x.dtype == y.dtype == np.int64
    assert x.ravel().tolist() == [*range(20)] and np.array_equal(y, x + 1)


def test_at_random_places():
    windows = Windows(np.arange(1000), 10, 8, shuffle=True, seed=3)
    assert len(windows) == 13
    first, second = list(windows), list(windows)
    starts = np.concatenate([x[:, 0] for x, _ in first])
    assert len(starts) == 99 and len(set(starts)) > 80 and starts.min() < 50 and starts.max() > 930
    for x, y in first:
        assert np.array_equal(x, x[:, :1] + np.arange(10)) and np.array_equal(y, x + 1)
    assert same(first, list(windows.epoch(0))) and same(second, list(windows.epoch(1))) and not same(first, second)
    assert not same(first, list(Windows(np.arange(1000), 10, 8, shuffle=True, seed=4)))


def test_every_place_of_a_short_text_is_seen():
    windows = Windows(np.arange(6), 4, 1, shuffle=True)
    starts = {int(x[0, 0]) for x, _ in itertools.chain.from_iterable(windows.epoch(e) for e in range(20))}
    assert starts == {0, 1}
    ((x, y),) = Windows(np.arange(5), 4, 1, shuffle=True)
    assert x.tolist() == [[0, 1, 2, 3]] and y.tolist() == [[1, 2, 3, 4]]


@pytest.mark.parametrize("shuffle", [False, True])
def test_an_epoch_goes_on_at_any_batch(shuffle):
    windows = Windows(np.arange(100), 3, 5, shuffle=shuffle)
    for start in range(len(windows) + 1):
        assert same(list(windows.epoch(2, start)), list(windows.epoch(2))[start:])


def test_the_number_of_examples():
    windows = Windows(np.arange(31), 3, 4)
    assert [windows.examples_in(step) for step in range(6)] == [0, 4, 8, 10, 14, 18]
    assert repr(windows) == "Windows(31 characters, 3 batches of 4 windows of 3)"


@pytest.mark.parametrize(("change", "message"), [
    ({"codes": np.arange(4)}, "4 characters are too few for a window of 4 and the next one"),
    ({"codes": np.ones(9)}, r"expected codes \(N,\) of integers, got float64 \(9,\)"),
    ({"codes": np.ones((9, 9), int)}, r"got int64 \(9, 9\)"),
    ({"codes": np.arange(-1, 9)}, "expected codes from 0 on, got -1"),
    ({"length": 0}, "length is 0"),
    ({"batch_size": 2.0}, "batch_size is 2.0"),
    ({"seed": -1}, "seed is -1"),
])  # fmt: skip
def test_bad_input(change, message):
    with pytest.raises(DataError, match=message):
        Windows(**({"codes": np.arange(9), "length": 4, "batch_size": 1} | change))


@pytest.mark.parametrize(("epoch", "start"), [(-1, 0), (0, 3), (0, -1)])
def test_an_epoch_that_there_is_not(epoch, start):
    with pytest.raises(DataError, match=r"Windows: (epoch|start) is"):
        Windows(np.arange(9), 4, 1).epoch(epoch, start)

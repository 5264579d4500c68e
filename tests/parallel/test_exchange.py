"""How gradients are laid out and sent; that their sum is right is tested with real ranks, in test_mpi.py."""

import itertools

import numpy as np
import pytest

from minigraph.parallel import exchange
from minigraph.parallel.exchange import Layout, wait


def zeros(*shapes, dtype=np.float32):
    return [np.zeros(shape, dtype) for shape in shapes]


def test_buckets_are_filled_from_the_last_gradient_on(monkeypatch):
    monkeypatch.setattr(exchange, "BUCKET", 40)
    layout = Layout({"a": zeros((2, 3), 5), "b": zeros(1, 20, 4, 2)})
    assert [(b.start, b.stop, b.leaves) for b in layout.buckets] == [(12, 38, [3, 4, 5]), (0, 12, [0, 1, 2])]
    flat = layout.empty()
    for k, leaf in enumerate(layout.leaves):
        leaf.of(flat)[...] = k
    assert layout.leaves[0].of(flat).shape == (2, 3)
    assert flat[np.dtype("f4")].tolist() == [*itertools.chain(*([k] * n for k, n in enumerate((6, 5, 1, 20, 4, 2))))]
    assert layout.buckets[1].of(flat).tolist() == [0] * 6 + [1] * 5 + [2]


def test_each_dtype_has_its_own_buckets():
    layout = Layout([*zeros(2), *zeros(3, dtype=np.float64), *zeros(4), 1.0])
    assert [(b.dtype, b.start, b.stop, b.leaves) for b in layout.buckets] == [
        (np.float64, 0, 4, [1, 3]),
        (np.float32, 0, 6, [0, 2]),
    ]
    assert {str(dtype): flat.size for dtype, flat in layout.empty().items()} == {"float32": 6, "float64": 4}


@pytest.mark.parametrize("size", [0, 1, 5, 12])
@pytest.mark.parametrize("ranks", [1, 2, 5])
def test_chunks_make_up_a_bucket(size, ranks):
    (bucket,) = Layout(zeros(size)).buckets
    places = [np.arange(size)[bucket.chunk(rank, ranks)] for rank in range(ranks)]
    assert np.concatenate(places).tolist() == [*range(size)]
    assert max(map(len, places)) - min(map(len, places)) <= 1


def test_no_parameters():
    assert Layout({"none": None}).buckets == []


def test_wait_asks_until_it_is_done():
    answers = itertools.chain([False] * 150, itertools.repeat(True))
    wait(lambda: next(answers))

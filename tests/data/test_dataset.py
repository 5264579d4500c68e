import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigraph.data import DataError, Dataset, split


@pytest.fixture
def dataset():
    images = np.arange(10, dtype=np.uint8)[:, None, None, None] + np.zeros((32, 32, 3), np.uint8)
    return Dataset("synthetic", images, np.arange(10), images[:2], np.arange(2), ("a", "b"))


def of_labels(labels):
    images = np.arange(len(labels), dtype=np.uint8)[:, None, None, None] + np.zeros((2, 2, 3), np.uint8)
    return Dataset("d", images, np.asarray(labels), images[:2], np.arange(2), ("a", "b"))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(0, 59), st.integers(0, 3), st.booleans())
def test_split_holds_out_a_share_of_each_class(labels, val, seed, in_order):
    labels = sorted(labels) if in_order else labels
    val %= len(labels)
    (train_x, train_y), (val_x, val_y) = split(of_labels(labels), val, seed=seed)
    assert len(val_y) == val and len(train_y) == len(labels) - val
    train_n, val_n = train_x[:, 0, 0, 0].tolist(), val_x[:, 0, 0, 0].tolist()
    assert sorted(train_n + val_n) == list(range(len(labels)))  # every example is in one of the parts
    assert train_n == sorted(train_n) and val_n == sorted(val_n)
    assert [labels[n] for n in train_n] == train_y.tolist() and [labels[n] for n in val_n] == val_y.tolist()
    for label in set(labels):
        share = labels.count(label) * val / len(labels)
        assert share - 1 < val_y.tolist().count(label) < share + 1


def test_split_is_random_by_its_seed():
    dataset = of_labels(np.repeat([0, 1], 100))
    drawn = [split(dataset, 20, seed=seed)[1][0][:, 0, 0, 0].tolist() for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert split(dataset, 20)[1][0][:, 0, 0, 0].tolist() == drawn[0]
    with pytest.raises(DataError, match="seed is -1, expected an int from 0"):
        split(dataset, 20, seed=-1)


@pytest.mark.parametrize("val", [-1, 10, 5000])
def test_split_refuses_what_leaves_nothing_to_train_on(dataset, val):
    with pytest.raises(DataError, match=f"val is {val}, expected 0 <= val < 10"):
        split(dataset, val)


def test_the_repr_is_one_line_of_sizes(dataset):
    assert repr(dataset) == "Dataset('synthetic', 10 images of 32x32x3 to train on, 2 to test, 2 classes)"

import numpy as np
import pytest

from minigraph.data import DataError, Dataset, split


@pytest.fixture
def dataset():
    images = np.arange(10, dtype=np.uint8)[:, None, None, None] + np.zeros((32, 32, 3), np.uint8)
    return Dataset("synthetic", images, np.arange(10), images[:2], np.arange(2), ("a", "b"))


@pytest.mark.parametrize("val", [0, 1, 9])
def test_split_holds_out_the_last_examples(dataset, val):
    (train_x, train_y), (val_x, val_y) = split(dataset, val)
    assert train_y.tolist() == list(range(10 - val))
    assert val_y.tolist() == list(range(10 - val, 10))
    assert train_x[:, 0, 0, 0].tolist() == train_y.tolist()
    assert val_x[:, 0, 0, 0].tolist() == val_y.tolist()
    assert np.shares_memory(train_x, dataset.train_images)


@pytest.mark.parametrize("val", [-1, 10, 5000])
def test_split_refuses_what_leaves_nothing_to_train_on(dataset, val):
    with pytest.raises(DataError, match=f"val is {val}, expected 0 <= val < 10"):
        split(dataset, val)


def test_the_repr_is_one_line_of_sizes(dataset):
    assert repr(dataset) == "Dataset('synthetic', 10 images of 32x32x3 to train on, 2 to test, 2 classes)"

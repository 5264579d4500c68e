import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigraph as mg
from minigraph.data import DataError, Dataset, Loader, split


@pytest.fixture
def dataset():
    images = np.arange(10, dtype=np.uint8)[:, None, None, None] + np.zeros((32, 32, 3), np.uint8)
    return Dataset("synthetic", images, np.arange(10), images[:2], np.arange(2), ("a", "b"))


def of_labels(labels):
    images = np.arange(len(labels), dtype=np.uint8)[:, None, None, None] + np.zeros((2, 2, 3), np.uint8)
    return Dataset("d", images, np.asarray(labels), images[:1], np.arange(1), ("a", "b"))


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
    with pytest.raises(DataError, match="seed is -1, expected an int >= 0"):
        split(dataset, 20, seed=-1)


@pytest.mark.parametrize("val", [-1, 10, 5000])
def test_split_refuses_what_leaves_nothing_to_train_on(dataset, val):
    with pytest.raises(DataError, match=f"val is {val}, expected 0 <= val < 10"):
        split(dataset, val)


def test_the_repr_is_one_line_of_sizes(dataset):
    assert repr(dataset) == "Dataset('synthetic', 10 images of 32x32x3 to train on, 2 to test, 2 classes)"


# ---------------------------------------------------------------- what a user may have in place of images and labels

IMAGES = np.zeros((4, 8, 8, 3), np.uint8)
LABELS = np.array([3, 0, 1, 2])
TAKERS = {
    "Loader": lambda images, labels: Loader(images, labels, 2).labels,
    "Dataset: train_images, train_labels": lambda x, y: Dataset("d", x, y, IMAGES, LABELS, ()).train_labels,
    "Dataset: test_images, test_labels": lambda x, y: Dataset("d", IMAGES, LABELS, x, y, ()).test_labels,
}
takers = pytest.mark.parametrize("taker", TAKERS)


@takers
@pytest.mark.parametrize(
    "labels",
    [LABELS.tolist(), tuple(LABELS), LABELS[:, None], LABELS.astype(np.uint8), LABELS.astype(">i4"), mg.Tensor(LABELS)],
    ids=["list", "tuple", "(N, 1)", "uint8", ">i4", "Tensor"],
)
def test_labels_that_are_accepted(taker, labels):
    got = TAKERS[taker](IMAGES, labels)
    assert type(got) is np.ndarray and got.dtype == np.int64 and got.dtype.isnative and got.tolist() == [3, 0, 1, 2]


@takers
@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES.astype(np.float32), LABELS, r"got float32 \(4, 8, 8, 3\); for values from 0 to 1: \(255 \* images\)"),
        (IMAGES.astype(int), LABELS, r"got int64 .*images\.astype\(np\.uint8\)"),
        (IMAGES[..., 0], LABELS, r"got uint8 \(4, 8, 8\); for N images without an axis of channels: images\["),
        (IMAGES.reshape(4, -1), LABELS, r"got uint8 \(4, 192\)$"),
        ([[1], [2, 3]], LABELS, "images are no array: "),
        (None, LABELS, "got object"),
        (np.ma.masked_array(IMAGES), LABELS, "images are a masked array, whose mask would be lost"),
        (IMAGES, np.ma.masked_array(LABELS), "labels are a masked array"),
        (IMAGES, np.eye(4, dtype=int), r"expected 4 integer labels, got int64 \(4, 4\); of one-hot rows: labels"),
        (IMAGES, np.eye(4), r"got float64 \(4, 4\); of one-hot rows"),
        (IMAGES, LABELS / 1, r"got float64 \(4,\); for whole numbers: labels\.astype\(int\)"),
        (IMAGES, ["cat", "dog", "cat", "dog"], r"got <U3 \(4,\); of names: np\.unique\(labels, return_inverse=True\)"),
        (IMAGES, [[1], [2], [3]], r"expected 4 integer labels, got int64 \(3, 1\)"),
        (IMAGES, [[1], [2, 3]], "labels are no array: "),
        (IMAGES, [True] * 4, "got bool"),
        (IMAGES, [0, 1, -1, 2], "expected labels from 0 on, got -1 for image 2"),
        (IMAGES, np.array([0, 1, 2, 2**63], np.uint64), "got 9223372036854775808 for image 3"),
        (IMAGES, None, "expected 4 integer labels, got object"),
    ],
)
def test_images_and_labels_that_are_refused_in_one_line(taker, images, labels, message):
    with pytest.raises(DataError, match=f"^{taker}: .*{message}") as caught:
        TAKERS[taker](images, labels)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((4, 3, 32, 32), np.uint8), r"for each of 32 channels.*channels come first: images\.transpose"),
        (np.zeros((4, 8, 8, 1), np.uint8), r"for each of 1 channels, got \([0-9., ]+\) and \([0-9., ]+\)$"),
        (IMAGES[:0], "expected at least one image"),
    ],
)
def test_what_else_a_loader_says_of_images(images, message):
    with pytest.raises(DataError, match=f"^Loader: .*{message}"):
        Loader(images, np.zeros(len(images), int), 2)

import numpy as np
import pytest

import minigraph as mg
from minigraph import data
from minigraph.training import accuracy, confusion, predict, score


def loader(n, **options):
    images = np.random.default_rng(0).integers(0, 256, (n, 2, 2, 3), np.uint8)
    return data.Loader(images, np.arange(n) % 3, 4, **options)


@pytest.mark.parametrize("n", [1, 4, 11])
def test_predict_gives_all_results_in_order(n):
    images = loader(n)
    expected = np.concatenate([x.sum((1, 2)) for x, _ in images])
    got = predict(lambda x: x.sum((1, 2)), images, executor=mg.parallel.Threads(2), microbatch=3)
    assert got.shape == (n, 3)
    np.testing.assert_array_equal(got, expected)


def test_predict_refuses_a_loader_whose_order_is_not_that_of_its_labels():
    for change in ({"shuffle": True}, {"padding": 1}, {"flip": True}):
        with pytest.raises(ValueError, match="the loader shuffles, crops or flips"):
            predict(lambda x: x, loader(5, **change))


def test_score():
    logits = np.array([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0], [0.0, 0.5]])
    labels = np.array([0, 1, 1, 0])
    log = np.log(np.exp(logits) / np.exp(logits).sum(1, keepdims=True))
    loss, share = score(logits, labels)
    assert type(loss) is float and loss == pytest.approx(-log[np.arange(4), labels].mean(), rel=1e-14)
    assert share == accuracy(logits, labels) == 0.5


def test_accuracy_refuses_other_lengths():
    for labels in (np.zeros(1, int), np.zeros((3, 1), int), np.zeros((3, 2), int)):
        with pytest.raises(ValueError, match=r"expected logits \(N, classes\) and labels \(N,\), got \(3, 2\) and"):
            accuracy(np.zeros((3, 2)), labels)


def test_confusion_refuses_classes_that_there_are_not():
    for labels, predicted in (([0, 2], [0, 1]), ([0, 1], [0, -1]), ([0, 1], [0]), ([[0], [1]], [0, 1])):
        with pytest.raises(ValueError, match=r"expected (labels|predicted) to be \(2,\) integers in \[0, 2\)"):
            confusion(np.array(labels), np.array(predicted), 2)


def test_confusion_counts_true_rows_and_predicted_columns():
    counts = confusion(np.array([0, 0, 0, 2]), np.array([0, 1, 1, 0]), 3)
    assert counts.tolist() == [[1, 2, 0], [0, 0, 0], [1, 0, 0]]

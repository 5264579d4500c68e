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
    one = {"flip": "alternate"}, {"brightness": 0.1}, {"contrast": 0.1}, {"cutout": 1}, {"drop_last": True}
    for change in ({"shuffle": True}, {"padding": 1}, {"flip": True}, *one):
        with pytest.raises(ValueError, match="the loader shuffles, crops or flips"):
            predict(lambda x: x, loader(5, **change))


WEIGHTS = np.random.default_rng(2).standard_normal((5, 6, 3, 4))


def classify(x):
    """Logits (B, 4) that depend on where things are."""
    return np.tanh(np.tensordot(x, WEIGHTS, 3)) * 3


def pictures(n, **options):
    images = np.random.default_rng(1).integers(0, 256, (n, 5, 6, 3), np.uint8)
    return data.Loader(images, np.zeros(n, int), 4, **options)


def augmented(loader, tta):
    """The definition, an image at a time."""

    def both_sides(image):
        return (classify(image[None])[0] + classify(image[None, :, ::-1])[0]) / 2

    rows = []
    for image in np.concatenate([x for x, _ in loader]):
        row = both_sides(image)
        if tta == "mirror+translate":
            padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), "reflect")
            row = row / 2 + (both_sides(padded[0:5, 0:6]) + both_sides(padded[2:7, 2:8])) / 4
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize("tta", ["mirror", "mirror+translate"])
def test_test_time_augmentation_is_the_mean_over_the_views(tta):
    loader = pictures(11)
    got = predict(classify, loader, tta=tta, executor=mg.parallel.Threads(2), microbatch=3)
    np.testing.assert_allclose(got, augmented(loader, tta), rtol=1e-5, atol=1e-6)
    assert abs(got - predict(classify, loader)).max() > 0.1


@pytest.mark.parametrize(("tta", "further"), [("mirror", 1), ("mirror+translate", 5)])
@pytest.mark.parametrize(("unsure", "k"), [(1e-9, 0), (0.25, 5), (0.3, 6), (1.0, 20)])
def test_only_the_images_that_are_unsure_get_further_views(tta, further, unsure, k):
    loader, seen = pictures(20), []
    plain, full = predict(classify, loader), augmented(loader, tta)
    confidence = (np.exp(plain) / np.exp(plain).sum(1, keepdims=True)).max(1)
    unsure_ones = np.argsort(confidence)[:k]
    expected = plain.copy()
    expected[unsure_ones] = full[unsure_ones]
    got = predict(lambda x: seen.append(len(x)) or classify(x), loader, tta=tta, unsure=unsure)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    assert sum(seen) == 20 + further * k


def test_predict_of_resized_images():
    loader = pictures(6, resolution=4)
    got = predict(lambda x: x.mean((1, 2)), loader, tta="mirror")  # a mean does not see the mirror
    np.testing.assert_allclose(got, np.concatenate([x.mean((1, 2)) for x, _ in loader]), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tta": "flip"}, "tta is 'flip', expected one of 'none', 'mirror', 'mirror\\+translate'"),
        ({"tta": "mirror", "unsure": 0}, "unsure is 0, expected a number above 0, at most 1"),
        ({"tta": "mirror", "unsure": 1.5}, "unsure is 1.5"),
        ({"tta": "mirror", "apply": lambda x: x}, r"has to give logits \(B, classes\), got float32 \(5, 5, 6, 3\)"),
        ({"tta": "mirror", "apply": lambda x: classify(x).argmax(1)}, r"got int64 \(5,\)"),
    ],
)
def test_predict_refuses(change, message):
    with pytest.raises(ValueError, match=f"^predict: .*{message}"):
        predict(**({"apply": classify, "loader": pictures(5)} | change))


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

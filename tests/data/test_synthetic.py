import numpy as np
import pytest

from minigraph.data import DataError, synthetic


@pytest.fixture(scope="module")
def dataset():
    return synthetic.draw(2000, 1000)


def test_shape_and_format_are_those_of_cifar10(dataset):
    assert dataset.name == "synthetic" and len(set(dataset.classes)) == 10
    assert dataset.train_images.shape == (2000, 32, 32, 3)
    assert dataset.test_images.shape == (1000, 32, 32, 3)
    assert dataset.train_images.dtype == dataset.test_images.dtype == np.uint8
    assert dataset.train_labels.dtype == dataset.test_labels.dtype == np.int64
    assert min(np.bincount(dataset.train_labels, minlength=10)) > 150
    assert min(np.bincount(dataset.test_labels, minlength=10)) > 70


def test_the_same_set_every_time():
    first, second = synthetic.draw(300, 100), synthetic.draw(300, 100)
    np.testing.assert_array_equal(first.train_images, second.train_images)
    np.testing.assert_array_equal(first.test_images, second.test_images)
    np.testing.assert_array_equal(first.train_labels, second.train_labels)


def test_no_image_is_drawn_twice(dataset):
    images = np.concatenate([dataset.train_images, dataset.test_images])
    assert len({image.tobytes() for image in images}) == len(images)


def linear_accuracy(dataset, features):
    """Test accuracy of ridge regression on `features(images)`, for the better of two penalties."""
    train, test = (
        features(images / 255).reshape(len(images), -1) for images in (dataset.train_images, dataset.test_images)
    )
    train, test = train - train.mean(0), test - train.mean(0)
    targets = np.eye(10)[dataset.train_labels] - 0.1
    gram = train @ train.T  # the dual form: examples are fewer than features
    accuracies = []
    for penalty in (1e3, 1e4):
        weights = train.T @ np.linalg.solve(gram + penalty * np.eye(len(gram)), targets)
        accuracies.append(np.mean((test @ weights).argmax(1) == dataset.test_labels))
    return max(accuracies)


def test_a_linear_model_stays_near_chance(dataset):
    assert linear_accuracy(dataset, lambda x: x) < 0.2


def test_the_outline_tells_the_class(dataset):
    """What differs from the border's colour shows the shape, and already a linear model gains by it."""

    def difference(x):
        border = np.concatenate([x[:, 0], x[:, -1], x[:, :, 0], x[:, :, -1]], axis=1)  # (N, 128, 3)
        return ((x - np.median(border, axis=1)[:, None, None]) ** 2).sum(-1)

    assert linear_accuracy(dataset, difference) > 0.27


@pytest.mark.parametrize("name", synthetic._SHAPES)
def test_each_outline_fills_the_unit_square(name):
    u, v = np.meshgrid(np.linspace(-1.5, 1.5, 301), np.linspace(-1.5, 1.5, 301))
    inside = synthetic._SHAPES[name](u, v) < 0
    extent = np.maximum(abs(u), abs(v))[inside].max()
    assert 0.7 < extent <= 1
    assert 0.5 < inside.sum() / 100**2 < 2.5  # area, of the 4 of the square


@pytest.mark.parametrize("sizes", [(0, 10), (10, 0), (-5, 10)])
def test_sizes_are_checked(sizes):
    with pytest.raises(DataError, match=f"train is {sizes[0]} and test is {sizes[1]}"):
        synthetic.draw(*sizes)

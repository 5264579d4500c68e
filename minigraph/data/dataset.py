"""A labelled image set in memory, and the one error that everything in `minigraph.data` raises."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


class DataError(ValueError):
    """Data that is missing, damaged or not what it should be; the message names file and fault."""


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Images uint8 `(N, H, W, C)` in 0..255 and labels int64 `(N,)`, in a train and a test part.

    `classes[label]` is a label's name; `name` is "cifar10", "synthetic" or the name of a folder of images.
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: tuple[str, ...]

    def __repr__(self) -> str:
        size = "x".join(map(str, self.train_images.shape[1:]))
        return (
            f"Dataset({self.name!r}, {len(self.train_images):,} images of {size} to train on, "
            f"{len(self.test_images):,} to test, {len(self.classes)} classes)"
        )


Part = tuple[np.ndarray, np.ndarray]


def split(dataset: Dataset, val: int, *, seed: int = 0) -> tuple[Part, Part]:
    """`(images, labels)` to train on and `(images, labels)` to validate on, `val` of the training examples.

    They are drawn at random, from each class in proportion to its size, so that a data set in the order of its classes
    is split as well as a mixed one. Both parts keep the order of the examples, and are copies.

    Args:
        val: how many examples are held out, at least 0 and fewer than there are.
        seed: of the draw. Runs that are to be compared should hold out the same examples, and so have one seed here.

    Raises DataError for another val or seed.
    """
    images, labels = dataset.train_images, dataset.train_labels
    n = len(images)
    if not isinstance(val, (int, np.integer)) or not 0 <= val < n:
        raise DataError(f"split: val is {val!r}, expected 0 <= val < {n}, the training examples there are")
    if not isinstance(seed, (int, np.integer)) or seed < 0:
        raise DataError(f"split: seed is {seed!r}, expected an int from 0")
    # Every class gives floor(share) examples, and those with the largest rest one more, until there are `val`.
    rng = np.random.default_rng(seed)
    order = rng.permutation(n)
    by_class = order[np.argsort(labels[order], kind="stable")]  # the examples of each class together, shuffled in it
    _, sizes = np.unique(labels, return_counts=True)
    quotas, rests = np.divmod(sizes * val, n)
    quotas[np.argsort(-rests, kind="stable")[: val - quotas.sum()]] += 1
    starts = np.cumsum(sizes) - sizes
    held_out = np.zeros(n, bool)
    for start, quota in zip(starts, quotas, strict=True):
        held_out[by_class[start : start + quota]] = True
    return (images[~held_out], labels[~held_out]), (images[held_out], labels[held_out])

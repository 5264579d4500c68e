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


def split(dataset: Dataset, val: int) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """`(images, labels)` to train on and `(images, labels)` to validate on: the last `val` training examples.

    Both parts are views. The same examples are held out whatever the seed of a run, so that runs can be compared. Every
    Dataset of this package has its training examples in random order. Raises DataError unless 0 <= val < N.
    """
    images, labels = dataset.train_images, dataset.train_labels
    if not 0 <= val < len(images):
        raise DataError(f"split: val is {val}, expected 0 <= val < {len(images)}, the training examples there are")
    cut = len(images) - val
    return (images[:cut], labels[:cut]), (images[cut:], labels[cut:])

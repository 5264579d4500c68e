"""A labelled image set in memory, and the one error that everything in `minigraph.data` raises."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


class DataError(ValueError):
    """Data that is missing, damaged or not what it should be; the message names file and fault."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images uint8 `(N, H, W, C)` in 0..255 and labels int64 `(N,)`, in a train and a test part.

    `classes[label]` is a label's name; `name` is "cifar10" or "synthetic".
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: tuple[str, ...]


def split(dataset: Dataset, val: int) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """`(images, labels)` to train on and to validate on: the last `val` training examples are held out.

    Both parts are views. The same examples are held out whatever the seed of a run, so that runs
    can be compared (both data sets come in random order). Raises DataError unless 0 <= val < N.
    """
    images, labels = dataset.train_images, dataset.train_labels
    if not 0 <= val < len(images):
        raise DataError(f"split: val is {val}, expected 0 <= val < {len(images)}, the training examples there are")
    cut = len(images) - val
    return (images[:cut], labels[:cut]), (images[cut:], labels[cut:])

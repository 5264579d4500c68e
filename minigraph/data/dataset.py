"""A labelled image set in memory, and the one error that everything in `minigraph.data` raises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


class DataError(ValueError):
    """Data that is missing, damaged or not what it should be; the message names file and fault."""


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Images uint8 `(N, H, W, C)` in 0..255 and labels int64 `(N,)`, in a train and a test part.

    `classes[label]` is a label's name; `name` is "cifar10", "synthetic" or the name of a folder of images.

    Labels may be given as a list or as `(N, 1)`. Raises DataError, saying what to do, for images or labels of another
    kind, such as images of floats and labels as one-hot rows.
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        for part in ("train", "test"):
            images, labels = getattr(self, f"{part}_images"), getattr(self, f"{part}_labels")
            images, labels = as_examples(images, labels, f"Dataset: {part}_images, {part}_labels")
            object.__setattr__(self, f"{part}_images", images)  # it is frozen
            object.__setattr__(self, f"{part}_labels", labels)

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
    check_int("split", "seed", seed, 0)
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


def as_examples(images: Any, labels: Any, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 `(N, H, W, C)` and labels int64 `(N,)` of what a user has.

    Labels may be a list or of shape `(N, 1)`. Anything else is refused by a DataError that begins with `where` and
    says what to do.
    """
    arrays = []
    for name, value in (("images", images), ("labels", labels)):
        if isinstance(value, np.ma.MaskedArray):
            raise DataError(f"{where}: {name} are a masked array, whose mask would be lost; leave out what is masked")
        try:
            arrays.append(np.asarray(value))
        except ValueError as error:
            raise DataError(f"{where}: {name} are no array: {error}") from error
    images, labels = arrays
    if images.dtype != np.uint8 or images.ndim != 4:
        hint = ""
        if images.dtype.kind == "f":
            hint = "; for values from 0 to 1: (255 * images).round().astype(np.uint8); the loader normalises them"
        elif images.dtype.kind in "iu" and images.dtype != np.uint8:
            hint = "; for values from 0 to 255: images.astype(np.uint8)"
        elif images.ndim == 3:
            hint = "; for N images without an axis of channels: images[..., None]; for one image: images[None]"
        raise DataError(f"{where}: expected images uint8 (N, H, W, C), got {images.dtype} {images.shape}{hint}")
    n = len(images)
    if labels.shape == (n, 1):
        labels = labels[:, 0]
    if labels.dtype.kind not in "iu" or labels.shape != (n,):
        hint = ""
        if labels.ndim == 2 and len(labels) == n:
            hint = "; of one-hot rows: labels.argmax(1)"
        elif labels.dtype.kind == "f":
            hint = "; for whole numbers: labels.astype(int)"
        elif labels.dtype.kind in "US":
            hint = "; of names: np.unique(labels, return_inverse=True)[1]"
        raise DataError(f"{where}: expected {n} integer labels, got {labels.dtype} {labels.shape}{hint}")
    wrong = np.flatnonzero((labels < 0) | (labels > np.iinfo(np.int64).max))
    if len(wrong):
        raise DataError(f"{where}: expected labels from 0 on, got {labels[wrong[0]]} for image {wrong[0]}")
    return images, labels.astype(np.int64, copy=False)


def check_int(where: str, name: str, value: object, low: int, high: int | None = None) -> None:
    """Raise DataError, beginning with `where`, unless `value` is an int from `low` to `high`."""
    if not isinstance(value, int | np.integer) or value < low or (high is not None and value > high):
        bounds = f">= {low}" if high is None else f"from {low} to {high}"
        raise DataError(f"{where}: {name} is {value!r}, expected an int {bounds}")

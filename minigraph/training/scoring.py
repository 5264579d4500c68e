"""How good a model is on a set of images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import parallel
from ..data import Loader
from ..ops.loss import cross_entropy


def predict(
    apply: Callable[[Any], Any],
    loader: Loader,
    *,
    executor: parallel.Executor | None = None,
    microbatch: int | None = None,
) -> np.ndarray:
    """`apply(x)` for all images of a loader, in their order, as one array `(N, ...)`; on several threads.

    `apply` takes images `(B, H, W, C)` to an array `(B, ...)`, logits for instance. `executor` and `microbatch` are
    those of `parallel.map`. Raises ValueError for a loader that shuffles, whose order is not that of its labels, and
    for one that crops or flips.
    """
    if loader.shuffle or loader.padding or loader.flip:
        raise ValueError(f"predict: the loader shuffles, crops or flips, and should do none of these: {loader!r}")
    return np.concatenate([parallel.map(apply, x, executor=executor, microbatch=microbatch) for x, _ in loader])


def score(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """(loss, accuracy) of logits `(N, classes)` for labels `(N,)`: the mean cross-entropy, and the share right."""
    return float(cross_entropy(logits, labels)), accuracy(logits, labels)


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """The share of labels `(N,)` whose class has the largest of the logits `(N, classes)`."""
    if np.ndim(logits) != 2 or np.shape(labels) != logits.shape[:1]:
        raise ValueError(
            f"accuracy: expected logits (N, classes) and labels (N,), got {np.shape(logits)} and {np.shape(labels)}"
        )
    return float((logits.argmax(-1) == labels).mean())


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts int64 `(classes, classes)`: how many examples of class i (row) were taken for class j (column).

    Raises ValueError unless `labels` and `predicted` are `(N,)` integers in [0, classes).
    """
    for name, numbers in (("labels", labels), ("predicted", predicted)):
        if np.ndim(numbers) != 1 or len(numbers) != len(labels) or not ((numbers >= 0) & (numbers < classes)).all():
            raise ValueError(f"confusion: expected {name} to be ({len(labels)},) integers in [0, {classes})")
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)

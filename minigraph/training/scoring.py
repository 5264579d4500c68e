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
    those of `parallel.map`. Raises ValueError for a loader that shuffles: its order would not be that of the labels.
    """
    if loader.shuffle:
        raise ValueError("predict: the loader shuffles, so the results would not be in the order of its labels")
    return np.concatenate([parallel.map(apply, x, executor=executor, microbatch=microbatch) for x, _ in loader])


def score(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """(loss, accuracy) of logits `(N, classes)` for labels `(N,)`: the mean cross-entropy, and the share right."""
    return float(cross_entropy(logits, labels)), accuracy(logits, labels)


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """The share of labels `(N,)` whose class has the largest of the logits `(N, classes)`."""
    if len(logits) != len(labels):
        raise ValueError(f"accuracy: there are {len(logits)} rows of logits and {len(labels)} labels")
    return float((logits.argmax(-1) == labels).mean())


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts int64 `(classes, classes)`: how many examples of class i (row) were taken for class j (column)."""
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)

"""How good a model is on a set of images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np

from .. import parallel
from ..data import Loader
from ..data.augment import reflect_pad
from ..ops.loss import cross_entropy, softmax

TTA = Literal["none", "mirror", "mirror+translate"]


def predict(
    apply: Callable[[Any], Any],
    loader: Loader,
    *,
    tta: TTA = "none",
    unsure: float = 1.0,
    executor: parallel.Executor | None = None,
    microbatch: int | None = None,
) -> np.ndarray:
    """`apply(x)` for all images of a loader, in their order, as one array `(N, ...)`; on several threads.

    With test-time augmentation (`tta`) `apply` has to give logits `(B, classes)`, and the result is their mean over
    several views of each image:

    - "mirror": the image and its mirror image, left to right;
    - "mirror+translate": these two, and these two of the image moved by a pixel, up and left in one view, down and
      right in another, with the border reflected. Each of the moved ones has half the weight of those in place. These
      are the six views of the airbench recipes (K. Jordan, arXiv 2404.00498).

    A further view costs as much as the first, and seldom changes an answer that is sure. `unsure` is the share of the
    images that get further views: those whose likeliest class has the lowest probability in the first view. The others
    keep the logits of that view. The CIFAR-10 speedrun of hiverge has 0.25.

    Args:
        apply: takes images `(B, H, W, C)` to an array `(B, ...)`.
        loader: of evaluation, which gives every image once, in order and as it is.
        tta, unsure: see above; 0 < unsure <= 1.
        executor, microbatch: those of `parallel.map`.

    Raises ValueError for a loader that shuffles, whose order is not that of its labels, for one that changes images at
    random or drops some, for another tta or unsure, and with tta for what cannot be logits.
    """
    changes = ("shuffle", "padding", "flip", "brightness", "contrast", "cutout", "drop_last")
    if any(getattr(loader, name) for name in changes):
        raise ValueError(
            f"predict: the loader shuffles, crops or flips, changes images in another way or drops some, and should do "
            f"none of these: {loader!r}"
        )
    if tta not in get_args(TTA):
        raise ValueError(f"predict: tta is {tta!r}, expected one of {', '.join(map(repr, get_args(TTA)))}")
    if not 0 < unsure <= 1:
        raise ValueError(f"predict: unsure is {unsure!r}, expected a number above 0, at most 1")

    def run(x: np.ndarray) -> np.ndarray:
        return parallel.map(apply, x, executor=executor, microbatch=microbatch)

    logits = np.concatenate([run(x) for x, _ in loader.epoch(0)])
    if tta == "none":
        return logits
    if logits.ndim != 2 or logits.dtype.kind != "f":
        raise ValueError(f"predict: with tta, apply has to give logits (B, classes), got {logits.dtype} {logits.shape}")
    least_sure_first = np.argsort(softmax(logits).max(-1), kind="stable")
    chosen = np.zeros(len(logits), bool)
    chosen[least_sure_first[: round(unsure * len(logits))]] = True
    end = 0
    for x, _ in loader.epoch(0):
        start, end = end, end + len(x)
        rows = start + np.flatnonzero(chosen[start:end])
        if len(rows):
            weights, views = _views(x[rows - start], tta)
            further = run(np.concatenate(views[1:]))  # all at once, so that there is work for each thread
            each = [logits[rows], *np.split(further, len(views) - 1)]
            logits[rows] = sum(weight * part for weight, part in zip(weights, each, strict=True))
    return logits


def _views(x: np.ndarray, tta: TTA) -> tuple[list[float], list[np.ndarray]]:
    """Weights and views of images `(B, H, W, C)`, the images themselves first."""
    weights, views = [1 / 2], [x]
    if tta == "mirror+translate":
        padded = reflect_pad(x, 1)
        weights, views = [1 / 4, 1 / 8, 1 / 8], [x, padded[:, :-2, :-2], padded[:, 2:, 2:]]
    return weights * 2, views + [view[:, :, ::-1] for view in views]


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

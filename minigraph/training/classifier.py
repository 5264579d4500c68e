"""A trained model in use: from the pixels of pictures to the probabilities of classes."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import parallel, transforms, tree
from ..blame import describe
from ..data import DataError, Loader, read_image
from ..data.dataset import as_examples
from ..ops.activations import relu
from ..ops.loss import softmax
from ..serialize import CheckpointError
from ..tree import Tree
from .checkpoint import Checkpoint
from .scoring import TTA, predict

BATCH = 250  # images whose activations fit the cache better than thousands would
LARGEST = 4096  # pixels of a side


class Classifier:
    """A trained model with all that its use takes: `classifier(images)` are the probabilities of the classes.

        classifier = models.trained("runs/first")
        probabilities = classifier(classifier.read(["cat.png", "dog.jpg"]))  # (2, classes)

    Everything that the file of a checkpoint says is checked, and the model is tried on an image of zeros.

    Args:
        apply: the model, `apply(params, state, x, *, train) -> (logits, state)`.
        checkpoint: its `model` holds "classes", a tuple of names; "shape", the (H, W, C) of an image; "mean" and "std",
            a number a channel, for values from 0 to 1.
        path: the file of the checkpoint, which errors name.
        features, head: the two halves of `apply`, for `heatmaps`: `features(params, state, x, *, train)` returns
            (maps, state) with maps `(N, h, w, K)`, and `head(params, state, maps, *, train)` returns (logits, state).

    Attributes:
        apply: as given.
        classes, shape, mean, std: as in the checkpoint.
        params, state: the weights in use; averages of weights where the training kept them.
        config, facts: the settings of the run, and what each of its results says. What they hold is not checked.
        name: the name of the model, or "".
        path: as given.

    Raises CheckpointError, naming the file.
    """

    def __init__(
        self,
        apply: Callable[..., Any],
        checkpoint: Checkpoint,
        path: str | os.PathLike[str],
        *,
        features: Callable[..., Any] | None = None,
        head: Callable[..., Any] | None = None,
    ) -> None:
        self.path = Path(path)
        self.config, self.facts = checkpoint.config, checkpoint.facts
        self.apply, self._features, self._head = apply, features, head
        try:
            self.params, self.state = weights(checkpoint)
            self.name, self.classes, self.shape, self.mean, self.std = _description(checkpoint.model)
            self._try()
        except ValueError as error:
            raise CheckpointError(f"{self.path}: {error}") from error

    def __repr__(self) -> str:
        size = "x".join(map(str, self.shape))
        return f"Classifier({str(self.path)!r}: {self.name or 'a model'} of images {size}, {len(self.classes)} classes)"

    def __call__(self, images: np.ndarray, tta: TTA = "none", *, executor: parallel.Executor | None = None) -> Any:
        """The probabilities float32 `(N, classes)` of images uint8 `(N, H, W, C)`; see `logits`."""
        return softmax(self.logits(images, tta=tta, executor=executor))

    def logits(
        self, images: np.ndarray, *, tta: TTA = "none", unsure: float = 1.0, executor: parallel.Executor | None = None
    ) -> np.ndarray:
        """The logits float32 `(N, classes)` of images uint8 `(N, H, W, C)`, in which (H, W, C) is `shape`.

        Args:
            images: values from 0 to 255, as `read` gives them.
            tta, unsure: test-time augmentation, as in `training.predict`.
            executor: who runs the parts of a batch, as in `parallel.map`.

        Raises DataError for images of another kind or shape, ValueError for another tta or unsure.
        """

        def apply(x: np.ndarray) -> Any:
            return self.apply(self.params, self.state, x, train=False)[0]

        with np.errstate(all="ignore"):
            logits = predict(apply, self._loader(images), tta=tta, unsure=unsure, executor=executor)
        return logits.astype(np.float32, copy=False)

    def read(self, paths: Sequence[str | os.PathLike[str]]) -> np.ndarray:
        """Image files of any size and mode as uint8 `(N, H, W, C)`, each as `data.read_image` reads it.

        Raises DataError for a file that cannot be read, and for a model of images that are not square and RGB.
        """
        height, width, channels = self.shape
        if height != width or channels != 3:
            raise DataError(f"{self.path}: the model takes images of shape {self.shape}, and read gives (n, n, 3) only")
        images = np.empty((len(paths), *self.shape), np.uint8)
        for i, path in enumerate(paths):
            images[i] = read_image(os.fspath(path), height)
        return images

    @property
    def has_heatmaps(self) -> bool:
        """Whether the model comes in the two halves that `heatmaps` needs."""
        return self._features is not None and self._head is not None

    def heatmaps(self, images: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
        """Where in images uint8 `(N, H, W, C)` the model sees a class: heat float32 `(N, h, w)`, from 0 on.

        This is Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391): the maps between the halves of the model, each
        weighted with the mean over its pixels of the gradient of the class's logit, are summed; what is negative, which
        speaks against the class, becomes 0.

        Args:
            labels: the class `(N,)` of each image, by default the likeliest.

        Raises DataError for images or labels of another kind, ValueError for a model that has no halves.
        """
        if self._features is None or self._head is None:
            raise ValueError(f"heatmaps: the model {self.name or ''} has no features and head".replace("  ", " "))
        if labels is None:
            labels = self.logits(images).argmax(-1)
        loader = self._loader(images, labels)
        if (loader.labels >= len(self.classes)).any():
            raise DataError(f"heatmaps: expected labels below {len(self.classes)}, got {loader.labels.max()}")

        def chosen(maps: Any, y: np.ndarray) -> Any:
            logits, _ = self._head(self.params, self.state, maps, train=False)  # type: ignore[misc]
            return logits[np.arange(len(y)), y].sum()  # each image's gradient is its own: no image sees another

        heat = []
        with np.errstate(all="ignore"):
            for x, y in loader:
                maps, _ = self._features(self.params, self.state, x, train=False)
                weight = transforms.grad(chosen)(maps, y).mean((1, 2), keepdims=True)  # (N, 1, 1, K)
                heat.append(relu((weight * maps).sum(-1)))
        return np.concatenate(heat).astype(np.float32, copy=False)

    def filters(self) -> np.ndarray | None:
        """The filters `(h, w, C, K)` of the first convolution: the first array of this form among params, then state.

        None if there is none that covers more than a pixel.
        """
        for leaf in tree.leaves((self.params, self.state)):
            if leaf.ndim == 4 and leaf.shape[2] == self.shape[2] and leaf.shape[0] * leaf.shape[1] > 1:
                return leaf
        return None

    def _loader(self, images: np.ndarray, labels: Any = None) -> Loader:
        labels = np.zeros(np.shape(images)[:1], np.int64) if labels is None else labels
        images, labels = as_examples(images, labels, "Classifier")
        if images.shape[1:] != self.shape:
            expected = ", ".join(map(str, self.shape))
            raise DataError(f"Classifier: expected images uint8 (N, {expected}), got {images.dtype} {images.shape}")
        return Loader(images, labels, BATCH, mean=self.mean, std=self.std)

    def _try(self) -> None:
        """Raise ValueError if the model does not run with the weights, or gives something other than its logits."""
        x = np.zeros((1, *self.shape), np.float32)
        try:
            with np.errstate(all="ignore"):
                logits, _ = self.apply(self.params, self.state, x, train=False)
        except Exception as error:  # arrays of other shapes, or none at all, can raise anything
            reason = " ".join(str(error).split())
            raise ValueError(f"the model does not run with these weights: {type(error).__name__}: {reason}") from error
        if getattr(logits, "shape", None) != (1, len(self.classes)) or logits.dtype.kind != "f":
            raise ValueError(
                f"the model gives {describe(logits)} for an image, expected logits (1, {len(self.classes)}), one for "
                f"each class"
            )


def weights(checkpoint: Checkpoint) -> tuple[Tree, Tree]:
    """The (params, state) of a checkpoint that are to be used: its averages of weights, where it has them.

    Raises ValueError for a leaf of another kind.
    """
    params, state = checkpoint.weights
    for name, part in (("params", params), ("state", state)):
        for path, leaf in tree.items(part):
            if not tree.is_array(leaf) or leaf.dtype.kind not in "fiub" or not np.isfinite(leaf).all():
                where = f"{path or 'the top'} of {name}"
                raise ValueError(f"{where} is {describe(leaf)}, expected an array of finite numbers")
    return params, state


def _description(model: dict[str, Any]) -> tuple[str, tuple[str, ...], tuple[int, int, int], Any, Any]:
    """Name, classes, shape, mean and std of a checkpoint's `model`. Raises ValueError for what they cannot be."""

    def get(name: str, expected: str, fits: Callable[[Any], bool], default: Any = None) -> Any:
        value = model.get(name, default)
        if not fits(value):
            text = repr(value)
            text = text if len(text) <= 80 else f"{text[:77]}..."
            raise ValueError(f"{name} of the model is {text}, expected {expected}")
        return value

    def texts(value: Any) -> bool:
        named = type(value) is tuple and len(value) > 0 and all(type(v) is str and v.isprintable() for v in value)
        return named and len(set(value)) == len(value)

    def sizes(value: Any) -> bool:
        return type(value) is tuple and len(value) == 3 and all(type(v) is int and 1 <= v <= LARGEST for v in value)

    def numbers(value: Any) -> bool:
        return type(value) is tuple and len(value) == channels and all(type(v) in (int, float) for v in value)

    name = get("name", "a text", lambda v: type(v) is str, "")
    classes = get("classes", "a tuple of distinct names", texts)
    shape = get("shape", f"(H, W, C), each from 1 to {LARGEST}", sizes)
    channels = shape[2]
    mean = get("mean", f"{channels} finite numbers",
               lambda v: numbers(v) and all(abs(m) < 1e6 for m in v))  # fmt: skip
    std = get("std", f"{channels} numbers from 1e-6 to 1e6",
              lambda v: numbers(v) and all(math.isfinite(s) and 1e-6 <= s <= 1e6 for s in v))  # fmt: skip
    return name, classes, shape, mean, std

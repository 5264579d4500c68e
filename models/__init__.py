"""Models as plain functions: `python train_cifar.py --model NAME` trains the module of that name.

A model is a module with two functions:

    init(rng, ...) -> (params, state)
    apply(params, state, x, *, train) -> (logits, state)

and, if it wants training images to start from, a constant

    INIT_IMAGES = 5000   # then init(rng, images=x): the first 5,000 (or as many as there are), normalised

`init` draws the parameters with the NumPy generator `rng`; its other arguments default to what
CIFAR-10 needs. `params` is what is trained, `state` what a model keeps beside it (the running
statistics of batch normalisation; `{}` if nothing): nested dicts of arrays. `apply` takes images
x `(N, H, W, C)` to logits `(N, classes)`. It draws no random numbers but through minigraph's
operations (`dropout`), so that a training run can be repeated and resumed.

A model that also has `apply` in two halves can show where in an image it saw a class (Grad-CAM):

    features(params, state, x, *, train) -> (maps, state)   # maps (N, h, w, K): where in the image is what
    head(params, state, maps, *, train) -> (logits, state)  # head of features is apply

Two modules are of text instead: `transformer`, which train_text.py trains, and its yardstick `ngram`.
"""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minigraph import tree
from minigraph.blame import describe
from minigraph.data import Loader
from minigraph.serialize import CheckpointError
from minigraph.training import Checkpoint, Classifier, Stop
from minigraph.training.checkpoint import to_use
from minigraph.training.recipe import numbers

OF_TEXT = {"ngram", "transformer"}  # whose functions are others; the rest of the modules here are models of images
CONTRACT = {
    "init": "init(rng, ...) -> (params, state)",
    "apply": "apply(params, state, x, *, train) -> (logits, state)",
}


def names() -> list[str]:
    """The models of images."""
    return sorted({module.name for module in pkgutil.iter_modules(__path__)} - OF_TEXT)


@dataclass(frozen=True)
class Model:
    """The functions of a model. `init` and `apply` raise Stop, naming the file, where they break the contract above."""

    file: str
    module: Any

    @property
    def features(self) -> Callable[..., Any] | None:
        return getattr(self.module, "features", None)

    @property
    def head(self) -> Callable[..., Any] | None:
        return getattr(self.module, "head", None)

    def init(
        self, rng: np.random.Generator, widths: str | None, images: np.ndarray, labels: np.ndarray
    ) -> tuple[Any, Any]:
        """Parameters and state, from the training images if the module asks for them by INIT_IMAGES."""
        options: dict[str, Any] = {}
        if widths is not None:
            if "widths" not in inspect.signature(self.module.init).parameters:
                raise Stop(f"{self.file}: init takes no widths; give another --preset, or no --widths")
            options["widths"] = numbers("widths", widths)
        n = getattr(self.module, "INIT_IMAGES", 0)
        if n:
            options["images"], _ = next(iter(Loader(images[:n], labels[:n], n)))
        params, state = self._pair("init", self.module.init(rng, **options))
        for what, part in (("params", params), ("state", state)):
            for path, leaf in tree.items(part):
                if not tree.is_array(leaf) or (what == "params" and leaf.dtype.kind != "f"):
                    raise self._broken("init", f"gave {describe(leaf)} at {path or 'the top'} of {what}")
        return params, state

    def apply(self, params: Any, state: Any, x: Any, *, train: bool) -> tuple[Any, Any]:
        logits, state = self._pair("apply", self.module.apply(params, state, x, train=train))
        if len(np.shape(logits)) != 2 or len(logits) != len(x):
            raise self._broken("apply", f"gave logits {describe(logits)} for {len(x)} images")
        return logits, state

    def draw(self, path: Path, params: Any, state: Any, x: np.ndarray) -> None:
        """The model's graph for the images x, as `draw` writes it."""

        def apply(params: Any, state: Any, x: Any) -> Any:  # with the names that draw shows
            return self.apply(params, state, x, train=False)

        draw(path, apply, params, state, x)

    def _pair(self, name: str, result: Any) -> tuple[Any, Any]:
        if isinstance(result, tuple) and len(result) == 2:
            return result
        several = isinstance(result, (tuple, list, dict))
        what = f"a {type(result).__name__} of {len(result)}" if several else describe(result)
        raise self._broken(name, f"returned {what}")

    def _broken(self, name: str, what: str) -> Stop:
        arrays = ", trees of arrays, params of floats" if name == "init" else ", logits (N, classes)"
        return Stop(f"{self.file}: {name} {what}; expected {CONTRACT[name]}{arrays}; see models/__init__.py")


def draw(path: Path, function: Callable[..., Any], *inputs: Any, depth: int | None = None) -> None:
    """The graph of a function as `path`.dot and, where Graphviz is installed, `path`.svg; prints what it warns of."""
    from minigraph.graph.draw import draw, save

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        save(draw(function, *inputs, depth=depth), path)
    for warning in caught:
        print(warning.message)


def load(name: str) -> Model:
    """The model `models/<name>.py`. Raises Stop if it has no functions init and apply that can be called as above."""
    module = importlib.import_module(f"{__name__}.{name}")
    file = f"models/{name}.py"
    for function, arguments, keywords in (("init", 1, {}), ("apply", 3, {"train": True})):
        found = getattr(module, function, None)
        if not callable(found):
            raise Stop(f"{file}: expected functions init and apply, see models/__init__.py")
        _check_signature(found, arguments, keywords, f"{file}: expected {CONTRACT[function]}, got {function}")
    return Model(file, module)


def trained(run: str | os.PathLike[str]) -> Classifier:
    """The classifier that a run of train_cifar.py has trained.

    `run` is the directory of the run, or the file of a checkpoint. In a directory it is the last checkpoint, or the
    best one where the run was to keep that (`--keep best`). The model is one of `names()`, whatever the file says.

    Raises CheckpointError for a file that is missing, damaged or of another kind.
    """
    path = to_use(run)
    checkpoint = Checkpoint.load(path)
    name = checkpoint.model.get("name")
    if not isinstance(name, str) or name not in names():
        raise CheckpointError(f"{path}: it is of the model {str(name)[:80]!r}, expected one of {', '.join(names())}")
    model = load(name)
    return Classifier(model.apply, checkpoint, path, features=model.features, head=model.head)


def _check_signature(function: Callable[..., Any], arguments: int, keywords: dict[str, bool], what: str) -> None:
    try:
        signature = inspect.signature(function)
    except ValueError:  # it has none that can be read
        return
    try:
        signature.bind(*[None] * arguments, **keywords)
    except TypeError as error:
        raise Stop(f"{what}{signature}: {error}; see models/__init__.py") from None

"""How a model is trained, as settings: optimizer and schedule; for images also augmentation and averaged weights."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from .. import data, optim, tree
from ..tensor import Tensor
from ..tree import Tree
from .checkpoint import Checkpoint
from .errors import Stop
from .run import Batches
from .settings import Settings, option, setting

S = TypeVar("S", bound=Settings)

WHITEN, WHITEN_EPOCHS = "whiten.*", 3  # a first layer that whitens, and how long its bias is trained (arXiv 2404.00498)


@dataclass(frozen=True, repr=False)
class Recipe(Settings):
    """The settings of any training, with AdamW; what they make are the methods below.

        recipe = Recipe(epochs=3.0, lr=1e-3)
        opt = recipe.make_optimizer(params, loader)

    Learning rates belong to the mean loss of a batch. `batches`, in the methods, is the loader of the training.
    """

    epochs: float = setting(10.0, "passes over the training data, the last perhaps in part", above=0, below=10**6)
    batch_size: int = setting(32, "examples in a step", at_least=1)
    lr: float = setting(1e-3, "the highest learning rate", above=0)
    schedule: str = setting("cosine", "the line along which the rate falls to 0", choices=("cosine", "linear"))
    warmup: float | None = setting(None, "epochs in which it rises linearly before", shown="a tenth of all", at_least=0)
    weight_decay: float = setting(0.01, "a step takes off this share of the weights, times its rate", at_least=0)
    seed: int = setting(0, "seeds all random numbers", at_least=0, below=2**63)

    def steps(self, batches: Batches) -> int:
        """The number of steps of the whole training."""
        return math.ceil(self.epochs * len(batches))

    @property
    def warmup_epochs(self) -> float:
        """`warmup`, also where that is left open."""
        return self.epochs / 10 if self.warmup is None else self.warmup

    def rate(self, peak: float, batches: Batches) -> optim.Schedule:
        """The schedule that rises to `peak` and falls to 0."""
        steps = self.steps(batches)
        rise = min(round(min(self.warmup_epochs, self.epochs) * len(batches)), steps - 1)
        return {"cosine": optim.cosine, "linear": optim.linear}[self.schedule](peak, steps, warmup=rise)

    def make_optimizer(self, params: Tree, batches: Batches) -> optim.Optimizer:
        """The optimizer for these parameters: AdamW, with the squares of some hundred steps; a run may have few."""
        return optim.AdamW(self.rate(self.lr, batches), (0.9, 0.99), weight_decay=self.weight_decay)


@dataclass(frozen=True, repr=False)
class ImageRecipe(Recipe):
    """The settings of a training on images, with SGD or Muon.

        recipe = ImageRecipe(epochs=9.0, resolution="24,24,28,32")
        images = recipe.loader(train_images, train_labels)
        opt = recipe.make_optimizer(params, images)

    The defaults are those of airbench94_muon (K. Jordan) with changes by hiverge; `docs/results.md` says what each is
    worth.
    """

    epochs: float = setting(8.0, "passes over the training images, the last perhaps in part", above=0, below=10**6)
    batch_size: int = setting(1536, "images in a step", at_least=1)
    optimizer: str = setting("muon", "sgd, or muon for matrices and sgd for the rest", choices=("muon", "sgd"))
    lr: float = setting(0.2255, "the highest learning rate", above=0)
    lr_bias: float = setting(88.0, "that of biases, beside muon", above=0)
    lr_head: float = setting(1.03, "that of the head, beside muon", above=0)
    schedule: str = setting("linear", "the line along which the rate falls to 0", choices=("cosine", "linear"))
    momentum: float = setting(0.655, "share of the last step that the next one keeps", at_least=0, below=1)
    weight_decay: float = setting(
        1.6e-3, "sgd: this times the weights is added to the gradients; beside muon: what a step takes off", at_least=0
    )
    smoothing: float = setting(0.09, "label smoothing: the share that goes to all classes alike", at_least=0, below=1)
    average: str = setting("none", "average the weights over the steps", choices=("none", "ema", "lookahead"))
    padding: int = setting(2, "pixels by which a random crop may move an image; 0 for no crop", at_least=0)
    flip: str = setting(
        "alternate", "mirror images at random, or in every other epoch", choices=("none", "random", "alternate")
    )
    brightness: float = setting(0.14, "the most that is added to a normalised image", at_least=0)
    contrast: float = setting(0.13, "the most by which its contrast changes, as a share", at_least=0, below=1)
    cutout: int = setting(0, "side of a square that is blanked in each image", at_least=0)
    resolution: str | None = setting(None, "size of the images, epoch by epoch: 24,24,28,32", shown="as they are")

    def loader(self, images: np.ndarray, labels: np.ndarray) -> data.Loader:
        """The training images, shuffled and augmented."""
        flip: Any = {"none": False, "random": True}.get(self.flip, self.flip)
        return data.Loader(
            images, labels, self.batch_size, shuffle=True, padding=self.padding, flip=flip, brightness=self.brightness,
            contrast=self.contrast, cutout=self.cutout, resolution=numbers("resolution", self.resolution),
            seed=self.seed,
        )  # fmt: skip

    def make_optimizer(self, params: Tree, batches: Batches) -> optim.Optimizer:
        """The optimizer for these parameters.

        Beside Muon, the head is what is called `head` in params, and a first layer `whiten` trains its bias for three
        epochs only.
        """
        if self.optimizer == "sgd":
            return optim.SGD(self.rate(self.lr, batches), self.momentum, weight_decay=self.weight_decay)

        def sgd(peak: float) -> optim.Optimizer:  # each step takes off weight_decay of the weights, times rate / peak
            return optim.SGD(self.rate(peak, batches), 0.85, nesterov=True, weight_decay=self.weight_decay / peak)

        groups: dict[str, optim.Optimizer | None] = {
            WHITEN: optim.SGD(optim.linear(self.lr_bias, WHITEN_EPOCHS * len(batches)), 0.85, nesterov=True),
            "head*": sgd(self.lr_head),
            "ndim >= 2": optim.Muon(self.rate(self.lr, batches), self.momentum, renormalize=True),
            "*": sgd(self.lr_bias),
        }
        used = {next(p for p in groups if tree.matches(p, path, leaf)) for path, leaf in tree.items(params)}
        return optim.Groups({pattern: opt for pattern, opt in groups.items() if pattern in used})

    def trained_in(self, step: int, params: Tree, images: data.Loader) -> Tree:
        """`params` (Tensors) for the loss of this step; those whose rate has fallen to 0 for good are detached.

        Beside Muon that is a first layer `whiten` after its three epochs: no gradient need go down to it any more.
        """
        if self.optimizer == "sgd" or step < WHITEN_EPOCHS * len(images):
            return params

        def detached(path: str, leaf: Any) -> Any:
            return leaf.detach() if isinstance(leaf, Tensor) and tree.matches(WHITEN, path, leaf) else leaf

        return tree.unflatten(params, [detached(path, leaf) for path, leaf in tree.items(params)])

    def make_average(self, images: data.Loader) -> optim.EMA | optim.Lookahead | None:
        """The average of the weights over the steps."""
        steps = self.steps(images)
        if self.average == "lookahead":  # as airbench94: it leads back more and more
            return optim.Lookahead(lambda t: 0.95**5 * (t / steps) ** 3, every=5)
        if self.average == "ema":  # of the last steps
            return optim.EMA(lambda t: 0.7 if t > 0.9 * steps else 0.0, every=4)
        return None


def work(images: data.Loader, trained: Checkpoint, cost: Callable[[np.ndarray, int], int]) -> int:
    """The floating-point operations of a whole training, whose epochs may have images of their own size.

    Args:
        images: the loader it was trained with. trained: the checkpoint at its end.
        cost: the operations for one image `(1, H, W, C)` in the step of the given number, as `graph.flops.flops`
            counts them.
    """
    total = done = step = 0
    for row in trained.history:
        seen = images.examples_in(row["step"])
        total += (seen - done) * cost(np.zeros((1, *images.shape(row["epoch"] - 1)), np.float32), step)
        done, step = seen, row["step"]
    return total


def numbers(name: str, text: str | None) -> tuple[int, ...] | None:
    """The whole numbers of a setting such as "24,28,32"; None for none. Raises Stop."""
    if text is None:
        return None
    parts = text.split(",")
    if not all(part.strip().isdecimal() and 0 < int(part) < 10**6 for part in parts):
        raise Stop(f"{option(name)} is {text[:100]}, expected whole numbers from 1, as in 24,28,32")
    return tuple(map(int, parts))


def presets(path: Path, settings: type[S]) -> dict[str, S]:
    """Named settings from a TOML file: a table for each preset, with the settings that are not the default.

    `settings` needs a field `preset` for the name. Raises Stop for a file that is none, or a setting that there is not.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Stop(f"{path}: {error}") from error
    found = {}
    for name, table in tables.items():
        try:
            found[name] = settings(**{"preset": name, **table})
        except TypeError as error:
            raise Stop(f"{path}: [{name}]: {error}") from error
    return found

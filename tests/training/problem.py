"""A training that takes milliseconds: linear regression of noisy numbers, written as a user would."""

from dataclasses import dataclass

import numpy as np

import minigraph as mg
from minigraph import data, tree
from minigraph.serialize import load
from minigraph.training import Settings, setting


@dataclass(frozen=True, repr=False)
class Config(Settings):
    epochs: int = setting(3, at_least=1)
    lr: float = setting(0.1, above=0)
    threads: int = setting(1, at_least=1, may_change=True)


STEPS = 4  # in an epoch


def loader(n=14, batch_size=4, **options):
    images = np.random.default_rng(0).integers(0, 256, (n, 2, 2, 3), np.uint8)
    return data.Loader(images, np.arange(n) % 2, batch_size, shuffle=True, flip=True, **options)


def loss_fn(params, x, y):
    h = mg.dropout(x.reshape(len(x), -1), 0.2)
    logits = h @ params["w"]
    return mg.cross_entropy(logits, y), (logits.argmax(-1) == y).sum()


def train(config, run, images=None):
    """Fit a few numbers."""
    images = images or loader()
    params = {"w": np.zeros((12, 2), np.float32)}
    opt = mg.optim.SGD(config.lr, momentum=0.9)
    now = run.start(config, params, {}, opt.init(params), dataset="numbers")
    for batches in run.epochs(images, config.epochs):
        for x, y in batches:
            with mg.random.use(np.random.default_rng([1, now.step])):
                (loss, correct), grads = mg.value_and_grad(loss_fn, has_aux=True)(now.params, x, y)
            now.params, now.optimizer = opt.step(now.params, grads, now.optimizer)
            run.note(len(y), loss=loss, accuracy=correct / len(y))
        run.end_epoch(val_loss=0.5, val_accuracy=None, lr=config.lr)
    run.write("summary.json", {"step": now.step})
    return now


def content(directory):
    """The checkpoint of a run without what a clock says, as (path, type, bytes)."""
    saved = load(directory / "checkpoint.safetensors")
    for row in (*saved["history"], saved["sums"]):
        row["seconds"] = row["examples_per_second"] = 0
    return [(path, np.asarray(leaf).dtype, np.asarray(leaf).tobytes()) for path, leaf in tree.items(saved)]

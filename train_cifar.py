"""Train an image classifier on CIFAR-10: config, data, model, optimizer, loop, report.

    python train_cifar.py                          # the cnn, 10 epochs, into runs/<time>/
    python train_cifar.py --model mlp --epochs 3   # any module of models/, any setting
    python train_cifar.py --resume runs/<time>     # go on where Ctrl-C, or a kill, stopped it

Without CIFAR-10 and without a network it trains on a synthetic set instead, and says so.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

try:
    import numpy as np
    from threadpoolctl import threadpool_limits

    import minigraph as mg
    import models
    from minigraph import data, training, tree
    from minigraph.training import setting
except KeyboardInterrupt:  # these imports take a moment
    print("interrupted", file=sys.stderr)
    sys.exit(130)

# ------------------------------------------------------------------------------------- config


@dataclass(frozen=True, repr=False)
class Config(training.Settings):
    """The settings. On one machine, with the same versions, two runs of one config end in the same bits."""

    preset: str = setting("default", "named settings, which the other options override")
    model: str = setting("cnn", "a module of models/", choices=models.names)
    dataset: str = setting(
        "auto",
        "auto: cifar10, and without a network the synthetic set; config.json has the one that was found",
        choices=("auto", "cifar10", "synthetic"),
    )
    data: str | None = setting(
        None,
        "the directory or the archive of CIFAR-10",
        metavar="DIR",
        shown="$MINIGRAPH_DATA, else the user's cache, else a download",
        may_change=True,
        path=True,
    )
    epochs: int = setting(10, "passes over the training images", at_least=1, below=10**6)
    batch_size: int = setting(128, "images in a step", at_least=1)
    lr: float = setting(0.05, "the highest learning rate", above=0)
    warmup: float | None = setting(
        None, "epochs in which the rate rises linearly; a cosine then takes it to 0", shown="a tenth of all", at_least=0
    )
    momentum: float = setting(0.9, "share of the last step that the next one keeps", at_least=0, below=1)
    weight_decay: float = setting(5e-4, "L2: this times the parameters is added to the gradients", at_least=0)
    padding: int = setting(2, "pixels by which a random crop may move an image; 0 for no crop", at_least=0)
    flip: bool = setting(True, "mirror images left to right at random")
    val: int | None = setting(None, "training images held out for validation", shown="a tenth", at_least=0)
    seed: int = setting(0, "seeds all random numbers", at_least=0, below=2**63)
    # The result does not depend on the threads. It does depend on the micro-batch, which is why that is a fixed number
    # and not derived from the machine's cores. 32 keeps four cores busy at batch 128; 64, the library's default, is
    # about 10% faster on two.
    threads: int = setting(
        mg.parallel.available_cores(),
        "threads that share a step",
        shown="all cores",
        at_least=1,
        below=1000,
        may_change=True,
    )
    microbatch: int = setting(32, "images that a thread takes through the net at once", at_least=1)
    draw: bool = setting(False, "also draw the model's graph: graph.dot, graph.svg", may_change=True)


PRESETS = {
    "default": Config(),
    "quick": Config(preset="quick", epochs=2, padding=0),  # a smoke test that learns
}
EVAL_BATCH = 250  # images whose activations fit the cache better than thousands would


def train(config: Config, run: training.Run) -> None:
    """Train an image classifier on CIFAR-10."""
    training.need("matplotlib", "tqdm", *(["graphviz"] if config.draw else []))

    # ----------------------------------------------------------------------------------- data
    dataset = data.load(config.dataset, config.data)
    held_out = len(dataset.train_images) // 10 if config.val is None else config.val
    warmup = config.epochs / 10 if config.warmup is None else config.warmup
    config = replace(config, dataset=dataset.name, val=held_out, warmup=warmup)
    kept, validation = data.split(dataset, held_out)  # the same images for every seed
    train_set = data.Loader(
        *kept, config.batch_size, shuffle=True, padding=config.padding, flip=config.flip, seed=config.seed
    )
    val_set = data.Loader(*validation, EVAL_BATCH) if held_out else None
    test_set = data.Loader(dataset.test_images, dataset.test_labels, EVAL_BATCH)

    facts = {"dataset": dataset.name}  # a part of every result
    if dataset.name == "synthetic":
        facts["notice"] = data.SYNTHETIC_NOTICE
        print(banner(data.SYNTHETIC_NOTICE), flush=True)

    # ---------------------------------------------------------------------------------- model
    model = models.load(config.model)
    with threadpool_limits(1, "blas"):  # the order of BLAS's sums could depend on the threads
        params, state = model.init(generator(config.seed, 0), **init_images(model, *kept))
    model.apply(params, state, next(iter(test_set))[0][:2], train=False)  # a model that breaks the contract ends here

    # ------------------------------------------------------------------------------ optimizer
    steps = config.epochs * len(train_set)
    rise = min(round(min(warmup, config.epochs) * len(train_set)), steps - 1)
    opt = mg.optim.SGD(
        mg.optim.cosine(config.lr, steps, warmup=rise), momentum=config.momentum, weight_decay=config.weight_decay
    )

    # ----------------------------------------------------------------------------------- loop
    description = {  # what whoever uses the parameters has to know
        "name": config.model,
        "classes": dataset.classes,
        "shape": kept[0].shape[1:],
        "mean": data.cifar.MEAN,
        "std": data.cifar.STD,
    }
    now = run.start(config, params, state, opt.init(params), model=description, **facts)  # or where it was stopped
    parameters = sum(leaf.size for leaf in tree.leaves(params))
    print(
        f"{config.model}, {parameters:,} parameters; {dataset.name}: {len(kept[0]):,} images to train on, "
        f"{held_out:,} to validate, {len(dataset.test_images):,} to test; results in {run.directory}",
        flush=True,
    )
    if config.draw:
        draw_graph(run.directory / "graph", model, params, state, test_set)

    def loss_fn(params: Any, x: Any, y: Any) -> Any:
        logits, state = model.apply(params, now.state, x, train=True)
        return mg.cross_entropy(logits, y), (state, (logits.argmax(-1) == y).sum())

    def predict(images: data.Loader) -> np.ndarray:
        """Logits (N, classes)."""

        def logits(x: np.ndarray) -> Any:
            return model.apply(now.params, now.state, x, train=False)[0]

        return training.predict(logits, images, executor=threads, microbatch=config.microbatch)

    threads = mg.parallel.Threads(config.threads)
    value_and_grad = mg.parallel.value_and_grad(loss_fn, executor=threads, microbatch=config.microbatch, has_aux=True)
    with np.errstate(all="ignore"):  # the run checks the losses
        for batches in run.epochs(train_set, config.epochs):
            for x, y in batches:
                with mg.random.use(generator(config.seed, 1, now.step)):
                    (loss, (state, correct)), grads = value_and_grad(now.params, x, y)
                now.params, now.optimizer = opt.step(now.params, grads, now.optimizer)
                now.state = state
                run.note(len(y), loss=loss, accuracy=correct / len(y))

            val_loss, val_accuracy = training.score(predict(val_set), val_set.labels) if val_set else (None, None)
            run.end_epoch(val_loss=val_loss, val_accuracy=val_accuracy)

        logits = predict(test_set)
        test_loss, test_accuracy = training.score(logits, test_set.labels)

    # --------------------------------------------------------------------------------- report
    seconds = sum(row["seconds"] for row in now.history)
    summary = {
        **facts,
        "model": config.model,
        "preset": config.preset,
        "parameters": parameters,
        "epochs": config.epochs,
        "seed": config.seed,
        "train_seconds": round(seconds, 2),  # of the training steps: without validation and test
        "images_per_second": round(config.epochs * len(kept[0]) / seconds),
        "test_loss": test_loss,
        "test_accuracy": test_accuracy,
        "minigraph_version": mg.__version__,
    }
    run.write("summary.json", summary)
    name = "CIFAR-10" if dataset.name == "cifar10" else "the SYNTHETIC set (not CIFAR-10)"
    words = {"title": f"{config.model} on {name}: {test_accuracy:.2%} test accuracy", "notice": facts.get("notice", "")}
    test = {"loss": test_loss, "accuracy": test_accuracy}
    training.plots.curves(run.directory / "curves.png", now.history, test=test, **words)
    training.plots.confusion(
        run.directory / "confusion.png", test_set.labels, logits.argmax(-1), dataset.classes, **words
    )
    print(
        f"test accuracy {test_accuracy:.2%}, {seconds:.0f} s of training "
        f"({summary['images_per_second']} images/s); results in {run.directory}"
    )
    if dataset.name == "synthetic":
        print(banner(data.SYNTHETIC_NOTICE), flush=True)


# ---------------------------------------------------------------------------------- the pieces


def generator(seed: int, *key: int) -> np.random.Generator:
    """Random numbers of their own for each key: (0,) the parameters, (1, n) what step n draws."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def banner(text: str) -> str:
    line = "*" * 100
    return f"{line}\n{text}\n{line}"


def init_images(model: Any, images: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """The argument `images` of a model's `init`, if its module asks for it by INIT_IMAGES."""
    n = model.INIT_IMAGES
    if n == 0:
        return {}
    x, _ = next(iter(data.Loader(images[:n], labels[:n], n)))
    return {"images": x}


def draw_graph(path: Path, model: Any, params: Any, state: Any, images: data.Loader) -> None:
    """The model's graph for two images as `path`.dot and, where Graphviz is installed, `path`.svg."""
    from minigraph.graph.draw import draw, save

    def apply(params: Any, state: Any, x: Any) -> Any:  # with the names that draw shows, whatever the model calls them
        return model.apply(params, state, x, train=False)

    x, _ = next(iter(images))
    picture = draw(apply, params, state, x[:2])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        save(picture, path)
    for warning in caught:
        print(warning.message)


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0, 2 after an error that the user can mend, 128 + n after the signal n (130: Ctrl-C)."""
    return training.launch(train, PRESETS, argv)


if __name__ == "__main__":
    sys.exit(main())

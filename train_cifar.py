"""Train an image classifier on CIFAR-10: config, data, model, optimizer, loop, report.

    python train_cifar.py                            # the preset quick, into runs/<time>/
    python train_cifar.py --preset record --seed 1   # a row of models/presets.toml, and any setting
    python train_cifar.py --resume runs/<time>       # go on where Ctrl-C, or a kill, stopped it

Without CIFAR-10 and without a network it trains on a synthetic set instead, and says so.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

try:
    import numpy as np
    from threadpoolctl import threadpool_limits

    import minigraph as mg
    import models
    from minigraph import data, training, tree
    from minigraph.graph.flops import flops
    from minigraph.training import Stop, setting
except KeyboardInterrupt:  # these imports take a moment
    print("interrupted", file=sys.stderr)
    sys.exit(130)

# ------------------------------------------------------------------------------------- config


@dataclass(frozen=True, repr=False)
class Config(training.ImageRecipe):
    """The settings. On one machine, with the same versions, two runs of one config end in the same bits."""

    preset: str = setting(
        "quick", "a row of models/presets.toml, which the other options override", shown="quick; cnn for other models"
    )
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
    val: int | None = setting(None, "training images held out for validation", shown="a tenth", at_least=0)
    model: str = setting("airnet", "a module of models/", choices=models.names)
    widths: str | None = setting(None, "channels of its layers, as in 64,256,256", shown="those of the model")
    init: str | None = setting(None, "begin with the weights of another run", metavar="RUN", path=True)
    freeze: str | None = setting(None, "do not train parameters of these paths, as in 'block1.*'", metavar="PATTERN")
    keep: str = setting("last", "test the last epoch's weights, or those that validate best", choices=("last", "best"))
    tta: str = setting("mirror+translate", "views of each test image", choices=("none", "mirror", "mirror+translate"))
    # The result does not depend on the threads. It does depend on the micro-batch, which is why that is a fixed number
    # and not derived from the machine's cores.
    threads: int = setting(
        mg.parallel.available_cores(), "threads that share a step", shown="all cores", at_least=1, below=1000,
        may_change=True,
    )  # fmt: skip
    microbatch: int = setting(64, "images that a thread takes through the net at once", at_least=1)
    draw: bool = setting(False, "also draw the model's graph: graph.dot, graph.svg", may_change=True)


PRESETS = training.presets(Path(models.__file__).with_name("presets.toml"), Config)
EVAL_BATCH = 250  # images whose activations fit the cache better than thousands would


def train(config: Config, run: training.Run) -> None:
    """Train an image classifier on CIFAR-10."""
    training.need("matplotlib", "tqdm", *(["graphviz"] if config.draw else []))

    # ----------------------------------------------------------------------------------- data
    dataset = data.load(config.dataset, config.data)
    held_out = len(dataset.train_images) // 10 if config.val is None else config.val
    config = replace(config, dataset=dataset.name, val=held_out, warmup=config.warmup_epochs)
    kept, validation = data.split(dataset, held_out)  # the same images for every seed
    train_set = config.loader(*kept)
    val_set = data.Loader(*validation, EVAL_BATCH) if held_out else None
    test_set = data.Loader(dataset.test_images, dataset.test_labels, EVAL_BATCH)
    if config.keep == "best" and not held_out:
        raise Stop("--keep best needs images to validate on, and --val is 0")

    facts = {"dataset": dataset.name}  # a part of every result
    if dataset.name == "synthetic":
        facts["notice"] = data.SYNTHETIC_NOTICE
        print(banner(data.SYNTHETIC_NOTICE), flush=True)

    # ---------------------------------------------------------------------------------- model
    model = models.load(config.model)
    with threadpool_limits(1, "blas"):  # the order of BLAS's sums could depend on the threads
        params, state = model.init(generator(config.seed, 0), config.widths, *kept)
    if config.init is not None and run.saved is None:
        params, state = training.warm_start(config.init, params, state)
    frozen, trained = training.freeze(config.freeze, params)
    model.apply(params, state, next(iter(test_set))[0][:2], train=False)  # a model that breaks the contract ends here

    # ------------------------------------------------------------------------------ optimizer
    opt = config.make_optimizer(trained, train_set)
    average = config.make_average(train_set)
    rate = config.rate(config.lr, train_set)

    # ----------------------------------------------------------------------------------- loop
    description = {  # what whoever uses the parameters has to know
        "name": config.model,
        "classes": dataset.classes,
        "shape": kept[0].shape[1:],
        "mean": data.cifar.MEAN,
        "std": data.cifar.STD,
    }
    slow = average.init({"params": params, "state": state}) if average else None
    now = run.start(config, params, state, opt.init(trained), average=slow, model=description, **facts)
    parameters = sum(leaf.size for leaf in tree.leaves(params))
    print(
        f"{config.model}, {parameters:,} parameters; {dataset.name}: {len(kept[0]):,} images to train on, "
        f"{held_out:,} to validate, {len(dataset.test_images):,} to test; results in {run.directory}",
        flush=True,
    )
    if config.draw:
        model.draw(run.directory / "graph", params, state, next(iter(test_set))[0][:2])

    def loss_fn(trained: Any, x: Any, y: Any, step: int | None = None) -> Any:
        params = config.trained_in(now.step if step is None else step, tree.merge(trained, frozen), train_set)
        logits, state = model.apply(params, now.state, x, train=True)
        loss = mg.cross_entropy(logits, y, label_smoothing=config.smoothing)
        return loss, (state, (logits.argmax(-1) == y).sum())

    def predict(weights: Any, images: data.Loader, tta: Any = "none") -> np.ndarray:
        """Logits (N, classes)."""

        def logits(x: np.ndarray) -> Any:
            return model.apply(*weights, x, train=False)[0]

        return training.predict(logits, images, tta=tta, executor=threads, microbatch=config.microbatch)

    threads = mg.parallel.Threads(config.threads)
    value_and_grad = mg.parallel.value_and_grad(loss_fn, executor=threads, microbatch=config.microbatch, has_aux=True)
    with np.errstate(all="ignore"):  # the run checks the losses
        for batches in run.epochs(train_set, config.epochs):
            for x, y in batches:
                frozen, trained = training.freeze(config.freeze, now.params)
                with mg.random.use(generator(config.seed, 1, now.step)):
                    (loss, (now.state, correct)), grads = value_and_grad(trained, x, y)
                trained, now.optimizer = opt.step(trained, grads, now.optimizer)
                now.params = tree.merge(trained, frozen)
                if average:
                    now.step_average(average)
                run.note(len(y), loss=loss, accuracy=correct / len(y))

            val = training.score(predict(now.weights, val_set), val_set.labels) if val_set else (None, None)
            best = "val_accuracy" if config.keep == "best" else None
            run.end_epoch(keep_best=best, val_loss=val[0], val_accuracy=val[1], lr=rate(now.step - 1))

        tested = run.best() if config.keep == "best" else now
        logits = predict(tested.weights, test_set)
        test_loss, test_accuracy = training.score(logits, test_set.labels)
        if config.tta != "none":
            tta_accuracy = training.accuracy(predict(tested.weights, test_set, config.tta), test_set.labels)
        else:
            tta_accuracy = test_accuracy

    # --------------------------------------------------------------------------------- report
    seconds = sum(row["seconds"] for row in now.history)
    images = train_set.examples_in(now.step)
    work = training.work(train_set, now, lambda x, step: flops(loss_fn, trained, x, kept[1][:1], step))
    summary = {
        **facts,
        "model": config.model,
        "preset": config.preset,
        "parameters": parameters,
        "epochs": config.epochs,
        "seed": config.seed,
        "train_seconds": round(seconds, 2),  # of the training steps: without validation and test
        "examples_per_second": round(images / seconds),
        "flops": work,
        "gflops_per_second": round(work / seconds / 1e9, 1),
        "tested_epoch": len(tested.history),
        "test_loss": test_loss,
        "test_accuracy": test_accuracy,
        "tta": config.tta,
        "test_accuracy_tta": tta_accuracy,
        "minigraph_version": mg.__version__,
    }
    run.write("summary.json", summary)
    name = "CIFAR-10" if dataset.name == "cifar10" else "the SYNTHETIC set (not CIFAR-10)"
    words = {"title": f"{config.model} on {name}: {test_accuracy:.2%} test accuracy", "notice": facts.get("notice", "")}
    test = {"loss": test_loss, "accuracy": test_accuracy}
    training.plots.curves(run.directory / "curves.png", now.history, test=test, **words)
    classes, labels = dataset.classes, test_set.labels
    training.plots.confusion(run.directory / "confusion.png", labels, logits.argmax(-1), classes, **words)
    with_tta = "" if config.tta == "none" else f", {tta_accuracy:.2%} with {config.tta}"
    print(
        f"test accuracy {test_accuracy:.2%}{with_tta}, {seconds:.0f} s of training "
        f"({summary['examples_per_second']} images/s); results in {run.directory}"
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


def evaluate(config: Config, run: str) -> None:
    """Test a run's model with and without test-time augmentation; draw its mistakes, its filters and where it looks."""
    classifier = models.trained(run)
    settings = training.saved_config(Config, classifier.config, classifier.path)  # which may say where the data is
    dataset = data.load(settings.dataset, config.data or settings.data)
    threads = mg.parallel.Threads(config.threads)
    training.evaluate(classifier, dataset.test_images, dataset.test_labels, classifier.path.parent, executor=threads)


def predict(config: Config, run: str, *images: str) -> None:
    """The likeliest classes of pictures of any size, by the model of a run."""
    training.classify(models.trained(run), images)


def compare(config: Config, *runs: str) -> None:
    """A table of what differs between runs, and their curves over each other in compare.png."""
    training.compare(*runs)


def default_preset(options: Mapping[str, Any]) -> str:
    """The preset where none is given; models of one's own begin with plain SGD."""
    return "quick" if options.get("model", "airnet") == "airnet" else "cnn"


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0, 2 after an error that the user can mend, 128 + n after the signal n (130: Ctrl-C)."""
    return training.launch(train, PRESETS, argv, commands=[evaluate, predict, compare], default=default_preset)


if __name__ == "__main__":
    sys.exit(main())

"""Train a transformer on the characters of a text: config, data, model, optimizer, loop, report.

    python train_text.py                            # on an almanac written by code, into runs/<time>/
    python train_text.py --text FILE                # on a text of your own
    python train_text.py --resume runs/<time>       # go on where Ctrl-C, or a kill, stopped it
    python train_text.py --go-on runs/<time> TEXT   # what the trained model writes after a text
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import minigraph as mg
import models
from minigraph import data, training, tree
from minigraph.data import almanac
from minigraph.training import Stop, setting
from models import ngram, transformer

# ------------------------------------------------------------------------------------- config


@dataclass(frozen=True, repr=False)
class Config(training.Recipe):
    """The settings. On one machine, with the same versions, two runs of one config end in the same bits."""

    text: str | None = setting(
        None, "a text in UTF-8", metavar="FILE", shown="an almanac, by code", path=True, may_change=True
    )
    epochs: float = setting(5.0, "passes over the text, the last perhaps in part", above=0, below=10**6)
    batch_size: int = setting(8, "windows of the text in a step", at_least=1)
    lr: float = setting(3e-3, "the highest learning rate", above=0)
    length: int = setting(64, "characters in a window, the most that the model sees", at_least=1, below=10**5)
    width: int = setting(64, "numbers that stand for a character", at_least=1, below=10**5)
    heads: int = setting(4, "heads of each attention, which share the width", at_least=1)
    blocks: int = setting(3, "blocks of attention and perceptron", at_least=1, below=1000)
    sample: int = setting(600, "characters that the trained model writes", at_least=0, below=10**6, may_change=True)
    temperature: float = setting(0.7, "below 1, what is likely is written still more often", above=0, may_change=True)
    threads: int | None = setting(
        None, "threads of a process that share a step", shown="all cores", at_least=1, below=1000, may_change=True
    )
    microbatch: int = setting(4, "windows that a thread takes through the model at once", at_least=1)
    draw: bool = setting(False, "also draw the graph of the loss: graph.svg, graph.html", may_change=True)


ALMANAC = 300_000  # characters


def train(config: Config, run: training.Run) -> None:
    """Train a transformer on the characters of a text."""
    training.need("matplotlib", "tqdm", *(["graphviz"] if config.draw else []))
    if config.width % config.heads:
        raise Stop(f"--width is {config.width}, expected a multiple of --heads, {config.heads}")

    # ----------------------------------------------------------------------------------- data
    text = almanac.write(ALMANAC) if config.text is None else data.read_text(config.text)
    name = "the almanac" if config.text is None else Path(config.text).name
    if len(text) < 20 * (config.length + 1):
        raise Stop(f"{name}: {len(text)} characters are too few for windows of --length {config.length}")
    alphabet = data.alphabet(text)
    codes = data.encode(text, alphabet)
    kept, held_out = np.split(codes, [len(codes) - len(codes) // 10])
    train_set = data.Windows(kept, config.length, config.batch_size, shuffle=True, seed=config.seed)
    val_set = data.Windows(held_out, config.length, config.batch_size)
    yardsticks = {n: ngram.loss(kept, held_out, order, len(alphabet)) for n, order in (("bigram", 2), ("5-gram", 5))}

    # -------------------------------------------------------------------- model and optimizer
    size = {name: getattr(config, name) for name in ("length", "width", "heads", "blocks")}
    params = transformer.init(np.random.default_rng([config.seed, 0]), characters=len(alphabet), **size)
    opt = config.make_optimizer(params, train_set)

    # ----------------------------------------------------------------------------------- loop
    checksum = hashlib.sha256(text.encode()).hexdigest()[:16]  # a run does not go on with another text
    description = {"name": "transformer", "alphabet": alphabet, "text": checksum}
    now = run.start(config, params, {}, opt.init(params), model=description, dataset=name)
    parameters = sum(leaf.size for leaf in tree.leaves(params))
    print(f"transformer, {parameters:,} parameters; {name}: {len(kept):,} characters to train on, {len(held_out):,} to "
          f"validate; results in {run.directory}", flush=True)  # fmt: skip

    def loss_fn(params: Any, x: Any, y: Any) -> Any:
        return mg.cross_entropy(transformer.apply(params, x), y)

    if config.draw and run.ranks.rank == 0:
        models.draw(run.directory / "graph", loss_fn, params, *next(iter(val_set)), depth=2)
        models.page(run.directory / "graph", loss_fn, params, *(part[:2] for part in next(iter(val_set))))
    parts = {"executor": run.ranks.executor(config.threads), "microbatch": config.microbatch}
    value_and_grad = mg.parallel.value_and_grad(loss_fn, **parts)
    with np.errstate(all="ignore"):  # the run checks the losses
        for batches in run.epochs(train_set, config.epochs):
            for x, y in batches:
                loss, grads = value_and_grad(now.params, x, y)
                now.params, now.optimizer = opt.step(now.params, grads, now.optimizer)
                run.note(len(y), loss=loss)
            apply = partial(transformer.apply, now.params)
            losses = [len(y) * float(mg.cross_entropy(mg.parallel.map(apply, x, **parts), y)) for x, y in val_set]
            run.end_epoch(val_loss=sum(losses) / val_set.examples_in(len(val_set)), lr=opt.lr(now.step - 1))

    # --------------------------------------------------------------------------------- report
    val_losses = {**yardsticks, "transformer": now.history[-1]["val_loss"]}
    seconds = sum(row["seconds"] for row in now.history)  # of the training steps: without validation
    written = write(now.params, alphabet, text[-len(held_out) :][: config.length // 4], config)
    run.write("summary.json", {
        "dataset": name, "parameters": parameters, "epochs": config.epochs, "seed": config.seed,
        "train_seconds": round(seconds, 2), "examples_per_second": round(train_set.examples_in(now.step) / seconds),
        "val_losses": val_losses, "sample": written, "minigraph_version": mg.__version__,
    })  # fmt: skip
    if run.ranks.rank > 0:
        return
    title = f"transformer on {name}: {val_losses['transformer']:.3f} nats a character"
    training.plots.curves(run.directory / "curves.png", now.history, title=title, beside=yardsticks)
    print(f"{'-' * 100}\n{written}\n{'-' * 100}")
    found = ", ".join(f"{name} {loss:.3f}" for name, loss in val_losses.items())
    print(f"validation loss in nats a character: {found}; {seconds:.0f} s of training; results in {run.directory}")


# ---------------------------------------------------------------------------------- the pieces


def write(params: Any, alphabet: str, text: str, config: Config) -> str:
    """`text` and what the model writes after it."""
    prompt, rng = data.encode(text, alphabet), np.random.default_rng([config.seed, 1])
    with threadpool_limits(1, "blas"):  # more threads only cost time here, and could change the order of BLAS's sums
        codes = transformer.sample(params, prompt, config.sample, rng, config.temperature)
    return data.decode(codes, alphabet)


def go_on(config: Config, run: str, text: str) -> None:
    """What the model of a run writes after a text."""
    saved = training.Checkpoint.load(Path(run) / "checkpoint.safetensors")
    if saved.model.get("name") != "transformer" or not text:
        raise Stop(f"--go-on takes a run of this script and a text of one character or more, got {run} and {text!r}")
    print(write(saved.params, saved.model["alphabet"], text, config))


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0, 2 after an error that the user can mend, 128 + n after the signal n (130: Ctrl-C)."""
    return training.launch(train, Config(), argv, commands=[go_on])


if __name__ == "__main__":
    sys.exit(main())

"""Train an image classifier on CIFAR-10: config -> data -> model -> loop -> report.

    python train_cifar.py                          # the cnn, 10 epochs, into runs/<time>/
    python train_cifar.py --model mlp --epochs 3   # any module of models/, any setting
    python train_cifar.py --resume runs/<time>     # go on where Ctrl-C, or a kill, stopped it

Without CIFAR-10 and without a network it trains on a synthetic set instead, and says so.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import io
import json
import math
import pkgutil
import signal
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from threadpoolctl import threadpool_limits

import minigraph as mg
import models
from minigraph import data, tree
from minigraph.serialize import CheckpointError, atomic_write, check_like, load, save

# ------------------------------------------------------------------------------------- config


@dataclass(frozen=True)
class Config:
    """All that a run depends on: two runs of one config end in the same bits."""

    preset: str = "default"
    model: str = "cnn"
    dataset: str = "auto"  # what was asked for; in a saved config, what was found
    data: str | None = None  # a directory
    epochs: int = 10
    batch_size: int = 128
    lr: float = 0.05  # at its peak: linear up for `warmup` epochs, then a cosine down to 0
    warmup: float = 1.0
    momentum: float = 0.9
    weight_decay: float = 5e-4
    padding: int = 2  # of the random crop, in pixels; 0: none
    flip: bool = True
    val: int | None = None  # training images held out; None: a tenth
    seed: int = 0
    threads: int = mg.parallel.available_cores()  # the result does not depend on it
    # Images that a thread takes through the net at once. The result depends on it, so it is fixed and not derived
    # from the machine's cores: 32 keeps four of them busy at batch 128 (64, the library's default, is ~10% faster
    # on two).
    microbatch: int = 32

    def __post_init__(self) -> None:
        for option, valid, expected in (
            ("epochs", self.epochs >= 1, "at least 1"),
            ("batch_size", self.batch_size >= 1, "at least 1"),
            ("lr", 0 < self.lr < math.inf, "a number above 0"),
            ("momentum", 0 <= self.momentum < 1, "a number in [0, 1)"),
            ("weight_decay", 0 <= self.weight_decay < math.inf, "a number from 0"),
            ("val", self.val is None or self.val >= 0, "at least 0"),
            ("seed", self.seed >= 0, "at least 0"),
            ("threads", self.threads >= 1, "at least 1"),
            ("microbatch", self.microbatch >= 1, "at least 1"),
        ):
            if not valid:
                flag = "--" + option.replace("_", "-")
                raise Stop(f"{flag} is {getattr(self, option)}, expected {expected}")


PRESETS = {
    "default": Config(),
    "quick": Config(preset="quick", epochs=2, warmup=0.2, padding=0),  # a smoke test that learns
}


class Stop(Exception):
    """The run cannot start or go on; the message is one line for the user."""


# ---------------------------------------------------------------------------------------- run


def run(config: Config, out: Path, saved: dict[str, Any] | None, draw: bool) -> None:
    """Train as `config` says and write the results to `out`; `saved`: the checkpoint to go on from."""

    # ----------------------------------------------------------------------------------- data
    dataset = data.load(config.dataset, config.data)
    held_out = len(dataset.train_images) // 10 if config.val is None else config.val
    config = replace(config, dataset=dataset.name, val=held_out)
    training, validation = data.split(dataset, held_out)
    train_set = data.Loader(
        *training,
        config.batch_size,
        shuffle=True,
        padding=config.padding,
        flip=config.flip,
        seed=config.seed,
    )
    val_set = data.Loader(*validation, EVAL_BATCH) if held_out else None
    test_set = data.Loader(dataset.test_images, dataset.test_labels, EVAL_BATCH)

    origin = {"dataset": dataset.name}  # is part of every result
    if dataset.name == "synthetic":
        origin["notice"] = data.SYNTHETIC_NOTICE
        print(banner(data.SYNTHETIC_NOTICE))

    # ---------------------------------------------------------------------------------- model
    model = load_model(config.model)
    with threadpool_limits(1, "blas"):  # the order of BLAS's sums could depend on the threads
        params, state = model.init(generator(config.seed, 0), **init_images(model, *training))
    steps = config.epochs * len(train_set)
    warmup = min(round(config.warmup * len(train_set)), steps - 1)
    opt = mg.optim.SGD(
        mg.optim.cosine(config.lr, steps, warmup=warmup),
        momentum=config.momentum,
        weight_decay=config.weight_decay,
    )

    # What a checkpoint holds beside the config. The data's order, its augmentation and dropout
    # need no place in it: they are drawn from the seed and the number of the step.
    at: dict[str, Any] = {
        "params": params,
        "state": state,
        "optimizer": opt.init(params),
        "sums": dict(SUMS),  # over the epoch so far
        "history": [],  # a row an epoch
    }
    if saved is not None:
        for part in ("params", "state", "optimizer"):
            at[part] = check_like(at[part], saved[part], part)
        at["sums"], at["history"] = saved["sums"], saved["history"]
        check_position(out, at, config, train_set)
    else:
        write(out / "config.json", to_json({**asdict(config), **origin}))
    if draw:
        draw_graph(out / "graph", model, params, state, test_set)

    def loss_fn(params: Any, x: Any, y: Any) -> Any:
        logits, state = model.apply(params, at["state"], x, train=True)
        return mg.cross_entropy(logits, y), (state, (logits.argmax(-1) == y).sum())

    value_and_grad = mg.parallel.value_and_grad(
        loss_fn, executor=mg.parallel.Threads(config.threads), microbatch=config.microbatch, has_aux=True
    )

    def keep() -> None:
        save(out / CHECKPOINT, {"config": asdict(config), **origin, **at})

    parameters = sum(leaf.size for leaf in tree.leaves(params))
    print(
        f"{config.model}, {parameters:,} parameters; {dataset.name}: {len(training[0]):,} images to "
        f"train on, {held_out:,} to validate, {len(dataset.test_images):,} to test; results in {out}"
    )

    # ----------------------------------------------------------------------------------- loop
    from tqdm import tqdm

    keep()  # a disk that is full shows now, and a run killed in its first epoch can be resumed
    with interruption() as interrupted, np.errstate(all="ignore"):  # the losses are checked
        for epoch in range(len(at["history"]), config.epochs):
            sums = at["sums"]
            first = int(at["optimizer"]["step"]) - epoch * len(train_set)
            bar = tqdm(
                desc=f"epoch {epoch + 1}/{config.epochs}",
                total=len(training[0]),
                initial=sums["images"],
                unit=" images",
                leave=False,
                disable=not sys.stderr.isatty(),
            )
            clock = time.perf_counter()
            with bar:
                for x, y in train_set.epoch(epoch, first):
                    step = int(at["optimizer"]["step"])
                    with mg.random.use(generator(config.seed, 1, step)):
                        (loss, (state, correct)), grads = value_and_grad(at["params"], x, y)
                    params, optimizer = opt.step(at["params"], grads, at["optimizer"])
                    at.update(params=params, state=state, optimizer=optimizer)
                    check_finite(loss, at, config.lr, out)

                    sums["loss"] += float(loss) * len(y)
                    sums["correct"] += int(correct)
                    sums["images"] += len(y)
                    sums["seconds"] += time.perf_counter() - clock
                    clock = time.perf_counter()
                    bar.set_postfix(
                        loss=f"{sums['loss'] / sums['images']:.3f}",
                        accuracy=f"{sums['correct'] / sums['images']:.1%}",
                        refresh=False,
                    )
                    bar.update(len(y))
                    if interrupted:
                        keep()
                        raise KeyboardInterrupt(f": go on with --resume {out}")

            row: dict[str, Any] = {
                "epoch": epoch + 1,
                "step": int(at["optimizer"]["step"]),
                "train_loss": sums["loss"] / sums["images"],
                "train_accuracy": sums["correct"] / sums["images"],
                "val_loss": None,
                "val_accuracy": None,
                "seconds": sums["seconds"],
                "images_per_second": sums["images"] / sums["seconds"],
            }
            if val_set is not None:
                loss, accuracy = score(predict(model, at, val_set, config), val_set.labels)
                check_finite(loss, at, config.lr, out)
                row["val_loss"], row["val_accuracy"] = loss, accuracy
            at["history"].append(row)
            at["sums"] = dict(SUMS)
            keep()
            lines = [json.dumps({**row, **origin}) + "\n" for row in at["history"]]
            write(out / "metrics.jsonl", "".join(lines).encode())
            print(describe(row, config.epochs))
            if interrupted:
                raise KeyboardInterrupt(f": go on with --resume {out}")

        # ----------------------------------------------------------------------------- report
        logits = predict(model, at, test_set, config)
        test_loss, test_accuracy = score(logits, test_set.labels)
        seconds = sum(row["seconds"] for row in at["history"])
    summary = {
        **origin,
        "model": config.model,
        "preset": config.preset,
        "parameters": parameters,
        "epochs": config.epochs,
        "seed": config.seed,
        "train_seconds": round(seconds, 2),  # of the training steps: without validation and test
        "images_per_second": round(config.epochs * len(training[0]) / seconds),
        "test_loss": test_loss,
        "test_accuracy": test_accuracy,
        "minigraph_version": mg.__version__,
    }
    write(out / "summary.json", to_json(summary))
    plot_curves(out / "curves.png", at["history"], summary)
    plot_confusion(
        out / "confusion.png", test_set.labels, logits.argmax(-1), dataset.classes, summary
    )
    print(
        f"test accuracy {test_accuracy:.2%}, {seconds:.0f} s of training "
        f"({summary['images_per_second']} images/s); results in {out}"
    )
    if dataset.name == "synthetic":
        print(banner(data.SYNTHETIC_NOTICE))


# ------------------------------------------------------------------- the pieces, in order of use


def generator(seed: int, *key: int) -> np.random.Generator:
    """Random numbers of their own for each key: (0,) the parameters, (1, n) what step n draws."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def banner(text: str) -> str:
    line = "*" * 100
    return f"{line}\n{text}\n{line}"


def load_model(name: str) -> Any:
    """The module `models/<name>.py`."""
    if name not in model_names():
        raise Stop(f"no model {name!r}; there are {', '.join(model_names())}")
    model = importlib.import_module(f"models.{name}")
    if not callable(getattr(model, "init", None)) or not callable(getattr(model, "apply", None)):
        raise Stop(f"models/{name}.py: expected functions init and apply, see models/__init__.py")
    return model


def model_names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(models.__path__))


def init_images(model: Any, images: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """The first 5,000 training images, normalised, as the argument `images` of an `init` that has it; else nothing."""
    if "images" not in inspect.signature(model.init).parameters:
        return {}
    x, _ = next(iter(data.Loader(images[:5000], labels[:5000], 5000)))
    return {"images": x}


def new_directory(out: Path | None) -> Path:
    """`out`, or `runs/<time>`, made if need be; it has to be empty."""
    given = out is not None
    out = out or Path("runs") / time.strftime("%Y%m%d-%H%M%S")
    out.mkdir(parents=True, exist_ok=given)
    if any(out.iterdir()):
        raise Stop(f"{out} is not empty and nothing in it is overwritten: give another --out, or --resume {out}")
    return out


def draw_graph(path: Path, model: Any, params: Any, state: Any, images: data.Loader) -> None:
    """The model's graph for two images as `path`.dot and, where Graphviz is installed, `path`.svg."""
    from minigraph.graph.draw import draw, save

    x, _ = next(iter(images))
    picture = draw(partial(model.apply, train=False), params, state, x[:2])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        save(picture, path)
    for warning in caught:
        print(warning.message)


@contextmanager
def interruption() -> Iterator[list[int]]:
    """Yield a list that Ctrl-C fills, instead of stopping a step halfway; a second Ctrl-C does stop it."""
    interrupted: list[int] = []

    def note(number: int, frame: Any) -> None:
        interrupted.append(number)
        signal.signal(signal.SIGINT, previous)

    previous = signal.signal(signal.SIGINT, note)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, previous)


def predict(model: Any, at: dict[str, Any], images: data.Loader, config: Config) -> np.ndarray:
    """Logits (N, classes) of all of a loader's images."""

    def logits(x: np.ndarray) -> np.ndarray:
        return model.apply(at["params"], at["state"], x, train=False)[0]

    threads = mg.parallel.Threads(config.threads)
    batches = (mg.parallel.map(logits, x, executor=threads, microbatch=config.microbatch) for x, _ in images)
    return np.concatenate([*batches])


def score(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """(loss, accuracy)"""
    return float(mg.cross_entropy(logits, labels)), float((logits.argmax(-1) == labels).mean())


def check_finite(loss: Any, at: dict[str, Any], lr: float, out: Path) -> None:
    """Raise Stop before a loss or parameters that are NaN or infinite get into the checkpoint."""
    if not math.isfinite(loss):
        what = f"the loss is {float(loss)}"
    elif not all(np.isfinite(leaf).all() for leaf in tree.leaves((at["params"], at["state"]))):
        what = "the parameters are not finite"
    else:
        return
    raise Stop(
        f"training diverged: {what} at step {int(at['optimizer']['step'])}; try a smaller --lr than {lr:g} "
        f"(the last good checkpoint is kept in {out})"
    )


def describe(row: dict[str, Any], epochs: int) -> str:
    parts = [
        f"epoch {row['epoch']:2}/{epochs}",
        f"train loss {row['train_loss']:.3f} accuracy {row['train_accuracy']:.1%}",
        f"{row['images_per_second']:.0f} images/s",
    ]
    if row["val_loss"] is not None:
        parts.insert(2, f"val loss {row['val_loss']:.3f} accuracy {row['val_accuracy']:.1%}")
    return "   ".join(parts)


# --------------------------------------------------------------------------------------- files

CHECKPOINT = "checkpoint.npz"
EVAL_BATCH = 250  # images whose activations fit the cache better than thousands would
SUMS = {"loss": 0.0, "correct": 0, "images": 0, "seconds": 0.0}
ROW = {
    "epoch", "step", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "seconds", "images_per_second",
}  # fmt: skip


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    try:
        with atomic_write(path) as file:
            file.write(content)
    except OSError as error:
        raise Stop(f"{path} was not written: {error.strerror or error}") from error


def to_json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()


def read_checkpoint(directory: Path) -> tuple[Config, dict[str, Any]]:
    """The config and the content of a run's checkpoint."""
    path = directory / CHECKPOINT
    saved = load(path)
    try:
        if (
            saved.keys() >= {"params", "state", "optimizer", "sums", "history"}
            and {k: type(v) for k, v in saved["sums"].items()} == {k: type(v) for k, v in SUMS.items()}
            and all(row.keys() == ROW for row in saved["history"])
        ):
            return Config(**saved["config"]), saved
    except (AttributeError, KeyError, TypeError, Stop):
        pass
    raise CheckpointError(f"{path} is no checkpoint of this version of train_cifar.py")


def check_position(out: Path, at: dict[str, Any], config: Config, train_set: data.Loader) -> None:
    """Raise CheckpointError unless the step lies in the epoch after `history`, at the images that `sums` counts."""
    done, step, images = len(at["history"]), int(at["optimizer"]["step"]), at["sums"]["images"]
    first = step - done * len(train_set)
    expected = min(first * config.batch_size, len(train_set.images))
    if step > config.epochs * len(train_set) or not 0 <= first <= len(train_set) or images != expected:
        raise CheckpointError(
            f"{out / CHECKPOINT}: step {step}, {images} images into the epoch, does not follow from {done} finished "
            f"epochs of {len(train_set)} steps (of {config.epochs} epochs in all)"
        )


# -------------------------------------------------------------------------------------- report


def title(summary: dict[str, Any]) -> str:
    name = "CIFAR-10" if summary["dataset"] == "cifar10" else "the SYNTHETIC set (not CIFAR-10)"
    return f"{summary['model']} on {name}: {summary['test_accuracy']:.2%} test accuracy"


def figure(summary: dict[str, Any], width: float, height: float) -> Any:
    """An empty figure, drawn without a display, under its title; it says where the data is not CIFAR-10."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fig = Figure((width, height), layout="constrained", dpi=150)
    FigureCanvasAgg(fig)
    fig.suptitle(title(summary), fontsize=12)
    if "notice" in summary:
        fig.supxlabel(summary["notice"], fontsize=6, color="#b3261e")
    return fig


def save_figure(path: Path, fig: Any) -> None:
    image = io.BytesIO()
    fig.savefig(image, format="png")
    write(path, image.getvalue())


def plot_curves(path: Path, history: list[dict[str, Any]], summary: dict[str, Any]) -> None:
    """Loss and accuracy of every epoch; training's are means over the epoch, on augmented images."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    fig = figure(summary, 9, 4)
    epochs = [row["epoch"] for row in history]
    for axes, quantity in zip(fig.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for part, color in (("train", "#8794a3"), ("val", "#1f6fb4")):
            if history[0][f"{part}_{quantity}"] is not None:
                values = [row[f"{part}_{quantity}"] for row in history]
                axes.plot(epochs, values, "o-", color=color, markersize=4, label=LABELS[part])
        test = summary[f"test_{quantity}"]
        axes.plot(epochs[-1], test, "*", color="#d9480f", markersize=12, label="test", clip_on=False)
        axes.set(xlabel="epoch", title=quantity, xlim=(0.5, epochs[-1] + 0.5))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    axes.legend(frameon=False)
    save_figure(path, fig)


LABELS = {"train": "train (mean over the epoch)", "val": "validation"}


def plot_confusion(
    path: Path, labels: np.ndarray, predicted: np.ndarray, classes: Sequence[str], summary: dict[str, Any]
) -> None:
    """How the test images of each class (row) were classified (column), in percent of the row."""
    k = len(classes)
    counts = np.bincount(labels * k + predicted, minlength=k * k).reshape(k, k)
    percent = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)

    fig = figure(summary, 6.6, 7)
    axes = fig.subplots()
    axes.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    for i, j in np.ndindex(k, k):
        color = "white" if percent[i, j] > 55 else "black" if percent[i, j] >= 0.5 else "#b4bec9"
        axes.text(j, i, f"{percent[i, j]:.0f}", ha="center", va="center", color=color, fontsize=9)
    axes.set_xticks(range(k), classes, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(k), classes)
    axes.set(xlabel="predicted class", ylabel="true class (a row adds up to 100%)")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    save_figure(path, fig)


# -------------------------------------------------------------------------------- command line


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Stop(message)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options; those of a Config are there only if they were given."""
    parser = Parser(
        description="Train an image classifier on CIFAR-10.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    default = PRESETS["default"]
    option = parser.add_argument
    option("--preset", choices=PRESETS, help="named settings, which the options below override (default)")
    option("--model", choices=model_names(), help=f"a module of models/ ({default.model})")
    option("--dataset", choices=("auto", "cifar10", "synthetic"),
           help="auto: cifar10, and without a network the synthetic set (auto)")  # fmt: skip
    option("--data", metavar="DIR", help="where CIFAR-10 is ($MINIGRAPH_DATA, else the user's cache, else a download)")
    option("--epochs", type=int, metavar="N", help=f"({default.epochs})")
    option("--batch-size", type=int, metavar="N", help=f"({default.batch_size})")
    option("--lr", type=float, metavar="X", help=f"the highest learning rate ({default.lr})")
    option("--momentum", type=float, metavar="X", help=f"({default.momentum})")
    option("--weight-decay", type=float, metavar="X", help=f"L2 ({default.weight_decay})")
    option("--val", type=int, metavar="N", help="training images held out for validation (a tenth)")
    option("--seed", type=int, metavar="N", help=f"({default.seed})")
    option("--threads", type=int, metavar="N", help="(all cores)")
    option("--microbatch", type=int, metavar="N", help=f"images a thread takes at once ({default.microbatch})")
    option("--out", type=Path, metavar="DIR", default=None, help="for the results (runs/<time>)")
    option("--resume", type=Path, metavar="DIR", default=None,
           help="go on with the run in DIR, under its own settings; only --data and --threads may differ")  # fmt: skip
    option("--draw", action="store_true", default=False, help="also draw the model's graph: graph.dot, graph.svg")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, 2 after an error that is the user's to mend, 130 after Ctrl-C."""
    try:
        options = vars(parse(argv))
        out, resume, draw = options.pop("out"), options.pop("resume"), options.pop("draw")
        for package in ("matplotlib", "tqdm", *(("graphviz",) if draw else ())):
            if find_spec(package) is None:
                raise Stop(f"{package} is missing: pip install -e '.[train]'")
        saved = None
        if resume is None:
            config = replace(PRESETS[options.get("preset", "default")], **options)
            out = new_directory(out)
        else:
            refused = ["--" + name.replace("_", "-") for name in options if name not in ("data", "threads")]
            if refused or out is not None:
                raise Stop(f"--resume takes the settings of the run; drop {', '.join(refused) or '--out'}")
            out = resume
            config, saved = read_checkpoint(resume)
            config = replace(config, **options)
        try:
            with threadpool_limits(config.threads, "blas"):
                run(config, out, saved, draw)
        finally:
            with suppress(OSError):
                out.rmdir()  # goes only if it is empty: the run stopped before it wrote anything
        return 0
    except (Stop, data.DataError, OSError) as error:
        print(f"train_cifar.py: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        print(f"interrupted{error}", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())

"""What a program does with trained models: measure one, classify with it, export it, lay runs beside each other."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import onnx, parallel
from ..graph.table import table as aligned
from ..ops.loss import softmax
from . import plots
from .classifier import Classifier
from .errors import Stop
from .run import CONFIG, METRICS
from .scoring import TTA, accuracy
from .scoring import confusion as count_confusion

SUMMARY = "summary.json"
VIEWS: tuple[TTA, ...] = ("none", "mirror", "mirror+translate")
RESULTS = {  # of summary.json: how a result is called, and shown
    "test_accuracy": ("test accuracy", "{:.2%}"),
    "test_accuracy_tta": ("with TTA", "{:.2%}"),
    "train_seconds": ("seconds of training", "{:.0f}"),
    "examples_per_second": ("examples a second", "{:.0f}"),
}


def evaluate(
    classifier: Classifier,
    images: np.ndarray,
    labels: np.ndarray,
    directory: str | os.PathLike[str],
    *,
    executor: parallel.Executor | None = None,
) -> dict[str, Any]:
    """Measure a classifier on test images: prints its accuracies and confusions, and writes pictures.

    The pictures are confusion.png, predictions.png, filters.png if the model has a convolution, and heatmaps.png if it
    `has_heatmaps`. All are of the predictions without test-time augmentation (TTA).

    Args:
        images, labels: uint8 `(N, H, W, C)`, at least one, and `(N,)`.
        directory: where the pictures go.
        executor: as in `parallel.map`.

    Returns:
        "accuracy", a dict by the name of the TTA; "classes", a dict of the accuracy of each class, NaN for one without
        images; "confusion", the counts int64 `(classes, classes)` of true (row) and predicted (column) classes.

    Raises DataError for images of another kind, ValueError for labels that are no classes, Stop for a file that cannot
    be written.
    """
    labels = np.asarray(labels)
    logits = {tta: classifier.logits(images, tta=tta, executor=executor) for tta in VIEWS}
    accuracies = {tta: accuracy(each, labels) for tta, each in logits.items()}
    probabilities = np.asarray(softmax(logits["none"]))
    counts = count_confusion(labels, probabilities.argmax(-1), len(classifier.classes))
    totals = counts.sum(1)
    shares = {c: float(n / total) if total else math.nan
              for c, n, total in zip(classifier.classes, np.diag(counts), totals, strict=True)}  # fmt: skip
    print(f"{len(images):,} test images")
    rows = [[f"  {'without TTA' if tta == 'none' else tta}", f"{share:.2%}"] for tta, share in accuracies.items()]
    print(aligned(rows))
    _print_confusions(counts, classifier.classes)
    _draw(classifier, images, labels, probabilities, Path(directory))
    print(f"pictures in {os.fspath(directory)}")
    return {"accuracy": accuracies, "classes": shares, "confusion": counts}


def _print_confusions(counts: np.ndarray, classes: Sequence[str]) -> None:
    """The accuracy of each class, and the mistakes that are made most often, of counts true x predicted."""
    totals = counts.sum(1)
    mistakes = counts - np.diag(np.diag(counts))
    rows = []
    for i, name in enumerate(classes):
        often = [j for j in np.argsort(-mistakes[i], kind="stable")[:3] if mistakes[i, j]]
        taken = ", ".join(f"{classes[j]} {mistakes[i, j] / totals[i]:.1%}" for j in often)
        rows.append([f"  {name}", f"{counts[i, i] / totals[i]:.1%}" if totals[i] else "no images", taken])
    print("accuracy of each class, and what it was taken for most often")
    print(aligned(rows))
    order = np.argsort(-mistakes, axis=None, kind="stable")[:5]
    pairs = [divmod(int(n), len(classes)) for n in order if mistakes.flat[n]]
    rows = [[f"  {classes[i]} taken for {classes[j]}", f"{mistakes[i, j]:,} of {totals[i]:,}"] for i, j in pairs]
    print("most frequent confusions")
    print(aligned(rows) or "  none")


def _draw(
    classifier: Classifier, images: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, directory: Path
) -> None:
    """The pictures of `evaluate`."""
    classes, predicted = classifier.classes, probabilities.argmax(-1)
    right = predicted == labels
    what = f"{classifier.name or 'model'} on {classifier.facts.get('dataset', 'test images')}"
    notice = str(classifier.facts.get("notice", ""))
    words: dict[str, Any] = {"title": f"{what}: {right.mean():.2%} test accuracy", "notice": notice}
    plots.confusion(directory / "confusion.png", labels, predicted, classes, **words)
    plots.predictions(directory / "predictions.png", images, labels, probabilities, classes, **words)
    filters = classifier.filters()
    if filters is not None:
        words["title"] = f"{what}: the {filters.shape[-1]} filters of the first convolution"
        plots.filters(directory / "filters.png", filters, **words)
    if classifier.has_heatmaps:
        _, first = np.unique(labels, return_index=True)
        chosen = first[:10]  # an image of each class
        captions = []
        for n in chosen:
            truth = "" if right[n] else f", is {classes[labels[n]]}"
            captions.append(f"{classes[predicted[n]]} {probabilities[n].max():.0%}{truth}")
        heat = classifier.heatmaps(images[chosen], predicted[chosen])
        words["title"] = f"{what}: where the predicted class is seen (Grad-CAM)"
        plots.heatmaps(directory / "heatmaps.png", images[chosen], heat, captions, **words)


def classify(
    classifier: Classifier, paths: Sequence[str | os.PathLike[str]], *, top: int = 3, tta: TTA = "none"
) -> np.ndarray:
    """Classify image files of any size and mode: prints a line for each, with its likeliest classes.

    Args:
        paths: the files.
        top: how many classes a line has at most.
        tta: test-time augmentation, as in `training.predict`.

    Returns the probabilities float32 `(N, classes)`. Raises DataError for a file that cannot be read.
    """
    probabilities = np.asarray(classifier(classifier.read(paths), tta=tta))
    width = max(len(os.fspath(path)) for path in paths)
    for path, row in zip(paths, probabilities, strict=True):
        best = np.argsort(-row, kind="stable")[:top]
        print("  ".join([f"{os.fspath(path):{width}}", *(f"{classifier.classes[i]} {row[i]:.1%}" for i in best)]))
    return probabilities


def export(classifier: Classifier, path: str | os.PathLike[str]) -> None:
    """Write a classifier as an ONNX model, from images `(N, H, W, C)` to logits `(N, classes)`; prints a line.

    Its images are floating and normalised: (values from 0 to 1 - mean) / std. The file says by its metadata, in JSON,
    what `classes`, `mean` and `std` are, and whatever else a user has to know; see `mg.onnx.export`.

    Raises Stop for a model that has no form in ONNX, and for want of the package. OSError: the file cannot be written.
    """

    def logits(params: Any, state: Any, images: Any) -> Any:
        return {"logits": classifier.apply(params, state, images, train=False)[0]}

    what = {"name": classifier.name, "classes": classifier.classes, "layout": "NHWC", "mean": classifier.mean,
            "std": classifier.std, **{k: v for k, v in classifier.facts.items() if type(v) is str}}  # fmt: skip
    example = np.zeros((2, *classifier.shape), np.float32)
    metadata = {name: json.dumps(value) for name, value in what.items()}
    try:
        onnx.export(logits, (classifier.params, classifier.state, example), path, metadata=metadata)
    except (onnx.UnsupportedError, ImportError) as error:
        raise Stop(f"{classifier.path}: {error}") from error
    shape = ", ".join(map(str, classifier.shape))
    print(f"{os.fspath(path)} takes images (N, {shape}) to logits (N, {len(classifier.classes)})")


def compare(*runs: str | os.PathLike[str], picture: str | os.PathLike[str] = "compare.png") -> str:
    """Lay runs beside each other: prints a table of their results and of the settings that differ, draws their curves.

    A run that is unfinished, or was killed, is compared as far as it came, and the table says how far.

    Args:
        runs: the directory of each run.
        picture: the PNG of the curves, which is not written where no run has finished an epoch.

    Returns the table. Raises Stop for a directory that holds no run, and for a file that is damaged.
    """
    directories = [Path(os.path.expanduser(run)) for run in runs]
    configs = [_read_json(directory / CONFIG) for directory in directories]
    histories = [_history(directory / METRICS) for directory in directories]
    summaries = [_read_json(directory / SUMMARY, missing={}) for directory in directories]
    names = _names(directories)

    rows = [["", *names]]
    rows.append(["run", *("finished" if summary else "unfinished" for summary in summaries)])
    epochs = [config.get("epochs", "?") for config in configs]
    rows.append(["epochs", *map(_progress, histories, epochs)])
    for name, format in (("train_loss", "{:.3f}"), ("val_loss", "{:.3f}"), ("val_accuracy", "{:.2%}")):
        last = [history[-1] if history else {} for history in histories]
        rows += _row(f"last {name.replace('_', ' ')}".replace("val ", "validation "), last, name, format)
    for name, (title, format) in RESULTS.items():
        rows += _row(title, summaries, name, format)
    for name in dict.fromkeys(name for config in configs for name in config if name != "notice"):
        values = [_text(config[name]) if name in config else "" for config in configs]
        if len(set(values)) > 1:
            rows.append([name, *values])
    table = aligned(rows)
    print(table)

    labels = [name if history else f"{name} (no epoch)" for name, history in zip(names, histories, strict=True)]
    if any(histories):
        notices = {str(config["notice"]) for config in configs if "notice" in config}
        title = "one run" if len(runs) == 1 else f"{len(runs)} runs"
        plots.compare(Path(picture), dict(zip(labels, histories, strict=True)), title=title, notice=" ".join(notices))
        print(f"curves in {os.fspath(picture)}")
    return table


def _progress(history: Sequence[Any], epochs: Any) -> str:
    """How far a run came: "2 of 16". The last epoch may be a part of one: "0.3 of 0.3"."""
    if not _is_number(epochs):
        return f"{len(history)} of {_text(epochs)}"
    return f"{min(len(history), epochs):g} of {epochs:g}"


def _row(title: str, parts: Sequence[Mapping[str, Any]], name: str, format: str) -> list[list[str]]:
    """The row of a number, or none if no run has it."""
    values = [part.get(name) for part in parts]
    if all(value is None for value in values):
        return []
    return [[title, *(format.format(v) if _is_number(v) else "-" if v is None else _text(v) for v in values)]]


def _names(directories: Sequence[Path]) -> list[str]:
    """The name of each run: that of its directory, or its path where two are equal; one given twice has a number."""
    names = [directory.resolve().name for directory in directories]
    names = [str(d) if names.count(name) > 1 else name for d, name in zip(directories, names, strict=True)]
    return [f"{name} ({names[:i].count(name) + 1})" if name in names[:i] else name for i, name in enumerate(names)]


def _read_json(path: Path, missing: dict[str, Any] | None = None) -> dict[str, Any]:
    """The dict in a file of JSON, or `missing` where there is no file. Raises Stop without it, or for another file."""
    if missing is not None and not path.exists():
        return missing
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise Stop(f"{path.parent}: there is no run, for want of {path.name}") from None
    except (ValueError, RecursionError) as error:
        raise Stop(f"{path}: not readable as JSON: {error}") from None
    if not isinstance(value, dict):
        raise Stop(f"{path}: expected an object, got {_text(value)}")
    return value


def _history(path: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl, with their finite numbers alone; [] if there is no such file yet."""
    if not path.exists():
        return []
    rows = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise Stop(f"{path}: line {number} is not readable as JSON: {error}") from None
        row = {k: v for k, v in row.items() if _is_number(v)} if isinstance(row, dict) else {}
        if type(row.get("epoch")) is not int or not 0 < row["epoch"] < 10**6:
            raise Stop(f"{path}: line {number} is not a row of numbers with its epoch")
        rows.append(row)
    return rows


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300  # which NaN and infinity are not


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else "none" if value is None else f"{value}"
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= 40 else f"...{text[-37:]}"  # of a path the end says more

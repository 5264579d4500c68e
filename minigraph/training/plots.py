"""Pictures of a run: its curves, what it takes for what, and what the net sees. Drawn without a display."""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .files import write
from .scoring import confusion as count_confusion

PARTS = {"train": ("#8794a3", "train (mean over the epoch)"), "val": ("#1f6fb4", "validation")}

LINES = ("--", ":", "-.")


def curves(
    path: Path,
    history: Sequence[Mapping[str, Any]],
    *,
    title: str,
    test: Mapping[str, float] | None = None,
    beside: Mapping[str, float] | None = None,
    notice: str = "",
) -> None:
    """Loss and, where they were noted, accuracy and learning rate of every epoch, as the PNG `path`.

    Args:
        path: the file.
        history: rows of a run, at least one: epoch, train_loss, train_accuracy, val_loss, val_accuracy, lr. What is
            missing or None in the first row is not drawn. Those of training are means over the epoch, on data that may
            be augmented.
        title: above the picture.
        test: loss and accuracy of the test, drawn as stars at the last epoch.
        beside: validation losses of other models by their names, drawn as lines to compare with.
        notice: in small red print below the picture.
    """
    epochs = [row["epoch"] for row in history]
    if not epochs:
        raise ValueError("curves: expected a history of at least one epoch")
    quantities = [quantity for quantity in ("loss", "accuracy") if f"train_{quantity}" in history[0]]
    panels = [*quantities, *(["learning rate"] if history[0].get("lr") is not None else [])]
    fig = figure(title, notice, 4.5 * len(panels), 4)
    for axes, panel in zip(fig.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        style_panel(axes, panel, epochs[-1])
        if panel == "learning rate":
            axes.plot(epochs, [row["lr"] for row in history], "o-", color="#5f6b7a", markersize=4)
            continue
        for part, (color, label) in PARTS.items():
            name = f"{part}_{panel}"
            if history[0].get(name) is not None:
                axes.plot(epochs, [row[name] for row in history], "o-", color=color, markersize=4, label=label)
        if test is not None:
            axes.plot(epochs[-1], test[panel], "*", color="#d9480f", markersize=12, label="test", clip_on=False)
        others = beside or {} if panel == "loss" else {}
        for (name, loss), style in zip(others.items(), itertools.cycle(LINES), strict=False):
            axes.axhline(loss, color="#5f6b7a", linewidth=1, linestyle=style, label=name)
        if others or panel == quantities[-1]:
            axes.legend(frameon=False)
    save_figure(path, fig)


def compare(path: Path, runs: Mapping[str, Sequence[Mapping[str, Any]]], *, title: str, notice: str = "") -> None:
    """The curves of several runs over each other, a colour for each, as the PNG `path`.

    Args:
        path: the file.
        runs: the history of each run by its name, as for `curves`. A run without an epoch has its name in the legend.
        title, notice: as for `curves`.
    """
    from matplotlib import colormaps
    from matplotlib.lines import Line2D

    rows = [row for history in runs.values() for row in history]
    all_panels = [("loss", ["train_loss", "val_loss"]), ("accuracy", ["train_accuracy", "val_accuracy"]),
                  ("learning rate", ["lr"])]  # fmt: skip
    panels = {panel: names for panel, names in all_panels if any(r.get(n) is not None for r in rows for n in names)}
    if not panels:
        raise ValueError("compare: expected a run with at least one epoch and its loss, accuracy or learning rate")
    palette = colormaps["tab10" if len(runs) <= 10 else "turbo"]
    colors = [palette(i if len(runs) <= 10 else i / (len(runs) - 1)) for i in range(len(runs))]
    columns = min(len(runs), 4)
    fig = figure(title, notice, 4.5 * max(len(panels), 2), 4 + 0.2 * -(-len(runs) // columns))
    for axes, (panel, names) in zip(fig.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        style_panel(axes, panel, max(row["epoch"] for row in rows))
        for color, history in zip(colors, runs.values(), strict=True):
            for name in names:
                points = [(row["epoch"], row[name]) for row in history if row.get(name) is not None]
                if points:
                    faint = {"linewidth": 1, "linestyle": ":"} if name.startswith("train") else {"marker": "o"}
                    axes.plot(*zip(*points, strict=True), color=color, markersize=3, **faint)
        if panel != "learning rate":
            parts = [Line2D([], [], color="#5f6b7a", marker="o", markersize=3, label="validation"),
                     Line2D([], [], color="#5f6b7a", linewidth=1, linestyle=":", label="train")]  # fmt: skip
            axes.legend(handles=parts, frameon=False, fontsize=8)
    handles = [Line2D([], [], color=color, linewidth=3, label=name) for color, name in zip(colors, runs, strict=True)]
    fig.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
    save_figure(path, fig)


def style_panel(axes: Any, panel: str, last: int) -> None:
    """The axes of a quantity over the epochs 1 to `last`."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    axes.set(xlabel="epoch", title=panel, xlim=(0.5, last + 0.5))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if panel == "accuracy":
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))


def confusion(
    path: Path,
    labels: np.ndarray,
    predicted: np.ndarray,
    classes: Sequence[str],
    *,
    title: str,
    notice: str = "",
) -> None:
    """How the images of each class (row) were classified (column), in percent of the row, as the PNG `path`."""
    from matplotlib.colors import PowerNorm

    k = len(classes)
    counts = count_confusion(labels, predicted, k)
    percent = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)

    side = min(max(2 + 0.46 * k, 4.4), 13)
    fig = figure(title, notice, side, side + 0.4)
    axes = fig.subplots()
    # With many classes a mistake is a small share of its row. The root makes it visible.
    axes.imshow(percent, cmap="Blues", norm=PowerNorm(1 if k <= 24 else 0.5, 0, 100), interpolation="nearest")
    for i, j in np.ndindex(k, k) if k <= 24 else ():  # more numbers than that could not be read
        color = "white" if percent[i, j] > 55 else "black" if percent[i, j] >= 0.5 else "#b4bec9"
        axes.text(j, i, f"{percent[i, j]:.0f}", ha="center", va="center", color=color, fontsize=9)
    size = 10 if k <= 24 else max(min(10, 72 * (side - 2) / k), 4)
    axes.set_xticks(range(k), classes, rotation=45 if k <= 24 else 90, ha="right" if k <= 24 else "center",
                    rotation_mode="anchor" if k <= 24 else "default", fontsize=size)  # fmt: skip
    axes.set_yticks(range(k), classes, fontsize=size)
    axes.set(xlabel="predicted class", ylabel="true class (a row adds up to 100%)")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    save_figure(path, fig)


def predictions(
    path: Path,
    images: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    *,
    title: str,
    notice: str = "",
    rows: int = 6,
    columns: int = 8,
) -> None:
    """Images with their classes and predictions, as the PNG `path`: the wrong ones first, the surest of them before.

    The last row is of images that were classified right, the first ones in their order, and where few are wrong there
    are more of these.

    Args:
        path: the file.
        images: uint8 `(N, H, W, C)`.
        labels: the true classes `(N,)`.
        probabilities: `(N, classes)`.
        classes: the names.
        title, notice: as for `curves`.
        rows, columns: how many images at most.
    """
    predicted, sure = probabilities.argmax(-1), probabilities.max(-1)
    wrong = np.flatnonzero(predicted != labels)
    wrong = wrong[np.argsort(-sure[wrong], kind="stable")]
    right = np.flatnonzero(predicted == labels)
    right = right[: max(columns, rows * columns - len(wrong))]
    chosen = np.concatenate([wrong[: rows * columns - len(right)], right])
    rows = -(-len(chosen) // columns)
    fig = figure(title, notice, 1.2 * columns, 0.5 + 1.5 * rows)
    grid = fig.subplots(rows, columns, squeeze=False).ravel()
    for axes, i in zip(grid, chosen, strict=False):
        show(axes, images[i])
        said = f"{cut(classes[predicted[i]])} {sure[i]:.0%}"
        if predicted[i] == labels[i]:
            axes.set_title(f"{said}\nright", fontsize=7, color="#2b8a3e")
        else:
            axes.set_title(f"{said}\nis {cut(classes[labels[i]])}", fontsize=7, color="#c92a2a")
    for axes in grid:
        axes.set_axis_off()
    save_figure(path, fig)


def filters(path: Path, weights: np.ndarray, *, title: str, notice: str = "") -> None:
    """The filters `(h, w, C, K)` of a convolution as small pictures, as the PNG `path`.

    Grey is 0. Filters of RGB images have their colours, those of other images the mean over the channels. Each is
    scaled by its largest weight.
    """
    h, w, channels, k = weights.shape
    pictures = np.moveaxis(weights, -1, 0)
    if channels != 3:
        pictures = pictures.mean(-1, keepdims=True)
    largest = abs(pictures).max((1, 2, 3), keepdims=True)
    pictures = 0.5 + 0.5 * pictures / np.where(largest > 0, largest, 1)
    columns = min(k, 8 if k <= 64 else 16)
    rows = -(-k // columns)
    fig = figure(title, notice, max(0.8 * columns, 4), 0.6 + 0.8 * rows * h / w)
    grid = fig.subplots(rows, columns, squeeze=False).ravel()
    for axes, picture in zip(grid, pictures, strict=False):
        show(axes, picture)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color("#b4bec9")  # or a white filter would not be seen
    for axes in grid[k:]:
        axes.set_axis_off()
    save_figure(path, fig)


def heatmaps(
    path: Path,
    images: np.ndarray,
    heat: np.ndarray,
    captions: Sequence[str],
    *,
    title: str,
    notice: str = "",
    columns: int = 5,
) -> None:
    """Images and beside each where in it a class was seen, as the PNG `path`.

    Args:
        path: the file.
        images: uint8 `(N, H, W, C)`, at least one.
        heat: `(N, h, w)`, from 0 on, of any size: `Classifier.heatmaps`. Each is scaled by its maximum.
        captions: a text above each image.
        title, notice: as for `curves`.
        columns: pairs in a row.
    """
    n, height, width = images.shape[:3]
    columns = min(columns, n)
    rows = -(-n // columns)
    fig = figure(title, notice, max(2.6 * columns, 4), 0.5 + rows * (0.35 + 1.2 * height / width))
    for i, part in enumerate(fig.subfigures(rows, columns, squeeze=False, wspace=0.06).ravel()[:n]):
        left, right = part.subplots(1, 2, gridspec_kw={"wspace": 0.02})
        part.suptitle(captions[i], fontsize=9)
        show(left, images[i])
        right.imshow(images[i].mean(-1), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        right.imshow(heat[i] / max(heat[i].max(), 1e-30), cmap="inferno", vmin=0, vmax=1, alpha=0.6,
                     interpolation="bilinear", extent=(-0.5, width - 0.5, height - 0.5, -0.5))  # fmt: skip
        left.set_axis_off()
        right.set_axis_off()
    save_figure(path, fig)


def show(axes: Any, image: np.ndarray) -> None:
    """An image `(H, W, C)`, in colour or grey, with its pixels as squares."""
    one = image if image.shape[-1] == 3 else image.mean(-1)
    axes.imshow(one, cmap="gray", vmin=0, vmax=255 if image.dtype == np.uint8 else 1, interpolation="nearest")


def cut(name: str, length: int = 14) -> str:
    """A name that is short enough to stand above a picture."""
    return name if len(name) <= length else f"{name[: length - 1]}…"


def figure(title: str, notice: str, width: float, height: float) -> Any:
    """An empty figure, `width` by `height` inches, with its title and notice."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fig = Figure((width, height), layout="constrained", dpi=150)
    FigureCanvasAgg(fig)
    fig.suptitle(title, fontsize=12)
    if notice:
        fig.supxlabel(notice, fontsize=6, color="#b3261e")
    return fig


def save_figure(path: Path, fig: Any) -> None:
    """Write a figure as a PNG, whole or not at all."""
    image = io.BytesIO()
    fig.savefig(image, format="png")
    write(path, image.getvalue())

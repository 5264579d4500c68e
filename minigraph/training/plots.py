"""Pictures of a run: loss and accuracy by epoch, and which class is taken for which. Drawn without a display."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .files import write
from .scoring import confusion as count_confusion

PARTS = {"train": ("#8794a3", "train (mean over the epoch)"), "val": ("#1f6fb4", "validation")}


def curves(
    path: Path,
    history: Sequence[Mapping[str, Any]],
    *,
    title: str,
    test: Mapping[str, float] | None = None,
    notice: str = "",
) -> None:
    """Loss and, where it was noted, accuracy of every epoch, as the PNG `path`.

    Args:
        path: the file.
        history: rows of a run, at least one: epoch, train_loss, train_accuracy, val_loss, val_accuracy. What is missing
            or None in the first row is not drawn. Those of training are means over the epoch, on augmented images.
        title: above the picture.
        test: loss and accuracy of the test, drawn as stars at the last epoch.
        notice: in small red print below the picture.
    """
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    epochs = [row["epoch"] for row in history]
    if not epochs:
        raise ValueError("curves: expected a history of at least one epoch")
    quantities = [quantity for quantity in ("loss", "accuracy") if f"train_{quantity}" in history[0]]
    fig = figure(title, notice, 4.5 * len(quantities), 4)
    for axes, quantity in zip(fig.subplots(1, len(quantities), squeeze=False)[0], quantities, strict=True):
        for part, (color, label) in PARTS.items():
            name = f"{part}_{quantity}"
            if history[0].get(name) is not None:
                axes.plot(epochs, [row[name] for row in history], "o-", color=color, markersize=4, label=label)
        if test is not None:
            axes.plot(epochs[-1], test[quantity], "*", color="#d9480f", markersize=12, label="test", clip_on=False)
        axes.set(xlabel="epoch", title=quantity, xlim=(0.5, epochs[-1] + 0.5))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        if quantity == "accuracy":
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    axes.legend(frameon=False)
    save_figure(path, fig)


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
    k = len(classes)
    counts = count_confusion(labels, predicted, k)
    percent = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)

    fig = figure(title, notice, 6.6, 7)
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

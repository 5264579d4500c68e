"""What a run needs to go on as if it had never stopped."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import serialize, tree
from ..optim import EMA, Lookahead
from ..serialize import CheckpointError, check_like
from ..tree import Tree
from .errors import Stop

CHECKPOINT, BEST = "checkpoint.safetensors", "best.safetensors"


def no_sums() -> dict[str, Any]:
    """The sums at the start of an epoch."""
    return {"examples": 0, "seconds": 0.0}


@dataclass
class Checkpoint:
    """A training at the end of a step.

    The order of the data, its augmentation and dropout need no place here, as long as they are drawn from the seed and
    the number of the step.

    Attributes:
        config: the settings of the run, as a dict of plain values.
        params, state: the model's.
        optimizer: the state of an optimizer of `minigraph.optim`; its entry "step" counts the steps taken.
        sums: the epoch so far: the number of examples, the seconds, and for each noted mean its sum over them.
        history: one row an epoch, as in metrics.jsonl.
        facts: what else each result of the run should say, for instance the name of the data set.
        model: what one has to know to use the parameters, as a dict of plain values: the model's name, the names of the
            classes, the normalisation of the images.
        average: the state of an `optim.EMA` or `optim.Lookahead` of {"params": params, "state": state}, or None.
    """

    config: dict[str, Any]
    params: Tree
    state: Tree
    optimizer: Tree
    sums: dict[str, Any] = field(default_factory=no_sums)
    history: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    average: Tree = None

    @property
    def step(self) -> int:
        """The steps taken."""
        return int(self.optimizer["step"])

    @property
    def weights(self) -> tuple[Tree, Tree]:
        """(params, state) to use: the averaged ones, if there are any."""
        if self.average is None:
            return self.params, self.state
        return self.average["weights"]["params"], self.average["weights"]["state"]

    def step_average(self, average: EMA | Lookahead) -> None:
        """One step of an average of the weights; `Lookahead` leads the weights back."""
        weights = {"params": self.params, "state": self.state}
        if isinstance(average, Lookahead):
            weights, self.average = average.step(weights, self.average)
            self.params, self.state = weights["params"], weights["state"]
        else:
            self.average = average.step(weights, self.average)

    def __repr__(self) -> str:
        size = sum(leaf.size for leaf in tree.leaves(self.params))
        return f"Checkpoint(step {self.step}, {len(self.history)} epochs finished, {size:,} parameters)"

    def save(self, path: Path) -> None:
        """Write it to `path`, whole or not at all. Raises CheckpointError."""
        content = {f.name: getattr(self, f.name) for f in fields(self)}
        serialize.save(path, content)

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Read what `save` wrote. Raises CheckpointError for a file that is missing, damaged or something else."""
        saved = serialize.load(path)
        names = {f.name for f in fields(cls)}
        if not isinstance(saved, dict) or not names <= saved.keys():
            raise CheckpointError(f"{path} is no checkpoint of this version: it is not what a training saves")
        checkpoint = cls(**{name: saved[name] for name in names})
        wrong = checkpoint._wrong_part()
        if wrong:
            raise CheckpointError(f"{path} is no checkpoint of this version: {wrong}")
        return checkpoint

    def like(self, other: Checkpoint) -> Checkpoint:
        """This checkpoint, with its arrays in the order of those of `other`, which the running code has made.

        Raises CheckpointError, naming the first array that differs in its place, shape or dtype, or what differs in
        `model`.
        """
        for name in sorted(self.model.keys() | other.model.keys()):
            saved, running = self.model.get(name), other.model.get(name)
            if saved != running:
                raise CheckpointError(f"the checkpoint is of another model: {name} was {saved} and is {running} now")
        parts = ("params", "state", "optimizer", "average")
        return replace(self, **{p: check_like(getattr(other, p), getattr(self, p), p) for p in parts})

    def _wrong_part(self) -> str | None:
        """What a file holds that no training has saved: None if all is well."""
        if not isinstance(self.config, dict):
            return "config is not a dict"
        if not isinstance(self.facts, dict):
            return "facts is not a dict"
        if not isinstance(self.model, dict):
            return "model is not a dict"
        if not isinstance(self.optimizer, dict) or "step" not in self.optimizer:
            return "optimizer has no step"
        if self.average is not None and not (
            isinstance(self.average, dict)
            and self.average.keys() == {"step", "weights"}
            and isinstance(self.average["weights"], dict)
            and self.average["weights"].keys() == {"params", "state"}
        ):
            return "average is no average of params and state"
        if not _has_numbers(self.sums, examples=int, seconds=float):
            return "sums are not numbers"
        if not isinstance(self.history, list):
            return "history is not a list"
        for row in self.history:
            if not _has_numbers(row, epoch=int, step=int, seconds=float) or row.keys() != self.history[0].keys():
                return "a row of history is not a row of numbers"
            if row["seconds"] <= 0:
                return "a row of history took no time"
        steps = [0, *(row["step"] for row in self.history)]
        if [row["epoch"] for row in self.history] != [*range(1, len(steps))] or steps != sorted(steps):
            return "the rows of history are not in order"
        arrays = filter(tree.is_array, tree.leaves((self.params, self.state, self.average)))
        if not all(np.isfinite(array).all() for array in arrays):
            return "the parameters are not finite"
        return None


def _has_numbers(row: Any, **types: type) -> bool:
    """Whether `row` is a dict of finite numbers (or None) by name, with those of `types` among them."""
    return (
        isinstance(row, dict)
        and all(value is None or (type(value) in (int, float) and abs(value) < 1e300) for value in row.values())
        and all(type(row.get(name)) is kind for name, kind in types.items())
    )


def to_use(run: str | os.PathLike[str]) -> Path:
    """The file of the checkpoint whose weights are to be used.

    `run` is such a file, or the directory of a run. There it is the last checkpoint, or the best one where the run was
    to keep that (`--keep best`). Raises CheckpointError where the last one cannot be read.
    """
    path = Path(os.path.expanduser(run))
    if not path.is_dir():
        return path
    last, best = path / CHECKPOINT, path / BEST
    return best if best.exists() and Checkpoint.load(last).config.get("keep") == "best" else last


def warm_start(run: str | os.PathLike[str], params: Tree, state: Tree) -> tuple[Tree, Tree]:
    """`params` and `state` with the arrays of another run, wherever it has one of the same path, shape and dtype.

    Arrays that the other run has in no such form keep the values that they have here, for instance a head for other
    classes. Their paths are printed. `run` is a directory or the file of a checkpoint, as `to_use` takes it. Raises
    CheckpointError if there is no checkpoint, or if no array of it fits.
    """
    path = to_use(run)
    saved = dict(tree.items(Checkpoint.load(path).weights))
    kept, new = [], []
    for place, leaf in tree.items((params, state)):
        found: Any = saved.get(place)
        fits = tree.is_array(found) and (found.shape, found.dtype) == (leaf.shape, leaf.dtype)
        kept.append(np.array(found) if fits else leaf)
        new += [] if fits else [place.partition(".")[2]]
    if len(new) == len(kept):
        raise CheckpointError(f"{path} is of another model: none of its arrays fits")
    if new:
        print(f"{path} has nothing that fits {', '.join(new)}, which begin anew", flush=True)
    return tree.unflatten((params, state), kept)


def freeze(patterns: str | None, params: Tree) -> tuple[Tree, Tree]:
    """The parameters that are not trained, by patterns with commas between, and the others; see `tree.partition`.

    Raises Stop for a pattern that picks none, or if nothing is left.
    """
    try:
        frozen, trained = tree.partition(params, *(p.strip() for p in (patterns or "").split(",") if p.strip()))
    except ValueError as error:
        raise Stop(f"--freeze: {error}") from error
    if not tree.leaves(trained):
        raise Stop(f"--freeze {patterns} leaves nothing to train")
    return frozen, trained

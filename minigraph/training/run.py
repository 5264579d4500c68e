"""One training run: its directory, its checkpoint, its progress, and how it ends early."""

from __future__ import annotations

import itertools
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .. import tree
from ..serialize import CheckpointError, remove_leftovers
from .checkpoint import BEST, CHECKPOINT, Checkpoint, no_sums
from .errors import Stop
from .files import LOCK, locked, to_json, write
from .interruption import Interruption
from .settings import Settings, plain

CONFIG, METRICS = "config.json", "metrics.jsonl"


class Batches(Protocol):
    """What a run takes its batches from: `data.Loader`, `data.Windows`, or a loader of one's own."""

    def __len__(self) -> int:
        """Batches in an epoch."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The batches (x, y) of an epoch from number `start` on, the same ones whenever it is asked for them."""

    def examples_in(self, steps: int) -> int:
        """How many examples the first `steps` batches hold, epoch after epoch; `len(y)` is those of one batch."""


class Run:
    """A run in a directory of its own, from the first step to the last, with any number of stops between.

        with Run("runs/first") as run:
            now = run.start(config, params, state, opt.init(params))
            for batches in run.epochs(train_set, config.epochs):
                for x, y in batches:
                    (loss, state), grads = value_and_grad(now.params, x, y)
                    now.params, now.optimizer = opt.step(now.params, grads, now.optimizer)
                    now.state = state
                    run.note(len(y), loss=loss)
                run.end_epoch()

    While it is entered it holds the directory for this process alone, and Ctrl-C, SIGTERM or SIGHUP end the loop after
    the step that is going on, with a checkpoint. A second Ctrl-C stops at once. A run that goes on from its checkpoint
    (`resume`) ends in the same bits as one that was never stopped, if the steps draw their random numbers from the seed
    and `now.step`.

    Args:
        directory: where the results go. It is created if it does not exist, and has to be empty, with one exception:
            files of a run that was killed before its first checkpoint. None means a new `runs/<time>`.
        resume: go on from the checkpoint in `directory`.

    Raises, when it is entered:
        Stop: the directory is in use, by a finished run or by a running one.
        CheckpointError: there is nothing to resume.
    """

    def __init__(self, directory: str | os.PathLike[str] | None = None, *, resume: bool = False) -> None:
        self.directory = Path(os.path.expanduser(directory or Path("runs") / time.strftime("%Y%m%d-%H%M%S")))
        self.saved: Checkpoint | None = None  # what a resumed run goes on from
        self._any_name = directory is None
        self._resume = resume
        self._now: Checkpoint | None = None
        self._lr: float | None = None
        self._epochs = 0
        self._bar: Any = None
        self._clock = 0.0
        self._interruption = Interruption()
        self._stack = ExitStack()

    def __repr__(self) -> str:
        return f"Run({str(self.directory)!r}, {self._now or 'not started'})"

    # ------------------------------------------------------------------------- from start to end

    def __enter__(self) -> Run:
        with ExitStack() as stack:
            if self._resume:
                if not self._path(CHECKPOINT).exists():
                    anew = f"; to start anew there, give --out {self.directory}" if self.directory.is_dir() else ""
                    raise CheckpointError(f"{self._path(CHECKPOINT)}: there is no such checkpoint{anew}")
            elif self._make_directory():
                stack.callback(self._remove_if_empty)
            died = self._path(LOCK).exists()  # a run that ends removes its lock, unless it is killed
            stack.enter_context(locked(self.directory))
            remove_leftovers(self.directory)
            if self._resume:
                self.saved = Checkpoint.load(self._path(CHECKPOINT))
            else:
                self._check_empty(died)
                stack.callback(self._remove_without_checkpoint)
            stack.enter_context(self._interruption)
            stack.callback(self._close_bar)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        self._stack.close()
        if kind is None:
            self._interruption.check()  # a signal that the loop noted and did not live to see

    def start(
        self,
        config: Settings,
        params: Any,
        state: Any,
        optimizer: Any,
        *,
        model: dict[str, Any] | None = None,
        average: Any = None,
        **facts: Any,
    ) -> Checkpoint:
        """The checkpoint to go on from: one of these initial values or, in a resumed run, the one that was saved.

        The loop reads and sets its `params`, `state`, `optimizer` and, if weights are averaged, `average`. `model` is
        what one has to know to use the parameters, and is kept beside them. `facts` become part of every result of the
        run. Both are plain values.

        Raises CheckpointError if the saved checkpoint is of another model, and Stop or CheckpointError if the files
        cannot be written.
        """
        fresh = Checkpoint(plain(config), params, state, optimizer, facts=facts, model=model or {}, average=average)
        self._lr = getattr(config, "lr", None)
        if self.saved is None:
            self.write(CONFIG, {**fresh.config, **facts})
            self._now = fresh
            self.save()  # now, since a full disk then shows at once, and a run killed in its first epoch can be resumed
        else:
            self._now = replace(self.saved.like(fresh), config=fresh.config, facts=facts)
        return self._now

    @property
    def now(self) -> Checkpoint:
        """The training as it is now."""
        if self._now is None:
            raise RuntimeError("Run: start has to be called first")
        return self._now

    def epochs(self, loader: Batches, n: float) -> Iterator[Iterator[tuple[np.ndarray, np.ndarray]]]:
        """The batches of each epoch that is still to do, of `n` in all. On a terminal there is a progress bar.

        A fraction at the end of `n` is a shorter last epoch; there are `ceil(n * len(loader))` steps. Every batch ends
        with `note`, every epoch with `end_epoch`. Raises CheckpointError if the position of a resumed run does not fit
        the loader.
        """
        steps = math.ceil(n * len(loader))
        self._epochs = math.ceil(n)
        self._check_position(loader, steps)
        if self.now.step == steps and not self.now.sums["examples"]:
            print(f"{self.directory}: all {n:g} epochs are done already", flush=True)
        self._interruption.waiting = True
        self._open_bar(loader, steps)
        try:
            for epoch in range(len(self.now.history), self._epochs):
                yield self._batches(loader, epoch, min(steps - epoch * len(loader), len(loader)))
                if len(self.now.history) != epoch + 1:
                    raise RuntimeError(f"Run.epochs: end_epoch was not called once at the end of epoch {epoch + 1}")
        finally:
            self._interruption.waiting = False
            self._close_bar()
        self._interruption.check()  # one that came after the last epoch's end

    def note(self, examples: int, **means: Any) -> None:
        """End a step on so many examples; `means` over them (loss=, accuracy=) become means over the epoch.

        Raises Stop if one of them or a parameter is not finite; the last good checkpoint stays as it is. Raises
        Interrupted after a signal, once a checkpoint is written.
        """
        sums = self.now.sums
        values = {name: float(value) for name, value in means.items()}
        self._check_finite(values)
        for name, value in values.items():
            sums[name] = sums.get(name, 0.0) + value * examples
        sums["examples"] += examples
        clock = time.perf_counter()
        sums["seconds"] += clock - self._clock
        self._clock = clock
        if self._interruption.number is not None:
            self.save()
            self._interruption.check()
        if self._bar is not None:
            epoch = {name: sums[name] / sums["examples"] for name in values}
            self._bar.set_postfix({name: _format(name, value) for name, value in epoch.items()}, refresh=False)
            self._bar.update(examples)

    def end_epoch(self, *, keep_best: str | None = None, **more: float | None) -> None:
        """End an epoch: its row, with `more` (val_loss=, val_accuracy=), goes to the files and, as a line, to the user.

        With `keep_best="val_accuracy"` the checkpoint of the epoch in which that was highest is kept as
        `best.safetensors`; the earliest of several.

        Raises Stop, before anything is written, if a value is not finite, and Interrupted as `note`.
        """
        now = self.now
        if not now.sums["examples"]:
            raise RuntimeError("Run.end_epoch: no examples were noted since the last epoch ended")
        sums = dict(now.sums)
        examples, seconds = sums.pop("examples"), sums.pop("seconds")
        self._check_finite(more)
        row = {
            "epoch": len(now.history) + 1,
            "step": now.step,
            **{f"train_{name}": total / examples for name, total in sums.items()},
            **more,
            "seconds": seconds,
            "examples_per_second": examples / seconds,
        }
        now.history.append(row)
        now.sums = no_sums()
        if keep_best is not None and all(row[keep_best] > r[keep_best] for r in now.history[:-1]):
            now.save(self._path(BEST))  # before the other: after a kill between them the epoch is trained again
        self.save()
        write(self._path(METRICS), "".join(json.dumps({**now.facts, **r}) + "\n" for r in now.history).encode())
        self._print(describe(row, self._epochs))
        self._interruption.check()

    def save(self) -> None:
        """Write the checkpoint."""
        self.now.save(self._path(CHECKPOINT))

    def best(self) -> Checkpoint:
        """The checkpoint that `end_epoch(keep_best=...)` has kept. Raises CheckpointError."""
        return Checkpoint.load(self._path(BEST)).like(self.now)

    def write(self, name: str, value: Any) -> None:
        """Write `value`, plain values in dicts and lists, as the file `name` (JSON) of the run."""
        write(self._path(name), to_json(value))

    @property
    def resumable(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return self._path(CHECKPOINT).exists()

    # ------------------------------------------------------------------------------- the pieces

    def _path(self, name: str) -> Path:
        return self.directory / name

    def _make_directory(self) -> bool:
        """Whether the directory is new. A directory that nobody named gets the first name that is free."""
        name = self.directory.name
        for i in range(2, 1000):
            try:
                self.directory.mkdir(parents=True)
                return True
            except FileExistsError:
                if not self._any_name:
                    if self.directory.is_dir():
                        return False
                    raise Stop(f"{self.directory} is a file, expected a directory for the results") from None
                self.directory = self.directory.with_name(f"{name}-{i}")
        raise Stop(f"{self.directory}: a thousand runs of this second are there already")

    def _check_empty(self, died: bool) -> None:
        """Raise Stop if the directory holds more than what a run leaves that `died` before its first checkpoint."""
        found = {path.name for path in self.directory.iterdir()}
        if not found <= {LOCK, *([CONFIG] if died else [])}:
            raise Stop(
                f"{self.directory} is not empty and nothing in it is overwritten: "
                f"give another --out, or --resume {self.directory}"
            )

    def _remove_without_checkpoint(self) -> None:
        if not self.resumable:
            with suppress(OSError):
                self._path(CONFIG).unlink()

    def _remove_if_empty(self) -> None:
        with suppress(OSError):
            self.directory.rmdir()

    def _check_position(self, loader: Batches, steps: int) -> None:
        """Raise CheckpointError unless the step lies in the epoch after `history`, where `sums` ends."""
        done, step, examples = len(self.now.history), self.now.step, self.now.sums["examples"]
        first = step - min(done * len(loader), steps)
        expected = loader.examples_in(step) - loader.examples_in(step - first)
        if step > steps or done > self._epochs or not 0 <= first <= len(loader) or examples != expected:
            raise CheckpointError(
                f"{self._path(CHECKPOINT)}: step {step}, {examples} examples into the epoch, does not follow from "
                f"{done} finished epochs of {len(loader)} steps (of {steps} steps in all)"
            )

    def _batches(self, loader: Batches, epoch: int, steps: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The batches that are left of an epoch of so many steps."""
        sums = self.now.sums
        if self._bar is not None:
            self._bar.set_description(f"epoch {epoch + 1}/{self._epochs}", refresh=False)
        self._clock = time.perf_counter()
        done = self.now.step - epoch * len(loader)
        for x, y in itertools.islice(loader.epoch(epoch, done), steps - done):
            step = self.now.step
            noted = sums["examples"]
            yield x, y
            if self.now.step != step + 1 or sums["examples"] != noted + len(y):
                raise RuntimeError(
                    f"Run.epochs: a batch of {len(y)} examples should end with one step of the optimizer and "
                    f"run.note({len(y)}, ...); now.step went from {step} to {self.now.step}, "
                    f"the examples from {noted} to {sums['examples']}"
                )

    def _open_bar(self, loader: Batches, steps: int) -> None:
        """A bar over the whole run, which shows the time that is left of all of it."""
        if sys.stderr.isatty():
            from tqdm import tqdm

            examples, done = loader.examples_in(steps), loader.examples_in(self.now.step)
            self._bar = tqdm(total=examples, initial=done, unit=" examples", leave=False, dynamic_ncols=True)

    def _close_bar(self) -> None:
        if self._bar is not None:
            with suppress(OSError):  # the terminal may be gone
                self._bar.close()
            self._bar = None

    def _print(self, line: str) -> None:
        """A line above the bar."""
        if self._bar is not None:
            self._bar.clear()
        print(line, flush=True)
        if self._bar is not None:
            self._bar.refresh()

    def _check_finite(self, values: dict[str, Any]) -> None:
        """Raise Stop before values or parameters that are NaN or infinite get into a checkpoint."""
        now = self.now
        wrong = [name for name, value in values.items() if value is not None and not math.isfinite(value)]
        if wrong:
            what = f"the {wrong[0]} is {values[wrong[0]]}".replace("_", " ")
        elif not all(np.isfinite(leaf).all() for leaf in tree.leaves((now.params, now.state))):
            what = "the parameters are not finite"
        else:
            return
        hint = "" if self._lr is None else f"; try a smaller --lr than {self._lr:g}"
        raise Stop(
            f"training diverged: {what} at step {now.step}{hint} (the last good checkpoint is kept in {self.directory})"
        )


def describe(row: dict[str, Any], epochs: int) -> str:
    """A row of the history as one line for the user."""
    groups: dict[str, list[str]] = {"train": [], "val": [], "": []}
    for name, value in row.items():
        if value is not None and name not in ("epoch", "step", "seconds", "examples_per_second"):
            group, _, rest = name.partition("_")
            group, rest = (group, rest) if group in groups and rest else ("", name)
            groups[group].append(f"{rest} {_format(name, value)}")
    parts = [" ".join([group, *texts]).strip() for group, texts in groups.items() if texts]
    return "   ".join([f"epoch {row['epoch']:2}/{epochs}", *parts, f"{row['examples_per_second']:.0f} examples/s"])


def _format(name: str, value: float) -> str:
    if name.endswith("accuracy"):
        return f"{value:.1%}"
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.001 else f"{value:.1e}"

"""Batches of windows of a text, each with the characters that come next."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .dataset import DataError, check_int


class Windows:
    """Batches `(x, y)`, both int64 `(B, length)`: windows of a text, and the same windows one place further on.

    y holds what a language model is to predict: `y[i, t]` follows `x[i, :t + 1]`. An epoch has as many windows as fit
    side by side into the text; the last batch may be smaller. By default they lie side by side, from the start of the
    text, and what is left at its end is not used: for evaluation.

    Each pass, `for x, y in windows`, is a new epoch. As in `Loader`, a batch depends on nothing but `(seed, epoch,
    batch)`, so that `epoch(e)` repeats epoch e, and training continues at any position as if it had not stopped.

    Args:
        codes: integers `(N,)` from 0 on, as `encode` makes them, at least length + 1.
        length: of a window.
        batch_size: windows in a batch.
        shuffle: let every window begin at a random place: for training.
        seed: of these places.

    Raises DataError when the codes are of another kind or too few, or for another number.
    """

    def __init__(
        self, codes: np.ndarray, length: int, batch_size: int, *, shuffle: bool = False, seed: int = 0
    ) -> None:
        codes = np.asarray(codes)
        check_int("Windows", "length", length, 1)
        check_int("Windows", "batch_size", batch_size, 1)
        check_int("Windows", "seed", seed, 0)
        if codes.ndim != 1 or codes.dtype.kind not in "iu":
            raise DataError(f"Windows: expected codes (N,) of integers, got {codes.dtype} {codes.shape}")
        if len(codes) <= length:
            raise DataError(f"Windows: {len(codes)} characters are too few for a window of {length} and the next one")
        if codes.min() < 0:
            raise DataError(f"Windows: expected codes from 0 on, got {codes.min()}")
        self.codes = codes.astype(np.int64, copy=False)
        self.length = length
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self._n = (len(codes) - 1) // length
        self._passes = 0  # how many `for` loops have begun

    def __repr__(self) -> str:
        how = ", shuffle" if self.shuffle else ""
        return (
            f"Windows({len(self.codes):,} characters, {len(self):,} batches of {self.batch_size:,} windows of "
            f"{self.length:,}{how})"
        )

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-self._n // self.batch_size)

    def examples_in(self, steps: int) -> int:
        """How many windows the first `steps` batches hold, epoch after epoch."""
        epochs, rest = divmod(steps, len(self))
        return epochs * self._n + min(rest * self.batch_size, self._n)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        self._passes += 1
        return self.epoch(self._passes - 1)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The batches `start`, `start + 1`, ... of an epoch (both counted from 0), to repeat it or to resume in it."""
        check_int("Windows", "epoch", epoch, 0)
        check_int("Windows", "start", start, 0, len(self))
        return self._batches(epoch, start)

    def _batches(self, epoch: int, start: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        first = self.length * np.arange(self._n)
        if self.shuffle:
            first = np.random.default_rng([self.seed, epoch]).integers(0, len(self.codes) - self.length, self._n)
        for b in range(start, len(self)):
            chosen = first[b * self.batch_size : (b + 1) * self.batch_size]
            places = chosen[:, None] + np.arange(self.length + 1)  # (B, length + 1)
            windows = self.codes[places]
            yield windows[:, :-1], windows[:, 1:]

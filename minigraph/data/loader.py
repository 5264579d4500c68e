"""Batches of images: shuffled, cropped, flipped and normalised, a whole batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .cifar import MEAN, STD
from .dataset import DataError, as_examples, check_int


class Loader:
    """Batches `(x, y)`: x float32 `(B, H, W, C)`, y int64 `(B,)`; the last batch may be smaller.

    x is `(images / 255 - mean) / std`. `shuffle` orders the examples anew each epoch; `padding`
    reflects that many pixels at each border and crops a random `(H, W)` window; `flip` mirrors
    an image left to right with probability 1/2. The defaults do none of these: for evaluation.

    Each pass, `for x, y in loader`, is a new epoch: the first is epoch 0, the next epoch 1, with an
    order, crops and flips of its own. A batch depends on nothing but `(seed, epoch, batch)`, so
    `epoch(e)` repeats epoch e exactly, and training continues at any position as if it had not
    stopped.

    Args:
        images: uint8 `(N, H, W, C)`, at least one.
        labels: N integers from 0 on, as an array `(N,)` or `(N, 1)` or a list.
        batch_size: examples in a batch. It may be larger than N: then there is one batch.
        mean, std: of each channel, for values from 0 to 1; by default those of CIFAR-10.
        shuffle, padding, flip, seed: see above.

    Raises DataError, saying what to do, when images or labels are of another kind or an argument does not fit them.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        batch_size: int,
        *,
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
        shuffle: bool = False,
        padding: int = 0,
        flip: bool = False,
        seed: int = 0,
    ) -> None:
        images, labels = as_examples(images, labels, "Loader")
        if images.size == 0:
            raise DataError(f"Loader: expected at least one image, got {images.dtype} {images.shape}")
        _, height, width, channels = images.shape
        check_int("Loader", "batch_size", batch_size, 1)
        check_int("Loader", "padding", padding, 0, min(height, width) - 1)  # what can be reflected
        check_int("Loader", "seed", seed, 0)
        m, s = np.asarray(mean, np.float32), np.asarray(std, np.float32)
        if not (m.shape == s.shape == (channels,) and np.isfinite([m, s]).all() and (s > 0).all()):
            first = images.shape[1] in (1, 3, 4) and channels not in (1, 3, 4)
            hint = "; if the channels come first: images.transpose(0, 2, 3, 1)" if first else ""
            raise DataError(
                f"Loader: expected a mean and a std > 0 for each of {channels} channels, got {mean} and {std}{hint}"
            )
        self.images = np.ascontiguousarray(images)
        self.labels = labels
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.padding = padding
        self.flip = flip
        self.seed = seed
        self._passes = 0  # how many `for` loops have begun
        # (v / 255 - mean) / std = v * scale + shift, as rows of H*W*C values: NumPy is slow at
        # broadcasting an axis as short as the channels.
        self._scale = np.tile(1 / (255 * s), height * width)
        self._shift = np.tile(-m / s, height * width)

    def __repr__(self) -> str:
        n, *size = self.images.shape
        parts = [
            f"{n:,} images of {'x'.join(map(str, size))}",
            f"{len(self):,} batches of {self.batch_size:,}",
            *["shuffle"] * self.shuffle,
            *[f"padding={self.padding}"] * bool(self.padding),
            *["flip"] * self.flip,
        ]
        return f"Loader({', '.join(parts)})"

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-len(self.images) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        self._passes += 1
        return self.epoch(self._passes - 1)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The batches `start`, `start + 1`, ... of an epoch (both counted from 0), to repeat it or to resume in it."""
        check_int("Loader", "epoch", epoch, 0)
        check_int("Loader", "start", start, 0, len(self))
        return self._batches(epoch, start)

    def _batches(self, epoch: int, start: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        n = len(self.images)
        order = self._rng(epoch, 0).permutation(n) if self.shuffle else np.arange(n)
        for b in range(start, len(self)):
            chosen = order[b * self.batch_size : (b + 1) * self.batch_size]
            pixels = self._augment(self.images[chosen], self._rng(epoch, 1 + b))
            x = pixels.reshape(len(pixels), -1).astype(np.float32)  # (B, H*W*C)
            x *= self._scale
            x += self._shift
            yield x.reshape(pixels.shape), self.labels[chosen]

    def _rng(self, epoch: int, stream: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, epoch, stream])

    def _augment(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Crop and flip uint8 `(B, H, W, C)`, C-contiguous, which may be overwritten."""
        n, height, width, channels = images.shape
        # One item a pixel, so that copies move pixels and not single bytes.
        pixels = images.view(f"V{channels}")[..., 0]  # (B, H, W)
        if self.padding:
            padded = _reflect(pixels, self.padding)  # (B, H+2p, W+2p)
            windows = sliding_window_view(padded, (height, width), axis=(1, 2))
            top, left = rng.integers(0, 2 * self.padding + 1, (2, n))
            pixels = windows[np.arange(n), top, left]  # (B, 2p+1, 2p+1, H, W) -> (B, H, W)
        if self.flip:
            chosen = rng.random(n) < 0.5
            pixels[chosen] = pixels[chosen][:, :, ::-1]
        return pixels[..., None].view(np.uint8)


def _reflect(x: np.ndarray, p: int) -> np.ndarray:
    """`np.pad(x, ((0, 0), (p, p), (p, p)), "reflect")`, which is several times slower."""
    n, height, width = x.shape
    out = np.empty((n, height + 2 * p, width + 2 * p), x.dtype)
    out[:, p:-p, p:-p] = x
    out[:, p:-p, :p] = x[:, :, p:0:-1]
    out[:, p:-p, -p:] = x[:, :, -2 : -p - 2 : -1]
    out[:, :p] = out[:, 2 * p : p : -1]
    out[:, -p:] = out[:, -p - 2 : -2 * p - 2 : -1]
    return out

"""Batches of images: shuffled, augmented and normalised, a whole batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from . import augment
from .cifar import MEAN, STD
from .dataset import DataError, as_examples, check_int

# What is off by default, in the order in which it is done.
OPTIONS = ("shuffle", "padding", "flip", "brightness", "contrast", "cutout", "resolution", "drop_last")


class Loader:
    """Batches `(x, y)`: x float32 `(B, H, W, C)`, y int64 `(B,)`; the last batch may be smaller.

    x is `(images / 255 - mean) / std`. The images are shuffled and changed as the arguments say, in
    the order in which they are listed. The defaults do none of this: for evaluation.

    Each pass, `for x, y in loader`, is a new epoch: the first is epoch 0, the next epoch 1, with an
    order and random changes of its own. A batch depends on nothing but `(seed, epoch, batch)`, so
    `epoch(e)` repeats epoch e exactly, and training continues at any position as if it had not
    stopped.

    Args:
        images: uint8 `(N, H, W, C)`, at least one.
        labels: N integers from 0 on, as an array `(N,)` or `(N, 1)` or a list.
        batch_size: examples in a batch. It may be larger than N: then there is one batch.
        mean, std: of each channel, for values from 0 to 1; by default those of CIFAR-10.
        shuffle: order the examples anew each epoch.
        padding: reflect so many pixels at each border, and crop a random `(H, W)` window.
        flip: True mirrors an image left to right with probability 1/2. "alternate" does so in epoch
            0, and turns every image over in each later epoch, so that any two epochs in a row show
            it from both sides (K. Jordan, arXiv 2404.00498).
        brightness, contrast: x of an image becomes `(x + b) * c`, with b uniform in [-brightness,
            brightness] and c in [1 - contrast, 1 + contrast]. This is done to normalised values, as
            in the CIFAR-10 speedrun of hiverge, which has 0.14 and 0.13.
        cutout: fill a square of so many pixels a side, at a random place within the image, with the
            mean colour, which is 0 in x (arXiv 1708.04552).
        resolution: the height and width that images are resized to, by bilinear interpolation
            without antialiasing. A list or tuple holds the resolution of each epoch, the last one
            that of all later epochs too (progressive resizing). None leaves images as they are.
        drop_last: leave out the last batch of an epoch where it would be smaller than the others.
        seed: of all random numbers.

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
        flip: bool | Literal["alternate"] = False,
        brightness: float = 0.0,
        contrast: float = 0.0,
        cutout: int = 0,
        resolution: int | Sequence[int] | None = None,
        drop_last: bool = False,
        seed: int = 0,
    ) -> None:
        images, labels = as_examples(images, labels, "Loader")
        if images.size == 0:
            raise DataError(f"Loader: expected at least one image, got {images.dtype} {images.shape}")
        _, height, width, channels = images.shape
        check_int("Loader", "batch_size", batch_size, 1)
        check_int("Loader", "padding", padding, 0, min(height, width) - 1)  # what can be reflected
        check_int("Loader", "cutout", cutout, 0, min(height, width))
        check_int("Loader", "seed", seed, 0)
        if not (isinstance(flip, bool | np.bool_) or flip == "alternate"):
            raise DataError(f'Loader: flip is {flip!r}, expected True, False or "alternate"')
        for name, value, end in (("brightness", brightness, np.inf), ("contrast", contrast, 1)):
            if not isinstance(value, float | int | np.floating) or not 0 <= value < end:
                raise DataError(f"Loader: {name} is {value!r}, expected a number from 0 on, below {end}")
        sizes = tuple(resolution) if isinstance(resolution, tuple | list) and resolution else (resolution,)
        for size in sizes if resolution is not None else ():
            check_int("Loader", "resolution", size, 1)
        if drop_last and batch_size > len(images):
            raise DataError(f"Loader: drop_last leaves no batch of {batch_size} of {len(images)} images")
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
        self.brightness = brightness
        self.contrast = contrast
        self.cutout = cutout
        self.resolution = resolution
        self.drop_last = drop_last
        self.seed = seed
        self._sizes = sizes
        self._passes = 0  # how many `for` loops have begun
        # For "alternate": a stream of its own, which the key keeps apart from those of the batches.
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))
        self._mirrored_first = rng.random(len(images)) < 0.5
        # (v / 255 - mean) / std = v * scale + shift, as rows of H*W*C values: NumPy is slow at
        # broadcasting an axis as short as the channels.
        self._scale = np.tile(1 / (255 * s), height * width)
        self._shift = np.tile(-m / s, height * width)

    def __repr__(self) -> str:
        n, *size = self.images.shape
        parts = [f"{n:,} images of {'x'.join(map(str, size))}", f"{len(self):,} batches of {self.batch_size:,}"]
        for name in OPTIONS:
            value = getattr(self, name)
            if value:
                parts.append(name if value is True else f"{name}={value!r}")
        return f"Loader({', '.join(parts)})"

    def __len__(self) -> int:
        """Batches in an epoch."""
        n, rest = divmod(len(self.images), self.batch_size)
        return n if self.drop_last or not rest else n + 1

    def examples_in(self, steps: int) -> int:
        """How many images the first `steps` batches hold, epoch after epoch."""
        epochs, rest = divmod(steps, len(self))
        an_epoch = min(len(self) * self.batch_size, len(self.images))
        return epochs * an_epoch + min(rest * self.batch_size, an_epoch)

    def shape(self, epoch: int) -> tuple[int, int, int]:
        """The (H, W, C) of the images of an epoch."""
        _, height, width, channels = self.images.shape
        size = self._sizes[min(epoch, len(self._sizes) - 1)]
        return (height, width, channels) if size is None else (size, size, channels)

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
            yield self._images(chosen, epoch, self._rng(epoch, 1 + b)), self.labels[chosen]

    def _rng(self, epoch: int, stream: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, epoch, stream])

    def _images(self, chosen: np.ndarray, epoch: int, rng: np.random.Generator) -> np.ndarray:
        """Examples `chosen` `(B,)` as x, float32 `(B, H, W, C)`."""
        images = self.images[chosen]
        n, height, width, channels = images.shape
        # One item a pixel, so that copies move pixels and not single bytes.
        pixels = images.view(f"V{channels}")[..., 0]  # (B, H, W)
        if self.padding:
            corner = rng.integers(0, 2 * self.padding + 1, (2, n))
            pixels = augment.crop(augment.reflect_pad(pixels, self.padding), height, width, *corner)
        if self.flip:
            if self.flip == "alternate":
                mirrored = self._mirrored_first[chosen] ^ (epoch % 2 == 1)
            else:
                mirrored = rng.random(n) < 0.5
            pixels[mirrored] = pixels[mirrored][:, :, ::-1]

        rows = pixels[..., None].view(np.uint8).reshape(n, -1).astype(np.float32)  # (B, H*W*C)
        rows *= self._scale
        rows += self._shift
        if self.brightness:
            rows += rng.uniform(-self.brightness, self.brightness, (n, 1)).astype(np.float32)
        if self.contrast:
            rows *= rng.uniform(1 - self.contrast, 1 + self.contrast, (n, 1)).astype(np.float32)

        x = rows.reshape(images.shape)
        if self.cutout:
            corner = rng.integers(0, [[height - self.cutout + 1], [width - self.cutout + 1]], (2, n))
            augment.cutout(x, self.cutout, *corner)
        size, _, _ = self.shape(epoch)
        return x if x.shape[1:] == self.shape(epoch) else augment.resize(x, size)

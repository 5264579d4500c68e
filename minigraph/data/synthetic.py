"""A stand-in for CIFAR-10, drawn by code: ten textured shapes over noisy backgrounds.

Position, size, angle, colours and textures say nothing about the class, only the outline does: a
linear model stays little above chance, and a small convolutional net does well.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .dataset import DataError, Dataset

_SIZE = 32
_CHUNK = 250  # images drawn at a time: what they need stays in cache

# Each shape is a function of (u, v) that is negative inside the outline and grows by about 1 a unit
# of distance; the outline fills the square -1..1.
_Shape = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _disc(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.hypot(u, v) - 0.85


def _square(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.maximum(abs(u), abs(v)) - 0.75


def _triangle(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.maximum(0.866 * abs(u) + 0.5 * v, -v) - 0.5


def _ring(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return abs(np.hypot(u, v) - 0.7) - 0.2


def _frame(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return abs(np.maximum(abs(u), abs(v)) - 0.62) - 0.18


def _cross(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    u, v = abs(u), abs(v)
    return np.maximum(np.minimum(u, v) - 0.25, np.maximum(u, v) - 0.95)


def _star(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.hypot(u, v) - 0.65 - 0.3 * np.cos(5 * np.arctan2(v, u))


def _crescent(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.maximum(np.hypot(u, v) - 0.9, 0.75 - np.hypot(u - 0.5, v))


def _bars(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Two parallel bars."""
    return np.maximum(abs(abs(u) - 0.5) - 0.22, abs(v) - 0.85)


def _hourglass(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.maximum(0.8 * (abs(u) - abs(v)) - 0.05, abs(v) - 0.8)


_SHAPES: dict[str, _Shape] = {
    "disc": _disc, "square": _square, "triangle": _triangle, "ring": _ring, "frame": _frame,
    "cross": _cross, "star": _star, "crescent": _crescent, "bars": _bars, "hourglass": _hourglass,
}  # fmt: skip


def draw(train: int = 10_000, test: int = 2_000) -> Dataset:
    """Draw the synthetic set: CIFAR-10's shape and format, the same arrays for the same arguments.

    Raises DataError when `train` or `test` is less than 1.
    """
    if min(train, test) < 1:
        raise DataError(f"draw: train is {train} and test is {test}, expected at least 1 each")
    rng = np.random.default_rng(0)
    labels = rng.integers(0, len(_SHAPES), train + test)
    images = np.empty((train + test, _SIZE, _SIZE, 3), np.uint8)
    for start in range(0, len(labels), _CHUNK):
        part = slice(start, start + _CHUNK)
        images[part] = _draw_chunk(labels[part], rng)
    return Dataset(
        name="synthetic",
        train_images=images[:train],
        train_labels=labels[:train],
        test_images=images[train:],
        test_labels=labels[train:],
        classes=tuple(_SHAPES),
    )


def _draw_chunk(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Images uint8 `(n, 32, 32, 3)` of the given classes."""
    n = len(labels)

    def uniform(low: float, high: float, channels: int = 1) -> np.ndarray:
        """One draw an image, to broadcast: (n, 1, 1), or a colour (n, 1, 1, channels)."""
        shape = (n, 1, 1) if channels == 1 else (n, 1, 1, channels)
        return rng.uniform(low, high, shape).astype(np.float32)

    # Pixel centres, -1..1 from border to border: (1, 1, 32) and (1, 32, 1).
    axis = (2 * np.arange(_SIZE, dtype=np.float32) + 1) / _SIZE - 1
    x, y = axis[None, None, :], axis[None, :, None]

    def place(radius: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates (u, v), each (n, 32, 32), about a random place, turned, in radii."""
        angle = uniform(0, 2 * np.pi)
        dx, dy = x - uniform(-reach, reach), y - uniform(-reach, reach)
        cos, sin = np.cos(angle) / radius, np.sin(angle) / radius
        return cos * dx + sin * dy, cos * dy - sin * dx

    def cover(outline: np.ndarray, radius: np.ndarray) -> np.ndarray:
        """1 inside the outline, 0 outside, the edge one pixel wide: (n, 32, 32, 1)."""
        return np.clip(0.5 - outline * radius * (_SIZE / 2), 0, 1)[..., None]

    def texture(colour: np.ndarray) -> np.ndarray:
        """A colour made lighter and darker along a random wave: (n, 32, 32, 3)."""
        u, _ = place(uniform(0.03, 0.2), reach=1)
        return colour + np.sin(u)[..., None] * uniform(-0.15, 0.15, channels=3)

    # The shape is lighter or darker than the background, in each channel as a coin falls: the
    # brightness of a pixel says nothing about the class.
    dark, light = uniform(0.05, 0.4, channels=3), uniform(0.6, 0.95, channels=3)
    coin = uniform(0, 1, channels=3) < 0.5

    image = texture(np.where(coin, dark, light))
    for _ in range(3):  # small bars that distract, behind the shape
        radius = uniform(0.1, 0.3)
        u, v = place(radius, reach=1)
        bar = np.maximum(abs(u) - 1, abs(v) - 0.4)
        image += cover(bar, radius) * (uniform(0, 1, channels=3) - image)

    radius = uniform(0.5, 0.85)
    u, v = place(radius, reach=0.25)
    outline = np.empty_like(u)
    for label, shape in enumerate(_SHAPES.values()):
        chosen = labels == label
        outline[chosen] = shape(u[chosen], v[chosen])
    image += cover(outline, radius) * (texture(np.where(coin, light, dark)) - image)

    image += 0.08 * rng.standard_normal(image.shape, np.float32)
    return (np.clip(image, 0, 1) * 255).astype(np.uint8)

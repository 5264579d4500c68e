"""The smallest model: a multilayer perceptron with one hidden layer, on the pixels as a vector."""

from __future__ import annotations

from typing import Any

import numpy as np

import minigraph as mg

Params = dict[str, Any]


def init(
    rng: np.random.Generator,
    *,
    image: tuple[int, int, int] = (32, 32, 3),
    hidden: int = 128,
    classes: int = 10,
) -> tuple[Params, Params]:
    """Parameters for images of shape `image` = (H, W, C), float32; no state."""

    def linear(n: int, k: int) -> Params:
        # He et al. 2015: variance 2 / fan-in keeps the size of the activations through a relu.
        w = rng.standard_normal((n, k), np.float32) * np.sqrt(np.float32(2 / n))
        return {"w": w, "b": np.zeros(k, np.float32)}

    pixels = int(np.prod(image))
    return {"hidden": linear(pixels, hidden), "head": linear(hidden, classes)}, {}


def apply(params: Params, state: Params, x: Any, *, train: bool) -> tuple[Any, Params]:
    """Logits `(N, classes)` of the images x `(N, H, W, C)`."""
    h = x.reshape(len(x), -1)  # (N, H*W*C)
    h = mg.relu(h @ params["hidden"]["w"] + params["hidden"]["b"])  # (N, hidden)
    return h @ params["head"]["w"] + params["head"]["b"], state

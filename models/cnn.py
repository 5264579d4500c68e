"""Two convolutions and a linear layer: conv3x3-relu-maxpool2, twice, then the classes' scores."""

from __future__ import annotations

from typing import Any

import numpy as np

import minigraph as mg

Params = dict[str, Any]


def init(
    rng: np.random.Generator,
    *,
    image: tuple[int, int, int] = (32, 32, 3),
    widths: tuple[int, int] = (32, 64),
    classes: int = 10,
) -> tuple[Params, Params]:
    """Parameters for images of shape `image` = (H, W, C), float32; no state."""

    def layer(*shape: int) -> Params:
        # He et al. 2015: variance 2 / fan-in keeps the size of the activations through a relu.
        fan_in = int(np.prod(shape[:-1]))
        w = rng.standard_normal(shape, np.float32) * np.sqrt(np.float32(2 / fan_in))
        return {"w": w, "b": np.zeros(shape[-1], np.float32)}

    height, width, channels = image
    c1, c2 = widths
    params = {
        "conv1": layer(3, 3, channels, c1),
        "conv2": layer(3, 3, c1, c2),
        "head": layer((height // 4) * (width // 4) * c2, classes),
    }
    return params, {}


def apply(params: Params, state: Params, x: Any, *, train: bool) -> tuple[Any, Params]:
    """Logits `(N, classes)` of the images x `(N, H, W, C)`."""
    maps, state = features(params, state, x, train=train)
    return head(params, state, maps, train=train)


def features(params: Params, state: Params, x: Any, *, train: bool) -> tuple[Any, Params]:
    """The maps `(N, H // 4, W // 4, K)` after both convolutions."""

    def block(h: Any, p: Params) -> Any:
        h = mg.relu(mg.conv2d(h, p["w"], p["b"], padding=1), inplace=True)  # (N, H, W, C) -> (N, H, W, K)
        return mg.max_pool(h, 2)  # (N, H, W, K) -> (N, H/2, W/2, K)

    h = block(x, params["conv1"])  # (N, 32, 32, 3) -> (N, 16, 16, 32)
    return block(h, params["conv2"]), state  # -> (N, 8, 8, 64)


def head(params: Params, state: Params, maps: Any, *, train: bool) -> tuple[Any, Params]:
    """Logits `(N, classes)` of the maps."""
    h = maps.reshape(len(maps), len(params["head"]["w"]))  # -> (N, 4096)
    return h @ params["head"]["w"] + params["head"]["b"], state

"""The fast-CIFAR network (K. Jordan, arXiv 2404.00498): a frozen whitening layer and three blocks of two convolutions.

Widths (64, 256, 256) give 1,971,352 parameters, beside the 288 frozen ones of the whitening layer. Batch
normalisation has no scale, only a bias. SiLU in place of the paper's GELU. Images may have other sizes than 32x32:
training may begin at 24x24.

The wider recipes of the same author are `widths=(128, 384, 384)`, airbench95, and `widths=(128, 384, 512), depth=3`,
airbench96. The recipes with Muon have a head of other units, with weights of standard deviation 1 and logits divided by
the width. SGD trains both alike if the head here has their learning rate times r = (9 / width)^2, and their weight
decay over r.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import minigraph as mg

EPS, MOMENTUM = 1e-12, 0.4
INIT_IMAGES = 5000  # what `init` takes as `images`

Params = dict[str, Any]


def init(
    rng: np.random.Generator,
    *,
    widths: tuple[int, ...] = (64, 256, 256),
    depth: int = 2,
    classes: int = 10,
    images: np.ndarray | None = None,
) -> tuple[Params, Params]:
    """Parameters and state; `images`, normalised training images (N, H, W, 3), set the whitening filters.

    Without images the filters are those of white noise, a random rotation. They are in the state, not in the
    parameters, since they are not trained. A block has `depth` convolutions, two or three: with three there is a
    residual connection around the last two.
    """
    if depth not in (2, 3):
        raise ValueError(f"airnet.init: depth is {depth!r}, expected 2 or 3")
    if images is None:
        images = rng.standard_normal((64, 32, 32, 3), np.float32)
    filters = whitening(images)
    params: Params = {"whiten": {"b": np.zeros(filters.shape[-1], np.float32)}}
    state: Params = {"whiten": filters}
    c = filters.shape[-1]
    for i, width in enumerate(widths, 1):
        block_params, block_state = params[f"block{i}"], state[f"block{i}"] = {}, {}
        for j in range(1, depth + 1):
            block_params[f"conv{j}"] = dirac(rng, c, width)
            block_params[f"b{j}"] = np.zeros(width, np.float32)
            block_state[f"mean{j}"] = np.zeros(width, np.float32)
            block_state[f"var{j}"] = np.ones(width, np.float32)
            c = width
    bound = 1 / np.sqrt(c)
    params["head"] = rng.uniform(-bound, bound, (c, classes)).astype(np.float32)
    return params, state


def apply(params: Params, state: Params, x: Any, *, train: bool) -> tuple[Any, Params]:
    """x (N, H, W, 3) normalised -> logits (N, classes), and the new state. The comments have the sizes for 32x32."""
    maps, state = features(params, state, x, train=train)
    return head(params, state, maps, train=train)


def features(params: Params, state: Params, x: Any, *, train: bool) -> tuple[Any, Params]:
    """The maps (N, h, w, C) of all blocks but the last, whose own maps of 3x3 would show little of where things are."""
    h = mg.silu(mg.conv2d(x, state["whiten"], params["whiten"]["b"]))  # (N, 31, 31, 24)
    for name in blocks(params)[:-1]:
        h, new = block(params[name], state[name], h, train)  # 31 -> 15 -> 7
        state = {**state, name: new}
    return h, state


def head(params: Params, state: Params, maps: Any, *, train: bool) -> tuple[Any, Params]:
    """The maps -> logits (N, classes): the last block, the maximum of each of its maps, and a linear layer."""
    last = blocks(params)[-1]
    h, new = block(params[last], state[last], maps, train)  # 7 -> 3
    h = h.max((1, 2))  # (N, C)
    return (h @ params["head"]) * (1 / 9), {**state, last: new}


def blocks(params: Params) -> list[str]:
    """The names of the blocks, from the first to the last."""
    return [key for key in params if key.startswith("block")]


def block(p: Params, s: Params, x: Any, train: bool) -> tuple[Any, Params]:
    """conv, 2x2 max-pool, norm, SiLU; conv, norm, SiLU: (N, H, W, C) -> (N, H // 2, W // 2, K).

    A third conv and norm come next, if there are any. To their result that of the first SiLU is added, before the last.
    """
    new: Params = {}

    def norm(h: Any, i: int) -> Any:
        statistics = s[f"mean{i}"], s[f"var{i}"]
        h, new[f"mean{i}"], new[f"var{i}"] = mg.batch_norm(
            h, None, p[f"b{i}"], *statistics, train=train, momentum=MOMENTUM, eps=EPS
        )
        return h

    # The pool drops an odd last row and column. Without padding below and to the right they are not even computed.
    odd = [(1, 0) if n % 2 else (1, 1) for n in x.shape[1:3]]
    first = mg.silu(norm(mg.max_pool(mg.conv2d(x, p["conv1"], padding=odd), 2), 1))
    h = mg.silu(norm(mg.conv2d(first, p["conv2"], padding=1), 2))
    if "conv3" in p:
        h = mg.silu(norm(mg.conv2d(h, p["conv3"], padding=1), 3) + first)
    return h, new


def dirac(rng: np.random.Generator, c: int, k: int) -> np.ndarray:
    """3x3 filters U(+-1/sqrt(9 c)), the first c of them the identity."""
    bound = 1 / np.sqrt(9 * c)
    w = rng.uniform(-bound, bound, (3, 3, c, k))
    n = min(c, k)
    w[..., :n] = 0
    w[1, 1, np.arange(n), np.arange(n)] = 1
    return w.astype(np.float32)


def whitening(images: np.ndarray, eps: float = 5e-4) -> np.ndarray:
    """2x2 filters that whiten patches of `images`: eigenvectors over sqrt(eigenvalue + eps), and their negatives."""
    windows = np.lib.stride_tricks.sliding_window_view(images, (2, 2), axis=(1, 2))  # (N, 31, 31, 3, 2, 2)
    windows = windows.transpose(0, 1, 2, 4, 5, 3)
    covariance = np.zeros((12, 12))
    for start in range(0, len(images), 100):  # all patches at once, in float64, take eight times the images' memory
        patches = windows[start : start + 100].reshape(-1, 12).astype(np.float64)
        covariance += patches.T @ patches
    values, vectors = np.linalg.eigh(covariance / (windows.size // 12))  # vectors in columns: (12, 12)
    filters = (vectors / np.sqrt(values + eps))[:, ::-1].reshape(2, 2, 3, 12)
    return np.concatenate([filters, -filters], axis=-1).astype(np.float32)

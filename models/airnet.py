"""The fast-CIFAR network (K. Jordan, arXiv 2404.00498): a frozen whitening layer and three blocks of two convolutions.

Widths (64, 256, 256) give 1,971,352 parameters, beside the 288 frozen ones of the whitening layer. Batch
normalisation has no scale, only a bias. SiLU in place of the paper's GELU.
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
    classes: int = 10,
    images: np.ndarray | None = None,
) -> tuple[Params, Params]:
    """Parameters and state; `images`, normalised training images (N, H, W, 3), set the whitening filters.

    Without images the filters are those of white noise, a random rotation. They are in the state, not in the
    parameters, since they are not trained.
    """
    if images is None:
        images = rng.standard_normal((64, 32, 32, 3), np.float32)
    filters = whitening(images)
    params: Params = {"whiten": {"b": np.zeros(filters.shape[-1], np.float32)}}
    state: Params = {"whiten": filters}
    c = filters.shape[-1]
    for i, width in enumerate(widths, 1):
        params[f"block{i}"] = {
            "conv1": dirac(rng, c, width), "b1": np.zeros(width, np.float32),
            "conv2": dirac(rng, width, width), "b2": np.zeros(width, np.float32),
        }  # fmt: skip
        state[f"block{i}"] = {
            "mean1": np.zeros(width, np.float32), "var1": np.ones(width, np.float32),
            "mean2": np.zeros(width, np.float32), "var2": np.ones(width, np.float32),
        }  # fmt: skip
        c = width
    bound = 1 / np.sqrt(c)
    params["head"] = rng.uniform(-bound, bound, (c, classes)).astype(np.float32)
    return params, state


def apply(params: Params, state: Params, x: Any, *, train: bool) -> tuple[Any, Params]:
    """x (N, 32, 32, 3) normalised -> logits (N, classes), and the new state."""
    h = mg.silu(mg.conv2d(x, state["whiten"], params["whiten"]["b"]))  # (N, 31, 31, 24)
    new = {"whiten": state["whiten"]}
    for name in [key for key in params if key.startswith("block")]:
        h, new[name] = block(params[name], state[name], h, train)  # 31 -> 15 -> 7 -> 3
    h = h.max((1, 2))  # (N, C)
    return (h @ params["head"]) * (1 / 9), new


def block(p: Params, s: Params, x: Any, train: bool) -> tuple[Any, Params]:
    """conv, 2x2 max-pool, norm, SiLU; conv, norm, SiLU: (N, H, W, C) -> (N, H // 2, W // 2, K)."""
    # The pool drops an odd last row and column. Without padding below and to the right they are not even computed.
    odd = [(1, 0) if n % 2 else (1, 1) for n in x.shape[1:3]]
    h = mg.max_pool(mg.conv2d(x, p["conv1"], padding=odd), 2)
    h, mean1, var1 = norm(h, p["b1"], s["mean1"], s["var1"], train)
    h = mg.conv2d(h, p["conv2"], padding=1)
    h, mean2, var2 = norm(h, p["b2"], s["mean2"], s["var2"], train)
    return h, {"mean1": mean1, "var1": var1, "mean2": mean2, "var2": var2}


def norm(h: Any, bias: Any, mean: np.ndarray, var: np.ndarray, train: bool) -> tuple[Any, Any, Any]:
    """Batch normalisation and SiLU, and the new running statistics: (..., C) -> (..., C), (C,), (C,)."""
    h, mean, var = mg.batch_norm(h, None, bias, mean, var, train=train, momentum=MOMENTUM, eps=EPS)
    return mg.silu(h), mean, var


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
    patches = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, 12).astype(np.float64)
    values, vectors = np.linalg.eigh(patches.T @ patches / len(patches))  # vectors in columns: (12, 12)
    filters = (vectors / np.sqrt(values + eps))[:, ::-1].reshape(2, 2, 3, 12)
    return np.concatenate([filters, -filters], axis=-1).astype(np.float32)

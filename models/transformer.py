"""A language model of characters: a transformer (Vaswani et al. 2017) in the form of GPT-2 (Radford et al. 2019).

Layer normalisation stands before each part of a block, positions are learnt, and the activation is the tanh form of
GELU. Width 64 and three blocks make 160,000 parameters. `train_text.py` trains it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import minigraph as mg

Params = dict[str, Any]


def init(
    rng: np.random.Generator, *, characters: int, length: int = 64, width: int = 64, heads: int = 4, blocks: int = 3
) -> Params:
    """Parameters, float32, for an alphabet of so many characters and texts of up to `length` of them.

    Matrices begin normal with the standard deviation 1 / sqrt(inputs). Those at the end of a block's two parts are
    divided by sqrt(2 blocks) as well, so that the sum over all parts keeps its size. The head begins at 0, and all
    characters as equally likely. Raises ValueError unless `heads` divides `width`.
    """
    if width % heads:
        raise ValueError(f"transformer.init: width is {width}, expected a multiple of {heads}, the heads")

    def normal(*shape: int, scale: float) -> np.ndarray:
        return rng.standard_normal(shape, np.float32) * np.float32(scale)

    def norm() -> Params:
        return {"scale": np.ones(width, np.float32), "bias": np.zeros(width, np.float32)}

    params: Params = {
        "characters": normal(characters, width, scale=0.1),
        "positions": normal(length, width, scale=0.1),
    }
    small = (2 * blocks) ** -0.5
    for i in range(1, blocks + 1):
        params[f"block{i}"] = {
            "attention": {
                "norm": norm(),
                "w": normal(width, 3, heads, width // heads, scale=width**-0.5),  # of queries, keys and values
                "out": normal(width, width, scale=small * width**-0.5),
            },
            "mlp": {
                "norm": norm(),
                "w": normal(width, 4 * width, scale=width**-0.5),
                "b": np.zeros(4 * width, np.float32),
                "out": normal(4 * width, width, scale=small * (4 * width) ** -0.5),
            },
        }
    params["head"] = {"norm": norm(), "w": np.zeros((width, characters), np.float32)}
    return params


def apply(params: Params, x: Any) -> Any:
    """Codes x (N, T) -> logits (N, T, characters), at each place for the character that comes next.

    No place sees a later one. Raises ValueError for codes of another kind, or a T above the `length` of `init`.
    """
    x = codes("transformer.apply: x", x, 2, params)
    if not 0 < x.shape[1] <= len(params["positions"]):
        raise ValueError(f"transformer.apply: x has {x.shape}, expected (N, T), T from 1 to {len(params['positions'])}")
    with mg.scope("embedding"):
        h = mg.take(params["characters"], x, axis=0) + params["positions"][: x.shape[1]]  # (N, T, C)
    for name in [key for key in params if key.startswith("block")]:
        with mg.scope(name):
            h = block(params[name], h)
    with mg.scope("head"):
        return layer_norm(params["head"]["norm"], h) @ params["head"]["w"]


def block(p: Params, h: Any) -> Any:
    """Attention, then a perceptron at each place; each is added to what it gets: (N, T, C) -> (N, T, C)."""
    h = h + attention(p["attention"], h)
    return h + perceptron(p["mlp"], h)


@mg.scope("attention")
def attention(p: Params, h: Any) -> Any:
    """Causal self-attention with several heads: (N, T, C) -> (N, T, C)."""
    n, t, c = h.shape
    _, _, heads, d = p["w"].shape
    qkv = layer_norm(p["norm"], h) @ p["w"].reshape(c, -1)  # (N, T, 3C)
    q, k, v = qkv.reshape(n, t, 3, heads, d).transpose(2, 0, 3, 1, 4)  # (N, heads, T, d) each
    scores = q @ k.transpose(0, 1, 3, 2) * d**-0.5  # (N, heads, T, T), a row for each place that looks back
    later = np.triu(np.full((t, t), -np.inf, np.float32), 1)
    mixed = mg.softmax(scores + later) @ v
    return mixed.transpose(0, 2, 1, 3).reshape(n, t, c) @ p["out"]


@mg.scope("mlp")
def perceptron(p: Params, h: Any) -> Any:
    """One hidden layer of four times the width: (N, T, C) -> (N, T, C)."""
    return mg.gelu(layer_norm(p["norm"], h) @ p["w"] + p["b"], approximate=True) @ p["out"]


def layer_norm(p: Params, h: Any) -> Any:
    return mg.layer_norm(h, p["scale"], p["bias"])


def sample(
    params: Params, prompt: np.ndarray, n: int, rng: np.random.Generator, temperature: float = 1.0
) -> np.ndarray:
    """`prompt` and n characters after it, drawn one by one: codes (P,) -> codes (P + n,).

    Each is drawn from softmax(logits / temperature); below 1 the likely ones are still likelier. The model sees as many
    of the last characters as it has positions. Raises ValueError for a prompt of another kind, n below 0, or a
    temperature that is not above 0.
    """
    prompt = codes("transformer.sample: the prompt", prompt, 1, params)
    if not len(prompt) or n < 0 or not 0 < temperature < np.inf:
        raise ValueError(
            f"transformer.sample: expected a prompt of one code or more, n from 0 on and a temperature above 0, "
            f"got {len(prompt)} codes, {n} and {temperature}"
        )
    text, length = [*prompt], len(params["positions"])
    with mg.no_grad():
        for _ in range(n):
            logits = apply(params, np.array([text[-length:]]))[0, -1]
            p = mg.softmax(np.asarray(logits, np.float64) / temperature)
            text.append(rng.choice(len(p), p=np.asarray(p)))
    return np.array(text, np.int64)


def codes(what: str, x: Any, axes: int, params: Params) -> np.ndarray:
    """x as an array. Raises ValueError unless it holds codes of the alphabet, along so many axes."""
    x, characters = np.asarray(x), len(params["characters"])
    if x.ndim != axes or x.dtype.kind not in "iu":
        raise ValueError(f"{what} should be integers ({'N, T' if axes == 2 else 'T,'}), got {x.dtype} {x.shape}")
    if x.size and not 0 <= x.min() <= x.max() < characters:
        raise ValueError(f"{what} has codes from {x.min()} to {x.max()}, expected [0, {characters})")
    return x

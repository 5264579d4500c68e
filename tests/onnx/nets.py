"""A small transformer: tokens -> two blocks of causal attention and a perceptron -> the scores of the next token."""

import numpy as np

import minigraph as mg

TOKENS, LENGTH, WIDTH, HEADS = 11, 6, 8, 2


def init(rng):
    def linear(n, m):
        return {"w": rng.standard_normal((n, m), np.float32) / np.float32(np.sqrt(n)), "b": np.zeros(m, np.float32)}

    def norm():
        return {"scale": 1 + 0.1 * rng.standard_normal(WIDTH, np.float32), "bias": np.zeros(WIDTH, np.float32)}

    def block():
        parts = {"qkv": linear(WIDTH, 3 * WIDTH), "out": linear(WIDTH, WIDTH)}
        parts |= {"up": linear(WIDTH, 4 * WIDTH), "down": linear(4 * WIDTH, WIDTH), "norm1": norm(), "norm2": norm()}
        return parts

    return {
        "tokens": rng.standard_normal((TOKENS, WIDTH), np.float32),
        "places": rng.standard_normal((LENGTH, WIDTH), np.float32),
        "blocks": [block(), block()],
        "norm": norm(),
    }


def _linear(p, x):
    return x @ p["w"] + p["b"]


def _attention(p, x):
    n, length, width = x.shape
    q, k, v = mg.split(_linear(p["qkv"], x), 3, axis=-1)
    q, k, v = (h.reshape(n, length, HEADS, width // HEADS).transpose(0, 2, 1, 3) for h in (q, k, v))  # (N, H, L, D)
    scores = q @ k.transpose(0, 1, 3, 2) * np.float32(1 / np.sqrt(width // HEADS))
    scores = mg.where(np.tri(length, dtype=bool), scores, -np.inf)
    h = (mg.softmax(scores) @ v).transpose(0, 2, 1, 3).reshape(n, length, width)
    return _linear(p["out"], h)


def transformer(params, tokens):
    """(N, LENGTH) -> (N, LENGTH, TOKENS)"""
    x = mg.take(params["tokens"], tokens, axis=0) + params["places"]
    for p in params["blocks"]:
        x = x + _attention(p, mg.layer_norm(x, **p["norm1"]))
        x = x + _linear(p["down"], mg.gelu(_linear(p["up"], mg.layer_norm(x, **p["norm2"]))))
    return mg.layer_norm(x, **params["norm"]) @ params["tokens"].T

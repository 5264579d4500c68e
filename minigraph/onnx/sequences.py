"""The operators of sequences: recurrent layers and attention."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import ops
from ..tensor import value
from .build import UnsupportedError
from .operators import Arguments, Function, integers, operator, plain

# ---------------------------------------------------------------- recurrent layers

_ACTIVATIONS: dict[str, Function] = {
    "Sigmoid": ops.sigmoid, "Tanh": ops.tanh, "Relu": ops.relu, "Softplus": ops.softplus,
    "Softsign": lambda x: x / (1 + abs(x)),
}  # fmt: skip
_USUAL = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}


@operator("LSTM", "GRU", "RNN")
def _(a: Arguments) -> Function:
    usual = _USUAL[a.op_type]
    a.only("direction", "forward", "reverse", "bidirectional")
    ways = {"forward": [1], "reverse": [-1], "bidirectional": [1, -1]}[a.get("direction", "forward")]
    names = [name.decode() for name in a.get("activations") or []] or usual * len(ways)
    if not set(names) <= _ACTIVATIONS.keys():
        raise UnsupportedError(f"activations={names}")
    a.only("input_forget", 0)
    a.get("hidden_size")
    batch_first, before = a.get("layout", 0), a.get("linear_before_reset", 0)
    is_lstm = a.op_type == "LSTM"

    def step(x: Any, h: Any, c: Any, r: Any, b: Any, peep: Any, acts: list[Function]) -> tuple[Any, Any]:
        """The next states, of what the weights make of an input: (N, gates, H)."""
        n = r.shape[-1]
        if is_lstm:
            f, g, out = acts
            i, o, forget, new = (x + (h @ r.T + b)).reshape(len(x), 4, n).swapaxes(0, 1)
            if peep is not None:
                pi, po, pf = peep.reshape(3, n)
                i, forget = i + pi * c, forget + pf * c
            c = f(forget) * c + f(i) * g(new)
            return f(o + po * c if peep is not None else o) * out(c), c
        if a.op_type == "RNN":
            return acts[0](x + (h @ r.T + b)), c
        f, g = acts
        x = x.reshape(len(x), 3, n)
        z, reset = (x[:, :2] + (h @ r[: 2 * n].T + b[: 2 * n]).reshape(len(x), 2, n)).swapaxes(0, 1)
        z, reset, last, bias = f(z), f(reset), r[2 * n :], b[2 * n :]
        new = g(x[:, 2] + (reset * (h @ last.T + bias) if before else (reset * h) @ last.T + bias))
        return (1 - z) * new + z * h, c

    def run(x: Any, weights: list[Any], way: int, acts: list[Function]) -> Any:
        """All states in the order of time, and the last ones."""
        w, r, b, h, c, peep = weights
        wide = w.shape[0]
        b = np.zeros(2 * wide, x.dtype) if b is None else b
        inputs = x @ w.T + b[:wide]
        zeros = np.zeros((x.shape[1], r.shape[-1]), x.dtype)
        h, c = zeros if h is None else h, zeros if c is None else c
        states = []
        for t in range(len(x))[::way]:
            h, c = step(inputs[t], h, c, r, b[wide:], peep, acts)
            states.append(h)
        return ops.stack(states[::way]), h, c

    def apply(x: Any, *weights: Any) -> Any:
        w, r, b, lengths, h, c, peep = (*(v if v is None else plain(v) for v in weights), *[None] * 7)[:7]
        x = plain(x)
        if batch_first:
            x, h, c = (v if v is None else ops.swapaxes(v, 0, 1) for v in (x, h, c))
        if lengths is not None and set(integers(lengths)) != {len(x)}:
            raise ValueError(f"sequence_lens={integers(lengths)}, expected sequences of one length, {len(x)}")
        found = []
        for i, way in enumerate(ways):
            parts = [v if v is None else v[i] for v in (w, r, b, h, c, peep)]
            acts = [_ACTIVATIONS[name] for name in names[i * len(usual) : (i + 1) * len(usual)]]
            found.append(run(x, parts, way, acts))
        y, h, c = (ops.stack(each, 1 if place == 0 else 0) for place, each in enumerate(zip(*found, strict=True)))
        if batch_first:
            y, h, c = ops.transpose(y, (2, 0, 1, 3)), ops.swapaxes(h, 0, 1), ops.swapaxes(c, 0, 1)
        return (y, h, c) if is_lstm else (y, h)

    return apply


# ---------------------------------------------------------------- attention


@operator("Attention")
def _(a: Arguments) -> Function:
    heads, kv_heads, causal = a.get("q_num_heads"), a.get("kv_num_heads"), a.get("is_causal", 0)
    given, softcap = a.get("scale"), a.get("softcap", 0.0)
    before, behind = a.get("left_window_size", -1), a.get("right_window_size", -1)
    a.get("softmax_precision"), a.get("qk_matmul_output_mode")
    if a.outputs > 3:
        raise UnsupportedError("the output qk_matmul_output")

    def apply(q: Any, k: Any, v: Any, mask: Any = None, *cache: Any) -> Any:
        q, k, v = map(plain, (q, k, v))
        flat = q.ndim == 3
        if flat:
            q, k, v = (_heads(x, n) for x, n in ((q, heads), (k, kv_heads), (v, kv_heads)))
        past_k, past_v, lengths = (*cache, None, None, None)[:3]
        past = 0
        if past_k is not None:
            past = past_k.shape[2]
            k, v = ops.concatenate([plain(past_k), k], 2), ops.concatenate([plain(past_v), v], 2)
        present = k, v
        if k.shape[1] != q.shape[1]:  # groups of heads share keys
            places = np.repeat(np.arange(k.shape[1]), q.shape[1] // k.shape[1])
            k, v = ops.take(k, places, 1), ops.take(v, places, 1)
        allowed = _allowed(q.shape[2], k.shape[2], past, lengths, causal, before, behind)
        bias = None
        if mask is not None:
            mask = plain(mask)
            missing = k.shape[2] - mask.shape[-1]
            if mask.dtype == bool:
                mask = np.pad(value(mask), [(0, 0)] * (mask.ndim - 1) + [(0, missing)])
                allowed = mask if allowed is None else allowed & mask
            else:
                bias = ops.pad(mask, [(0, 0)] * (mask.ndim - 1) + [(0, missing)])
                if missing:
                    kept = np.arange(k.shape[2]) < k.shape[2] - missing
                    allowed = kept if allowed is None else allowed & kept
        scale = 1 / math.sqrt(q.shape[-1]) if given is None else given
        if bias is None and not softcap:
            y = ops.scaled_dot_product_attention(q, k, v, mask=allowed, scale=scale)
        else:
            y = _with_bias(q * scale, k, v, allowed, bias, softcap)
        y = ops.reshape(ops.swapaxes(y, 1, 2), (len(y), y.shape[2], -1)) if flat else y
        return (y, *present)[: a.outputs] if a.outputs > 1 else y

    return apply


def _heads(x: Any, n: int) -> Any:
    """(N, L, heads E) -> (N, heads, L, E)."""
    return ops.swapaxes(ops.reshape(x, (*x.shape[:2], n, -1)), 1, 2)


def _allowed(n: int, m: int, past: int, lengths: Any, causal: int, before: int, behind: int) -> np.ndarray | None:
    """Which of m keys each of n queries may attend to, as far as their places say it: (..., n, m)."""
    if not causal and lengths is None and max(before, behind) < 0:
        return None
    offset, allowed = np.array(past), np.ones((n, m), bool)
    if lengths is not None:
        count = np.array(integers(lengths)).reshape(-1, 1, 1, 1)
        offset, allowed = count - n, np.arange(m) < count
    away = np.arange(m) - (np.arange(n)[:, None] + offset)
    if causal:
        allowed = allowed & (away <= 0)
    if before >= 0:
        allowed = allowed & (away >= -before)
    return allowed & (away <= behind) if behind >= 0 else allowed


def _with_bias(q: Any, k: Any, v: Any, allowed: np.ndarray | None, bias: Any, softcap: float) -> Any:
    scores = q @ ops.swapaxes(k, -1, -2)
    if softcap:
        scores = softcap * ops.tanh(scores / softcap)
    if bias is not None:
        forbidden = np.isneginf(value(bias))
        allowed = ~forbidden if allowed is None else allowed & ~forbidden
        scores = scores + ops.where(forbidden, 0, bias)
    if allowed is not None:  # a query that may attend to nothing has the result 0
        scores = ops.where(allowed, scores, np.finfo(scores.dtype).min)
    p = ops.softmax(scores)
    return (p if allowed is None else ops.where(allowed, p, 0)) @ v


@operator("RotaryEmbedding")
def _(a: Arguments) -> Function:
    interleaved, heads, rotated = a.get("interleaved", 0), a.get("num_heads", 0), a.get("rotary_embedding_dim", 0)

    def apply(x: Any, cos: Any, sin: Any, places: Any = None) -> Any:
        x, cos, sin = map(plain, (x, cos, sin))
        flat = x.ndim == 3
        if flat:
            x = _heads(x, heads)
        if places is not None:
            cos, sin = (ops.take(v, value(plain(places)), 0) for v in (cos, sin))
        n = rotated or x.shape[-1]
        cos, sin = (ops.expand_dims(v[..., : n // 2], 1) for v in (cos, sin))
        parts = slice(0, n, 2), slice(1, n, 2)
        p, q = (x[..., part] for part in (parts if interleaved else (slice(0, n // 2), slice(n // 2, n))))
        turned = p * cos - q * sin, q * cos + p * sin
        y = ops.stack(turned, -1) if interleaved else ops.concatenate(turned, -1)
        y = ops.reshape(y, (*x.shape[:-1], n))
        y = ops.concatenate([y, x[..., n:]], -1) if n < x.shape[-1] else y
        return ops.reshape(ops.swapaxes(y, 1, 2), (len(y), y.shape[2], -1)) if flat else y

    return apply

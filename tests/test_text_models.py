"""The models of text: n-grams against a count by hand, the transformer against its own definition."""

import math
from collections import Counter

import numpy as np
import pytest

import minigraph as mg
from minigraph import tree
from models import ngram, transformer

RNG = np.random.default_rng(0)
SIZE = {"characters": 5, "length": 6, "width": 8, "heads": 2, "blocks": 2}


def make():
    """Parameters in float64, with a head that is not 0."""
    params = tree.map(lambda a: a.astype(float), transformer.init(np.random.default_rng(0), **SIZE))
    params["head"]["w"] = np.random.default_rng(1).normal(size=(8, 5))
    return params


# ---------------------------------------------------------------- n-grams


def probability(train, history, w, n, k):
    """The formula of the module, from lists and counters."""
    if n == 0:
        return 1 / k
    shorter = probability(train, history, w, n - 1, k)
    h = history[len(history) - (n - 1) :]
    followers = Counter(train[i + n - 1] for i in range(len(train) - n + 1) if train[i : i + n - 1] == h)
    if not followers:
        return shorter
    return (followers[w] + len(followers) * shorter) / (followers.total() + len(followers))


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize("length", [3, 80])
def test_ngram(n, length):
    k = 4
    codes = [*map(int, np.random.default_rng(1).choice(k, length + 40, p=[0.6, 0.2, 0.1, 0.1]))]
    train, test = codes[:length], codes[length:]
    p = [probability(train, codes[:i], codes[i], n, k) for i in range(length, len(codes))]
    np.testing.assert_allclose(ngram.loss(np.array(train), np.array(test), n, k), -np.log(p).mean())
    for i in range(length, length + 5):
        assert math.isclose(sum(probability(train, codes[:i], w, n, k) for w in range(k)), 1)


def test_an_ngram_that_sees_a_whole_period_knows_what_comes():
    text = np.tile([0, 0, 1, 0, 2], 400)
    losses = [ngram.loss(text[:1500], text[1500:], n, 3) for n in (1, 2, 3, 4)]
    assert losses == sorted(losses, reverse=True) and losses[-1] < 0.01 < 0.4 < losses[1]


@pytest.mark.parametrize(("train", "test", "n", "message"), [
    ([0, 3], [0], 2, r"expected train to be codes \(N,\) in \[0, 3\)"), ([0], [], 2, "expected test"),
    ([[0]], [0], 2, "expected train"), ([0], [-1], 2, "expected test"), ([0], [0], 0, "n is 0"),
])  # fmt: skip
def test_what_ngrams_refuse(train, test, n, message):
    with pytest.raises(ValueError, match=message):
        ngram.loss(np.array(train), np.array(test), n, 3)


# ---------------------------------------------------------------- the transformer


def by_hand(p, x):
    """One text (T,), place by place and head by head, in plain NumPy: logits (T, characters)."""

    def norm(q, h):
        return (h - h.mean(-1, keepdims=True)) / np.sqrt(h.var(-1, keepdims=True) + 1e-5) * q["scale"] + q["bias"]

    def gelu(h):
        return h * (1 + np.tanh(np.sqrt(2 / np.pi) * (h + 0.044715 * h**3))) / 2

    h = p["characters"][x] + p["positions"][: len(x)]
    for name in ("block1", "block2"):
        a, m = p[name]["attention"], p[name]["mlp"]
        normed, rows = norm(a["norm"], h), []
        for t in range(len(x)):
            heads = []
            for i in range(2):
                q, k, v = (normed[: t + 1] @ a["w"][:, j, i] for j in range(3))  # (t + 1, 4) each
                scores = np.exp(k @ q[-1] / 2)
                heads.append(scores / scores.sum() @ v)
            rows.append(np.concatenate(heads) @ a["out"])
        h = h + np.array(rows)
        h = h + gelu(norm(m["norm"], h) @ m["w"] + m["b"]) @ m["out"]
    return norm(p["head"]["norm"], h) @ p["head"]["w"]


def test_it_is_a_causal_transformer():
    params, x = make(), RNG.integers(0, 5, (3, 6))
    logits = np.asarray(transformer.apply(params, x))
    for row, text in zip(logits, x, strict=True):
        np.testing.assert_allclose(row, by_hand(params, text), rtol=1e-10)
    np.testing.assert_allclose(np.asarray(transformer.apply(params, x[:, :4])), logits[:, :4], rtol=1e-10)


def test_its_gradient():
    params, x, y = make(), RNG.integers(0, 5, (2, 6)), RNG.integers(0, 5, (2, 6))

    def loss(params):
        return mg.cross_entropy(transformer.apply(params, x), y)

    grads = tree.leaves(mg.grad(loss)(params))
    assert all(g.any() for g in grads)
    for _ in range(4):
        d = tree.map(lambda a: RNG.normal(size=a.shape), params)
        ends = [loss(tree.map(lambda a, b, h=h: a + h * b, params, d)) for h in (1e-6, -1e-6)]
        slope = sum((g * b).sum() for g, b in zip(grads, tree.leaves(d), strict=True))
        assert math.isclose((ends[0] - ends[1]) / 2e-6, slope, rel_tol=1e-6)


def test_it_begins_with_all_characters_alike():
    params = transformer.init(np.random.default_rng(0), **SIZE)
    assert all(leaf.dtype == np.float32 for leaf in tree.leaves(params))
    x = RNG.integers(0, 5, (2, 6))
    assert math.isclose(mg.cross_entropy(transformer.apply(params, x), x), math.log(5), rel_tol=1e-6)
    with pytest.raises(ValueError, match="width is 8, expected a multiple of 3"):
        transformer.init(np.random.default_rng(0), **{**SIZE, "heads": 3})


def test_samples_follow_the_model():
    params, prompt = make(), np.array([1, 2])
    a, b = (transformer.sample(params, prompt, 20, np.random.default_rng(3)) for _ in range(2))
    assert a.dtype == np.int64 and a.tolist() == b.tolist() and a[:2].tolist() == [1, 2] and len(a) == 22
    first = [transformer.sample(params, prompt, 1, np.random.default_rng(i), temperature=2.0)[-1] for i in range(300)]
    p = np.asarray(mg.softmax(transformer.apply(params, prompt[None])[0, -1] / 2))
    assert abs(np.bincount(first, minlength=5) / 300 - p).max() < 0.08
    cold = transformer.sample(params, prompt, 9, np.random.default_rng(0), temperature=1e-9)
    for i in range(2, 11):  # the likeliest each time, of the last six characters
        assert cold[i] == np.asarray(transformer.apply(params, cold[None, max(0, i - 6) : i]))[0, -1].argmax()
    assert transformer.sample(params, prompt, 0, np.random.default_rng(0)).tolist() == [1, 2]


@pytest.mark.parametrize(("call", "message"), [
    (lambda p, r: transformer.apply(p, np.ones((1, 7), int)), r"x has \(1, 7\), expected \(N, T\), T from 1 to 6"),
    (lambda p, r: transformer.apply(p, np.ones((1, 0), int)), "T from 1 to 6"),
    (lambda p, r: transformer.apply(p, np.ones((1, 2))), r"x should be integers \(N, T\), got float64 \(1, 2\)"),
    (lambda p, r: transformer.apply(p, np.array([[0, 5]])), r"x has codes from 0 to 5, expected \[0, 5\)"),
    (lambda p, r: transformer.sample(p, [], 1, r), "the prompt should be integers"),
    (lambda p, r: transformer.sample(p, [[1]], 1, r), r"the prompt should be integers \(T,\), got int64 \(1, 1\)"),
    (lambda p, r: transformer.sample(p, np.zeros(0, int), 1, r), "got 0 codes, 1 and 1.0"),
    (lambda p, r: transformer.sample(p, [1], -1, r), "n from 0 on"),
    (lambda p, r: transformer.sample(p, [1], 1, r, temperature=0), "a temperature above 0"),
])  # fmt: skip
def test_what_the_transformer_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call(make(), np.random.default_rng(0))

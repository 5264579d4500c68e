"""Attention and embeddings, beside PyTorch and beside the plain formula."""

import numpy as np
import pytest

import minigraph as mg

from .checks import compare_with_torch

RNG = np.random.default_rng(0)
Q, K, V = (RNG.standard_normal(s) for s in ((2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 2)))
MASK = RNG.random((2, 1, 5, 6)) < 0.6
MASK[..., 0] = True


def plain(q, k, v, mask, scale):
    return mg.softmax(mg.where(mask, q @ mg.transpose(k, (0, 1, 3, 2)) * scale, -np.inf)) @ v


@pytest.mark.parametrize("mask", [None, MASK, MASK[0, 0], MASK[:, :, :1]])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_beside_torch(mask, scale):
    compare_with_torch(
        lambda q, k, v: mg.scaled_dot_product_attention(q, k, v, mask=mask, scale=scale),
        lambda torch, q, k, v: torch.nn.functional.scaled_dot_product_attention(
            q, k, v, None if mask is None else torch.tensor(mask), scale=scale
        ),
        (Q, K, V),
    )


def test_causal_beside_torch():
    compare_with_torch(
        lambda q, k, v: mg.scaled_dot_product_attention(q, k, v, causal=True),
        lambda torch, q, k, v: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True),
        (K, K[::-1].copy(), V),
    )


def test_derivatives_of_second_order_are_those_of_the_plain_formula():
    def hvp(f):
        return mg.hvp(lambda q: (f(q) ** 2).sum(), Q, np.cos(np.arange(Q.size)).reshape(Q.shape))

    ours = hvp(lambda q: mg.scaled_dot_product_attention(q, K, V, mask=MASK, scale=0.5))
    np.testing.assert_allclose(ours, hvp(lambda q: plain(q, K, V, MASK, 0.5)), rtol=1e-9, atol=1e-12)


def test_a_query_that_may_attend_to_nothing():
    """Its result is 0 and so are its gradients, of every order."""
    mask = np.zeros((5, 6), bool)
    mask[0] = True
    f = mg.value_and_grad(lambda q: mg.scaled_dot_product_attention(q, K, V, mask=mask)[:, :, 1:].sum())
    y, g = f(Q)
    assert y == 0 and not g.any()
    assert not mg.hvp(lambda q: mg.scaled_dot_product_attention(q, K, V, mask=mask)[:, :, 1:].sum(), Q, Q).any()


def test_keys_of_one_head_serve_all():
    shared = mg.scaled_dot_product_attention(Q, K[:, :1], V[:, :1])
    same = mg.scaled_dot_product_attention(Q, np.repeat(K[:, :1], 3, 1), np.repeat(V[:, :1], 3, 1))
    np.testing.assert_array_equal(shared, same)


def test_embedding_adds_the_gradients_of_equal_rows():
    table = np.arange(6.0).reshape(3, 2)
    assert mg.embedding(table, [[2, 0]]).tolist() == [[[4, 5], [0, 1]]]
    assert mg.grad(lambda t: mg.embedding(t, [1, 1, 2]).sum())(table).tolist() == [[0, 0], [2, 2], [1, 1]]


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda f: f(Q[0, 0, 0], K, V), ValueError, r"q should be floating, with two axes or more, got float64 \(4,\)"),
    (lambda f: f(Q, K[..., :3], V), ValueError, r"expected q \(..., L, E\), k \(..., S, E\) and v \(..., S, F\)"),
    (lambda f: f(Q, K, V[:, :, 1:]), ValueError, "expected q"),
    (lambda f: f(Q, K, V, causal=True), ValueError, "causal attention needs as many keys as queries"),
    (lambda f: f(Q, K[:, :2], V), ValueError, "the leading axes do not broadcast"),
    (lambda f: f(Q, K, V, mask=MASK * 1.0), ValueError, "mask should be bools that fit .*, got float64"),
    (lambda f: f(Q, K, V, mask=MASK[..., 1:]), ValueError, r"mask should be bools .* got bool \(2, 1, 5, 5\)"),
    (lambda f: mg.embedding(V[0, 0], [6]), IndexError, r"indices from 6 to 6 are not all in \[0, 6\)"),
    (lambda f: mg.embedding(V[0, 0], [-1, 0]), IndexError, "indices from -1 to 0"),
    (lambda f: mg.embedding(V, [0]), ValueError, r"expected a table \(V, C\) and integers"),
    (lambda f: mg.embedding(V[0, 0], [0.0]), ValueError, r"and float64 \(1,\)"),
])  # fmt: skip
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(mg.scaled_dot_product_attention)

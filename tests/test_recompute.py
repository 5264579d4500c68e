"""checkpoint: the same values and gradients of any order, with less kept."""

import contextlib
import gc
import weakref

import numpy as np
import pytest

import minigraph as mg
from minigraph import Tensor, tape, tree

X = np.array([0.5, -1.0, 2.0])
rng = np.random.default_rng(0)


def close(a, b, rtol=1e-6):
    tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=1e-9), a, b)


def heavy(p, x, k=1.0):
    h = mg.tanh(x @ p["w"]) * k
    return {"h": mg.sin(h) @ p["v"][0], "s": (h.sum(), 5), "n": np.arange(2)}


def total(f, p, x):
    out = f(p, x, k=2.0)
    assert out["s"][1] == 5 and out["n"].tolist() == [0, 1]
    return (out["h"] ** 2).sum() * out["s"][0]


def test_checkpoint_has_the_same_values_and_gradients_of_any_order():
    p = {"w": rng.standard_normal((3, 4)), "v": [rng.standard_normal((4, 2))]}
    x = rng.standard_normal((5, 3))
    again = mg.checkpoint(heavy)
    nested = mg.checkpoint(lambda *a, **k: mg.checkpoint(heavy)(*a, **k))
    plain = mg.value_and_grad(lambda p: total(heavy, p, x))(p)
    for f in (again, nested):
        close(mg.value_and_grad(lambda p, f=f: total(f, p, x))(p), plain, rtol=1e-14)
        close(mg.hvp(lambda p, f=f: total(f, p, x), p, p), mg.hvp(lambda p: total(heavy, p, x), p, p), rtol=1e-12)
        close(mg.jvp(lambda p, f=f: total(f, p, x), (p,), (p,)), mg.jvp(lambda p: total(heavy, p, x), (p,), (p,)))
    close(again(p, x), heavy(p, x))
    t = Tensor(X.astype(np.float32), requires_grad=True)
    mg.checkpoint(lambda t: (t * t).sum())(t).backward()
    assert t.grad.dtype == np.float32


def test_checkpoint_keeps_inputs_only():
    live = lambda: sum(type(o) is tape.Node for o in gc.get_objects())  # noqa: E731
    x = Tensor(X, requires_grad=True)

    def many(x):
        for _ in range(50):
            x = mg.sin(x)
        return x

    gc.collect()
    before = live()
    y = mg.checkpoint(many)(x)
    assert live() == before + 1
    y.backward(X, retain_graph=True)
    assert live() == before + 1  # nor does the node keep what the backward pass recorded
    z = many(x)
    assert live() == before + 51
    y = mg.checkpoint(many)(h := x * 1.0)
    y.backward(X)
    kept = weakref.ref(h.data)
    del h
    assert kept() is None and y.shape == (3,)
    x.grad = None
    mg.checkpoint(many)(x).backward(X)
    grad, x.grad = x.grad, None
    z.backward(X)
    close(grad.data, x.grad.data, rtol=1e-15)


def test_checkpoint_refuses_what_it_would_lose():
    w = Tensor(X, requires_grad=True)
    with pytest.raises(TypeError, match=r"uses a Tensor that needs a gradient and is not among its arguments"):
        mg.grad(lambda x: mg.checkpoint(lambda x: x * w)(x).sum())(X)
    with pytest.raises(TypeError, match="should return floating arrays"):
        mg.grad(lambda x: mg.checkpoint(lambda x: x.argmax())(x) * 1.0)(X)

    class Mine(ValueError):
        pass

    @mg.checkpoint
    def fails(x):
        raise Mine("here")

    with pytest.raises(Mine, match=r"^here$"):
        mg.grad(fails)(X)


@pytest.mark.parametrize("given", ["argument", "context", "seeded"])
def test_checkpoint_draws_the_same_again(given):
    def layer(x, g):
        for _ in range(2):
            x = mg.dropout(mg.exp(x), 0.5, rng=g) * mg.random.drawing_from(g).normal(size=40)
        return x

    def run(layer):
        mg.seed(3)
        g = np.random.default_rng(3)
        own = g if given == "argument" else None
        with mg.random.use(g) if given == "context" else contextlib.nullcontext():
            loss = lambda x: (layer(layer(x, own), own) ** 2).sum()  # noqa: E731
            out = mg.value_and_grad(loss)(np.linspace(0, 1, 40))
            return out, mg.random.drawing_from(own).random()  # as if there had been no replay

    plain = run(layer)
    for f in (mg.checkpoint(layer), mg.checkpoint(lambda x, g: mg.checkpoint(layer)(x, g))):
        close(run(f), plain, rtol=1e-14)


def test_constants_of_a_checkpoint_are_those_of_the_call():
    def product(x, c, t):
        return x * c * t

    x, c, t = Tensor(np.ones(2), requires_grad=True), np.full(2, 2.0), Tensor(np.full(2, 3.0))
    y = mg.checkpoint(product)(x, c, t)
    t.data = np.zeros(2)  # another array, which the graph does not know
    y.backward(np.ones(2))
    assert x.grad.data.tolist() == [6, 6]
    with mg.detect_anomaly():
        for array in (c, t.data):
            y = mg.checkpoint(product)(x, c, t)
            array += 1
            with pytest.raises(mg.MutationError, match=r"checkpoint\(product\)"):
                y.backward(np.ones(2))


def test_checkpoint_whose_second_run_differs_is_named_under_detect_anomaly():
    """Without it the gradient is silently that of another function."""
    kept, numbers = [np.ones(3)], iter(range(9))

    def change():
        kept[0] = np.zeros(3)

    def gradient(f):
        leaf = Tensor(X, requires_grad=True)
        y = mg.checkpoint(f)(leaf)
        change()
        y.backward()
        return leaf.grad.data

    for f in (lambda x: (x * kept[0]).sum(), lambda x: (x * next(numbers)).sum()):
        kept[0] = np.ones(3)
        with mg.detect_anomaly(), pytest.raises(mg.BackwardError, match=r"checkpoint.*\n.*test_recompute(.|\n)*again"):
            gradient(f)
    with mg.detect_anomaly():
        np.testing.assert_array_equal(gradient(lambda x: mg.dropout(x * x, 0.0).sum()), 2 * X)

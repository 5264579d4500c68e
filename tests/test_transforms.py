"""grad, vjp, jvp, hvp, jacobian, hessian: trees, nesting, perturbation confusion, bad input."""

from typing import NamedTuple

import numpy as np
import pytest

import minigraph as mg
from minigraph import BackwardError, Tensor, tree

X = np.array([0.5, -1.0, 2.0])
rng = np.random.default_rng(0)


class Layer(NamedTuple):
    w: object
    b: object


def params():
    r = np.random.default_rng(1)
    layers = [Layer(r.standard_normal((3, 2)), r.standard_normal(2))]
    return {"layers": layers, "out": (r.standard_normal(2), None), "no": {}}


def net(p):
    x = np.linspace(-1, 1, 12).reshape(4, 3)
    for w, b in p["layers"]:
        x = mg.tanh(x @ w + b)
    return (x @ p["out"][0]) ** 2


def numeric(f, p, v, eps=1e-6):
    """df/dp along v by central differences."""
    above, below = (f(tree.map(lambda a, d, step=step: a + step * d, p, v)) for step in (eps, -eps))
    return tree.map(lambda a, b: (a - b) / (2 * eps), above, below)


def dot(a, b):
    return sum(float((x * y).sum()) for x, y in zip(tree.leaves(a), tree.leaves(b), strict=True))


def close(a, b, rtol=1e-6):
    tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=1e-9), a, b)


# ---------------------------------------------------------------- each transform, on trees


def test_gradients_are_trees_like_the_arguments():
    p = params()
    v = tree.map(lambda a: rng.standard_normal(a.shape), p)
    loss = lambda p: net(p).sum()  # noqa: E731
    value, g = mg.value_and_grad(loss)(p)
    assert type(value) is np.ndarray and value == loss(p)
    assert type(g["layers"][0]) is Layer and g["out"][1] is None and g["no"] == {}
    assert all(type(a) is np.ndarray and a.flags.writeable for a in tree.leaves(g))
    assert np.isclose(dot(g, v), numeric(loss, p, v))
    y, out = mg.jvp(net, (p,), (v,))
    close((y, out), (net(p), numeric(net, p, v)))
    close(mg.hvp(loss, p, v), numeric(mg.grad(loss), p, v))
    y, pullback = mg.vjp(net, p)
    c = rng.standard_normal(4)
    for _ in range(2):
        assert np.isclose(dot(pullback(c)[0], v), (c * out).sum())
    pullback(c, retain_graph=False)
    with pytest.raises(BackwardError, match="retain_graph"):
        pullback(c)
    jac = mg.jacobian(net)(p)
    assert jac["layers"][0].w.shape == (4, 3, 2)
    close(sum((j * d).reshape(4, -1).sum(1) for j, d in zip(tree.leaves(jac), tree.leaves(v), strict=True)), out)
    hess = mg.hessian(loss)(p)
    assert hess["out"][0]["layers"][0].w.shape == (2, 3, 2)
    np.testing.assert_allclose(hess["out"][0]["layers"][0].b, hess["layers"][0].b["out"][0].T, atol=1e-14)


def test_trees_come_out_too():
    def f(x, y):
        return {"a": x * y, "b": [mg.exp(x), (y, 2.0)], "n": np.arange(2)}

    out, pullback = mg.vjp(f, X, X + 1)
    assert all(type(a) is np.ndarray for a in tree.leaves(out)) and out["b"][1][1] == 2.0
    g = pullback(tree.map(np.ones_like, out))
    close(g, (X + 1 + np.exp(X), X + 1))
    jac = mg.jacobian(f, (0, 1))(X, X + 1)
    close(jac["a"], (np.diag(X + 1), np.diag(X)))
    close(jac["n"], (np.zeros((2, 3)), np.zeros((2, 3))))
    assert mg.jacobian(lambda x: x[:0])(X).shape == (0, 3)
    assert mg.jacobian(lambda x: x.reshape(3, 1))(X).shape == (3, 1, 3)


def test_argnums_and_aux():
    def f(x, y, *, k=1.0):
        return (x * y * k).sum(), {"y": y * 2, "text": "t", "n": 3}

    gx, gy = mg.grad(lambda *a, **k: f(*a, **k)[0], (0, -1))(X, X + 1, k=2.0)
    close((gx, gy), (2 * (X + 1), 2 * X))
    (value, aux), g = mg.value_and_grad(f, argnums=1, has_aux=True)(X, X + 1)
    close((value, g, aux["y"]), ((X * (X + 1)).sum(), X, 2 * X + 2))
    assert type(aux["y"]) is np.ndarray and aux["text"] == "t"
    g, aux = mg.grad(f, (1,), has_aux=True)(X, X + 1)
    close(g, (X,))
    y, _, aux = mg.vjp(f, X, X, has_aux=True)
    assert y.shape == () and aux["n"] == 3
    close(mg.jacobian(lambda x, y: x * y, argnums=1)(X, X), np.diag(X))
    close(mg.hessian(lambda x, y: (x * y**3).sum(), argnums=1)(X, X), np.diag(6 * X**2))


def test_a_graph_freed_inside_is_no_zero():
    def f(x):
        y = mg.exp(x)
        y.sum().backward()
        return (y + x * x).sum()

    for call in (mg.grad(f), lambda x: mg.hvp(f, x, x)):
        with pytest.raises(BackwardError, match="retain_graph=True"):
            call(X)


def test_what_an_output_does_not_depend_on_has_zero_gradient():
    close(mg.grad(lambda p: (p["a"] * 2).sum())({"a": X, "b": X}), {"a": 2 + 0 * X, "b": 0 * X})
    close(mg.grad(lambda x: 3.0)(X), 0 * X)
    close(mg.jvp(lambda x: (x * 0 + 1, np.ones(2)), (X,), (X,))[1], (0 * X, np.zeros(2)))
    close(mg.hvp(lambda x: x.sum(), X, X), 0 * X)
    close(mg.hessian(lambda x: x.sum())(X), np.zeros((3, 3)))


def test_dtypes_and_scalars():
    p = {"a": X.astype(np.float32), "b": X, "c": 2.0, "d": np.float32(3)}
    g = mg.grad(lambda p: (p["a"] * p["b"]).sum() * p["c"] * p["d"])(p)
    assert [a.dtype for a in tree.leaves(g)] == [np.float32, np.float64, np.float64, np.float32]
    empty = mg.jacobian(lambda p: p["b"][:0])({"a": X.astype(np.float32), "b": X})
    assert [(a.shape, a.dtype) for a in empty.values()] == [((0, 3), np.float32), ((0, 3), np.float64)]
    value, h = mg.value_and_grad(lambda x: (x * x).mean() * 0.5)(p["a"])
    assert value.dtype == h.dtype == mg.hessian(lambda x: (x**2).mean())(p["a"]).dtype == np.float32
    _, pullback = mg.vjp(lambda x: x, p["a"])
    assert pullback(X)[0].dtype == pullback(Tensor(X))[0].dtype == np.float32
    assert mg.jvp(lambda x: x * 2.0, (p["a"],), (X,))[1].dtype == np.float32


def test_results_are_the_callers_own():
    c = np.ones(3)
    _, pullback = mg.vjp(lambda x, y: x + y, X, X)
    gx, gy = pullback(c)
    for a, b in ((gx, gy), (gx, c), (gy, c), (pullback(c)[0], gx)):
        assert not np.shares_memory(a, b)
    _, pullback = mg.vjp(lambda x: x, X)
    assert not np.shares_memory(pullback(c)[0], c)


def test_transforms_do_not_touch_leaves():
    w = Tensor(X, requires_grad=True)
    g = mg.grad(lambda w: (w * w).sum())(w)  # given a Tensor: differentiable in turn
    assert type(g) is Tensor and w.grad is None
    g.sum().backward()
    close(w.grad.data, 2 + 0 * X)
    g = mg.grad(lambda x, w: (x * x * w).sum())(X, w)  # wherever it is given
    w.grad = None
    g.sum().backward()
    close(w.grad.data, 2 * X)
    _, d = mg.jvp(lambda x: x**3, (w,), (X,))
    w.grad = None
    d.sum().backward()
    close(w.grad.data, 6 * X * X)
    with mg.no_grad():
        assert type(mg.grad(lambda w: (w * w).sum())(w)) is np.ndarray


# ---------------------------------------------------------------- nesting


def d(f):
    return lambda x: mg.grad(f)(x)


@pytest.mark.parametrize(("f", "expected"), [
    (lambda x: x * d(lambda y: x + y)(1.0), 1.0),  # Siskind & Pearlmutter 2005
    (lambda x: x * d(lambda y: x * y)(2.0), 6.0),
    (lambda x: d(lambda y: x * y * y)(x), 12.0),  # of 2 x y at y = x
    (lambda x: d(lambda x: d(lambda x: x**3)(x) * x)(x), 54.0),  # of 9 x^2
    (lambda x: x * d(lambda y: y * y)(3.0), 6.0),
    (lambda x: d(lambda y: d(lambda z: x * y * z * z)(y))(x), 24.0),  # of 4 x y at y = x
    (lambda x: mg.jvp(lambda y: x * y * y, (x,), (1.0,))[1], 12.0),
    (lambda x: mg.vjp(lambda y: x * y * y, x)[1](1.0)[0], 12.0),
    (lambda x: mg.vjp(lambda y: y * y, 2.0)[1](x)[0], 4.0),
    (lambda x: mg.jvp(lambda y: y * y, (2.0,), (x,))[1], 4.0),
    (lambda x: mg.hvp(lambda y: x * y**3, x, 1.0), 36.0),
    (lambda x: mg.hessian(lambda y: x * y**3)(x), 36.0),
    (lambda x: mg.jacobian(lambda y: mg.stack([x * y, y * y]))(x).sum(), 3.0),
    (lambda x: mg.value_and_grad(lambda y: (y * x, x * 2), has_aux=True)(x)[0][1], 2.0),
    (lambda x: x * Tensor(mg.grad(lambda y: y * y)(x.detach()).data), 6.0),
], ids=range(15))  # fmt: skip
def test_derivatives_inside_of_derivatives(f, expected):
    assert np.isclose(mg.grad(f)(3.0), expected, rtol=1e-12)


def test_every_transform_of_every_transform():
    f = lambda x: mg.sin(x) * x  # noqa: E731
    x, e = 0.7, 1e-5
    second = 2 * np.cos(x) - x * np.sin(x)
    third = -3 * np.sin(x) - x * np.cos(x)
    fourth = -4 * np.cos(x) + x * np.sin(x)
    forward = lambda f: lambda x: mg.jvp(f, (x,), (1.0,))[1]  # noqa: E731
    pulled = lambda f: lambda x: mg.vjp(f, x)[1](1.0)[0]  # noqa: E731
    first = [d, forward, mg.jacobian, pulled]
    for a in first:
        for b in first:
            assert np.isclose(a(b(f))(x), second, rtol=1e-12) and type(a(b(f))(x)) is np.ndarray
            for c in first:
                assert np.isclose(a(b(c(f)))(x), third, rtol=1e-12)
    assert np.isclose(mg.hessian(mg.hessian(f))(x), fourth, rtol=1e-12)
    assert np.isclose(d(d(d(d(f))))(x), (d(d(d(f)))(x + e) - d(d(d(f)))(x - e)) / (2 * e), rtol=1e-6)


def test_a_condition_that_is_differentiated_elsewhere():
    f = lambda x: mg.where(x, x**2, x).sum()  # noqa: E731
    x = np.array([1.0, 0.0, 3.0])
    close(mg.grad(f)(x), np.array([2.0, 1.0, 6.0]))
    close(mg.hvp(f, x, np.ones(3)), np.array([2.0, 0.0, 2.0]))


def test_modes_inside_of_transforms():
    def f(x):
        with mg.no_grad():
            y = mg.exp(x)
            inner = mg.grad(lambda x: (x * x).sum())(x)
        assert type(inner) is np.ndarray and not y.requires_grad
        return (x * y.data * inner).sum()

    close(mg.grad(f)(X), np.exp(X) * 2 * X)
    with mg.no_grad():
        close(mg.grad(lambda x: (x * x).sum())(X), 2 * X)
        close(mg.grad(lambda x: mg.grad(lambda x: (x**3).sum())(x).sum())(X), 6 * X)


def test_a_tensor_by_closure_is_refused_not_lost():
    w = Tensor(X, requires_grad=True)
    f = lambda x: (x * (w * 2)).sum()  # noqa: E731
    for call in (mg.grad(f), lambda x: mg.jvp(f, (x,), (x,)), lambda x: mg.hvp(f, x, x), mg.hessian(f)):
        with pytest.raises(BackwardError, match=r"multiply[\s\S]*test_transforms.py[\s\S]*pass the Tensor as"):
            call(X)
    for result in (w.sum(), (w * 2).sum(), Tensor(2.0, requires_grad=True)):  # returned as it is
        with pytest.raises(BackwardError, match=r"backward of a result, float64 \(\)[\s\S]*pass the Tensor as"):
            mg.grad(lambda x, y=result: y)(X)
    with mg.no_grad():
        close(mg.grad(f)(X), 2 * X)
    close(mg.grad(lambda x: (x * w.detach()).sum())(X), X)
    close(mg.grad(lambda w: mg.grad(lambda x: (x * w).sum())(X).sum())(X), 1 + 0 * X)  # none is lost here


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: mg.grad(lambda x: x)(X), TypeError, r"should return one floating number, got float64 \(3,\)"),
    (lambda: mg.grad(lambda x: {"a": x})(X), TypeError, "should return one floating number"),
    (lambda: mg.grad(lambda x: 3)(X), TypeError, "should return one floating number, got int64"),
    (lambda: mg.grad(lambda x: None)(X), TypeError, "should return one floating number, got None"),
    (lambda: mg.grad(lambda x: "a")(X), TypeError, "should return arrays, got 'a'"),
    (lambda: mg.vjp(lambda x: {"a": [object]}, X), TypeError, r"should return arrays, got .* at a\.0"),
    (lambda: mg.grad(lambda x: x.sum(), has_aux=True)(X), TypeError, r"should return \(y, aux\)"),
    (lambda: mg.grad(lambda x: x.sum())(np.arange(3)), TypeError, "argument 0 should be a floating array .* int64"),
    (lambda: mg.grad(lambda p: p["a"][0])({"a": ["b"]}), TypeError, r"argument 0 at a\.0 should be a floating array"),
    (lambda: mg.grad(lambda x: x, 1)(2.0), ValueError, r"argnums \(1,\) is out of range, 1 arguments came"),
    (lambda: mg.grad(lambda x: x, (0, -1))(2.0), ValueError, "names an argument twice"),
    (lambda: mg.vjp(lambda x: x, X)[1](np.ones(2)), ValueError, r"of shape \(3,\), got float64 \(2,\)"),
    (lambda: mg.vjp(lambda x: {"a": x}, X)[1]({"b": X}), ValueError, "missing keys"),
    (lambda: mg.jvp(lambda x: x, X, X), TypeError, "should be tuples"),
    (lambda: mg.jvp(lambda x: x, (X,), (X, X)), ValueError, "1 primals but 2 tangents"),
    (lambda: mg.jvp(lambda x: x, (X,), (X[:2],)), ValueError, r"jvp: expected an array of shape \(3,\), got .* \(2,\)"),
    (lambda: mg.jvp(lambda x: (x, x > 0), (X,), (X,)), TypeError, "jvp: <lambda> should return .* bool .* at 1"),
    (lambda: mg.hvp(lambda x: x, X, X), TypeError, "should return one floating number"),
    (lambda: mg.hessian(lambda x: x)(X), TypeError, "should return one floating number"),
])  # fmt: skip
def test_misuse(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: mg.grad(lambda w: w.sum())(w=X), ValueError, "0 arguments came, and w by name: give by position what"),
    (lambda: mg.grad(lambda w: w.sum(), argnums="w")(X), TypeError, "argnums should be the numbers of positional"),
    (lambda: mg.value_and_grad(lambda x: (x.sum(), 3))(X), TypeError, r"; under has_aux=True it returns"),
    (lambda: mg.grad(lambda w: w.sum(), argnums=1.5)(X), TypeError, r"argnums should be .* from 0, got \(1\.5,\)"),
    (lambda: mg.jacobian(lambda w: w, argnums="w")(X), TypeError, r"argnums should be .* from 0, got \('w',\)"),
    (lambda: mg.hvp(lambda x: (x * x).sum(), (X,), (X,)), TypeError, r"takes x as one argument: write hvp\(f, x, v\)"),
    (lambda: mg.hvp(lambda x: x.T @ x, (X,), (X,)), TypeError, r"takes x as one argument: write hvp\(f, x, v\)"),
])  # fmt: skip
def test_arguments_given_in_the_wrong_way(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_one_argument_by_a_number_of_numpy():
    assert mg.grad(lambda a, b: (a * b).sum(), np.int64(1))(X, X).shape == X.shape
    assert mg.jacobian(lambda a, b: a * b, np.int64(1))(X, X).shape == (*X.shape, *X.shape)

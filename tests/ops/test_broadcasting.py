"""A suite over every operation that broadcasts: its gradients are those of operands that were broadcast beforehand.

Each operand is the larger one in some examples, and the smaller one, or stretched on both sides, in others.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigraph as mg

from .checks import same
from .strategies import arrays


def gradients(f, *xs):
    """The value of f and its gradients, pulled back from numbers that are not alike."""
    y, pullback = mg.vjp(f, *xs)
    return y, pullback(np.cos(np.arange(y.size)).reshape(y.shape))


def summed(g, shape):
    """g summed to `shape`: the adjoint of NumPy's broadcasting."""
    source = np.broadcast_to(np.arange(np.prod(shape, dtype=int)).reshape(shape), g.shape)
    return np.bincount(source.ravel(), g.ravel(), np.prod(shape, dtype=int)).reshape(shape)


def check_broadcasting(f, xs, shapes):
    """f of the xs, and of the xs broadcast to `shapes` beforehand."""
    y, grads = gradients(f, *xs)
    expected, full = gradients(f, *(np.broadcast_to(x, s).copy() for x, s in zip(xs, shapes, strict=True)))
    same(y, expected)
    for x, g, e in zip(xs, grads, full, strict=True):
        same(g, summed(e, x.shape))


ELEMENTWISE = {
    "add": 2, "subtract": 2, "multiply": 2, "divide": 2, "power": 2, "remainder": 2, "maximum": 2, "minimum": 2,
    "clip": 3,
}  # fmt: skip


@pytest.mark.parametrize("name", ELEMENTWISE)
@given(st.data())
def test_elementwise(name, data):
    n = ELEMENTWISE[name]
    drawn = data.draw(hnp.mutually_broadcastable_shapes(num_shapes=n, max_dims=3, min_side=0, max_side=3))
    xs = [np.abs(data.draw(arrays(s))) + 0.1 for s in drawn.input_shapes]
    check_broadcasting(getattr(mg, name), xs, [drawn.result_shape] * n)


@given(st.data(), hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=3, min_side=0, max_side=3))
def test_a_condition_may_be_the_larger_one(data, drawn):
    condition, *xs = (data.draw(arrays(s)) for s in drawn.input_shapes)
    check_broadcasting(lambda a, b: mg.where(condition > 0, a, b), xs, [drawn.result_shape] * 2)
    wide = np.broadcast_shapes(condition.shape, xs[0].shape)
    check_broadcasting(lambda a: mg.primitives()["gate"](a, condition > 0), xs[:1], [wide])


@given(st.data(), hnp.mutually_broadcastable_shapes(signature=np.matmul.signature, max_dims=2, min_side=0, max_side=3))
def test_the_leading_axes_of_matmul(data, drawn):
    xs = [data.draw(arrays(s)) for s in drawn.input_shapes]
    lead = np.broadcast_shapes(*(x.shape[:-2] for x in xs))
    check_broadcasting(mg.matmul, xs, [(*lead, *x.shape[-2:]) if x.ndim > 1 else x.shape for x in xs])


@settings(max_examples=100)
@given(st.data())
def test_a_subscript_of_length_1_is_stretched(data):
    """`i,i` of lengths 2 and 1, where the second stands for two equal entries."""
    lengths = {c: data.draw(st.sampled_from([3, 2, 0])) for c in "ab"}
    terms = data.draw(st.lists(st.text("ab", min_size=1, max_size=2), min_size=2, max_size=3))
    used = sorted(set("".join(terms)))
    output = "".join(data.draw(st.lists(st.sampled_from(used), unique=True)))
    subscripts = ",".join(terms) + data.draw(st.sampled_from(["->" + output, ""]))
    stretched = [{c: data.draw(st.sampled_from([1, n])) for c, n in lengths.items()} for _ in terms]
    longest = {c: next((s[c] for s, t in zip(stretched, terms, strict=True) if c in t and s[c] != 1), 1) for c in used}
    xs = [data.draw(arrays(tuple(s[c] for c in t))) for s, t in zip(stretched, terms, strict=True)]

    # A diagonal is stretched as a whole, which is not what broadcasting its matrix does.
    if all(s[c] == longest[c] or t.count(c) == 1 for t, s in zip(terms, stretched, strict=True) for c in t):
        full = [tuple(longest[c] for c in t) for t in terms]
        check_broadcasting(lambda *xs: mg.einsum(subscripts, *xs), xs, full)


@pytest.mark.parametrize(("subscripts", "shapes", "expected"), [
    ("i,i", [(2,), (1,)], [[5, 5], [4]]),
    ("ii,i->i", [(1, 1), (2,)], [[[10]], [2, 2]]),
    ("ii,i", [(2, 2), (1,)], [[[5, 0], [0, 5]], [4]]),
])  # fmt: skip
def test_a_stretched_operand_of_einsum(subscripts, shapes, expected):
    xs = [np.full(s, v) for s, v in zip(shapes, (2.0, 5.0), strict=True)]
    grads = mg.grad(lambda xs: mg.sum(mg.einsum(subscripts, *xs)))(xs)
    assert [g.tolist() for g in grads] == expected


@pytest.mark.parametrize("index", [slice(None), 0, np.array([0, 0, 2]), (slice(None), [1, 1]), np.array([1, 0, 1]) > 0])
def test_scattered_values(index):
    picked = np.zeros((3, 2))[index].shape
    for axes in [(), (0,), (1,), (0, 1)]:
        shape = tuple(1 if i in axes else n for i, n in enumerate(picked))
        for s in {shape, shape[1:] if shape and shape[0] == 1 else shape, ()}:
            values = np.random.default_rng(0).standard_normal(s)
            check_broadcasting(lambda v: mg.scatter(v, index, (3, 2)), [values], [picked])
            check_broadcasting(lambda v: mg.scatter_add(np.ones((3, 2)), index, v), [values], [picked])


@given(st.data())
def test_indices_along_an_axis_may_be_the_smaller_or_the_larger_ones(data):
    drawn = data.draw(hnp.mutually_broadcastable_shapes(num_shapes=2, min_dims=2, max_dims=2, min_side=1, max_side=3))
    x_shape, rest = ((*(1,) * (2 - len(s)), *s) for s in drawn.input_shapes)
    x = data.draw(arrays((*x_shape, 3)))
    indices = data.draw(hnp.arrays(int, (*rest, 2), elements=st.integers(-3, 2)))
    same(mg.take_along_axis(x, indices, -1), np.take_along_axis(x, indices, -1))
    check_broadcasting(lambda x: mg.take_along_axis(x, indices, -1), [x], [(*drawn.result_shape, 3)])


@pytest.mark.parametrize("shape", [(3, 1), (2, 1, 1, 1), (1, 1), (4, 3), (2, 3, 3, 3)])
def test_scale_and_bias_of_a_normalisation(shape):
    """Where a channel count of 1, or of the other lengths, could be taken for another axis."""
    rng = np.random.default_rng(0)
    x, (scale, bias) = rng.standard_normal(shape), rng.standard_normal((2, shape[-1]))
    statistics = np.zeros(shape[-1]), np.ones(shape[-1])
    for f in (
        lambda s, b: mg.layer_norm(x, s, b),
        lambda s, b: mg.batch_norm(x, s, b, *statistics, train=False)[0],
        lambda s, b: mg.batch_norm(np.concatenate([x, -x]), s, b, *statistics, train=True)[0],
    ):
        y, grads = gradients(f, scale, bias)
        g = np.cos(np.arange(y.size)).reshape(y.shape)
        same(grads[1], summed(g, bias.shape))
        same(grads[0], summed(g * np.asarray(f(np.ones_like(scale), 0 * bias)), scale.shape))

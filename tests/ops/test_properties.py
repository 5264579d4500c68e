"""Over shapes, axes, indices, layouts, dtypes: values as NumPy's or the loops', gradients as finite differences."""

import numpy as np
import table
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigraph as mg
from minigraph.testing import check_adjoint, check_vjp

sides = st.integers(0, 3)
shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3)
some_shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=1, max_side=3)
layouts = st.sampled_from(["C", "F", "strided", "flipped"])
floats = st.sampled_from([np.float32, np.float64])


@st.composite
def arrays(draw, shapes=shapes, away_from_kinks=False):
    """A float64 array in some layout; with `away_from_kinks` its entries are 0.4 apart and not near 0."""
    shape = draw(shapes) if isinstance(shapes, st.SearchStrategy) else shapes
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    x = np.asarray((table.spaced if away_from_kinks else table.normal)(*shape).f(rng))
    layout = draw(layouts)
    if layout == "F":
        return np.array(x, order="F")
    if layout == "strided" and x.ndim:
        return np.repeat(x, 2, axis=-1)[..., ::2]
    if layout == "flipped" and x.ndim:
        return np.flip(np.flip(x).copy())
    return x


@st.composite
def axes(draw, ndim):
    """None, an int or a tuple of ints, counted from either end."""
    if ndim == 0 or draw(st.booleans()):
        return None
    if draw(st.booleans()):
        return draw(st.integers(-ndim, ndim - 1))
    chosen = draw(st.lists(st.integers(0, ndim - 1), unique=True, max_size=ndim))
    return tuple(a - ndim if draw(st.booleans()) else a for a in chosen)


def same(got, expected):
    got = got.data if isinstance(got, mg.Tensor) else got
    assert got.shape == np.shape(expected)
    np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-11)


# ---------------------------------------------------------------- elementwise and broadcasting


@given(st.data(), hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, min_side=0, max_side=3))
def test_binary_operations_broadcast(data, pair):
    a, b = (data.draw(arrays(s)) for s in pair.input_shapes)
    b = b + 3 * np.sign(b)  # away from 0
    for name in ("add", "subtract", "multiply", "divide"):
        op = getattr(mg, name)
        same(op(a, b), getattr(np, name)(a, b))
        check_vjp(op, a, b, order=2 if name == "divide" else 1)


@given(st.data(), hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=3, min_side=0, max_side=3))
def test_where_broadcasts(data, triple):
    a, b, c = (data.draw(arrays(s)) for s in triple.input_shapes)
    same(mg.where(a > 0, b, c), np.where(a > 0, b, c))
    check_adjoint(mg.where, a > 0, b, c)


@given(arrays(away_from_kinks=True))
def test_functions_of_one_array(x):
    for f, reference in [
        (mg.relu, lambda x: np.maximum(x, 0)),
        (mg.tanh, np.tanh),
        (mg.abs, np.abs),
        (lambda x: mg.clip(x, -0.42, 0.81), lambda x: np.clip(x, -0.42, 0.81)),
    ]:
        same(f(x), reference(x))
        check_vjp(f, x)


@given(st.data(), floats, floats, st.sampled_from(["add", "multiply", "divide", "maximum", "power", "matmul"]))
def test_dtypes_follow_numpy_and_gradients_follow_inputs(data, first, second, name):
    shape = data.draw(st.sampled_from([(2, 2), (3, 3)]))
    a, b = (np.abs(data.draw(arrays(shape))).astype(t) + t(0.5) for t in (first, second))
    x, y = mg.Tensor(a, requires_grad=True), mg.Tensor(b, requires_grad=True)
    out = getattr(mg, name)(x, y)
    out.sum().backward()
    assert out.dtype == np.result_type(first, second)
    assert (x.grad.dtype, y.grad.dtype) == (first, second)


# ---------------------------------------------------------------- reductions


@given(st.data(), st.booleans())
def test_reductions(data, keepdims):
    x = data.draw(arrays(away_from_kinks=True))
    axis = data.draw(axes(x.ndim))
    for name in ("sum", "prod"):
        f = getattr(mg, name)
        same(f(x, axis, keepdims), getattr(np, name)(x, axis=axis, keepdims=keepdims))
        check_vjp(lambda x, f=f: f(x, axis, keepdims), x, order=1)


@given(st.data(), st.booleans())
def test_reductions_of_at_least_one_entry(data, keepdims):
    x = data.draw(arrays(some_shapes, away_from_kinks=True))
    axis = data.draw(axes(x.ndim))
    for name in ("mean", "var", "std", "max", "min", "logsumexp", "norm"):
        f = getattr(mg, name)
        reference = getattr(table, name, None) or getattr(np, name)
        same(f(x, axis=axis, keepdims=keepdims), reference(x, axis=axis, keepdims=keepdims))
        check_vjp(lambda x, f=f: f(x, axis=axis, keepdims=keepdims), x, order=1)


@given(st.data())
def test_along_one_axis(data):
    x = data.draw(arrays(hnp.array_shapes(min_dims=1, max_dims=3, max_side=3)))
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    same(mg.cumsum(x, axis), np.cumsum(x, axis))
    check_adjoint(lambda x: mg.cumsum(x, axis), x)
    same(mg.softmax(x, axis), table.softmax(x, axis))
    check_vjp(lambda x: mg.softmax(x, axis), x)
    same(mg.log_softmax(x, axis), np.log(table.softmax(x, axis)))
    check_vjp(lambda x: mg.log_softmax(x, axis), x)
    order = np.argsort(x, axis)
    same(mg.take_along_axis(x, order, axis), np.sort(x, axis))
    check_adjoint(lambda x: mg.take_along_axis(x, order, axis), x)
    indices = data.draw(hnp.arrays(int, hnp.array_shapes(min_dims=0, max_dims=2, max_side=3),
                                   elements=st.integers(-x.shape[axis], x.shape[axis] - 1)))  # fmt: skip
    same(mg.take(x, indices, axis), np.take(x, indices, axis))
    check_adjoint(lambda x: mg.take(x, indices, axis), x)


# ---------------------------------------------------------------- shapes and indices


@st.composite
def indices(draw, shape):
    """An index expression for `shape`: basic, or with integer arrays (repeated entries too), or a mask."""
    kinds = [hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True)]
    if shape and 0 not in shape:
        results = hnp.array_shapes(min_dims=1, max_dims=2, max_side=3)
        kinds.append(hnp.integer_array_indices(shape, result_shape=results))
        kinds.append(hnp.arrays(bool, shape[: draw(st.integers(1, len(shape)))]))
        kinds.append(
            st.tuples(
                st.sampled_from([slice(None), slice(None, None, -1), slice(None, None, 2), Ellipsis]),
                hnp.arrays(int, st.integers(0, 4), elements=st.integers(-shape[-1], shape[-1] - 1)),
            ).map(lambda t: t if t[0] is Ellipsis or len(shape) == 2 else (Ellipsis, t[1]))
        )
    return draw(st.one_of(kinds))


@given(st.data())
def test_indexing(data):
    x = data.draw(arrays())
    index = data.draw(indices(x.shape))
    same(mg.Tensor(x)[index], x[index])
    check_adjoint(lambda x: x[index], x)
    values = data.draw(arrays(np.shape(x[index])))
    same(mg.scatter(values, index, x.shape), table.scatter(values, index, x.shape))
    same(mg.scatter_add(x, index, values), table.scatter_add(x, index, values))
    check_adjoint(lambda x, v: mg.scatter_add(x, index, v), x, values)


@given(st.data())
def test_moving_axes(data):
    x = data.draw(arrays())
    order = data.draw(st.permutations(range(x.ndim)))
    order = tuple(a - x.ndim if data.draw(st.booleans()) else a for a in order)
    axis = data.draw(axes(x.ndim))
    extra = data.draw(st.integers(-x.ndim - 1, x.ndim))
    flat = tuple(int(n) for n in data.draw(st.permutations(x.shape)))
    for f, reference in [
        (lambda x: mg.transpose(x, order), np.transpose(x, order)),
        (lambda x: mg.flip(x, axis), np.flip(x, axis)),
        (lambda x: mg.expand_dims(x, extra), np.expand_dims(x, extra)),
        (lambda x: mg.squeeze(mg.expand_dims(x, extra), extra), x),
        (lambda x: mg.squeeze(x), np.squeeze(x)),
        (lambda x: mg.reshape(x, flat), np.reshape(x, flat)),
        (lambda x: mg.broadcast_to(x, (2, *x.shape)), np.broadcast_to(x, (2, *x.shape))),
    ]:
        same(f(x), reference)
        check_adjoint(f, x)


@given(st.data())
def test_concatenate_undoes_split(data):
    x = data.draw(arrays(hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)))
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    n = x.shape[axis]
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=3)))
    for sections in (cuts, data.draw(st.sampled_from([d for d in range(1, n + 1) if n % d == 0] or [1]))):
        parts = mg.split(x, sections, axis)
        for got, expected in zip(parts, np.split(x, sections, axis), strict=True):
            same(got, expected)
        same(mg.concatenate(parts, axis), x)
        check_adjoint(lambda x, sections=sections: mg.split(x, sections, axis), x)
        check_adjoint(lambda parts: mg.concatenate(parts, axis), parts)
    check_adjoint(lambda a, b: mg.stack([a, b], axis), x, x)


@given(st.data())
def test_padding(data):
    x = data.draw(arrays(hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=3)))
    widths = [(data.draw(sides), data.draw(sides)) for _ in range(x.ndim)]
    same(mg.pad(x, widths, value=1.5), np.pad(x, widths, constant_values=1.5))
    check_adjoint(lambda x: mg.pad(x, widths, value=1.5), x)
    narrow = [(min(a, max(n - 1, 0)), min(b, max(n - 1, 0))) for (a, b), n in zip(widths, x.shape, strict=True)]
    same(mg.pad(x, narrow, "reflect"), np.pad(x, narrow, "reflect"))
    check_adjoint(lambda x: mg.pad(x, narrow, "reflect"), x)


# ---------------------------------------------------------------- products


@given(st.data(), hnp.mutually_broadcastable_shapes(signature=np.matmul.signature, max_dims=2, min_side=0, max_side=3))
def test_matmul(data, pair):
    a, b = (data.draw(arrays(s)) for s in pair.input_shapes)
    same(mg.matmul(a, b), np.matmul(a, b))
    check_adjoint(mg.matmul, a, b)
    check_vjp(mg.matmul, a, b)


@given(st.data())
def test_einsum(data):
    sizes = {c: data.draw(sides) for c in "abcd"}
    terms = data.draw(st.lists(st.text("abcd", max_size=3), min_size=1, max_size=3))
    used = sorted(set("".join(terms)))
    output = "".join(data.draw(st.lists(st.sampled_from(used), unique=True))) if used else ""
    subscripts = ",".join(terms) + data.draw(st.sampled_from(["->" + output, ""]))
    xs = [data.draw(arrays(tuple(sizes[c] for c in t))) for t in terms]
    same(mg.einsum(subscripts, *xs), np.einsum(subscripts, *xs))
    check_adjoint(lambda *xs: mg.einsum(subscripts, *xs), *xs)


@given(st.data())
def test_einsum_ellipsis(data):
    pair = data.draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=2, min_side=0, max_side=3))
    k = data.draw(sides)
    a, b = (data.draw(arrays((*s, k))) for s in pair.input_shapes)
    for subscripts in ("...k,...k->...", "...k,...k", "...k,...k->k..."):
        same(mg.einsum(subscripts, a, b), np.einsum(subscripts, a, b))
        check_adjoint(lambda a, b, s=subscripts: mg.einsum(s, a, b), a, b)


# ---------------------------------------------------------------- convolution and pooling

pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
paddings = st.one_of(st.sampled_from([0, 1, "same", "valid"]), st.tuples(*[st.tuples(*[st.integers(0, 2)] * 2)] * 2))


def extents(window, dilation):
    return [d * (k - 1) + 1 for d, k in zip(dilation, window, strict=True)]


def sizes(least):
    """Map sizes of at least that, and not much larger."""
    return st.tuples(*(st.integers(max(n, 1), max(n, 1) + 4) for n in least))


def fitting(padding, window):
    """Map sizes that the window fits into."""
    if padding == "same":
        return sizes((1, 1))
    pads = table.pads_of(padding, None, window, None)
    return sizes([k - sum(p) for k, p in zip(window, pads, strict=True)])


@given(st.data(), pairs, paddings, pairs, pairs, st.integers(1, 2))
def test_conv2d(data, window, padding, stride, dilation, groups):
    size = data.draw(fitting(padding, extents(window, dilation)))
    n, c, k = data.draw(st.tuples(st.integers(0, 2), st.integers(1, 2), st.integers(1, 2)))
    x, w = data.draw(arrays((n, *size, c * groups))), data.draw(arrays((*window, c, k * groups)))
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    same(mg.conv2d(x, w, **options), table.conv2d(x, w, **options))
    check_adjoint(lambda x, w: mg.conv2d(x, w, **options), x, w)


@given(st.data(), pairs, paddings, pairs, pairs, st.integers(1, 2))
def test_conv_transpose2d(data, window, padding, stride, dilation, groups):
    if padding == "same":
        least, extra = (1, 1), 0
    else:  # (n - 1) stride - pads + extent should be at least 1
        pads = table.pads_of(padding, None, None, None)
        least = [1 - (e - sum(p) - 1) // s for e, p, s in zip(extents(window, dilation), pads, stride, strict=True)]
        extra = tuple(data.draw(st.integers(0, s - 1)) for s in stride)
    size = data.draw(sizes(least))
    n, c, k = data.draw(st.tuples(st.integers(0, 2), st.integers(1, 2), st.integers(1, 2)))
    x, w = data.draw(arrays((n, *size, c * groups))), data.draw(arrays((*window, k, c * groups)))
    options = {"stride": stride, "padding": padding, "output_padding": extra, "dilation": dilation, "groups": groups}
    same(mg.conv_transpose2d(x, w, **options), table.conv_transpose2d(x, w, **options))
    check_adjoint(lambda x, w: mg.conv_transpose2d(x, w, **options), x, w)


@given(st.data(), pairs, st.one_of(st.none(), pairs))
def test_pooling(data, window, stride):
    padding = tuple(data.draw(st.tuples(st.integers(0, k - 1), st.integers(0, k - 1))) for k in window)
    padding = data.draw(st.sampled_from([padding, "same", "valid"]))
    size = data.draw(fitting(padding, window))
    n, c = data.draw(st.tuples(st.integers(0, 2), st.integers(1, 2)))
    x = data.draw(arrays((n, *size, c), away_from_kinks=True))
    options = {"stride": stride, "padding": padding}
    same(mg.max_pool(x, window, **options), table.max_pool(x, window, **options))
    same(mg.avg_pool(x, window, **options), table.avg_pool(x, window, **options))
    check_vjp(lambda x: mg.max_pool(x, window, **options), x)
    check_adjoint(lambda x: mg.avg_pool(x, window, **options), x)


# ---------------------------------------------------------------- normalisation and losses


@given(st.data(), st.sampled_from([1e-5, 0.1]))
def test_normalisation(data, eps):
    x = data.draw(arrays(hnp.array_shapes(min_dims=2, max_dims=4, min_side=2, max_side=3)))
    scale, bias = (data.draw(st.one_of(st.none(), arrays(x.shape[-1:]))) for _ in range(2))
    zeros, ones = np.zeros(x.shape[-1]), np.ones(x.shape[-1])

    def batch_norm(x, scale, bias):
        return mg.batch_norm(x, scale, bias, zeros, ones, train=True, eps=eps)[0]

    same(batch_norm(x, scale, bias), table.affine(table.normalised(x, tuple(range(x.ndim - 1)), eps), scale, bias))
    check_vjp(batch_norm, x, scale, bias)
    same(mg.layer_norm(x, scale, bias, eps=eps), table.affine(table.normalised(x, -1, eps), scale, bias))
    check_vjp(lambda *args: mg.layer_norm(*args, eps=eps), x, scale, bias)


@given(st.data(), st.floats(0, 1), st.booleans())
def test_cross_entropy(data, smoothing, soft):
    logits = data.draw(arrays(hnp.array_shapes(min_dims=2, max_dims=2, max_side=4)))
    n, k = logits.shape
    labels = data.draw(arrays((n, k)) if soft else hnp.arrays(int, n, elements=st.integers(0, k - 1)))
    same(mg.cross_entropy(logits, labels, label_smoothing=smoothing), table.cross_entropy(logits, labels, smoothing))
    check_vjp(lambda x, q: mg.cross_entropy(x, q, label_smoothing=smoothing), logits, labels)

"""NumPy's own functions on Tensors: the right result or a TypeError, never an object array, never a lost gradient."""

import operator as op
import warnings

import numpy as np
import pytest

import minigraph as mg
from minigraph import Tensor
from minigraph.ops import numpy_api

A = np.array([[1.3, 0.6], [2.6, 3.4]])
B = np.array([[0.7, 1.1], [1.9, 0.3]])
MASK = np.array([[True, False], [False, True]])
T, U = "T", "U"  # stand for the Tensors of A and B in the calls below

UFUNCS = [f for f in vars(np).values() if isinstance(f, np.ufunc)]
DISPATCHED = sorted(
    {
        f
        for module in (np, np.linalg, np.fft, np.char, np.lib.stride_tricks, np.lib.scimath)
        for f in vars(module).values()
        if type(f) is type(np.sum)
    },
    key=lambda f: f"{f.__module__}.{f.__name__}",
)

CALLS = [
    ((T,), {}), ((T, U), {}), ((B, T), {}), ((T, 1), {}), ((T, 0), {}), ((1, T), {}), ((T, 0, None), {}),
    ((T, T, T), {}), ((T, [0, 1]), {}), (([T, U],), {}), (([T, B],), {}), (([T, U], 1), {}), ((T, 0, 1), {}),
    ((T, 0.5, 2.0), {}), ((MASK, T, U), {}), ((MASK, T), {}), ((T, MASK), {}), ((T, (4,)), {}),
    ((T, (2, 2, 2)), {}), ((T, 1, 0), {}), ((T, np.array([[0], [1]]), 1), {}), (("ij,jk->ik", T, U), {}),
    (("ii", T), {}), ((T, None, 0), {}), ((T, 2, 0, True), {}), (([MASK], [T]), {}),
    ((T, np.array([0, 0])), {}), ((1.5, T), {}), ((T, U, 1), {}), ((T,), {"axis": 0}),
    ((T,), {"axis": 0, "keepdims": True}), ((T,), {"axis": 0, "ddof": 1}), ((T, 1), {"axis": 0}),
    ((T,), {"axis": None}), ((T,), {"dtype": np.float32}), (([T, U],), {"axis": None}), ((T,), {"ord": 1}),
    ((T, -1.0, 2.0), {}), ((lambda x: x, 0, T), {}), ((lambda x: x, T), {}), ((MASK, T, 0.0), {}),
    ((T, T, T, T), {}),
]  # fmt: skip


def put(value, t, u):
    if isinstance(value, (list, tuple)):
        return type(value)(put(v, t, u) for v in value)
    return t if value is T else u if value is U else value


def apply(f, call, t, u):
    args, kwargs = call
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        args = [a.copy() if isinstance(a, np.ndarray) else a for a in put(args, t, u)]  # some write to them
        return f(*args, **kwargs)


def leaves(result):
    return [v for r in result for v in leaves(r)] if isinstance(result, (list, tuple)) else [result]


def check(f, call):
    """Whether the call works on arrays; if so, that on Tensors it is right, value and gradient, or raises TypeError."""
    try:
        expected = apply(f, call, A.copy(), B.copy())
    except Exception:
        return False
    t, u = Tensor(A, requires_grad=True), Tensor(B, requires_grad=True)
    try:
        got = apply(f, call, t, u)
    except TypeError as error:
        assert len(str(error)) > 20
        return True
    shift_a, shift_b = 1e-6 * np.array([[1.0, -2.0], [0.5, 3.0]]), 1e-6 * np.array([[-1.0, 0.3], [2.0, 1.0]])
    above, below = (apply(f, call, A + s * shift_a, B + s * shift_b) for s in (1, -1))
    for e, g, hi, lo in zip(*map(leaves, (expected, got, above, below)), strict=True):
        if not isinstance(g, Tensor):  # a constant: nothing to lose
            assert np.asarray(g).dtype != object or np.asarray(e).dtype == object
            if np.asarray(e).dtype.kind in "fc":
                np.testing.assert_allclose(g, e, rtol=1e-12)
                np.testing.assert_array_equal(hi, lo)
            else:
                np.testing.assert_array_equal(g, e)
            continue
        assert g.shape == np.shape(e)
        np.testing.assert_allclose(g.data, e, rtol=1e-12)
        for x in (t, u):
            x.grad = None
        c = np.random.default_rng(0).standard_normal(g.shape)
        g.backward(c, retain_graph=True)
        slope = sum(float((x.grad.data * s).sum()) for x, s in ((t, shift_a), (u, shift_b)) if x.grad is not None)
        np.testing.assert_allclose(slope, float((c * (np.asarray(hi) - lo)).sum()) / 2, rtol=1e-4, atol=1e-12)
    np.testing.assert_array_equal(t.data, A)
    return True


def test_the_lists_are_whole():
    assert len(UFUNCS) > 85 and len(DISPATCHED) > 250
    assert {np.add, np.arctan2, np.matmul} <= {*UFUNCS} and {np.sum, np.linalg.inv, np.where} <= {*DISPATCHED}


@pytest.mark.parametrize("f", UFUNCS, ids=lambda f: f.__name__)
def test_every_ufunc(f):
    operands = [(T, U)[:1] * f.nin] if f.nin != 2 else [(T, U), (B, T), (T, B), (1.5, T), (T, 2), (np.float64(2), T)]
    worked = [check(f, (args, {})) for args in operands]
    for kwargs in ({"dtype": np.float64}, {"out": A.copy()}, {"where": MASK, "out": A.copy()}):
        check(f, (operands[0], kwargs))
    for method in ("reduce", "accumulate", "outer"):
        check(getattr(f, method), (operands[0][: 2 if method == "outer" else 1], {}))
    integral = f.types[0][0] in "?bBe" and not any("d" in kind for kind in f.types)
    assert any(worked) or integral or f.nin > 2 or f in (np.isnat, np.vecdot), "no call reached it"


@pytest.mark.parametrize("f", DISPATCHED, ids=lambda f: f"{f.__module__}.{f.__name__}")
def test_every_dispatched_function(f, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # np.save and its like take the einsum string for a file name
    for call in CALLS if f is not np.empty_like else ():
        check(f, call)


SUPPORTED = {
    np.sum, np.mean, np.var, np.std, np.max, np.min, np.prod, np.cumsum, np.reshape, np.transpose, np.broadcast_to,
    np.expand_dims, np.squeeze, np.flip, np.concatenate, np.stack, np.split, np.take, np.take_along_axis, np.where,
    np.clip, np.einsum, np.ravel, np.swapaxes, np.moveaxis, np.dot, np.linalg.norm,
    np.inner, np.outer, np.tensordot, np.vdot, np.kron, np.linalg.inv, np.linalg.solve, np.linalg.det,
    np.linalg.slogdet, np.linalg.qr, np.linalg.eigh, np.linalg.eigvalsh, np.linalg.svd,
    np.linalg.svdvals, np.linalg.pinv, np.linalg.multi_dot, np.linalg.matrix_norm, np.linalg.vector_norm,
    np.linalg.outer, np.linalg.vecdot, np.linalg.tensordot, np.linalg.matmul,
}  # fmt: skip


@pytest.mark.parametrize("f", sorted(SUPPORTED, key=lambda f: f.__name__), ids=lambda f: f.__name__)
def test_the_supported_functions_give_tensors(f):
    assert any(gives_tensor(f, call) for call in CALLS)


def gives_tensor(f, call):
    try:
        got = apply(f, call, Tensor(A, requires_grad=True), Tensor(B, requires_grad=True))
    except Exception:
        return False
    return all(isinstance(g, Tensor) and g.requires_grad for g in leaves(got))


# ---------------------------------------------------------------- what no dispatch sees

t = Tensor([1.0, 2.0], requires_grad=True)
s = t.sum()
a = np.array([1.0, 2.0])


@pytest.mark.parametrize("f", [
    lambda: np.asarray(t), lambda: np.array(t), lambda: np.array([t, t]), lambda: np.array([s, s]),
    lambda: np.array([1.0, s]), lambda: np.array(s, dtype=object), lambda: np.array([t], dtype=object),
    lambda: np.sum([s, s]), lambda: np.mean([t, t]), lambda: mg.sum([s, s]), lambda: mg.add([s, s], 1.0),
    lambda: mg.Tensor(t), lambda: mg.Tensor([s, s]), lambda: a.dot(t), lambda: a.put(0, s), lambda: a.searchsorted(t),
    lambda: a.clip(s, t), lambda: np.arange(s), lambda: np.arange(0, s), lambda: np.full(2, s),
    lambda: np.full_like(a, s),
    lambda: np.full_like(t, s), lambda: np.r_[t, 1.0], lambda: np.c_[t, t], lambda: np.vectorize(lambda x: x)(t),
    lambda: np.frompyfunc(lambda x: x, 1, 1)(t), lambda: np.frompyfunc(lambda x: x, 1, 1)(t.detach()), lambda: a[t],
    lambda: np.add.at(a, [0], s), lambda: np.random.default_rng(0).normal(t), lambda: np.float64(s),
    lambda: np.less(t, 1, out=a),
    lambda: np.linspace(0, s), lambda: a.fill(s), lambda: op.setitem(a, 0, s), lambda: op.setitem(a, slice(None), t),
    lambda: op.iadd(a, t), lambda: op.imul(a, t), lambda: op.imatmul(np.eye(2), np.ones((2, 2)) * t),
    lambda: np.ma.array([1.0, 2.0]).dot(t), lambda: np.fromiter([s, s], float),
])  # fmt: skip
def test_no_gradient_slips_into_an_array(f):
    before = a.copy()
    with pytest.raises((TypeError, ValueError)):  # ValueError: what NumPy makes of float()'s TypeError
        f()
    np.testing.assert_array_equal(a, before)


def test_an_assignment_into_an_array_says_what_to_do():
    with pytest.raises(TypeError, match=r"an ndarray would lose it: .* mg\.stack, mg\.where and mg\.scatter_add"):
        op.setitem(np.zeros(t.shape), slice(None), t)
    with pytest.raises(ValueError) as caught:  # NumPy's own error, whose cause is ours
        op.setitem(np.zeros(2), 0, s)
    assert "which array[i] = t calls too, gives no gradient" in str(caught.value.__cause__)


LATER = {"cumulative_sum", "unstack"}  # not in NumPy 2.0


@pytest.mark.parametrize(("f", "message"), [
    (lambda: np.arctan(t), r"np\.arctan has no rule for Tensors: .*mg\.primitives\(\).*t\.detach\(\)"),
    (lambda: np.add.reduce(t), r"np\.add\.reduce is not defined on Tensors: use mg\.sum"),
    (lambda: np.maximum.reduce(t), "use mg.max"),
    (lambda: np.logaddexp.reduce(t), "use operations of minigraph"),
    (lambda: op.iadd(a, t), r"in-place operators put no Tensor into an array: write y = np\.add"),
    (lambda: np.exp(t, where=a > 1), "takes no where=: use mg.where"),
    (lambda: np.sum(t, 0, None), "give keepdims= and ddof= by name"),
    (lambda: np.sum(t, dtype=np.float32), r"np\.sum on a Tensor: got an unexpected keyword argument 'dtype'"),
    (lambda: np.ravel(t, order="F"), r"np\.ravel on a Tensor: got an unexpected keyword argument 'order'"),
    (lambda: np.hstack([t, t]), r"np\.hstack is not defined on Tensors: .*perhaps mg\.concatenate\)"),
    (lambda: np.linalg.eigvals(t), r"np\.linalg\.eigvals is not .*\(mg\.primitives\(\) lists them\)"),
    (lambda: np.round(t), r"np\.round is not .*\(mg\.primitives\(\) lists them\)"),
    (lambda: np.pad(t, 1), r"perhaps mg\.pad\)"),
    (lambda: np.log2(t), r"np\.log2 has no rule for Tensors: .*perhaps mg\.log\)"),
    (lambda: np.clip(t, 0, max=1), "give a_min and a_max, or min and max"),
    (lambda: np.asarray(t), r"t\.detach\(\)\.numpy\(\)"),
])  # fmt: skip
def test_messages_name_the_way_out(f, message):
    with pytest.raises(TypeError, match=message):
        f()


def test_the_hints_name_operations():
    assert {*numpy_api.INSTEAD} <= {*mg.ops.__all__}
    hinted = {name for names in numpy_api.INSTEAD.values() for name in names.split()}
    assert not hinted & {*mg.ops.__all__} and all(hasattr(np, n) or hasattr(np.linalg, n) for n in hinted - LATER)


def test_clip_takes_numpys_names():
    for kwargs in ({"a_min": 1.5, "a_max": 1.8}, {"min": 1.5, "max": 1.8}):
        np.testing.assert_array_equal(np.clip(t, **kwargs).data, [1.5, 1.8])
    np.testing.assert_array_equal(np.clip(t, None, 1.5).data, [1, 1.5])


def test_constants_read_the_array():
    assert np.shape(t) == (2,) and np.argmax(t) == 1 and np.allclose(t, a) and np.isfinite(t).all()
    assert type(np.zeros_like(t)) is np.ndarray


def test_tensors_outside_of_the_graph_are_arrays_to_numpy():
    d = t.detach()
    assert np.asarray(d) is d.data and np.array(d) is not d.data
    np.testing.assert_array_equal(np.arctan(d), np.arctan(a))
    np.testing.assert_array_equal(np.array([d, d]), [a, a])
    assert isinstance(np.frexp(d), tuple) and all(isinstance(v, Tensor) for v in np.frexp(d))


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_array_subclasses_do_not_take_over():
    x = Tensor(A, requires_grad=True)
    for other in (np.asmatrix(B), B.view(np.recarray)):
        for y in (x * other, other * x):
            assert type(y) is Tensor and type(y.data) is np.ndarray
            np.testing.assert_array_equal(y.data, A * B)

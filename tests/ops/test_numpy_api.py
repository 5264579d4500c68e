"""NumPy's own functions on Tensors: the right result or a TypeError, never an object array, never a lost gradient."""

import operator as op
import re
import runpy
import warnings
from pathlib import Path

import numpy as np
import pytest

import minigraph as mg
from minigraph import Tensor
from minigraph.ops import numpy_api

from . import numpy_calls
from .numpy_calls import EXPRESSIONS, MASK, A, B, N, leaves

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


def public(module, name):
    """NumPy's public object of that name, without the warning about those that it has given up."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(module, name, None)


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


def check(f, call):
    """Whether the call works on arrays; if so, that on Tensors it is right, value and gradient, or raises TypeError."""
    try:
        expected = apply(f, call, A.copy(), B.copy())
    except Exception:
        return False
    t, u = Tensor(A.copy(), requires_grad=True), Tensor(B.copy(), requires_grad=True)
    try:
        got = apply(f, call, t, u)
    except TypeError as error:
        assert len(str(error)) > 20
        return True
    shift_a, shift_b = 1e-6 * np.array([[1.0, -2.0], [0.5, 3.0]]), 1e-6 * np.array([[-1.0, 0.3], [2.0, 1.0]])
    above, below = (apply(f, call, A + s * shift_a, B + s * shift_b) for s in (1, -1))
    for e, g, hi, lo in zip(*map(leaves, (expected, got, above, below)), strict=True):
        if np.asarray(e).dtype.kind == "f" and not np.isfinite(e).all():
            continue  # out of its domain
        if not isinstance(g, Tensor) or not g.requires_grad:  # a constant: nothing to lose
            g = g.data if isinstance(g, Tensor) else g
            assert np.asarray(g).dtype != object or np.asarray(e).dtype == object
            if np.asarray(e).dtype.kind in "fc":
                np.testing.assert_allclose(g, e, rtol=1e-12)
                np.testing.assert_array_equal(hi, lo)
            else:
                np.testing.assert_array_equal(g, e)
            continue
        assert g.shape == np.shape(e) and g.dtype == np.asarray(e).dtype
        if g.dtype == np.float32:  # asked for by dtype=. Differences of it say nothing
            np.testing.assert_allclose(g.data, e, rtol=1e-6)
            continue
        np.testing.assert_allclose(g.data, e, rtol=1e-12, atol=1e-15)
        for x in (t, u):
            x.grad = None
        c = np.random.default_rng(0).standard_normal(g.shape)
        g.backward(c, retain_graph=True)
        slope = sum(float((x.grad.data * s).sum()) for x, s in ((t, shift_a), (u, shift_b)) if x.grad is not None)
        np.testing.assert_allclose(slope, float((c * (np.asarray(hi) - lo)).sum()) / 2, rtol=1e-4, atol=1e-12)
    np.testing.assert_array_equal([t.data, u.data], [A, B])
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
        check(getattr(f, method), ((T, 0.45) if method == "outer" else (T,), {}))
    integral = f.types[0][0] in "?bBe" and not any("d" in kind for kind in f.types)
    assert any(worked) or integral or f.nin > 2 or f in (np.isnat, np.vecdot), "no call reached it"


@pytest.mark.parametrize("f", DISPATCHED, ids=lambda f: f"{f.__module__}.{f.__name__}")
def test_every_dispatched_function(f, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # np.save and its like take the einsum string for a file name
    for call in CALLS if f is not np.empty_like else ():
        check(f, call)


# ---------------------------------------------------------------- calls as people write them

NEW = {"astype", "cumulative_prod", "cumulative_sum", "matvec", "unstack", "vecmat"}  # not in NumPy 2.0


def known(expression):
    """Skip a call of a function that this NumPy does not have yet."""
    names = set(re.findall(r"np\.(\w+)", expression))
    if not all(hasattr(np, n) for n in names):
        assert names & NEW
        pytest.skip("not in this NumPy")


@pytest.mark.filterwarnings("ignore:numpy.fix is deprecated:DeprecationWarning")
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_a_call_gives_numpys_value_and_the_right_gradient(expression):
    known(expression)
    numpy_calls.check(expression)


@pytest.mark.parametrize("requires_grad", [True, False])
@pytest.mark.parametrize("expression", numpy_calls.listed(numpy_calls.CONSTANT))
def test_a_call_without_gradient_gives_numpys_value(expression, requires_grad):
    f = numpy_calls.function(expression)
    got = f(Tensor(A, requires_grad), Tensor(B, requires_grad), Tensor(N))
    np.testing.assert_equal(plain(got), f(A, B, N))


@pytest.mark.parametrize("expression", numpy_calls.listed(numpy_calls.DETACHED))
def test_of_tensors_outside_of_the_graph_numpy_computes_everything(expression):
    known(expression)
    f = numpy_calls.function(expression)
    got = f(Tensor(A.copy()), Tensor(B.copy()), Tensor(N), np.random.default_rng(0))
    np.testing.assert_equal(plain(got), f(A.copy(), B.copy(), N, np.random.default_rng(0)))


def plain(result):
    """The result with the arrays of Tensors that require no gradient."""
    return mg.tree.map(lambda x: np.asarray(x) if isinstance(x, Tensor) else x, result)


@pytest.mark.filterwarnings("ignore:'where' used without 'out'")
@pytest.mark.parametrize("expression", numpy_calls.REFUSED)
def test_a_call_that_is_refused_says_what_to_write(expression):
    f = numpy_calls.function(expression)
    f(A.copy(), B)
    with pytest.raises((TypeError, ValueError), match=numpy_calls.REFUSED[expression]):
        f(Tensor(A, requires_grad=True), Tensor(B, requires_grad=True))


def test_no_call_is_listed_twice():
    assert len({*EXPRESSIONS} - {*numpy_calls.REFUSED}) == len(EXPRESSIONS) > 550


def test_every_function_that_an_operation_stands_for_is_called():
    called = {f for n in re.findall(r"np\.([\w.]+)", numpy_calls.CALLS) if (f := found(n)) is not None}
    assert {f for f in numpy_api._OURS} <= called


def found(name):
    """NumPy's function of that name; of a ufunc's method, the ufunc."""
    f = np
    for part in name.split("."):
        if isinstance(f, np.ufunc):
            return f
        f = getattr(f, part, None)
    return f


# ---------------------------------------------------------------- all that NumPy has

# What has no array of numbers to differentiate by, and why.
NOT_APPLICABLE = {
    "makes an array of what is no Tensor": """arange array asanyarray asarray asarray_chkfinite ascontiguousarray
        asfortranarray asmatrix bartlett blackman bmat empty eye fftfreq from_dlpack frombuffer fromfunction fromiter
        fromstring full hamming hanning identity indices kaiser ones require rfftfreq tri zeros""",
    "of shapes and indices alone": """broadcast_shapes diag_indices mask_indices nested_iters tril_indices
        triu_indices""",
    "of whole numbers and bits": """bitwise_and bitwise_count bitwise_invert bitwise_left_shift bitwise_not bitwise_or
        bitwise_right_shift bitwise_xor gcd invert lcm left_shift packbits right_shift unpackbits""",
    "of the layout in memory": "isfortran",
    "of dates": "busday_count busday_offset datetime_as_string datetime_data is_busday isnat",
    "of dtypes and objects": """frompyfunc isdtype isscalar issubdtype iterable mintypecode promote_types typename""",
    "reads a file": "fromfile fromregex genfromtxt load loadtxt",
    "text and settings": """base_repr binary_repr format_float_positional format_float_scientific get_include
        get_printoptions getbufsize geterr geterrcall info printoptions set_printoptions setbufsize seterr seterrcall
        show_config show_runtime test""",
    "an alias that NumPy has given up, of vstack": "in1d row_stack trapz",
}
APART = {name: why for why, names in NOT_APPLICABLE.items() for name in names.split()}


def verdict(name, f):
    """What becomes of a function on Tensors: covered, constant, refused, or not applicable, with the reason."""
    verdicts = []
    if f in numpy_api._OURS:
        verdicts.append("covered")
    if f in numpy_api.CONSTANTS | numpy_api.PREDICATES:
        verdicts.append("constant")
    if name in numpy_api.REFUSED:
        verdicts.append(f"refused because {numpy_api.REFUSED[name]}")
    if name in APART:
        verdicts.append(f"not applicable: it is {APART[name]}")
    return verdicts


PUBLIC = [
    pytest.param(name, f, id=f"{module.__name__}.{name}")
    for module in (np, np.linalg, np.fft)
    for name in dir(module)
    if not name.startswith("_") and callable(f := public(module, name)) and not isinstance(f, type)
]


@pytest.mark.parametrize(("name", "f"), PUBLIC)
def test_every_public_function_has_one_verdict(name, f):
    assert len(verdict(name, f)) == 1


def test_the_page_lists_what_there_is():
    """`python docs/numpy_table.py` makes it anew."""
    if np.lib.NumpyVersion(np.__version__) < "2.4.0":
        pytest.skip("the page has the names of NumPy 2.4")
    program = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "numpy_table.py"))
    assert program["PAGE"].read_text().partition(program["MARK"])[2] == "\n" + program["text"]()


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
    lambda: np.r_[t, 1.0], lambda: np.c_[t, t], lambda: np.vectorize(lambda x: x)(t),
    lambda: np.frompyfunc(lambda x: x, 1, 1)(t), lambda: a[t],
    lambda: np.add.at(a, [0], s), lambda: np.random.default_rng(0).normal(t), lambda: np.float64(s),
    lambda: np.less(t, 1, out=a),
    lambda: a.fill(s), lambda: op.setitem(a, 0, s), lambda: op.setitem(a, slice(None), t),
    lambda: op.iadd(a, t), lambda: op.imul(a, t), lambda: op.imatmul(np.eye(2), np.ones((2, 2)) * t),
    lambda: np.ma.array([1.0, 2.0]).dot(t), lambda: np.fromiter([s, s], float),
])  # fmt: skip
def test_no_gradient_slips_into_an_array(f):
    before = a.copy()
    with pytest.raises((TypeError, ValueError)):  # ValueError: what NumPy makes of float()'s TypeError
        f()
    np.testing.assert_array_equal(a, before)


def test_an_assignment_into_an_array_says_what_to_do():
    with pytest.raises(TypeError, match=r"an ndarray would lose it: .* mg\.array, mg\.where and mg\.scatter_add"):
        op.setitem(np.zeros(t.shape), slice(None), t)
    with pytest.raises(ValueError) as caught:  # NumPy's own error, whose cause is ours
        op.setitem(np.zeros(2), 0, s)
    assert "which array[i] = t calls too, gives no gradient" in str(caught.value.__cause__)


@pytest.mark.parametrize(("f", "message"), [
    (lambda: np.spacing(t), r"np\.spacing has no rule for Tensors: it is about the grid .* mg\.primitive, .*detach"),
    (lambda: np.hypot.reduce(t), r"np\.hypot\.reduce is not defined on Tensors that require a gradient"),
    (lambda: np.hypot.accumulate(t), r"np\.hypot\.accumulate is not defined on Tensors"),
    (lambda: np.add.reduceat(t, [0, 1]), r"np\.add\.reduceat is not defined on Tensors"),
    (lambda: np.add.at(a, [0], s), r"np\.add\.at is not defined .*: use mg\.scatter_add"),
    (lambda: np.add.reduce(t, out=a), r"np\.add\.reduce\(\.\.\., out=array\)"),
    (lambda: op.iadd(a, t), r"in-place operators put no Tensor into an array: write y = np\.add"),
    (lambda: np.add(a, a, out=t.detach()), r"np\.add: out= takes no Tensor"),
    (lambda: np.exp(t, where=a > 1), "takes no where=: what it leaves out would have no value. Use mg.where"),
    (lambda: np.sum(t, out=a), r"np\.sum\(\.\.\., out=array\) puts no Tensor into an array, .*: write y = np\.sum"),
    (lambda: np.sum(t, dtype=int), "expected a floating dtype|gradient needs a floating dtype, got int64"),
    (lambda: np.concatenate([t], casting="no"), r"np\.concatenate on a Tensor: .* keyword argument 'casting'"),
    (lambda: np.isposinf(t, t.detach()), r"np\.isposinf: out= takes no Tensor"),
    (lambda: np.sum(t.detach(), 0, None, t.detach()), "puts no Tensor into an array|out= takes no Tensor"),
    (lambda: np.put(t.detach(), 0, 1.0), "it writes into an array, and a Tensor is not assigned to in place"),
    (lambda: np.linalg.eigvals(t), r"np\.linalg\.eigvals is not defined .* require a gradient: its .* use mg\.eigh"),
    (lambda: np.polyval(t, 2.0), r"np\.polyval is not .*: polynomials .* write a sum of powers"),
    (lambda: np.put(t, 0, 1.0), r"np\.put on a Tensor: it writes into an array, .* mg\.scatter_add, or .* t\.data"),
    (lambda: np.clip(t, 0, max=1), "give a_min and a_max, or min and max"),
    (lambda: np.asarray(t), r"t\.detach\(\)\.numpy\(\)"),
    (lambda: np.array([t, t]), r"mg\.array"),
    (lambda: np.quantile(t, s), r"quantile: q takes no Tensor that requires a gradient"),
])  # fmt: skip
def test_messages_name_the_way_out(f, message):
    with pytest.raises(TypeError, match=message):
        f()


def test_the_reasons_name_operations():
    hinted = {name for why in numpy_api.REFUSED.values() for name in re.findall(r"mg\.(\w+)", why)}
    assert hinted <= {*dir(mg)}
    places = np, np.linalg, np.fft, np.lib.stride_tricks
    assert all(any(hasattr(place, n) for place in places) for n in numpy_api.REFUSED)
    assert all(type(f) is type(np.sum) for f in numpy_api.CONSTANTS)  # others do not come to Tensors


def test_clip_takes_numpys_names():
    for kwargs in ({"a_min": 1.5, "a_max": 1.8}, {"min": 1.5, "max": 1.8}):
        np.testing.assert_array_equal(np.clip(t, **kwargs).data, [1.5, 1.8])
    np.testing.assert_array_equal(np.clip(t, None, 1.5).data, [1, 1.5])


def test_constants_read_the_array():
    assert np.shape(t) == (2,) and np.argmax(t) == 1 and np.allclose(t, a) and np.isfinite(t).all()
    assert type(np.zeros_like(t)) is np.ndarray


def test_tensors_outside_of_the_graph_are_arrays_to_numpy():
    d = t.detach()
    for got, expected in (
        (np.polyval(d, 2.0), np.polyval(a, 2.0)), (np.histogram(d, 2)[1], np.histogram(a, 2)[1]),
        (np.spacing(d), np.spacing(a)), (np.sum(d, dtype=int), 3), (np.hypot.reduce(d), np.hypot.reduce(a)),
        (np.linalg.cond(np.diag(d)), np.linalg.cond(np.diag(a))), (np.ravel(d, order="K"), a), (np.i0(d), np.i0(a)),
    ):  # fmt: skip
        assert isinstance(got, Tensor)
        np.testing.assert_array_equal(got.data, expected)
    assert np.fft.fft(d).dtype == complex and np.isnat(np.datetime64(0, "D")) == 0 and np.array_repr(d) == repr(a)
    into = np.zeros(2)
    assert np.add(d, 1.0, out=into) is into and into.tolist() == [2, 3]
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

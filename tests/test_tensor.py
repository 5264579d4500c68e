"""Tensor: attributes, operators, indexing, conversions, and its bad input."""

import copy
import itertools
import math
import multiprocessing
import operator
import operator as op
import pickle
import warnings

import numpy as np
import pytest

import minigraph as mg
from minigraph import BackwardError, Tensor

A = np.array([[1.0, -2.0, 3.0], [4.5, 5.0, -6.0]])
B = np.array([2.0, 3.0, 0.5])


def leaf(a, dtype=None):
    return Tensor(a, requires_grad=True, dtype=dtype)


def equal(t, a):
    data = t.data if isinstance(t, Tensor) else t
    np.testing.assert_array_equal(data, a, strict=True)


# ---------------------------------------------------------------- attributes


def test_attributes():
    t = leaf(A)
    assert (t.shape, t.ndim, t.size, t.dtype, len(t)) == ((2, 3), 2, 6, np.float64, 2)
    assert t.data is A and t.requires_grad and t.grad is None
    equal(t.T, A.T)
    d = t.detach()
    assert d.data is A and not d.requires_grad and d.numpy() is A
    assert Tensor(2).item() == 2 and type(Tensor(2.5).item()) is float
    equal(Tensor([1, 2], dtype=np.float32), np.array([1, 2], np.float32))


def test_hash_is_identity_and_equality_is_elementwise():
    t, u = leaf(B), leaf(B)
    assert {t: 1, u: 2}[t] == 1 and hash(t) != hash(u)
    equal(t == u, np.array([True] * 3))
    equal(t != u, np.array([False] * 3))
    assert not (t == None).any()  # noqa: E711


@pytest.mark.parametrize(
    ("data", "kwargs", "message"),
    [
        ("abc", {}, "expected real numbers, got str"),
        (1j, {}, "expected real numbers, got complex"),
        ([None], {}, "expected real numbers"),
        (np.ones(2, np.longdouble), {}, "up to 64 bits"),
        ([1, 2], {"requires_grad": True}, "requires_grad needs a floating dtype, got int64"),
        (True, {"requires_grad": True}, "needs a floating dtype, got bool"),
    ],
)
def test_what_a_tensor_cannot_hold(data, kwargs, message):
    with pytest.raises(TypeError, match=message):
        Tensor(data, **kwargs)


def test_grad_is_set_on_leaves_only():
    t = leaf(B)
    t.grad = Tensor(B)
    t.grad = None
    for bad in (B, Tensor(A)):
        with pytest.raises(TypeError, match="grad: expected None or a Tensor"):
            t.grad = bad
    with pytest.raises(TypeError, match="leaf only"):
        (t * 2).grad = None


def test_no_subclasses():
    with pytest.raises(TypeError, match="not made to be subclassed"):
        type("Mine", (Tensor,), {})


# ---------------------------------------------------------------- operators

ARITHMETIC = [op.add, op.sub, op.mul, op.truediv, op.pow, op.mod]
OTHERS = [2, 2.5, True, np.float64(2), np.float32(2), np.int64(2), B, [2.0, 3.0, 0.5], np.array(2.0)]


@pytest.mark.parametrize("f", ARITHMETIC)
@pytest.mark.parametrize("other", OTHERS, ids=lambda o: type(o).__name__)
def test_arithmetic_with_anything_on_either_side(f, other):
    x = np.abs(A)
    for y, expected in ((f(leaf(x), other), f(x, np.asarray(other))), (f(other, leaf(x)), f(np.asarray(other), x))):
        assert type(y) is Tensor and y.requires_grad
        np.testing.assert_allclose(y.data, expected, rtol=1e-15)
    equal(f(leaf(x), leaf(x)), f(x, x))


@pytest.mark.parametrize(("f", "da", "db"), [
    (op.add, lambda a, b: 1, lambda a, b: 1),
    (op.sub, lambda a, b: 1, lambda a, b: -1),
    (op.mul, lambda a, b: b, lambda a, b: a),
    (op.truediv, lambda a, b: 1 / b, lambda a, b: -a / b**2),
    (op.pow, lambda a, b: b * a ** (b - 1), lambda a, b: a**b * np.log(a)),
    (op.mod, lambda a, b: 1, lambda a, b: -np.floor(a / b)),
])  # fmt: skip
def test_arithmetic_gradients(f, da, db):
    a, b = leaf(np.array([1.3, 2.7])), leaf(np.array([2.2, 0.6]))
    f(a, b).sum().backward()
    np.testing.assert_allclose(a.grad.data, da(a.data, b.data) * np.ones(2))
    np.testing.assert_allclose(b.grad.data, db(a.data, b.data) * np.ones(2))


def test_matmul_and_unary_operators():
    t, w = leaf(A), np.arange(6.0).reshape(3, 2)
    for y, expected in [(t @ w, A @ w), (w @ t, w @ A), (t @ leaf(w), A @ w), (-t, -A), (abs(t), abs(A)), (+t, A)]:
        assert type(y) is Tensor and y.requires_grad
        equal(y, expected)
    (t @ w.tolist()).sum().backward()
    equal(t.grad, np.tile(w.sum(1), (2, 1)))
    with pytest.raises(ValueError, match=r"matmul\(float64 \(2, 3\), float64 \(2, 3\)\)"):
        t @ t


@pytest.mark.parametrize("f", [op.lt, op.le, op.gt, op.ge, op.eq, op.ne])
def test_comparisons_give_arrays(f):
    for other in (0.0, A, Tensor(A), B):
        data = other.data if isinstance(other, Tensor) else other
        equal(f(leaf(A), other), f(A, data))
        equal(f(other, leaf(A)), f(data, A))


def test_whole_number_division_and_rounding():
    i, a = Tensor([7, -7]), np.array([7, -7])
    equal(i // 2, a // 2)
    equal(15 // i, 15 // a)
    equal(a // Tensor([2, 2]), a // 2)
    for got, expected in ((divmod(i, 2), divmod(a, 2)), (divmod(2, i), divmod(2, a))):
        assert isinstance(got, tuple)
        equal(got[0], expected[0])
        equal(got[1], expected[1])
    equal(round(Tensor([1.26]), 1), np.array([1.3]))
    t = leaf(B)
    for got, expected in ((t // 2, B // 2), (2 // t, 2 // B), (B // t, B // B), (round(t), np.round(B))):
        equal(got, expected)
    quotient, rest = divmod(t, 0.7)
    (quotient.sum() + rest.sum() + (t // 0.7).sum()).backward()  # whole numbers have the derivative 0
    equal(t.grad, np.ones(3))


def test_logic_on_masks():
    m = Tensor([True, False])
    equal(m & np.array([True, True]), np.array([True, False]))
    equal(~m | m, np.array([True, True]))
    equal(m ^ True, np.array([False, True]))


def test_shifts_of_whole_numbers():
    n = Tensor([1, 2, 3])
    for got, expected in ((n << 2, [4, 8, 12]), (1 << n, [2, 4, 8]), (n >> 1, [0, 1, 1]), (12 >> n, [6, 3, 1])):
        assert got.tolist() == expected


def test_other_dtypes_are_for_tensors_without_a_gradient():
    t = Tensor([0.0, 1.9])
    assert t.astype(int).data.tolist() == [0, 1] and t.astype(bool).data.tolist() == [False, True]
    for kept in (t, leaf(B)):
        assert kept.astype(np.float64, copy=False) is kept and kept.astype(np.float64) is not kept
    h = leaf(B).astype(np.float32, copy=False)
    assert h.dtype == np.float32 and h.requires_grad
    with pytest.raises(TypeError, match=r"floating dtype, got int8: use t\.detach\(\)\.astype\(dtype\)"):
        leaf(B).astype("int8")


@pytest.mark.parametrize("other", [1j, "a", None, np.datetime64(1, "s"), object()], ids=lambda v: type(v).__name__)
def test_operands_that_are_no_real_numbers(other):
    for f in (lambda t: t * other, lambda t: other * t):
        with pytest.raises(TypeError):
            f(leaf(B))


# ---------------------------------------------------------------- indexing

INDICES = [
    0, -1, np.int64(1), slice(None), slice(None, None, -1), slice(5, 9), None, ..., True, False,
    (0, 1), (slice(1, 3), 0), (..., 0), (None, 0, ...), (0, ..., None), np.array(2), [0, 0, 2], [[0, 1], [1, 0]],
    np.array([1, 1, -1]), (np.array([0, 0, 1]), np.array([1, 1, 2])), ([0, 2], slice(None)), (slice(None), [2, 2]),
    (np.array([[0], [1]]), np.array([0, 0, 2])), np.ix_([0, 0, 2], [1, 1]), np.arange(12).reshape(4, 3) % 2 == 0,
    [True, False, True, False], (slice(None), np.array([True, False, True])), np.zeros(0, int), [], (),
    (0, [1, 1]), ([0, 0], None, [1, 1]), (slice(None), 0), np.zeros((4, 3), bool),
]  # fmt: skip


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_indexing_is_numpys_and_repeats_accumulate(index):
    x = leaf(np.arange(12.0).reshape(4, 3))
    y = x[index]
    equal(y, x.data[index])
    g = np.random.default_rng(0).standard_normal(y.shape)
    y.backward(g)
    expected = np.zeros((4, 3))
    np.add.at(expected, index if not isinstance(index, list) else np.array(index, int if not index else None), g)
    np.testing.assert_allclose(x.grad.data, expected, rtol=1e-15)


def test_indices_may_be_tensors_and_lists_of_them():
    x = leaf(B)
    i = Tensor([2, 0, 2])
    for index in (i, [*i], (i,), Tensor([True, False, True]), i[0], slice(i[1], i[0])):
        a = np.asarray(index) if not isinstance(index, slice) else slice(0, 2)
        equal(x[index], B[a.ravel() if isinstance(index, tuple) else a])
    equal(np.arange(3)[i], np.array([2, 0, 2]))
    assert list(range(5))[i[0]] == 2


@pytest.mark.parametrize("index", [5, "a", 1.0, (0, 0, 0), leaf(B), [True] * 3], ids=str)
def test_bad_indices_say_shape_and_index(index):
    with pytest.raises(IndexError, match=r"getitem\(float64 \(2, 3\), "):
        leaf(A)[index]


def test_assignment_says_what_to_write():
    t = leaf(B)
    with pytest.raises(TypeError, match=r"mg\.where\(mask, value, t\)"):
        t[0] = 1.0
    before = t
    t += 1  # a new tensor, not an assignment
    assert t is not before and before.data is B


# ---------------------------------------------------------------- as a container and as a number


def test_len_iteration_membership():
    t = leaf(A)
    rows = list(t)
    assert len(t) == len(rows) == 2 and all(r.requires_grad for r in rows)
    equal(rows[1], A[1])
    equal(sum(t), A.sum(0))
    assert 4.5 in t and 99 not in t
    for f in (len, iter, lambda s: s[0]):
        with pytest.raises((TypeError, IndexError)):
            f(Tensor(1.0))


def test_conversions():
    assert bool(leaf(1.0)) and not bool(Tensor(0))
    with pytest.raises(ValueError, match="ambiguous"):
        bool(leaf(B))
    assert float(Tensor([2.5])) == 2.5 and int(Tensor(2.5)) == 2 and op.index(Tensor(3)) == 3
    assert leaf(2.5).item() == 2.5
    with pytest.raises(TypeError):
        op.index(Tensor(2.5))
    for f in (Tensor.item, float, int):
        with pytest.raises(ValueError, match="item: expected one entry, got shape"):
            f(Tensor(B))


@pytest.mark.parametrize("f", [float, int, math.exp, math.floor, np.float64, np.float32], ids=str)
def test_numbers_do_not_swallow_a_gradient(f):
    with pytest.raises(TypeError, match=r"detach\(\)"):
        f(leaf(2.0))


def test_format_and_repr():
    assert f"{leaf(1.234):.2f} {Tensor([3]):03d}" == "1.23 003"
    assert f"{Tensor([1.0, 2.0])}" == "Tensor([1., 2.], dtype=float64)"
    with pytest.raises(TypeError, match="unsupported format"):
        f"{leaf(B):.2f}"
    assert repr(leaf([1.0], np.float32)) == "Tensor([1.], dtype=float32, requires_grad=True)"
    assert repr(leaf([1.0]).sum()) == "Tensor(1., dtype=float64, op=sum)"
    assert repr(Tensor(np.zeros((0, 2)))).endswith("shape=(0, 2))")
    big = repr(leaf(np.zeros((200, 100))))
    assert "shape=(200, 100)" in big and len(big) < 500


def test_copies_of_a_leaf_are_leaves_of_their_own():
    t = leaf(B)
    u = copy.deepcopy(t)
    (u * u).sum().backward()
    assert t.grad is None and u.data is not t.data
    equal(u.grad, 2 * B)


@pytest.mark.parametrize(("name", "args"), [
    ("sum", ()), ("sum", (0,)), ("mean", (1, True)), ("var", (0,)), ("std", (1,)), ("max", ()), ("min", (0,)),
    ("prod", (1,)), ("cumsum", (1,)), ("argmax", (0,)), ("argmin", ()), ("reshape", (3, 2)), ("reshape", ((6,),)),
    ("reshape", (-1,)), ("transpose", ()), ("transpose", (1, 0)), ("transpose", ((1, 0),)), ("transpose", (None,)),
    ("squeeze", ()), ("clip", (0, 3)), ("astype", (np.float32,)), ("cumprod", (1,)), ("trace", ()), ("trace", (1,)),
    ("diagonal", ()), ("diagonal", (-1, 1, 0)), ("dot", (B,)), ("argsort", ()), ("argsort", (0,)), ("any", ()),
    ("all", (1,)), ("nonzero", ()), ("tolist", ()), ("copy", ()), ("ravel", ()), ("ravel", ("F",)), ("flatten", ()),
    ("swapaxes", (0, 1)), ("repeat", (2,)), ("repeat", ([1, 2], 0)), ("take", ([0, 5],)), ("take", ([1], 1)),
    ("round", ()), ("round", (1,)),
])  # fmt: skip
def test_methods_are_numpys(name, args):
    # mean's second argument is dtype in NumPy, keepdims here
    expected = A.mean(1, keepdims=True) if name == "mean" else getattr(A, name)(*args)
    got = getattr(leaf(A), name)(*args)
    np.testing.assert_allclose(got.data if type(got) is Tensor else got, expected, rtol=1e-15)


@pytest.mark.parametrize(("name", "kwargs"), [
    ("sum", {"where": A > 0, "initial": 2.0}), ("mean", {"where": A > 0}), ("var", {"where": A > 0, "ddof": 1}),
    ("std", {"ddof": 1}), ("max", {"axis": 0, "initial": 3.5}), ("min", {"where": A > 0, "initial": 9.0}),
    ("prod", {"axis": 1, "keepdims": True, "where": A > 0}), ("cumsum", {"axis": 0, "dtype": np.float32}),
    ("clip", {"min": 0}), ("clip", {"max": 3.0}), ("reshape", {"shape": (3, 2)}),
    ("argmax", {"axis": 1, "keepdims": True}),
    ("argsort", {"axis": None}), ("any", {"axis": 0, "keepdims": True}), ("take", {"indices": [7], "mode": "wrap"}),
    ("sum", {"dtype": np.float32}), ("flatten", {"order": "F"}), ("trace", {"offset": 1}),
])  # fmt: skip
def test_methods_take_numpys_keywords(name, kwargs):
    args = (kwargs.pop("shape"),) if "shape" in kwargs else ()
    kwargs |= {"order": "F"} if name == "reshape" else {}
    got, expected = getattr(leaf(A), name)(*args, **kwargs), getattr(A, name)(*args, **kwargs)
    data = got.data if type(got) is Tensor else got
    np.testing.assert_allclose(data, expected, rtol=1e-6)
    assert np.shape(data) == np.shape(expected) and data.dtype == expected.dtype


def test_what_ndarray_has_and_what_it_does_in_place():
    t = leaf(A)
    assert (t.itemsize, t.nbytes) == (8, 48)
    equal(t.mT, A.T)
    assert [float(v.item()) for v in t.flat] == A.ravel().tolist() and t.flat[4].item() == 5.0
    equal(t.ptp(axis=0), np.ptp(A, axis=0))
    equal(t.sort(), np.sort(A))
    equal(t.sort(axis=None), np.sort(A, axis=None))
    assert t.data is A and A[0, 0] == 1.0  # the Tensor itself is as it was
    for y in (t.mT, t.flat, t.ptp(), t.sort(), t.copy(), t.dot(B)):
        assert y.requires_grad


def test_method_errors():
    with pytest.raises(ValueError, match=r"transpose\(float64 \(2, 3\)"):
        leaf(A).transpose(0)
    with pytest.raises(ValueError, match=r"reshape\(float64 \(2, 3\), \(4, 4\)"):
        leaf(A).reshape(4, 4)
    with pytest.raises(TypeError, match=r"t\.detach\(\)\.numpy\(\)"):
        leaf(A).numpy()
    with pytest.raises(TypeError, match="floating dtype, got int64"):
        leaf(A).astype(int)
    with pytest.raises(ValueError, match="axis 2"):
        leaf(A).sum(2)


# ---------------------------------------------------------------- float32 stays float32

F32 = np.array([[1.5, 2.5, 3.5]], np.float32)


@pytest.mark.parametrize("other", [
    2, 2.5, True, np.float64(2), np.array(2.0), np.arange(1, 4), np.arange(1, 4, dtype=np.int16), Tensor(2.0),
    leaf(2.0), [1.0, 2.0, 3.0], np.array([True, False, True]),
], ids=repr)  # fmt: skip
@pytest.mark.parametrize("f", [op.add, op.sub, op.mul, op.truediv, op.pow, mg.maximum, np.multiply])
def test_numbers_counts_and_0d_arrays_do_not_widen(f, other):
    for swapped in (False, True):
        x = leaf(F32)
        with np.errstate(divide="ignore", invalid="ignore"):  # one of the operands is False
            y = f(other, x) if swapped else f(x, other)
            y.sum().backward()
        assert y.dtype == np.float32
        assert x.grad.dtype == np.float32


def test_gradients_have_the_dtype_of_their_input():
    x, w = leaf(F32), leaf(np.ones((1, 3)))
    y = x * w
    assert y.dtype == np.float64  # a float64 array with axes does widen
    y.sum().backward()
    assert x.grad.dtype == np.float32 and w.grad.dtype == np.float64
    s = leaf(np.float32(2.0))
    z = s * np.float64(3) + 1
    assert z.dtype == np.float32
    z.backward()
    assert s.grad.dtype == np.float32
    h = leaf(F32.astype(np.float16))
    (h * 2.5).sum().backward()
    assert h.grad.dtype == np.float16
    swapped = leaf(B.astype(">f8"))
    (swapped * 2).sum().backward()
    equal(swapped.grad, np.full(3, 2.0, ">f8"))


def test_indices_and_reductions_stay_float32():
    x = leaf(F32)
    for y in (x[0, [0, 0]], x.mean(), x.std(), x.cumsum(1), mg.logsumexp(x), mg.norm(x), mg.pad(x, 1), mg.gelu(x)):
        assert y.dtype == np.float32, y
        x.grad = None
        y.sum().backward()
        assert x.grad.dtype == np.float32


# ---------------------------------------------------------------- copies


COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda t: pickle.loads(pickle.dumps(t)),
    "old pickle": lambda t: pickle.loads(pickle.dumps(t, protocol=2)),
}


@pytest.mark.parametrize("how", COPIES.values(), ids=COPIES)
def test_a_copy_of_a_leaf_is_a_fresh_leaf(how):
    t = leaf(A.copy())
    (t * t).sum().backward()
    u = how(t)
    assert u.requires_grad and u.node is not t.node and u.node.id > t.node.id
    equal(u.data, A)
    equal(u.grad.data, 2 * A)
    (u * 3).sum().backward()
    equal(u.grad.data, 2 * A + 3)
    equal(t.grad.data, 2 * A)
    assert (u.data is t.data) == (how is copy.copy)
    v = how(Tensor(A))
    assert not v.requires_grad and v.grad is None
    model = how({"w": leaf(A), "b": [leaf(B)]}) if how is not copy.copy else {"w": how(leaf(A))}
    assert model["w"].requires_grad


@pytest.mark.parametrize("how", COPIES.values(), ids=COPIES)
def test_a_copied_leaf_is_from_outside(how):
    """Its id is of this process and this moment: a transform sees that it is not one of its arguments."""
    old = pickle.dumps(leaf(A))
    for make in (lambda: how(leaf(A)), lambda: pickle.loads(old)):
        t = make()
        with pytest.raises(BackwardError, match="is not an argument of the transformed function"):
            mg.grad(lambda x, t=t: (x * t).sum())(A)


@pytest.mark.parametrize("how", COPIES.values(), ids=COPIES)
def test_the_result_of_an_operation_is_not_copied(how):
    with pytest.raises(TypeError, match=r"this Tensor is the result of multiply in a graph.* t\.detach\(\)"):
        how(leaf(A) * 2)
    equal(how((leaf(A) * 2).detach()).data, 2 * A)
    with pytest.raises(TypeError, match="a Node belongs to the graph of one process"):
        how(leaf(A).node)


def sum_of_squares(t):
    (t * t).sum().backward()
    return t


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_leaves_go_to_other_processes_and_back(method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {method}")
    t = leaf(A)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads: the child uses none of them
        with multiprocessing.get_context(method).Pool(1) as pool:
            u = pool.apply(sum_of_squares, (t,))
    equal(u.grad.data, 2 * A)
    assert t.grad is None and u.node.id > t.node.id


# ---------------------------------------------------------------- data and in-place updates


def test_data_takes_arrays_that_the_graph_can_live_with():
    t = leaf(A.copy())
    t.data -= 0.5
    t.data = A + 1
    equal(t.data, A + 1)
    with pytest.raises(TypeError, match=r"data: expected an ndarray, got Tensor: write t\.data = u\.data"):
        t.data = Tensor(A)
    with pytest.raises(TypeError, match="got list"):
        t.data = [1.0]
    for wrong in (A[0], A.astype(np.float32)):
        with pytest.raises(ValueError, match="as the graph has it, got"):
            t.data = wrong
    u = Tensor(A)
    u.data = A[0].astype(np.float32)
    assert u.shape == A[0].shape


def test_the_update_of_a_leaf_says_what_to_write():
    w = leaf(A.copy())
    (w * w).sum().backward()
    with pytest.raises(TypeError, match=r"w\.data -= lr \* w\.grad\.data"):
        w -= 0.1 * w.grad
    with pytest.raises(TypeError, match=r"w\.data -= lr \* w\.grad\.data"):
        w.data -= 0.1 * w
    for update in (operator.iadd, operator.imul, operator.itruediv):
        with pytest.raises(TypeError, match="no leaf any more"):
            update(w, 2.0)
    w.data -= 0.1 * w.grad.data
    equal(w.data, A - 0.2 * A)
    w.data += 0.1 * w.grad  # a Tensor that requires no gradient is its array to NumPy
    np.testing.assert_allclose(w.data, A)

    def f(x):  # the argument of a transformed function is a leaf too, and has no gradient
        x += mg.tanh(x)
        x *= 2
        x /= 3
        x -= 1
        return x.sum()

    np.testing.assert_allclose(mg.grad(f)(A), (2 - np.tanh(A) ** 2) * 2 / 3)


class Wrapped:
    """What a library with arrays of its own may have: the array, and operators that mean something else."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return np.array(self.array, dtype, copy=copy)

    def __rmul__(self, other):
        return other @ self.array

    def __array_ufunc__(self, ufunc, method, *inputs):
        return getattr(ufunc, method)(*(x.array if type(x) is Wrapped else x for x in inputs))


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
@pytest.mark.parametrize("kind", [np.matrix, Wrapped])
def test_constants_that_are_arrays_of_another_type(kind):
    """Their operators may mean something else, so rules must not see them: the `*` of a numpy.matrix is `@`."""
    x, plain = np.full((2, 2), 2.0), np.array([[1.0, 2.0], [3.0, 4.0]])
    functions = [mg.add, mg.multiply, mg.divide, mg.power, mg.maximum, mg.matmul, lambda x, c: mg.einsum("ij,jk", x, c)]
    for f in functions:
        for swap in (False, True):
            ours, expected = (
                mg.grad(lambda x, c=c, f=f, swap=swap: (f(c, x) if swap else f(x, c)).sum())(x)
                for c in (kind(plain), plain)
            )
            np.testing.assert_array_equal(ours, expected)
    leaf = Tensor(x, requires_grad=True)
    (leaf * kind(plain)).sum().backward()
    np.testing.assert_array_equal(leaf.grad, plain)


def test_masked_arrays_are_refused():
    masked = np.ma.masked_array([1.0, 2.0, 3.0], [True, False, False])
    t = leaf([1.0, 2.0, 3.0])
    for use in (
        lambda: Tensor(masked), lambda: t * masked, lambda: mg.add(t, masked),
        lambda: np.add(masked, t), lambda: mg.sum(masked), lambda: mg.where(masked > 1, t, t), lambda: mg.exp(masked),
        lambda: mg.grad(mg.sum)(masked), lambda: mg.concatenate([masked, t]), lambda: mg.conv2d(masked, t),
        lambda: mg.cross_entropy(masked, [0]),
    ):  # fmt: skip
        with pytest.raises(TypeError, match="masked array, whose mask would be lost"):
            use()
    with pytest.raises(TypeError, match="an ndarray would lose it"):
        masked * t


@pytest.mark.parametrize("kind", ["csr_array", "csr_matrix", "coo_array"])
def test_sparse_arrays_are_refused(kind):
    s = getattr(pytest.importorskip("scipy.sparse"), kind)(np.eye(3))
    t = leaf(np.ones((3, 3)))
    for use in (
        lambda: t @ s, lambda: s @ t, lambda: s.dot(t), lambda: s * t, lambda: t * s, lambda: t - s,
        lambda: np.matmul(t, s), lambda: np.matmul(s, t), lambda: np.dot(t, s), lambda: mg.matmul(s, t.data),
        lambda: mg.einsum("ij,jk", s, t), lambda: mg.solve(s, t), lambda: mg.exp(s), lambda: mg.sum(s),
        lambda: Tensor(s), lambda: t.detach() @ s,
    ):  # fmt: skip
        with pytest.raises(TypeError, match=r"a sparse array has no rule: use s\.toarray\(\), or a mg\.custom_vjp"):
            use()
    np.testing.assert_array_equal(s @ t.detach(), np.ones((3, 3)))
    with pytest.raises(TypeError, match=rf"matmul: got a {kind} \(3, 3\)"):
        t @ s


# What a table of operators is tried on: the kinds of operand that the operators treat apart from one another.
OPERANDS = {
    "float32": lambda: Tensor(np.array([1.5, 2.0, 0.5], np.float32), requires_grad=True),
    "float64": lambda: Tensor(np.array([1.5, 2.0, 0.5]), requires_grad=True),
    "float16": lambda: Tensor(np.array([1.5, 2.0, 0.5], np.float16), requires_grad=True),
    "column": lambda: Tensor(np.array([[1.5], [2.0]], np.float32), requires_grad=True),
    "number in float64": lambda: Tensor(np.float64(1.5), requires_grad=True),
    "number in float32": lambda: Tensor(np.float32(1.5), requires_grad=True),
    "without gradient": lambda: Tensor(np.array([1.5, 2.0, 0.5])),
    "float": lambda: 2.5,
    "int": lambda: 2,
    "bool": lambda: True,
    "float64 of NumPy": lambda: np.float64(2.5),
    "float32 of NumPy": lambda: np.float32(2.5),
    "int of NumPy": lambda: np.int64(2),
    "array": lambda: np.array([2.5, 0.5, 1.0]),
    "number in an array": lambda: np.array(2.5),
    "array of ints": lambda: np.array([2, 1, 3]),
    "list": lambda: [2.5, 0.5, 1.0],
}
OPERATORS = {
    "add": operator.add, "subtract": operator.sub, "multiply": operator.mul, "divide": operator.truediv,
    "power": operator.pow, "remainder": operator.mod, "floor_divide": operator.floordiv,
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_and_its_function_agree(name):
    """Operators take a shorter path through the engine. A list or an array on the left is left to NumPy."""

    def result(f, left, right):
        operands = OPERANDS[left](), OPERANDS[right]()
        y = f(*operands)
        if y.requires_grad:
            y.backward(np.arange(1.0, y.size + 1).reshape(y.shape))
        found = [y.numpy() if not y.requires_grad else y.detach().numpy()]
        found += [x.grad.numpy() for x in operands if getattr(x, "grad", None) is not None]
        return y.requires_grad, [(a.dtype, a.shape, a.tobytes()) for a in found]

    for left, right in itertools.product(OPERANDS, repeat=2):
        if type(OPERANDS[left]()) is mg.Tensor or (type(OPERANDS[right]()) is mg.Tensor and left in ("float", "int")):
            got, want = result(OPERATORS[name], left, right), result(getattr(mg, name), left, right)
            assert got == want, (left, right)

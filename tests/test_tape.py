"""The backward pass: what it accumulates, keeps, frees and computes; depth, memory, threads."""

import gc
import subprocess
import sys
import weakref

import numpy as np
import pytest

import minigraph as mg
from minigraph import BackwardError, Tensor, modes, tape, watch
from tests.threads import in_threads

X = np.array([0.5, -1.0, 2.0])


def leaf(a=X, dtype=None):
    return Tensor(a, requires_grad=True, dtype=dtype)


# ---------------------------------------------------------------- leaves, roots, reuse


def test_gradients_accumulate_at_leaves_and_nowhere_else():
    x = leaf()
    y = x * 2
    z = (y * y).sum()
    z.backward()
    np.testing.assert_array_equal(x.grad.data, 8 * X)
    first = x.grad
    (x * 3).sum().backward()
    np.testing.assert_array_equal(x.grad.data, 8 * X + 3)
    np.testing.assert_array_equal(first.data, 8 * X)  # the old gradient is not changed in place
    assert y.grad is None and z.grad is None and not x.grad.requires_grad


def test_diamonds_and_reuse():
    x = leaf()
    a = mg.sin(x)
    b = a * a + a * x  # a three times, x twice
    (b * a + b).sum().backward()
    s, c = np.sin(X), np.cos(X)
    b, db = s * s + s * X, 2 * s * c + c * X + s
    np.testing.assert_allclose(x.grad.data, db * s + b * c + db, rtol=1e-14)
    x = leaf(1.0)
    y = x
    for _ in range(60):  # 2 ** 60 paths
        y = y + y
    y.backward()
    assert x.grad.item() == 2.0**60


def noting(dtypes):
    @mg.custom_vjp
    def noted(x):
        return x

    @noted.vjp
    def _(g, _y, _x):
        dtypes.append(g.dtype)
        return g

    return noted


@pytest.mark.parametrize("create_graph", [False, True])
def test_gradients_of_float16_are_summed_in_float32_and_rounded_once(create_graph):
    x, dtypes = leaf([3e-4], np.float16), []
    noted = noting(dtypes)
    y = sum((noted(x) for _ in range(5000)), 0.0)
    y.backward(create_graph=create_graph)
    assert x.grad.data.tolist() == [5000.0] and x.grad.dtype == np.float16
    assert set(dtypes) == {np.dtype(np.float32)}
    _, pullback = mg.vjp(lambda x: [x] * 5000, x.data)  # as many roots
    assert pullback([np.ones(1, np.float16)] * 5000)[0].tolist() == [5000.0]
    for dtype in (np.float32, np.float64):  # others stay as they are
        dtypes.clear()
        noted(leaf(X, dtype)).sum().backward(create_graph=create_graph)
        assert dtypes == [dtype]


def test_second_derivatives_of_float16_are_summed_in_float32_too():
    for dtype in (np.float16, np.float64):
        h = mg.hessian(lambda x: sum((x * x * 0.5 for _ in range(3000)), 0.0).sum())(np.ones(2, dtype))
        assert h.tolist() == [[3000, 0], [0, 3000]] and h.dtype == dtype
    v = np.array([6e4, -6e4, 1.0], np.float16)  # a composite, whose gradients are not rounded on the way
    hvp = [mg.hvp(lambda x: layered(x)[0] * 1e-3, v.astype(t), np.ones(3, t)) for t in (np.float16, np.float64)]
    np.testing.assert_allclose(hvp[0], hvp[1], rtol=0.01, atol=1e-7)


@mg.custom_vjp
def cubed(x):
    return x * 1e-6 * x * x, x


@cubed.vjp
def _(g, _y, x, *, saved):
    return g * 3e-6 * saved * saved


@cubed.define_composite
def _(x):
    return x * 1e-6 * x * x


def layered(x):
    return cubed(x * 1e-3) * 1e3


def test_gradient_argument():
    x, g = leaf(), np.array([1.0, 2.0, 3.0])
    for given in (g, list(g), Tensor(g), Tensor(g, dtype=np.float32), g.astype(np.float32)):
        x.grad = None
        (x * x).backward(given)
        np.testing.assert_array_equal(x.grad.data, 2 * X * g)
    one = leaf([[3.0]])
    (one * one).backward()  # one entry needs none
    assert one.grad.shape == (1, 1)
    with pytest.raises(ValueError, match=r"a Tensor of shape \(3,\) needs gradient="):
        (x * x).backward()
    with pytest.raises(ValueError, match=r"gradient has shape \(2,\), expected \(3,\)"):
        (x * x).backward(np.ones(2))
    with pytest.raises(TypeError, match="requires_grad=True"):
        (x * x).detach().backward()


def test_a_leaf_is_its_own_root():
    x, g = leaf(X.astype(np.float32)), Tensor(np.ones(3))
    x.backward(g)
    assert x.grad.dtype == np.float32 and x.grad.data is not g.data
    y, h = leaf(), np.ones(3)
    y.backward(h)
    assert y.grad.data is not h


@pytest.mark.parametrize("create_graph", [False, True])
def test_gradients_share_no_memory_and_are_writable(create_graph):
    x, y, z, w, g = leaf(), leaf(), leaf(), leaf(np.ones((2, 3))), np.ones(3)
    saved = x * 1.0
    out = saved + y + z.reshape(3) + mg.concatenate([x[:1], y[1:]]) + w.sum(0)
    out.backward(g, create_graph=create_graph)
    arrays = [t.grad.data for t in (x, y, z, w)]
    for i, a in enumerate(arrays):
        assert a.flags.writeable
        for b in [*arrays[:i], g, out.data, x.data, saved.data]:
            assert not np.shares_memory(a, b)


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("given", [[X], 1.0, "a"])
def test_what_a_rule_may_not_return(given, create_graph):
    f = mg.custom_vjp(lambda x: x * 2)
    for rule in (lambda g, _y, _x: given, lambda g, _y, _x: (given,), lambda g, _y, _x: lambda: given):
        f.vjp(rule)
        with pytest.raises(BackwardError, match=f"a tuple of them, a thunk or None, got {type(given).__name__}"):
            f(leaf()).backward(X, create_graph=create_graph)


def test_a_root_that_comes_twice_or_is_a_leaf():
    def f(x):
        y = x * x
        return y, x, y, x

    _, pullback = mg.vjp(f, X)
    np.testing.assert_array_equal(pullback((X, X, X, X))[0], 4 * X * X + 2 * X)


# ---------------------------------------------------------------- freed, retained, differentiable


def test_a_second_backward_raises_and_names_retain_graph():
    x = leaf()
    y = mg.exp(x)
    z = y.sum()
    z.backward()
    for again in (z, y.sum()):  # the graph below y is freed too
        with pytest.raises(BackwardError, match="retain_graph=True") as caught:
            again.backward()
        assert "test_tape.py" in str(caught.value)
    np.testing.assert_array_equal(x.grad.data, np.exp(X))


def test_retain_graph():
    x = leaf()
    y = mg.exp(x).sum()
    for n in (1, 2, 3):
        y.backward(retain_graph=True)
        np.testing.assert_allclose(x.grad.data, n * np.exp(X), rtol=1e-15)
    y.backward()
    with pytest.raises(BackwardError):
        y.backward()


def test_create_graph_to_the_fourth_order():
    x = leaf()
    y = mg.sin(x) * x**2  # and its derivatives by hand
    s, c = np.sin(X), np.cos(X)
    expected = [
        c * X**2 + 2 * X * s, -s * X**2 + 4 * X * c + 2 * s,
        -c * X**2 - 6 * X * s + 6 * c, s * X**2 - 8 * X * c - 12 * s,
    ]  # fmt: skip
    for e in expected:
        x.grad = None
        y.sum().backward(create_graph=True)
        np.testing.assert_allclose(x.grad.data, e, rtol=1e-13)
        y = x.grad
    assert y.requires_grad


def test_create_graph_of_a_mixed_derivative():
    x, y = leaf(), leaf(X + 3)
    (x**2 * y**3).sum().backward(create_graph=True)
    g, x.grad, y.grad = x.grad, None, None
    g.sum().backward()
    np.testing.assert_allclose(y.grad.data, 6 * X * (X + 3) ** 2)


def test_the_gradient_argument_is_differentiable_under_create_graph():
    x, v = leaf(), leaf(np.ones(3))
    mg.sin(x).backward(v, create_graph=True)
    (x.grad * x.grad).sum().backward()
    np.testing.assert_allclose(v.grad.data, 2 * np.cos(X) ** 2)


# ---------------------------------------------------------------- what is computed, recorded, kept


@pytest.fixture
def product():
    """A product whose rule notes which gradients it computed."""
    ran = []

    @mg.custom_vjp
    def product(a, b):
        return a * b

    @product.vjp
    def _(g, _y, a, b):
        return lambda: ran.append("a") or g * b, lambda: ran.append("b") or g * a

    return product, ran


def test_gradients_that_nobody_needs_are_not_computed(product):
    f, ran = product
    f(leaf(), X).sum().backward()
    assert ran == ["a"]
    f(X, leaf()).sum().backward()
    assert ran == ["a", "b"]
    f(Tensor(X), leaf()).sum().backward()
    assert ran == ["a", "b", "b"]
    ran.clear()
    mg.grad(lambda a, b: f(a, b).sum())(X, X)
    assert ran == ["a"]
    ran.clear()
    mg.grad(lambda x: mg.grad(lambda a: f(f(x, x), a).sum())(X).sum())(X)
    assert ran == ["b", "a", "b"]  # the inner for a alone, then the outer through f(x, x)


def test_rules_record_under_create_graph_alone():
    seen = []

    @mg.custom_vjp
    def f(x):
        return x * 1.0

    @f.vjp
    def _(g, _y, _x):
        seen.append(((leaf() * 2).requires_grad, bool(modes.flags.get() & modes.DIFFERENTIATED), type(g)))
        return g

    def inside(x):
        f(leaf()).sum().backward()
        return x * 1.0

    f(leaf()).sum().backward()
    mg.grad(inside)(1.0)
    f(leaf()).sum().backward(create_graph=True)
    assert seen == [(False, False, np.ndarray)] * 2 + [(True, True, Tensor)]


def test_arrays_a_rule_does_not_name_are_not_kept():
    x = leaf()
    y = x * 2
    z = y + 1  # needs neither y nor z
    kept = weakref.ref(y.data)
    out = z.sum()
    del y, z
    assert kept() is None
    out.backward()
    np.testing.assert_array_equal(x.grad.data, [2, 2, 2])


def nodes():
    return sum(type(o) is tape.Node for o in gc.get_objects())


@pytest.fixture
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def one_layer(w, x):
    return mg.log_softmax(mg.layer_norm(mg.tanh(x @ w)[:, [0, 0, 1]].reshape(-1, 3)) ** 2).mean()


@pytest.mark.usefixtures("no_collector")
def test_graphs_are_freed_without_the_collector():
    before = nodes()
    w, x = leaf(np.eye(3)), np.ones((4, 3))
    for how in ("unused", "backward", "retained", "failed"):
        y = one_layer(w, x)
        if how == "backward":
            y.backward()
            assert nodes() == before + 2  # w, and the root that y holds
        elif how == "retained":
            y.backward(retain_graph=True)
        elif how == "failed":
            y.backward()
            with pytest.raises(BackwardError):
                y.backward()
        del y
        assert nodes() == before + 1, how
    del w
    assert nodes() == before
    f = lambda w: one_layer(w, x)  # noqa: E731
    for transformed in (mg.grad(f), mg.value_and_grad(mg.checkpoint(f)), mg.grad(lambda w: mg.grad(f)(w).sum())):
        transformed(np.eye(3))
        assert nodes() == before
    y, pullback = mg.vjp(f, np.eye(3))
    pullback(np.ones(()))
    del y, pullback
    mg.jvp(f, (np.eye(3),), (np.ones((3, 3)),)), mg.hvp(f, np.eye(3), np.eye(3))
    assert nodes() == before


@pytest.mark.usefixtures("no_collector")
def test_double_backward_passes_leave_nothing_behind():
    x = leaf()
    before = nodes()
    for _ in range(1000):
        x.grad = None
        (mg.tanh(x) * x).sum().backward(create_graph=True)
        first, x.grad = x.grad, None
        (first * first).sum().backward()
    del first
    x.grad = None
    assert nodes() == before
    y = mg.tanh(x * 1.0).sum()
    y.backward(create_graph=True)  # x.grad leads to the node of x, and that does not lead back to the Tensor x
    del x, y
    assert nodes() == before - 1


def test_activations_are_freed_while_walking():
    seen = []

    @mg.custom_vjp
    def probe(x):
        return x + 0

    @probe.vjp
    def _(g, _y, _x):
        seen.append(later() is None)
        return g

    x = leaf()
    y = probe(x)
    z = mg.exp(y)
    later = weakref.ref(z.data)
    out = z.sum()
    del z
    assert later() is not None
    out.backward()
    assert seen == [True]


# ---------------------------------------------------------------- depth

DEEP = """
import sys, sysconfig, threading
sys.setrecursionlimit(120)
import numpy as np, minigraph as mg

def chain(x, n):
    for _ in range(n // 2):
        x = x * 1.0 + 1.0
    return x

def work():
    n = 100_000
    x = mg.Tensor(np.ones(2), requires_grad=True)
    y = chain(x, n).sum()
    y.backward()
    assert x.grad.data.tolist() == [1.0, 1.0]
    y = chain(x, n)
    del y                                               # freed without a backward pass
    y = chain(x, n).sum()
    y.backward(retain_graph=True)
    del y
    assert mg.grad(lambda x: chain(x, n).sum())(np.ones(2)).tolist() == [1.0, 1.0]
    x.grad = None
    y = chain(x * x, 2000).sum()
    y.backward(create_graph=True)
    x.grad.sum().backward()
    print("done")

free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))  # where CPython itself goes deeper before it stops
threading.stack_size((1024 if free_threaded else 256) * 1024)      # freeing recurses in C, if it does
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


@pytest.mark.slow
def test_a_chain_of_100_000_operations():
    run = subprocess.run([sys.executable, "-c", DEEP], capture_output=True, text=True)
    assert (run.stdout, run.stderr, run.returncode) == ("done\n", "", 0)


# ---------------------------------------------------------------- threads


def test_many_threads_record_at_once():
    shared = np.linspace(0.0, 1.0, 5)

    def work(i):
        for k in range(60):
            x = leaf(shared + i)
            y = x
            for _ in range(10):
                y = mg.sin(y) * x
            y.sum().backward()
            g = mg.grad(lambda v: mg.grad(lambda u: (mg.sin(u) * u * v).sum())(v).sum())(shared + i + k)
            v = shared + i + k
            np.testing.assert_allclose(g, (np.cos(v) * v + np.sin(v)) + v * (2 * np.cos(v) - v * np.sin(v)), rtol=1e-12)
            numeric = x.data
            d, e = numeric, np.ones(5)
            for _ in range(10):
                d, e = np.sin(d) * numeric, np.cos(d) * e * numeric + np.sin(d)
            np.testing.assert_allclose(x.grad.data, e, rtol=1e-9)

    in_threads(8, work)


def test_max_pool_keeps_a_byte_an_output_and_only_where_it_is_recorded():
    x = mg.Tensor(np.random.default_rng(0).standard_normal((2, 4, 4, 3)), requires_grad=True)
    node = mg.max_pool(x * 2, 2).node
    kept = [a for a in (*node.args, *node.kwargs.values(), node.y) if isinstance(a, np.ndarray)]
    assert [(a.dtype, a.shape) for a in kept] == [(np.uint8, (2, 2, 2, 3))]
    assert modes.records(x) and not modes.records(x.data) and not modes.records(x.detach())
    with mg.no_grad():
        assert not modes.records(x)


# ---------------------------------------------------------------- gradients that a rule may write over


@pytest.fixture(params=[3, 100_000], ids=["small", "recycled"])
def negate(request):
    """-x, whose rule notes whether it was given its g to write over, and does so."""

    @mg.custom_vjp
    def negate(x):
        return -x

    @negate.vjp
    def _(g, _y, _x, *, out=None):
        negate.given.append(out is not None)
        assert out is None or out is g
        return -g if out is None else np.negative(g, out=out)

    negate.given = []
    negate.x = np.arange(1.0, 1 + request.param)
    return negate


def test_a_rule_writes_over_a_gradient_that_nobody_else_has(negate):
    y, pullback = mg.vjp(lambda x: negate(negate(x * 2.0) * 3.0), negate.x)
    given = np.ones_like(y)
    (gx,) = pullback(given, retain_graph=True)
    assert negate.given == [False, True]  # the first has the caller's own
    np.testing.assert_array_equal(given, 1)
    np.testing.assert_array_equal(gx, 6)
    np.testing.assert_array_equal(pullback(given)[0], 6)
    np.testing.assert_array_equal(gx, 6)


def test_it_does_not_write_over_one_that_has_other_uses(negate):
    kept = []

    @mg.custom_vjp
    def spy(x):
        return x * 1.0

    @spy.vjp
    def _(g, _y, _x):
        g = g * 1.0
        kept.append(g)
        return g

    def f(x):
        h = x * 2.0
        return (h * 5.0 + negate(h)) * 3.0  # the sum hands one gradient to both; negate, the younger, has it first

    (gx,) = mg.vjp(f, negate.x)[1](np.ones_like(negate.x))
    np.testing.assert_array_equal(gx, 24)
    mg.vjp(lambda x: spy(negate(spy(x))), negate.x)[1](np.ones_like(negate.x))
    mg.vjp(lambda x: negate(x.reshape(1, -1)[0] * 1.0).reshape(-1, 1), negate.x)[1](np.ones((len(negate.x), 1)))
    mg.grad(lambda x: mg.grad(lambda x: negate(x * x).sum())(x).sum())(negate.x)
    with mg.detect_anomaly():
        mg.grad(lambda x: negate(x * x).sum())(negate.x)
    np.testing.assert_array_equal(kept[0], 1)
    assert not any(negate.given)


def test_the_result_of_a_rule_lives_on_when_the_next_one_writes(negate):
    x, y = leaf(negate.x), leaf(negate.x)
    (negate(x * y) * 2.0 + negate(negate(y) * x)).sum().backward()
    np.testing.assert_array_equal(x.grad.data, -2 * negate.x + negate.x)
    np.testing.assert_array_equal(y.grad.data, -2 * negate.x + negate.x)


class Observer:
    """Notes when rules begin and when gradients are ready."""

    def __init__(self):
        self.events = []

    def operation(self, op, run):
        return run()

    def rule_begins(self, node, g):
        self.events.append(node.op.name)

    def adds(self, node, i, gradient):
        pass

    def rule_ends(self, node):
        pass


def test_ready_gives_each_gradient_as_soon_as_it_is_final():
    a, b, c, unused = (Tensor(np.full(2, x), requires_grad=True) for x in (2.0, 3.0, 5.0, 7.0))
    product = a * b
    y = (mg.exp(product + b) * c).sum()
    names = {a.node: "a", b.node: "b", c.node: "c", unused.node: "unused"}
    observer, given = Observer(), {}

    def ready(node, g):
        observer.events.append(names[node])
        given[names[node]] = g.copy()

    with watch.watching(observer):
        found = tape.backprop([(y.node, np.ones(()))], frozenset(names), ready=ready)
    assert observer.events == ["sum", "multiply", "c", "exp", "add", "multiply", "a", "b"]
    assert {names[node]: g.tolist() for node, g in found.items()} == {name: g.tolist() for name, g in given.items()}


def test_ready_gives_gradients_of_float16_in_their_dtype():
    x = Tensor(np.ones(3, np.float16), requires_grad=True)
    given = []
    roots = [((x * 2).sum().node, np.ones((), np.float16))]
    tape.backprop(roots, frozenset([x.node]), ready=lambda _, g: given.append(g))
    assert given[0].dtype == np.float16 and given[0].tolist() == [2, 2, 2]

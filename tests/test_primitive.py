"""primitive, its rule, custom_vjp: what they register, hand over and refuse."""

import numpy as np
import pytest

import minigraph as mg
from minigraph import BackwardError, Tensor
from minigraph.primitive import Primitive

X = np.array([0.5, -1.0, 2.0])


@pytest.fixture
def registered():
    """Names registered in a test leave the registry after it."""
    from minigraph.primitive import _REGISTRY

    before = dict(_REGISTRY)
    yield
    _REGISTRY.clear()
    _REGISTRY.update(before)


@pytest.mark.usefixtures("registered")
def test_a_primitive_of_the_users():
    @mg.primitive
    def _cube(x, scale=1.0, *, shift=0.0):
        """scale x^3 + shift."""
        return scale * x**3 + shift

    @_cube.vjp
    def _(g, _y, x, scale=1.0, *, shift=0.0):
        return lambda: 3 * g * scale * x**2, lambda: g * x**3

    assert mg.primitives()["cube"] is _cube and _cube.__doc__ == "scale x^3 + shift." and "cube" in repr(_cube)
    np.testing.assert_array_equal(_cube(X, shift=1.0), X**3 + 1)
    np.testing.assert_allclose(mg.grad(lambda x: _cube(x, 2.0).sum())(X), 6 * X**2)
    np.testing.assert_allclose(mg.hessian(lambda x: _cube(x).sum())(X), np.diag(6 * X))
    np.testing.assert_allclose(mg.grad(lambda s: _cube(X, scale=s).sum())(2.0), (X**3).sum())  # by keyword too
    with pytest.raises(TypeError, match="cube: shift= takes no Tensor"):
        _cube(X, shift=Tensor(1.0))
    with pytest.raises(TypeError, match="cube: argument 'x' is missing"):
        _cube(scale=Tensor(1.0))


@pytest.mark.usefixtures("registered")
def test_names_are_unique_across_modules():
    with pytest.raises(ValueError, match=r"'exp' exists already, in minigraph\.ops\.exponential"):

        @mg.primitive
        def exp(x):
            return x

    def twice(x):
        return x

    assert mg.primitive(twice) is not mg.primitive(twice)  # a cell of a notebook run again


def test_what_cannot_be_a_primitive():
    with pytest.raises(TypeError, match=r"expected a Python function \(def\), got <ufunc 'tanh'>"):
        mg.primitive(np.tanh)
    with pytest.raises(BackwardError, match=r"f has no rule; register one with @f\.vjp"):
        mg.grad(mg.custom_vjp(lambda x: x.sum()).__class__(lambda x: x.sum(), "f"))(X)


def forward(x, axis=None, *, keep=True):
    return x


@pytest.mark.parametrize("rule", [
    lambda g, y: g, lambda g, y, x: g, lambda g, y, x, axis: g, lambda g, y, z, axis=None: g,
    lambda g, y, x, axis=1, *, keep=True: g, lambda g, y, x, axis=None, *, keep=False: g, lambda g, y, x, axis=None: g,
    lambda g, y, x, axis=None, *, keep: g, lambda g, y, x, axis=None, *rest, keep=True: g,
])  # fmt: skip
def test_a_rule_mirrors_its_forward(rule):
    with pytest.raises(TypeError, match=r"rule of forward should take .*\(x, axis=None, \*, keep=True\), got \(g, y"):
        Primitive(forward).vjp(rule)


def test_a_rule_may_drop_arguments_and_take_the_rest():
    for rule in (lambda g, _y, _x, _axis=None, *, keep=True, saved=None: g, lambda g, y, x, axis=None, **rest: g):
        Primitive(forward).vjp(rule)


@pytest.mark.parametrize(("gradient", "message"), [
    (lambda g, x: g[:2], r"gradient for argument 0 has shape \(2,\), expected \(3,\)"),
    (lambda g, x: g.sum(), r"has shape \(\), expected \(3,\)"),
    (lambda g, x: np.ones((2, 3)), r"has shape \(2, 3\), expected \(3,\)"),
    (lambda g, x: (), "gave 0 gradients, none for argument 0"),
    (lambda g, x: 1.0, "a thunk or None, got float"),
    (lambda g, x: x @ np.ones(5), "ValueError: matmul"),
    (lambda g, x: lambda: 1 / 0, "ZeroDivisionError: division by zero"),
])  # fmt: skip
def test_a_wrong_gradient_is_an_error_that_names_the_call(gradient, message):
    @mg.custom_vjp
    def f(x):
        return x * 2

    f.vjp(lambda g, _y, x: gradient(g, x))
    with pytest.raises(BackwardError, match=message) as caught:
        mg.grad(lambda x: f(x).sum())(X)
    assert "f(float64 (3,)) -> float64 (3,)" in str(caught.value) and "test_primitive.py" in str(caught.value)


def test_only_what_the_rule_names_is_kept():
    seen = {}

    @mg.custom_vjp
    def f(a, b):
        return a + b

    @f.vjp
    def _(g, _y, _a, b):
        seen.update(y=type(_y), a=type(_a), shape=(_y.shape, _y.dtype, _a.shape, _a.ndim, _a.size), b=type(b))
        return g, g

    mg.grad(lambda a, b: f(a, b).sum(), (0, 1))(np.ones((2, 3)), np.ones(3, np.float32))
    assert seen["b"] is np.ndarray and np.ndarray not in (seen["y"], seen["a"])
    assert seen["shape"] == ((2, 3), np.float64, (2, 3), 2, 6)


def test_a_forward_may_save_and_have_a_composite():
    @mg.custom_vjp
    def square(x, *, k=2.0):
        return k * x * x, 2 * k * x

    @square.vjp
    def _(g, _y, _x, *, k=2.0, saved):
        return g * saved

    @square.define_composite
    def _(x, *, k=2.0):
        return x * x * k

    f = lambda x: square(x, k=3.0).sum()  # noqa: E731
    np.testing.assert_array_equal(square(X), 2 * X * X)
    np.testing.assert_array_equal(mg.grad(f)(X), 6 * X)
    np.testing.assert_allclose(mg.hessian(f)(X), 6 * np.eye(3))
    np.testing.assert_allclose(mg.jvp(mg.grad(f), (X,), (X,))[1], 6 * X)
    @mg.custom_vjp
    def times(a, b):
        return a * b

    times.vjp(lambda g, _y, a, b: (lambda: g * b, lambda: g * a))
    times.define_composite(lambda a, b: a * b)
    np.testing.assert_allclose(mg.hessian(lambda x: times(x, x).sum())(X), 2 * np.eye(3))  # one node, two inputs
    three = mg.custom_vjp(lambda x: (x, x, x))
    with pytest.raises(TypeError, match=r"expected an array or \(array, saved\), got 3 values"):
        three(X)


def test_custom_vjp_changes_a_gradient_and_is_not_registered():
    @mg.custom_vjp
    def clip_gradient(x):
        return x

    @clip_gradient.vjp
    def _(g, _y, _x):
        return mg.clip(g, -1, 1)

    np.testing.assert_array_equal(mg.grad(lambda x: (clip_gradient(x) * X * 2).sum())(X), np.clip(2 * X, -1, 1))
    assert "clip_gradient" not in mg.primitives()


def test_results_are_real_arrays():
    for bad in ("a", None, object(), 1j):
        with pytest.raises(TypeError, match="which has no gradient"):
            mg.custom_vjp(lambda x, bad=bad: bad)(X)
    with pytest.raises(TypeError, match="would be int64, which has no gradient"):
        mg.grad(lambda x: mg.where(x, 1, 0))(X)
    assert mg.where(X > 0, 1, 0).dtype == np.int64
    assert type(mg.custom_vjp(lambda x: 2.0)(X)) is np.ndarray


def test_forward_errors_show_the_call_and_keep_the_users_types():
    class Mine(ValueError):
        pass

    @mg.custom_vjp
    def f(x, kind=None, *, n=1):
        raise kind("no good")

    with pytest.raises(IndexError, match=r"^f\(float64 \(3,\), .*IndexError.*, n=2\): no good$") as caught:
        f(Tensor(X), IndexError, n=2)
    assert isinstance(caught.value.__cause__, IndexError)
    with pytest.raises(Mine, match=r"^no good$") as caught:
        f(X, Mine)
    assert caught.value.__cause__ is None
    with pytest.raises(ZeroDivisionError, match=r"^no good$"):
        f(X, ZeroDivisionError)


def test_the_engine_holds_float32():
    @mg.custom_vjp
    def widened(x, y):
        return x.astype(np.float64) * y

    @widened.vjp
    def _(g, _y, x, y):
        return g * np.float64(2), g.astype(np.float64) if hasattr(g, "astype") else g

    x = np.ones(3, np.float32)
    for other in (2, 2.0, np.float64(2), np.array(2.0), np.arange(3)):
        y, pullback = mg.vjp(lambda x, other=other: widened(x, other), x)
        assert y.dtype == pullback(np.ones(3))[0].dtype == np.float32 and widened(x, other).dtype == np.float32
    assert widened(x, np.ones(3)).dtype == np.float64
    assert widened(np.ones((), np.float32), np.ones(3, np.float32)).dtype == np.float32


# ---------------------------------------------------------------- rules that are written wrongly say so


def rule_of(forward, rule):
    f = mg.custom_vjp(forward)
    f.vjp(rule)
    return f


def attention(q):
    p = np.exp(q)
    return p * q, p


def test_saved_floats_without_a_composite_have_no_second_derivative():
    f = rule_of(attention, lambda g, _y, q, *, saved: g * (saved + saved * q))
    first = mg.grad(lambda q: f(q).sum())
    np.testing.assert_allclose(first(X), np.exp(X) * (1 + X))
    total = lambda q: f(q).sum()  # noqa: E731
    for again in (mg.hessian(total), lambda x: mg.hvp(total, x, x), mg.grad(lambda q: first(q).sum())):
        with pytest.raises(BackwardError, match=r"attention cannot be differentiated: .*@attention\.define_composite"):
            again(X)
    f.define_composite(lambda q: mg.exp(q) * q)
    np.testing.assert_allclose(np.diag(mg.hessian(lambda q: f(q).sum())(X)), np.exp(X) * (2 + X))


def test_saved_integers_are_constants():
    f = rule_of(lambda x: (np.sort(x), np.argsort(x)), lambda g, _y, _x, *, saved: mg.scatter(g, saved, _x.shape))
    np.testing.assert_allclose(mg.hessian(lambda x: (f(x) * np.arange(3.0)) @ f(x))(X).sum(), 2 * 3)


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_thunk_with_a_default_argument_is_a_thunk(create_graph):
    f = rule_of(lambda x: 3 * x, lambda g, _y, _x: (lambda k=3.0: g * k,))
    x = Tensor(X, requires_grad=True)
    f(x).backward(X, create_graph=create_graph)
    np.testing.assert_array_equal(x.grad.data, 3 * X)
    f = rule_of(lambda x: 3 * x, lambda g, _y, _x: lambda k=3.0: g * k)
    assert mg.grad(f)(1.0) == 3.0


def test_a_rule_that_asks_which_gradients_are_needed():
    seen = []

    def rule(g, _y, a, b, *, needed):
        seen.append(needed)
        return g * b if needed[0] else None, g * a if needed[1] else None

    f = rule_of(lambda a, b: a * b, rule)
    y = Tensor(X, requires_grad=True)
    f(X, y).sum().backward()
    mg.grad(lambda a: f(a, X).sum())(X)
    mg.grad(lambda a: mg.grad(lambda b: f(a, b).sum())(X).sum())(X)
    assert seen == [[False, True], [True, False], [False, True]]
    np.testing.assert_array_equal(y.grad.data, X)


@pytest.mark.parametrize(("forward", "rule", "message"), [
    (lambda x: x * 2, lambda g, _y, _x: None, r"the rule returned nothing; if the gradient is zero, return \(None,\)"),
    (lambda x: x * 2, lambda g, _y, _x: g * _x, "reads an argument that it names with a leading underscore"),
    (lambda x: x * 2, lambda g, _y, _x: g * np.exp(_x), "reads an argument that it names with a leading underscore"),
    (lambda x: x * 2, lambda g, _y, _x: g * _x.data, "reads an argument that it names with a leading underscore"),
    (lambda x: x * 2, lambda g, _y, _x: g * _y, "reads an argument that it names with a leading underscore"),
])  # fmt: skip
@pytest.mark.parametrize("create_graph", [False, True])
def test_each_mistake_in_a_rule_has_its_message(forward, rule, message, create_graph):
    x = Tensor(X, requires_grad=True)
    y = rule_of(forward, rule)(x)
    with pytest.raises(BackwardError, match=message):
        y.backward(X, create_graph=create_graph)


def test_too_many_gradients():
    f = rule_of(lambda x: x * 2, lambda g, _y, _x: (g * 2, g))
    with pytest.raises(BackwardError, match="the rule gave 2 gradients, and there are 1 arguments"):
        f(Tensor(X, requires_grad=True)).backward(X, create_graph=True)
    with pytest.raises(BackwardError, match="the rule gave 2 gradients"), mg.detect_anomaly():
        f(Tensor(X, requires_grad=True)).backward(X)


def test_a_forward_with_two_results():
    f = rule_of(lambda x: (x // 2, x % 2), lambda g, _y, _x: g)
    with pytest.raises(TypeError, match="expected an array, got 2 values, and the rule takes no saved="):
        f(X)


def into_g(g, _y, _x):
    g *= 2
    return g


def into_x(g, _y, x):
    x += 1
    return g


def into_y(g, y, _x):
    np.multiply(y, 2, out=y)
    return g


def test_a_rule_that_writes_into_what_it_is_given_is_named_under_detect_anomaly():
    for rule in (into_g, into_x, into_y):
        f = rule_of(lambda x: x * 2, rule)
        with mg.detect_anomaly(), pytest.raises(BackwardError, match="writes into an array that it was given"):
            f(Tensor(X.copy(), requires_grad=True)).backward(X.copy())


def test_a_forward_that_writes_into_its_inputs_is_named_under_detect_anomaly():
    def doubled(x):
        x *= 2
        return x

    f = rule_of(doubled, lambda g, _y, _x: g * 2)
    with mg.detect_anomaly(), pytest.raises(ValueError, match=r"doubled.*writes into an array"):
        f(Tensor(X.copy(), requires_grad=True))
    with mg.detect_anomaly():  # a view of an input stays writable, and relu in place does what its caller asked for
        t = Tensor(X.copy(), requires_grad=True) * 1.0
        assert t.reshape(1, 3).data.flags.writeable and mg.relu(t + 0, inplace=True).data.flags.writeable

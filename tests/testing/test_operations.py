"""Which operation, and which composite, a check names."""

import functools

import numpy as np
import pytest

import minigraph as mg
from minigraph.tensor import value
from minigraph.testing import GradientMismatch, GraphMismatch, KinkError, check_adjoint, check_graph, check_vjp
from minigraph.testing.operations import of_inputs, record

X = np.random.default_rng(0).standard_normal((2, 3))


def with_composite(composite):
    """x ** 3, whose rule is right."""

    def cube(x):
        return x**3, x * x

    op = mg.custom_vjp(cube)
    op.vjp(lambda g, _y, _x, *, saved: 3 * g * saved)
    op.define_composite(composite)
    return op


def test_an_operation_as_a_function_of_its_inputs():
    [node] = record(lambda x: mg.multiply(x, 3.0), (X.astype(np.float32),))
    call, composite, xs, names = of_inputs(node)
    np.testing.assert_array_equal(call(*xs)[0].data, xs[0] * 3)
    assert composite is None and names == ["a"] and xs[0].dtype == np.float64
    [node] = record(with_composite(lambda x: x * x * x), (X,))
    call, composite, xs, _ = of_inputs(node)
    np.testing.assert_allclose(call(*xs)[0].data, composite(*xs)[0].data, rtol=1e-14)


@mg.custom_vjp
def doubled(x):
    return 2 * x


@doubled.vjp
def _(g, _y, _x):
    return 2.1 * g


class Callable:
    def __call__(self, x):
        return doubled(x)


def twice(x, times):
    return doubled(x) * times


@pytest.mark.parametrize(("f", "name"), [
    (doubled, "doubled"), (lambda x: doubled(x), r"the lambda at test_operations\.py:\d+"), (Callable(), "Callable"),
    (functools.partial(twice, times=3), "twice"), (mg.checkpoint(lambda x: doubled(x)), r"the lambda at test_op"),
])  # fmt: skip
def test_a_message_names_the_function(f, name):
    for check in (check_vjp, check_adjoint):
        with pytest.raises(GradientMismatch, match=f"^{check.__name__} of {name}.*: "):
            check(f, X)


def test_every_message_of_a_check_names_it():
    def kinked(x):
        return mg.abs(x)

    with pytest.raises(KinkError, match=r"^check_vjp of kinked: order 1"):
        check_vjp(kinked, np.zeros(2))
    for f, x, error in [(mg.log, np.zeros(2), ValueError), (mg.sin, np.full(2, np.nan), ValueError),
                        (mg.sin, 1.0, TypeError), (np.shape, X, TypeError)]:  # fmt: skip
        with np.errstate(all="ignore"), pytest.raises(error, match=f"^check_vjp of {f.__name__}: "):
            check_vjp(f, x)


WRONG = {
    "another value": (lambda x: x * x * x * 1.01, "its composite gives another value"),
    "another gradient": (lambda x: x * x * mg.Tensor(value(x)), "its composite gives another gradient"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("around", [False, True])
def test_a_wrong_composite_is_named_as_the_culprit(name, around):
    composite, fault = WRONG[name]
    cube = with_composite(composite)
    f = (lambda x: mg.softmax(cube(x * 2.0))) if around else cube  # softmax is right, and has no composite
    with pytest.raises(GradientMismatch) as caught:
        check_vjp(f, X)
    message = str(caught.value)
    assert "the composite is at fault, not the rule, in cube(float64 (2, 3)) -> float64 (2, 3)" in message
    assert fault in message and ("test_operations.py" in message or not around)
    assert check_vjp(f, X, order=1).order == 1  # the rule is right
    with pytest.raises(GraphMismatch, match="its composite gives another"):
        check_graph(f, X, order=2)


def test_a_composite_that_is_wrong_at_second_order_only():
    def composite(x):
        return x * x * x + detached(x)

    @mg.custom_vjp
    def detached(x):  # 0, with the right gradient, which is 0, and another one for that
        return 0 * x

    detached.vjp(lambda g, _y, x: g * (x - value(x)))
    with pytest.raises(GradientMismatch, match="of this order go through the composite of cube"):
        check_vjp(with_composite(composite), X)


def test_a_rule_that_is_another_on_tensors_is_no_composite():
    op = mg.custom_vjp(lambda x: np.sin(x))
    op.vjp(lambda g, _y, x: g * mg.cos(x) * (1.01 if isinstance(g, mg.Tensor) else 1))
    with pytest.raises(GradientMismatch, match=r"under create_graph, .* without\nno operation has a composite: a rule"):
        check_vjp(op, X)


@pytest.mark.parametrize(("composite", "got"), [
    (lambda x: value(x) ** 3, r"ndarray float64 \(2, 3\)"), (lambda x: mg.Tensor(value(x) ** 3), "Tensor float64"),
    (lambda x: mg.sum(x**3), r"Tensor float64 \(\)"), (lambda x: None, "NoneType None"),
])  # fmt: skip
def test_a_composite_that_returns_something_else(composite, got):
    message = rf"the composite of cube should return a Tensor \(2, 3\), made of its arguments by operations, got {got}"
    with pytest.raises(mg.BackwardError, match=message):
        mg.hvp(lambda x: with_composite(composite)(x).sum(), X, X)

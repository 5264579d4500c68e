"""check_vjp on functions whose verdict is known."""

import itertools

import numpy as np
import pytest

import minigraph as mg
from minigraph.testing import GradientMismatch, KinkError, check_adjoint, check_vjp

X = np.random.default_rng(0).standard_normal((2, 3))
LARGE = np.random.default_rng(1).standard_normal((40, 50))


def with_rule(forward, rule):
    op = mg.custom_vjp(forward)
    op.vjp(rule)
    return op


def sine(factor):
    """sin with its gradient times factor(x)."""
    return with_rule(lambda x: np.sin(x), lambda g, _y, x: g * mg.cos(x) * factor(x))


def off_at(*entry, by=1.01):
    def factor(x):
        mask = np.ones(x.shape)
        mask[entry] = by
        return mask

    return factor


# ---------------------------------------------------------------- passes


@pytest.mark.parametrize("x", [X, LARGE, X[0, 0], np.zeros((0, 3))], ids=["small", "large", "0-d", "empty"])
def test_a_right_rule_passes(x):
    passed = check_vjp(mg.sin, x)
    assert passed.order == 2
    assert max(passed.errors) < 1e-9


def test_every_order_is_reported():
    assert check_vjp(mg.tanh, X, order=1).order == 1
    assert check_vjp(mg.tanh, X, order=4).order == 4


@pytest.mark.parametrize("size", [1e-8, 1e-3, 1.0, 1e4, 1e8])
def test_the_size_of_the_input_and_of_the_gradient_does_not_matter(size):
    check_vjp(lambda x: mg.sin(x / size) * 1e-12, X * size)
    with pytest.raises(GradientMismatch):
        check_vjp(lambda x: sine(off_at(0, 1, by=1.001))(x / size) * 1e-12, X * size)


def test_float32_is_checked_in_float64():
    seen = []

    def f(x):
        seen.append(x.dtype)
        return mg.exp(x)

    check_vjp(f, X.astype(np.float32))
    assert set(seen) == {np.dtype(np.float64)}


def test_trees_counts_and_options_are_taken():
    def f(params, rows, power):
        return {"y": (params["w"] @ params["b"][0])[rows] ** power, "z": mg.sum(params["w"])}

    check_vjp(f, {"w": X, "b": [X[0], None]}, np.array([0, 0, 1]), 2.0)


def test_the_same_array_twice_is_two_arguments():
    check_vjp(mg.multiply, X, X)
    with pytest.raises(GradientMismatch, match="argument 1"):
        check_vjp(with_rule(lambda a, b: a * b, lambda g, _y, a, b: (g * b, g * b * 2)), X, X)


def test_inputs_are_not_changed():
    x = X.copy()
    x.flags.writeable = False
    check_vjp(mg.exp, x)
    np.testing.assert_array_equal(x, X)


def test_high_curvature_is_no_kink():
    for width in (1e-2, 1e-4, 1e-6):
        check_vjp(lambda x, width=width: mg.sqrt(x * x + width**2), np.array([0.0, 1.0]))


def test_a_kink_nearby_is_none_here():
    check_vjp(mg.relu, np.array([1e-4, -1e-6, 1.0]))


def test_at_the_edge_of_a_domain():
    check_vjp(mg.log, np.array([1e-3, 1.0, 5.0]))


# ---------------------------------------------------------------- fails


def test_the_message_names_argument_entry_and_both_numbers():
    f = with_rule(lambda a, b: a * b, lambda g, _y, a, b: (g * b, g * a * off_at(1, 2)(a)))
    with pytest.raises(GradientMismatch) as caught:
        check_vjp(f, X, X + 3)
    error = caught.value
    assert (error.argument, error.entry, error.order) == ("argument 1", (1, 2), 1)
    assert error.rule == pytest.approx(1.01 * error.slope, rel=1e-9)
    assert error.slope == pytest.approx(X[1, 2], rel=1e-9)
    for part in ("argument 1 at (1, 2)", f"{error.rule:.10g}", f"{error.slope:.10g}", "the result at (1, 2)"):
        assert part in str(error)


def test_one_wrong_entry_of_many_is_found():
    with pytest.raises(GradientMismatch) as caught:
        check_vjp(sine(off_at(31, 7)), LARGE)
    assert caught.value.entry == (31, 7)


def test_a_wrong_leaf_of_a_tree_is_named():
    f = with_rule(lambda a, b: a * b, lambda g, _y, a, b: (g * b, g * a * 0.99))
    with pytest.raises(GradientMismatch) as caught:
        check_vjp(lambda p: f(p["w"], p["b"][1]), {"w": X, "b": [X, X + 1]})
    assert caught.value.argument == "argument 0 at b.1"


@pytest.mark.parametrize("x", [X, LARGE], ids=["small", "large"])
def test_a_softmax_without_gradient_is_caught_though_its_sum_is_constant(x):
    softmax = with_rule(lambda x: mg.softmax(x), lambda g, _y, x: g * 0 * x)
    with pytest.raises(GradientMismatch):
        check_vjp(softmax, x)
    check_vjp(lambda x: mg.sum(mg.softmax(x)), x)


@pytest.mark.parametrize("x", [X, LARGE], ids=["small", "large"])
def test_a_rule_right_at_first_order_only(x):
    def rule(g, _y, x):
        return g * np.cos(x.data if isinstance(x, mg.Tensor) else x)  # a constant to the second backward pass

    f = with_rule(lambda x: np.sin(x), rule)
    assert check_vjp(f, x, order=1).order == 1
    with pytest.raises(GradientMismatch) as caught:
        check_vjp(f, x)
    assert caught.value.order == 2
    assert caught.value.argument == "argument 0"


def test_a_rule_that_forgets_the_derivative_in_the_cotangent():
    def rule(g, _y, _x):
        return 2 * (g.detach() if isinstance(g, mg.Tensor) else g)

    with pytest.raises(GradientMismatch) as caught:
        check_vjp(with_rule(lambda x: 2 * x, rule), X)
    assert (caught.value.argument, caught.value.order) == ("cotangent 1", 2)


def test_a_rule_that_is_another_under_create_graph():
    def rule(g, _y, x):
        return g * mg.cos(x) * (1.01 if isinstance(g, mg.Tensor) else 1)

    with pytest.raises(GradientMismatch, match="create_graph"):
        check_vjp(with_rule(lambda x: np.sin(x), rule), X)


def test_a_rule_that_is_not_linear_in_the_cotangent():
    with pytest.raises(GradientMismatch):
        check_vjp(with_rule(lambda x: 2 * x, lambda g, _y, _x: 2 * mg.abs(g)), X, order=1)


def test_a_rule_that_gives_nan():
    with pytest.raises(GradientMismatch, match="nan"):
        check_vjp(sine(off_at(0, 1, by=np.nan)), X)


def test_a_wrong_rule_beside_a_kink_fails():
    f = with_rule(lambda x: np.maximum(x, 0), lambda g, _y, x: g * (x > 0) * 1.01)
    with pytest.raises(GradientMismatch):
        check_vjp(f, np.array([0.0, 1.0]), order=1)


# ---------------------------------------------------------------- kinks


def relu_with(slope_at_zero):
    return with_rule(lambda x: np.maximum(x, 0), lambda g, _y, x: g * np.heaviside(x, slope_at_zero))


@pytest.mark.parametrize(("slope", "inside"), [(0.0, True), (0.5, True), (1.0, True), (1.5, False), (-0.1, False)])
def test_a_kink_is_reported_with_its_slopes(slope, inside):
    with pytest.raises(KinkError) as caught:
        check_vjp(relu_with(slope), np.array([[1.0, -1.0], [2.0, 0.0]]), order=1)
    error = caught.value
    assert (error.argument, error.entry, error.output, error.order) == ("argument 0", (1, 1), (1, 1), 1)
    assert error.slopes == pytest.approx((0, 1), abs=1e-6)
    assert error.rule == pytest.approx(slope)
    assert error.inside is inside
    assert ("between" if inside else "outside") in str(error)


def test_a_kink_in_a_large_input():
    x = LARGE.copy()
    x[3, 4] = 0
    with pytest.raises(KinkError) as caught:
        check_vjp(mg.abs, x, order=1)
    assert caught.value.entry == (3, 4)
    assert caught.value.slopes == pytest.approx((-1, 1), abs=1e-6)


def test_a_small_kink_on_a_large_value():
    with pytest.raises(KinkError):
        check_vjp(lambda x: 1000 + mg.sin(x) + 1e-2 * mg.abs(x), np.zeros(1), order=1)


def test_a_kink_of_the_gradient():
    f = with_rule(lambda x: x * np.abs(x), lambda g, _y, x: 2 * g * mg.abs(x))
    assert check_vjp(f, np.array([0.0, 1.0]), order=1).order == 1
    with pytest.raises(KinkError) as caught:
        check_vjp(f, np.array([0.0, 1.0]))
    assert caught.value.order == 2
    assert "order 2: the gradient for argument 0 at (0,) has a kink" in str(caught.value)


def test_a_wrong_rule_of_a_curved_function_is_no_kink():
    for width in (1.0, 1e-2, 1e-4):
        f = with_rule(lambda x, w=width: np.tanh(x / w), lambda g, y, _x, w=width: g * (1 - y * y) * 1.02 / w)
        with pytest.raises(GradientMismatch):
            check_vjp(f, np.array([0.0, 0.1 * width]), order=1)


# ---------------------------------------------------------------- what cannot be checked


@pytest.mark.parametrize(
    ("error", "message", "f", "args"),
    [
        (TypeError, "a floating array among the arguments", mg.exp, (np.arange(3),)),
        (TypeError, "a floating array among the arguments", lambda: 1, ()),
        (TypeError, "should return a floating array, got 'no'", lambda x: "no", (X,)),
        (TypeError, "should return a floating array, got nothing", lambda x: None, (X,)),
        (TypeError, "should return a floating array, got bool", lambda x: x > 0, (X,)),
        (ValueError, r"argument 1 at w should be finite", lambda x, p: x, (X, {"w": np.array([np.nan])})),
        (ValueError, "gives a value that is not finite", mg.log, (-np.ones(2),)),
        (ValueError, "seed its random numbers", lambda x: mg.dropout(x, 0.5), (np.ones(64),)),
        (ValueError, r"do not settle along argument 0 at \(0,\)", mg.sqrt, (np.zeros(1),)),
        (ValueError, r"do not settle along argument 0 at \(0,\)", lambda x: x % 1.0, (np.array([2.0]),)),
    ],
)  # fmt: skip
def test_what_cannot_be_checked_is_said(error, message, f, args):
    with pytest.raises(error, match=message):
        check_vjp(f, *args)


def test_random_numbers_that_came_out_equal_at_first_are_found_later():
    factors = itertools.chain([1.0, 1.0, 1.0], itertools.count(2.0))
    with pytest.raises(ValueError, match="seed its random numbers"):
        check_vjp(lambda x: x * next(factors), X)


def test_order_is_at_least_one():
    with pytest.raises(ValueError, match="order should be at least 1, got 0"):
        check_vjp(mg.exp, X, order=0)


# ---------------------------------------------------------------- the adjoint identity


def test_adjoint_of_linear_and_affine_functions():
    check_adjoint(lambda x, y: mg.pad(x, 1, constant_values=2.0) + mg.sum(y), X, X)
    check_adjoint(mg.multiply, X, X)


@pytest.mark.parametrize("factor", [1 + 1e-9, -1, 0])
def test_a_wrong_adjoint_is_caught(factor):
    f = with_rule(lambda a, b: a + 3 * b, lambda g, _y, _a, _b: (g, g * 3 * factor))
    with pytest.raises(GradientMismatch) as caught:
        check_adjoint(f, X, X)
    assert caught.value.argument == "argument 1"


def test_adjoint_of_a_function_that_is_not_linear():
    with pytest.raises(GradientMismatch):
        check_adjoint(mg.sin, X)


# ---------------------------------------------------------------- every input, and what was compared


def test_every_input_is_reported_right_and_wrong():
    f = with_rule(lambda a, b, c: a * b + c, lambda g, _y, a, b, _c: (g * b, g * a * 1.01, g * 0))
    with pytest.raises(GradientMismatch) as caught:
        check_vjp(lambda p, c: f(p["a"], p["b"], c), {"a": X, "b": X + 3}, X)
    error = caught.value
    assert [(r.argument, r.verdict) for r in error.inputs] == [
        ("argument 0 at a", "right"), ("argument 0 at b", "wrong"), ("argument 1", "wrong")
    ]  # fmt: skip
    assert [r.rule for r in error.inputs[1:]] == pytest.approx([1.01 * error.inputs[1].slope, 0])
    assert (error.argument, error.entry, error.rule) == (
        "argument 0 at b", error.inputs[1].entry, error.inputs[1].rule
    )  # fmt: skip
    assert [line.split()[:2] for line in str(error).splitlines()[1:]] == [
        ["right", "argument"], ["wrong", "argument"], ["wrong", "argument"]
    ]  # fmt: skip


def test_one_input_is_one_line():
    with pytest.raises(GradientMismatch) as caught:
        check_vjp(sine(off_at(0, 1)), X)
    assert len(str(caught.value).splitlines()) == 1
    assert caught.value.inputs[0].entry == caught.value.entry == (0, 1)


def test_every_leaf_of_a_models_loss_is_reported():
    """A mistake in the last but one layer makes the leaves before it wrong, and those after it not."""
    rng = np.random.default_rng(2)
    params = {f"w{i}": rng.standard_normal((6, 6)) / 2 for i in range(5)}
    bad = with_rule(lambda x: np.tanh(x), lambda g, y, _x: g * (1 - y * y) * 1.001)

    def loss(p):
        h = LARGE[:8, :6]
        for i in range(5):
            h = (bad if i == 2 else mg.tanh)(h @ p[f"w{i}"])
        return (h * h).sum()

    with pytest.raises(GradientMismatch) as caught:
        check_vjp(loss, params, order=1)
    assert [r.verdict for r in caught.value.inputs] == ["wrong"] * 3 + ["right"] * 2
    assert "random cotangent" not in str(caught.value)  # a loss has one number


def test_a_kink_and_an_unsettled_input_are_reported_beside_right_ones():
    with pytest.raises(KinkError) as caught:
        check_vjp(lambda a, b: mg.relu(a) + b, np.array([1.0, 0.0]), np.ones(2), order=1)
    assert [r.verdict for r in caught.value.inputs] == ["kink", "right"]
    assert "in 1 of 2 numbers" in str(caught.value)
    f = with_rule(lambda a, b: a % 1.0 + b, lambda g, _y, _a, _b: (g, 2 * g))
    with pytest.raises(GradientMismatch) as wrong:
        check_vjp(f, np.array([2.0]), np.ones(1), order=1)
    assert [r.verdict for r in wrong.value.inputs] == ["unsettled", "wrong"]


def test_a_mistake_among_many_kinks_is_found():
    """Every direction meets a kink; the gradient of the results that have none is compared all the same."""
    x = LARGE.copy()
    x[::4] = 0
    f = with_rule(lambda x: np.maximum(x, 0), lambda g, _y, x: g * (x > 0) * off_at(31, 7)(x))
    x[31, 7] = 1
    with pytest.raises(GradientMismatch) as caught:
        check_vjp(f, x, order=1)
    assert caught.value.entry == (31, 7)


def test_the_result_says_what_was_compared():
    passed = check_vjp(lambda a, b: mg.sin(a) * mg.sum(b), X, LARGE[:20, :20], order=1)
    assert [r.sampled for r in passed.inputs] == ["4 of 6 entries, 4 directions", "4 of 400 entries, 4 directions"]
    assert check_vjp(mg.sin, X).inputs[0].sampled == "every entry"
    assert len(check_vjp(mg.sin, X).inputs) == 3  # at order 2 the input and the cotangent
    text = repr(passed)
    assert f"{passed.calls} calls" in text
    assert "argument 1 (20, 20): within" in text and "4 of 400 entries, 4 directions" in text


def test_the_cost_is_bounded():
    seen = []

    def f(xs):
        seen.append(1)
        return sum(mg.sum(mg.sin(x)) for x in xs)

    passed = check_vjp(f, [LARGE[i] for i in range(40)], order=1)
    assert passed.inputs[0].sampled == "1 of 50 entries, 1 direction"
    assert passed.calls <= len(seen) <= passed.calls + 2 < 80 * 68


# ---------------------------------------------------------------- what is given is only to be read


def overwriting_g(g, _y, x):
    g *= x
    return g


def overwriting_x(g, _y, x):
    x *= 2
    return g * x


@pytest.mark.parametrize("rule", [overwriting_g, overwriting_x])
def test_a_rule_that_writes_into_what_it_is_given_is_told(rule):
    def half_square(x):
        return x * x / 2

    with pytest.raises(mg.BackwardError, match=r"half_square[^$]*it writes into an array .* return a new array"):
        check_vjp(with_rule(half_square, rule), X)


def test_a_forward_that_writes_into_what_it_is_given_is_told():
    def doubled(x):
        x *= 2
        return x

    with pytest.raises(ValueError, match=r"doubled\(.*it writes into an array .* return a new array"):
        check_vjp(with_rule(doubled, lambda g, _y, _x: 2 * g), X)


def test_a_function_that_writes_into_what_it_is_given_is_told():
    def f(x):
        x.data[0] = 0
        return x * x

    with pytest.raises(ValueError, match=r"f writes into an array that it was given.*compute a new array"):
        check_vjp(f, X)


def test_a_rule_may_write_over_its_out():
    """The check also runs rules as the engine does, where a gradient that nothing else needs is overwritten."""
    overwrote = []

    def rule(g, _y, _x, *, out=None):
        overwrote.append(out is not None)
        return 2 * g if out is None else np.multiply(g, 3, out)

    op = with_rule(lambda x: 2 * x, rule)
    with pytest.raises(GradientMismatch):
        check_vjp(lambda x: mg.sin(op(mg.sin(x))), X, order=1)
    assert any(overwrote) and not all(overwrote)

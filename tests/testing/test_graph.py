"""check_graph on functions with a mistake in a known place, and on those without."""

import numpy as np
import pytest

import minigraph as mg
from minigraph.tensor import value
from minigraph.testing import GraphMismatch, check_graph, check_vjp
from models import airnet, cnn
from tests.ops.table import ROWS
from tests.ops.test_mutations import arguments, rule_of

X = np.random.default_rng(0).standard_normal((2, 3))


def with_rule(forward, rule, composite=None):
    op = mg.custom_vjp(forward)
    op.vjp(rule)
    if composite is not None:
        op.define_composite(composite)
    return op


def tanh(x):
    return np.tanh(x)


bad_tanh = with_rule(tanh, lambda g, y, _x: g * (1 - y * y) * 1.001)


# ---------------------------------------------------------------- a network


BLOCKS = 4


def resnet(rng, width=6):
    """Parameters and a loss of 29 operations; `planted` takes the place of the relu of that number."""

    def normal(*shape):
        return (rng.standard_normal(shape) / np.sqrt(np.prod(shape[:-1]))).astype(np.float32)

    params = {"stem": normal(3, 3, 3, width), "head": normal(width, 10)}
    for i in range(BLOCKS):
        params[f"block{i}"] = {"conv": normal(3, 3, width, width), "scale": np.ones(width, np.float32),
                               "bias": np.zeros(width, np.float32), "gate": normal(width)}  # fmt: skip
    images = rng.standard_normal((4, 12, 12, 3)).astype(np.float32)
    labels = rng.integers(0, 10, 4)
    zero, one = np.zeros(width, np.float32), np.ones(width, np.float32)

    def loss(p, planted=None, at=-1):
        h = mg.conv2d(images, p["stem"], padding=1)
        for i in range(BLOCKS):
            b = p[f"block{i}"]
            y, _, _ = mg.batch_norm(h, b["scale"], b["bias"], zero, one, train=True)
            y = planted(y) if i == at else mg.relu(y)
            y = mg.conv2d(y, b["conv"], padding=1) * mg.sigmoid(b["gate"])
            h = h + y
        return mg.cross_entropy(mg.mean(mg.max_pool(h, 2), (1, 2)) @ p["head"], labels)

    return params, loss


PARAMS, LOSS = resnet(np.random.default_rng(1))


def test_a_network_without_mistakes_passes():
    report = check_graph(LOSS, PARAMS)
    assert len(report.operations) == 29 and not report.left_out
    assert not report.wrong
    assert {o.verdict for o in report.operations} == {"right"}
    assert "29 operations: 29 right" in repr(report)


@pytest.mark.parametrize("at", range(BLOCKS))
def test_a_planted_mistake_is_named_with_its_line(at):
    planted = with_rule(lambda x: np.maximum(x, 0), lambda g, y, _x: g * (y > 0) * 1.001)
    with pytest.raises(GraphMismatch) as caught:
        check_graph(lambda p: LOSS(p, planted, at), PARAMS)
    (wrong,) = caught.value.report.wrong
    assert wrong.name == "<lambda>"
    assert "y = planted(y) if i == at else mg.relu(y)" in wrong.call
    assert wrong.call in str(caught.value)
    assert wrong.inputs[0].rule == pytest.approx(1.001 * wrong.inputs[0].slope)


@pytest.mark.parametrize("name", ["batch_norm", "conv2d", "multiply", "cross_entropy", "max_pool", "add"])
def test_a_broken_primitive_is_named_wherever_it_is_used(name):
    with rule_of(mg.primitives()[name], lambda i, g: g * 1.001), pytest.raises(GraphMismatch) as caught:
        check_graph(LOSS, PARAMS)
    wrong = caught.value.report.wrong
    assert name in {o.name for o in wrong}
    # A composite that is made of the broken one gives another gradient than its primitive, which is told too.
    assert {o.name for o in wrong if "its composite" not in o.reason} == {name}


def test_the_models_pass():
    """In cnn, max_pool meets the zeros of the relu before it: ties, where it has kinks."""
    rng = np.random.default_rng(0)
    images, labels = rng.standard_normal((2, 32, 32, 3)).astype(np.float32), rng.integers(0, 10, 2)
    for model, widths, kinks in ((airnet, (4, 4, 4), set()), (cnn, (4, 4), {"max_pool"})):
        params, state = model.init(rng, widths=widths)
        report = check_graph(
            lambda p, model=model, state=state: mg.cross_entropy(model.apply(p, state, images, train=True)[0], labels),
            params,
        )
        assert {o.name for o in report.operations if o.verdict == "kink"} == kinks
        assert {o.verdict for o in report.operations} <= {"right", "kink"}


# ---------------------------------------------------------------- every operation of the table


@pytest.mark.parametrize("row", ROWS, ids=repr)
def test_an_operation_is_right_and_its_broken_rule_is_not(row):
    """A composite is made of operations, and is compared with its primitive."""
    case = row.cases[0]

    def f(*args):
        return row.op(*args, **case.kwargs)

    report = check_graph(f, *case.draw(), order=row.order)
    of_nan = row.name.startswith("nan")  # an operation with NaN among its inputs is skipped
    assert {o.verdict for o in report.operations} - ({"skipped"} if of_nan else set()) == {"right"}
    op = mg.primitives().get(row.name)
    if op is not None and row.name in {o.name for o in report.operations} and arguments(op, row)[0]:
        with rule_of(op, lambda i, g: g * 1.001), pytest.raises(GraphMismatch) as caught:
            check_graph(f, *case.draw())
        assert {o.name for o in caught.value.report.wrong} == {row.name}


# ---------------------------------------------------------------- what is checked, and where


def test_the_inputs_are_those_that_the_operation_had():
    """Also where neither the rule nor anything else keeps them. This rule is wrong for large inputs only."""
    seen = []

    def double(x):
        seen.append(np.array(x))
        return 2 * x

    op = with_rule(double, lambda g, _y, _x: 2 * g)
    x = np.array([1.0, 2.0], np.float32)
    check_graph(lambda x: op(x + 40) * 1.0, x)
    assert seen[0].dtype == np.float32 and seen[1].dtype == np.float64
    for inputs in seen[1:]:
        np.testing.assert_allclose(inputs, [41, 42], rtol=0.02)

    large = with_rule(lambda x: 2 * x, lambda g, _y, x: g * np.where(np.asarray(value(x)) > 40, 3, 2))
    check_graph(lambda x: large(x), x)
    with pytest.raises(GraphMismatch, match="is 3 by the rule, 2 by finite differences"):
        check_graph(lambda x: large(x + 40), x)


def test_the_input_of_an_operation_in_place_is_what_it_was():
    op = with_rule(lambda x: x + 0, lambda g, _y, _x: g)
    report = check_graph(lambda x: mg.relu(op(x), inplace=True), np.array([-1.0, 2.0], np.float32))
    assert [o.verdict for o in report.operations] == ["right", "right"]


def test_all_mistakes_are_reported():
    with pytest.raises(GraphMismatch) as caught:
        check_graph(lambda x: mg.sum(bad_tanh(mg.exp(bad_tanh(x)))), X)
    report = caught.value.report
    assert [(o.name, o.verdict) for o in report.operations] == [
        ("tanh", "wrong"), ("exp", "right"), ("tanh", "wrong"), ("sum", "right")
    ]  # fmt: skip
    assert str(caught.value).count("tanh(float64 (2, 3)) -> float64 (2, 3)") == 2
    assert "4 operations: 2 wrong, 2 right" in str(caught.value)


def test_the_wrong_input_is_named_beside_the_right_one():
    def scaled(x, by):
        return x * by

    op = with_rule(scaled, lambda g, _y, x, by: (g * by, g * x * 1.01))
    with pytest.raises(GraphMismatch) as caught:
        check_graph(op, X, X + 3)
    (wrong,) = caught.value.report.wrong
    assert [(r.argument, r.verdict) for r in wrong.inputs] == [("x", "right"), ("by", "wrong")]


def test_joint_rules_thunks_and_saved_values():
    def joint(factor):
        def rule(g, _y, a, b, *, saved, needed):
            return (g * saved["b"] if needed[0] else None, lambda: g * a * factor)

        return with_rule(lambda a, b: (a * b, {"b": b}), rule, lambda a, b: a * b)

    check_graph(joint(1.0), X, X + 3)
    with pytest.raises(GraphMismatch):
        check_graph(joint(1.01), X, X + 3)


def test_a_composite_that_differs_is_wrong():
    def cube(composite):
        return with_rule(lambda x: (x**3, x * x), lambda g, _y, _x, *, saved: 3 * g * saved, composite)

    check_graph(cube(lambda x: x * x * x), X)
    with pytest.raises(GraphMismatch, match="its composite gives another value: they differ by"):
        check_graph(cube(lambda x: x * x * x * 1.01), X)
    with pytest.raises(GraphMismatch, match="its composite gives another gradient: they differ by"):
        check_graph(cube(lambda x: x * x * mg.Tensor(value(x))), X)


def test_derivatives_of_higher_order():
    detached = with_rule(tanh, lambda g, y, _x: g * (1 - value(y) ** 2))  # y is a constant to the second pass
    check_graph(detached, X)
    with pytest.raises(GraphMismatch) as caught:
        check_graph(detached, X, order=2)
    assert caught.value.report.wrong[0].inputs[-2].order == 2


def test_the_operations_of_a_gradient_inside_are_checked_too():
    report = check_graph(lambda x: mg.grad(lambda x: mg.sum(mg.tanh(x)))(x), X)
    assert len(report.operations) > 3
    with pytest.raises(GraphMismatch):
        check_graph(lambda x: mg.grad(lambda x: mg.sum(bad_tanh(bad_tanh(x))))(x) * bad_tanh(x), X)


def test_a_checkpoint_is_an_operation():
    report = check_graph(lambda x: mg.sum(mg.checkpoint(mg.tanh)(x)), X.astype(np.float32))
    assert [(o.name, o.verdict) for o in report.operations] == [("checkpoint(tanh)", "right"), ("sum", "right")]


# ---------------------------------------------------------------- rules that fail


def overwriting(g, _y, x):
    g *= x
    return g


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (lambda g, _y, _x: None, "the rule returned nothing"),
        (lambda g, _y, _x: (g, g), "gave 2 gradients"),
        (lambda g, _y, _x: g[0], r"has shape \(3,\)"),
        (overwriting, "it writes into an array"),
    ],
    ids=["no return", "too many", "shape", "writes"],
)
def test_a_rule_that_fails_is_wrong(rule, message):
    with pytest.raises(GraphMismatch, match=message) as caught:
        check_graph(lambda x: with_rule(tanh, rule)(mg.exp(x)), X)
    assert [o.verdict for o in caught.value.report.operations] == ["right", "wrong"]


def test_a_forward_that_writes_into_its_input_is_told():
    def doubled(x):
        x *= 2
        return x

    with pytest.raises(ValueError, match=r"doubled\(.*it writes into an array"):
        check_graph(with_rule(doubled, lambda g, _y, _x: 2 * g), X)


# ---------------------------------------------------------------- what cannot be checked


def test_a_kink_is_no_mistake():
    x = np.array([0.0, 1.0, -1.0])
    report = check_graph(mg.relu, x)
    assert report.operations[0].verdict == "kink"
    assert "1 of 3 numbers; for the other 2 it is right" in repr(report)
    half = with_rule(lambda x: np.maximum(x, 0), lambda g, _y, x: g * (value(x) > 0) * 1.01)
    with pytest.raises(GraphMismatch):
        check_graph(half, x)


@pytest.mark.parametrize("near", [0, 1e-7, 1e-8, 1e-9, 1e-12])
def test_numbers_that_are_equal_or_nearly_so_make_no_mistake(near):
    """Their largest has a kink at them or beside them, and finite differences see a mean of its slopes."""
    x = np.array([[1.0, 1.0, 1.0 + near], [1.0, 1.0 + near, 1.0 - near], [0.0, 1.0, 2.0]])
    for f in (lambda x: mg.max(x, 1), lambda x: mg.max_pool(x.reshape(1, 9, 1, 1), (3, 1))):
        report = check_graph(f, x)
        assert {o.verdict for o in report.operations} <= {"right", "kink", "unsettled"}
    with rule_of(mg.primitives()["max"], lambda i, g: g * 1.01), pytest.raises(GraphMismatch):
        check_graph(lambda x: mg.max(x, 1), x)


def test_a_slope_that_rounding_hides_is_no_mistake():
    """The loss of a sure network is 0 to the last bit, its gradient 1e-35 and not 0."""
    labels = np.array([0, 1])
    logits = np.array([[80.0, 0, 0], [0.0, 90, 1]])
    report = check_graph(lambda x: mg.cross_entropy(x, labels), logits)
    assert report.operations[0].verdict == "right"
    check_vjp(lambda x: mg.cross_entropy(x, labels), logits, order=1)


@pytest.mark.parametrize(
    ("f", "x", "verdict", "reason"),
    [
        (lambda x: x % 1.0, np.array([2.0]), "unsettled", "do not converge"),
        (lambda x: mg.softmax(mg.where(np.array([True, False]), x, -np.inf)), np.ones(2), "skipped", "not finite"),
        (lambda x: mg.astype(x * 2, "float32"), np.ones(2), "skipped", "its result is float32"),
        (mg.checkpoint(lambda x: mg.dropout(x, 0.5)), np.ones((50, 50)), "skipped", "seed its random numbers"),
    ],
    ids=["jump", "infinite", "float32", "random"],
)
def test_what_cannot_be_checked_is_said(f, x, verdict, reason):
    report = check_graph(f, x)
    assert report.operations[-1].verdict == verdict
    assert reason in repr(report)


def test_at_most_so_many_operations_are_checked_and_it_is_said():
    """Those are left out first that have the primitive and the shapes of one that was checked."""

    def f(x):
        for i in range(20):
            x = (bad_tanh if i == 19 else mg.tanh)(x) + 1.0
        return mg.sum(x)

    with pytest.raises(GraphMismatch) as caught:
        check_graph(f, X, most=4)
    report = caught.value.report
    assert [o.name for o in report.operations] == ["tanh", "add", "tanh", "sum"]
    assert [o.verdict for o in report.operations] == ["right", "right", "wrong", "right"]
    assert report.left_out == 37
    assert "41 operations: 1 wrong, 3 right, 37 left out, none of them unlike all that were checked" in repr(report)
    assert "2 right, 39 left out, 2 of them unlike" in repr(check_graph(f, X, most=2))


def test_the_report_says_what_was_compared_of_large_inputs():
    assert "directions" not in repr(check_graph(mg.sin, X))
    report = check_graph(mg.sin, np.ones((10, 10)))
    assert "of inputs with more than 64 entries, 2 entries and 2 directions were compared" in repr(report)
    assert report.operations[0].inputs[0].sampled == "2 of 100 entries, 2 directions"


@pytest.mark.parametrize(
    ("error", "message", "f", "kwargs"),
    [
        (TypeError, "the result of an operation on its arguments, got float64", lambda x: np.ones(2), {}),
        (TypeError, "the result of an operation on its arguments, got None", lambda x: None, {}),
        (ValueError, "order should be at least 1, got 0", mg.exp, {"order": 0}),
        (ValueError, "most should be at least 1, got 0", mg.exp, {"most": 0}),
    ],
)
def test_arguments_are_checked(error, message, f, kwargs):
    with pytest.raises(error, match=message):
        check_graph(f, X, **kwargs)

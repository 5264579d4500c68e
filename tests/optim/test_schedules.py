"""The rates of each schedule at chosen steps, their options and what they print as."""

import math

import pytest

from minigraph import optim


def test_schedules():
    rates = {
        "constant": (optim.constant(0.5), {0: 0.5, 99: 0.5}),
        "step": (optim.step_decay(1.0, [3, 5]), {0: 1, 2: 1, 3: 0.1, 4: 0.1, 5: 0.01, 99: 0.01}),
        "period": (optim.step_decay(1.0, range(2, 6, 2), 0.5), {1: 1, 2: 0.5, 4: 0.25, 9: 0.25}),
        "linear": (optim.linear(1.0, 10), {0: 1, 5: 0.5, 9: 0.1, 10: 0, 99: 0}),
        "warm-up": (
            optim.linear(1.0, 8, warmup=3, final=0.5),
            {0: 0.25, 1: 0.5, 2: 0.75, 3: 1, 4: 0.9, 8: 0.5, 9: 0.5},
        ),
        "cosine": (optim.cosine(1.0, 6), {0: 1, 2: 0.75, 3: 0.5, 4: 0.25, 6: 0, 99: 0}),
        "cosine, warm-up": (
            optim.cosine(1.0, 7, warmup=1, final=0.2),
            {0: 0.5, 1: 1, 4: 0.6, 7: 0.2, 8: 0.2},
        ),
        "triangle": (
            optim.piecewise_linear({0: 0.2, 4: 1, 14: 0.5}),
            {0: 0.2, 1: 0.4, 3: 0.8, 4: 1, 5: 0.95, 14: 0.5, 99: 0.5},
        ),
        "held, falling": (optim.piecewise_linear({3: 1, 5: 0}), {0: 1, 3: 1, 4: 0.5, 5: 0, 6: 0}),
    }
    for name, (schedule, expected) in rates.items():
        for step, rate in expected.items():
            assert schedule(step) == pytest.approx(rate, abs=1e-15), (name, step)
            assert type(schedule(step)) is float


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: optim.constant(-1), ValueError, "constant: lr"),
        (lambda: optim.step_decay(0.1, [5, 5]), ValueError, r"increasing boundaries, got \[5, 5\]"),
        (lambda: optim.step_decay(0.1, [2.5]), ValueError, "integer from 1, got 2.5"),
        (lambda: optim.step_decay(0.1, [2], -1), ValueError, "step_decay: factor"),
        (lambda: optim.linear(0.1, 0), ValueError, "linear: steps: .* from 1, got 0"),
        (lambda: optim.cosine(0.1, 5, warmup=5), ValueError, "warmup below steps = 5, got 5"),
        (lambda: optim.cosine(0.1, 5, final=math.nan), ValueError, "cosine: final"),
        (lambda: optim.piecewise_linear({}), ValueError, "expected a dict from step numbers to rates, got {}"),
        (lambda: optim.piecewise_linear([(0, 1)]), ValueError, "expected a dict from step numbers to rates, got"),
        (lambda: optim.piecewise_linear({0.5: 1}), ValueError, "piecewise_linear: step: .* from 0, got 0.5"),
        (lambda: optim.piecewise_linear({0: 1, 3: -1}), ValueError, "piecewise_linear: rate at step 3: .* got -1"),
        (lambda: optim.piecewise_linear({3: 1, 0: 1}), ValueError, r"expected increasing steps, got \[3, 0\]"),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_schedules_print_as_the_call_that_makes_them():
    assert repr(optim.constant(0.5)) == "0.5"
    assert repr(optim.step_decay(1, range(2, 6, 2), 0.5)) == "step_decay(1.0, [2, 4], factor=0.5)"
    assert repr(optim.linear(0.1, 10, warmup=3, final=0.01)) == "linear(0.1, 10, warmup=3, final=0.01)"
    assert repr(optim.cosine(0.1, 10)) == "cosine(0.1, 10)"
    assert repr(optim.piecewise_linear({0: 1, 9: 0.5})) == "piecewise_linear({0: 1.0, 9: 0.5})"

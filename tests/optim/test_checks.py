"""The shared checks of arguments: what they return and what their errors say."""

import math

import numpy as np
import pytest

from minigraph.optim import checks


def test_numbers_come_back_as_floats_of_python():
    for value in (1, np.float32(1), np.float64(1), np.int64(1), True):
        assert checks.number(value, 0, 2, "f: x") == 1 and type(checks.number(value, 0, 2, "f: x")) is float
    assert checks.number(0, 0, 1, "f: x") == 0
    assert checks.not_negative(1e300, "f: x") == 1e300


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (1, ValueError, r"f: x: expected a number in \[0, 1\), got 1.0"),
        (-1e-9, ValueError, r"f: x: expected a number in \[0, 1\), got -1e-09"),
        (math.nan, ValueError, r"f: x: expected a number in \[0, 1\), got nan"),
        ("0.5", TypeError, "f: x: expected a number, got '0.5'"),
        (None, TypeError, "f: x: expected a number, got None"),
        (1j, TypeError, "f: x: expected a number, got 1j"),
    ],
)
def test_bad_numbers(value, error, message):
    with pytest.raises(error, match=message):
        checks.number(value, 0, 1, "f: x")


@pytest.mark.parametrize("value", [-1, math.inf, math.nan])
def test_not_negative(value):
    with pytest.raises(ValueError, match="f: x: expected a number finite and not negative, got"):
        checks.not_negative(value, "f: x")


def test_integers():
    assert type(checks.integer(np.int32(3), 3, "f: n")) is int
    for value in (2, 3.0, "3"):
        with pytest.raises(ValueError, match="f: n: expected an integer from 3, got"):
            checks.integer(value, 3, "f: n")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_gives_the_one_dtype(dtype):
    assert checks.floats({"a": np.ones(2, dtype), "b": [dtype(1)]}, "f: params") == dtype


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        (None, ValueError, "f: params: expected a tree of arrays, got one without a leaf"),
        (np.ones(2, np.float16), TypeError, "f: params at the top: expected float32 or float64, got float16"),
        ([np.ones(2), {"b": 1.0}], TypeError, "f: params at 1.b: expected float64, got float"),
        ([np.ones(2), np.ones(2, np.float32)], TypeError, "f: params at 1: expected float64, got float32"),
    ],
)
def test_bad_floats(params, error, message):
    with pytest.raises(error, match=message):
        checks.floats(params, "f: params")


def test_step_count():
    assert checks.step_count({"step": np.array(7), "m": 0}, {"m"}, "f") == 7


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (3, r"f: state: expected the keys \['m', 'step'\], got int"),
        ({"step": np.array(0)}, r"f: state: expected the keys \['m', 'step'\], got \['step'\]"),
        ({"step": 3, "m": 0}, r"f: state\['step'\]: expected an integer from 0, got 3"),
        ({"step": np.array(-1), "m": 0}, r"expected an integer from 0, got array\(-1\)"),
        ({"step": np.array([1]), "m": 0}, r"expected an integer from 0"),
        ({"step": np.array(1.0), "m": 0}, r"expected an integer from 0"),
    ],
)
def test_bad_states(state, message):
    with pytest.raises(ValueError, match=message):
        checks.step_count(state, {"m"}, "f")

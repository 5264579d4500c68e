"""The results of the parts become one: losses and aux by their rules, gradients in one flat array."""

import pickle

import numpy as np
import pytest

import minigraph as mg
from minigraph import parallel, tree
from minigraph.parallel.partial import Partial, combine

from .problem import assert_close, bits, loss_fn, problem


def test_gradients_lie_in_one_flat_array():
    params, x, y = problem()
    assert len(x) > 5
    for microbatch in (3, 5):
        _, grads = parallel.value_and_grad(loss_fn, microbatch=microbatch)(params, x, y)
        assert tree.flat_view(grads).size == sum(a.size for a in tree.leaves(params))


def test_gradients_of_mixed_dtypes():
    params = {"a": np.ones(3), "b": np.ones(3, np.float32)}

    def f(p, x):
        return (p["a"] * x).mean() + mg.Tensor.sum(p["b"]).astype(np.float64)

    _, grads = parallel.value_and_grad(f, microbatch=2)(params, np.ones((5, 3)))
    assert_close(grads, {"a": np.full(3, 1 / 3), "b": np.ones(3, np.float32)})
    assert grads["b"].dtype == np.float32


@pytest.mark.parametrize("microbatch", [1, 2])
def test_gradients_belong_to_the_caller(microbatch):
    w = np.ones(4)
    value_and_grad = parallel.value_and_grad(lambda w, x: (w * x).mean(), microbatch=microbatch)
    x = np.arange(8.0).reshape(2, 4)
    _, first = value_and_grad(w, x)
    kept = first.copy()
    _, second = value_and_grad(w, 2 * x)
    second[...] = 0
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(x, np.arange(8.0).reshape(2, 4))


def test_aux_averages_floats_sums_counts_and_keeps_what_does_not_change():
    frozen = np.arange(3.0)

    def f(w, x):
        aux = {"mean": x.mean(), "count": (x > 4).sum(), "any": x > 100, "frozen": frozen, "none": None}
        return (w * x).mean(), aux

    x = np.arange(10.0)
    (loss, aux), grad = parallel.value_and_grad(f, microbatch=4, has_aux=True)(np.array(2.0), x[:8])
    assert (loss, aux["mean"], aux["count"], grad) == (7.0, 3.5, 3, 3.5)
    assert aux["frozen"] is frozen and aux["none"] is None
    np.testing.assert_array_equal(aux["any"], np.zeros(4))
    (_, aux), _ = parallel.value_and_grad(lambda w, x: (w * x.mean(), x.mean()), microbatch=4, has_aux=True)(1.0, x)
    np.testing.assert_allclose(aux, x.mean())  # parts of 4, 4 and 2, by their sizes


def test_an_aux_of_another_shape_in_the_last_part():
    step = parallel.value_and_grad(lambda w, x: ((w * x).mean(), x), microbatch=2, has_aux=True)
    with pytest.raises(ValueError, match=r"aux should have one shape in all parts, got \[\(1,\), \(2,\)\]"):
        step(np.ones(()), np.ones(3))


@pytest.mark.parametrize("microbatch", [1, 4])
def test_results_are_arrays_of_one_dtype_for_any_number_of_parts(microbatch):
    step = parallel.value_and_grad(
        lambda w, x: ((w * x).mean(), {"right": x[0] > 0, "mean": x.mean()}), microbatch=microbatch, has_aux=True
    )
    (loss, aux), grad = step(np.ones(()), np.ones(4))
    assert {type(a) for a in (loss, grad, *aux.values())} == {np.ndarray}
    assert [a.dtype for a in (loss, aux["right"], aux["mean"])] == [np.float64, np.int64, np.float64]


def part(share=0.5, loss=1.0, aux=None, grads=None, i=0):
    return Partial.of_part(share, np.float64(loss), aux, grads, copied=i % 2 == 0)


def test_combining_writes_to_no_array_of_a_part():
    shared = np.ones(3)
    parts = [part(0.25, grads=[shared, shared[:2]], i=i) for i in range(4)]
    total = combine(combine(parts[0], parts[1]), combine(parts[2], parts[3]))
    _, _, grads = total.finish()
    assert bits(grads) == bits([np.full(3, 4.0), np.full(2, 4.0)])
    np.testing.assert_array_equal(shared, np.ones(3))


def test_gradients_are_copied_once_a_pair():
    left, right = part(grads=[np.ones(2)], i=0), part(grads=[np.ones(2)], i=1)
    flat = tree.flat_view(left.grads)
    assert tree.flat_view(right.grads) is None
    assert np.shares_memory(combine(left, right).grads[0], flat)
    np.testing.assert_array_equal(flat, np.full(2, 2.0))


@pytest.mark.parametrize("size", [3, 100_000])
def test_copied_gradients_are_flat_where_they_have_one_dtype(size):
    shared = np.ones(size)
    _, _, grads = part(1.0, grads=[shared, shared]).finish()
    assert tree.flat_view(grads).size == 2 * size and not np.shares_memory(grads[0], shared)
    _, _, grads = part(1.0, grads=[shared, np.ones((), np.float32)]).finish()
    assert not np.shares_memory(grads[0], shared)


def test_what_came_from_another_process_counts_as_unchanged_where_it_is_floating_and_equal():
    frozen, count = np.full(3, 0.1), np.array(1)
    there = pickle.loads(pickle.dumps(part(1 / 3, aux=[frozen, count], grads=[np.ones(1)])))
    _, aux, _ = combine(part(2 / 3, aux=[frozen, count], grads=[np.ones(1)]), there).finish()
    assert aux[0] is frozen and aux[1] == 2


def test_what_changes_late_is_averaged_by_shares():
    same, other = np.array(1.0), np.array(5.0)
    a, b, c = (part(share, aux=x, grads=[np.ones(1)]) for share, x in ((0.25, same), (0.25, same), (0.5, other)))
    _, aux, _ = combine(combine(a, b), c).finish()
    assert aux == 3.0 and type(aux) is np.ndarray


@pytest.mark.parametrize(
    ("aux", "error", "message"),
    [
        ({"a": np.ones(2)}, ValueError, r"aux should have one shape in all parts, got \[\(2,\), \(3,\)\] at a"),
        ({"b": np.ones(3)}, ValueError, r"aux should have one structure in all parts: .* missing keys \['a'\]"),
        ({"a": "no array"}, TypeError, "aux should hold arrays and numbers, got 'no array' at a"),
    ],
)
def test_aux_that_do_not_fit(aux, error, message):
    with pytest.raises(error, match="parallel.value_and_grad: " + message):
        combine(part(aux={"a": np.ones(3)}), part(aux=aux))

"""Batches in parts: equal to unsplit, in the same bits for any number of threads; `map`; bad input."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigraph as mg
from minigraph import parallel, tree
from minigraph.parallel import Threads

from .problem import assert_close, bits, loss_fn, problem, rng


@given(n=st.integers(1, 12), microbatch=st.none() | st.integers(1, 15), threads=st.integers(1, 4))
def test_equals_the_unsplit_result(n, microbatch, threads):
    params, x, y = problem(n, np.float64)
    split = parallel.value_and_grad(loss_fn, executor=Threads(threads), microbatch=microbatch)(params, x, y)
    assert_close(split, mg.value_and_grad(loss_fn)(params, x, y))


def test_float32_stays_float32():
    params, x, y = problem()
    loss, grads = parallel.value_and_grad(loss_fn, microbatch=3)(params, x, y)
    assert {a.dtype for a in tree.leaves((loss, grads))} == {np.dtype(np.float32)}


def slow_first_parts(params, x, y):
    time.sleep(0.002 * (x[0, 0] > 0))  # some parts overtake others
    return loss_fn(params, x, y)


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_bits_do_not_depend_on_the_threads(threads):
    params, x, y = problem(40)
    want = parallel.value_and_grad(loss_fn, executor=Threads(1), microbatch=3)(params, x, y)
    for _ in range(5):
        got = parallel.value_and_grad(slow_first_parts, executor=Threads(threads), microbatch=3)(params, x, y)
        assert bits(got) == bits(want)


@pytest.mark.parametrize(
    ("n", "threads", "microbatch", "sizes"),
    [
        (10, 2, 4, [4, 3, 3]),
        (12, 2, 4, [4, 4, 4]),
        (97, 2, 32, [25, 24, 24, 24]),
        (10, 2, 10, [10]),
        (10, 2, 99, [10]),
        (10, 2, None, [5, 5]),
        (7, 2, None, [4, 3]),
        (140, 2, None, [47, 47, 46]),
        (1, 4, None, [1]),
    ],
)
def test_sizes_of_the_parts(n, threads, microbatch, sizes, monkeypatch):
    monkeypatch.setattr(parallel.batch, "LEAST", 1)
    seen = []

    def f(w, x):
        seen.append(len(x))
        return (w * x).mean()

    step = parallel.value_and_grad(f, executor=Threads(threads), microbatch=microbatch)
    step(np.ones(()), np.ones(n))  # looks at the work, too
    seen.clear()
    step(np.ones(()), np.ones(n))
    assert sorted(seen, reverse=True) == sizes


@pytest.mark.parametrize(("width", "sizes"), [(100, [96]), (420, [48, 48]), (1000, [32, 32, 32])])
def test_a_part_has_work_enough(width, sizes):
    """A product of 96 rows by (width, width), 192 width^2 operations: 2, 34 and 192 million."""
    seen = []

    def f(w, x):
        seen.append(len(x))
        return (x @ w).mean()

    step = parallel.value_and_grad(f, executor=Threads(3))
    w, x = np.ones((width, width), np.float32), np.ones((96, width), np.float32)
    first = step(w, x)
    seen.clear()
    assert bits(step(w, x)) == bits(first)
    assert sorted(seen, reverse=True) == sizes


def test_elementwise_work_counts_too():
    seen = []

    def f(w, x):
        seen.append(len(x))
        return mg.exp(mg.sin(w * x)).mean()

    step = parallel.value_and_grad(f, executor=Threads(2))
    for n, parts in ((100, 1), (1_000_000, 3)):  # three results of n entries each
        step(np.ones(()), np.ones(n))
        seen.clear()
        step(np.ones(()), np.ones(n))
        assert len(seen) == parts


def test_work_that_one_call_hides():
    """einsum, the linear algebra, and what is inside of a checkpoint."""
    w, x = np.ones((500, 500), np.float32), np.ones((96, 500), np.float32)
    blocks = np.eye(40) + np.ones((96, 40, 40)) / 100

    def parts(f, *args):
        seen = []
        step = parallel.value_and_grad(lambda *a: seen.append(len(a[1])) or f(*a), executor=Threads(3))
        step(*args)
        seen.clear()
        step(*args)
        return len(seen)

    assert parts(lambda w, x: mg.einsum("ij,jk->ik", x, w).mean(), w, x) == 3
    assert parts(lambda w, x: mg.checkpoint(lambda w, x: mg.tanh(x @ w))(w, x).mean(), w, x) == 3
    for f in (mg.inv, mg.svdvals, mg.eigvalsh, mg.pinv, mg.det, lambda a: mg.qr(a)[1], lambda a: mg.solve(a, a)):
        assert parts(lambda w, x, f=f: f(w * x).mean(), np.ones(()), np.repeat(blocks, 10, 0)) >= 2


def test_the_look_at_the_work_draws_no_random_numbers_and_raises_what_the_loss_raises():
    def f(w, x):
        return (w * x * np.float64(1 / (len(x) < 5))).mean()

    with pytest.raises(ZeroDivisionError):
        parallel.value_and_grad(f, executor=Threads(2))(np.ones(()), np.ones(10))

    def noisy(w, x):
        return (mg.dropout(w * x, 0.5)).mean()

    found = []
    for _ in range(2):
        mg.random.seed(3)
        step = parallel.value_and_grad(noisy, executor=Threads(2))
        found.append([bits(step(np.ones(()), np.ones(40))) for _ in range(2)])
    again = [bits(step(np.ones(()), np.ones(40)))]
    assert found[0] == found[1] and again[0] != found[1][-1]


@given(n=st.integers(1, 300), microbatch=st.none() | st.integers(1, 320), threads=st.integers(1, 9))
def test_parts_are_balanced_and_no_larger_than_asked_for(n, microbatch, threads):
    seen = []
    x = np.arange(n)
    got = parallel.map(lambda x: seen.append(len(x)) or x, x, executor=Threads(threads), microbatch=microbatch)
    most = microbatch or min(64, -(-n // threads))
    assert np.array_equal(got, x)
    assert len(seen) == -(-n // most) and max(seen) <= most and max(seen) - min(seen) <= 1


@pytest.mark.parametrize("batch_size", [97, 33, 65, 129])
def test_batch_norm_of_vectors_takes_every_batch_size(batch_size):
    def f(w, x):
        y, _, _ = mg.batch_norm(x * w, None, None, np.zeros(3), np.ones(3), train=True)
        return (y**3).mean()

    x = rng().standard_normal((batch_size, 3))
    loss, grad = parallel.value_and_grad(f, microbatch=32)(np.ones(3), x)
    assert np.isfinite(loss) and np.isfinite(grad).all()


def test_a_batch_may_be_given_by_name():
    params, x, y = problem(10, np.float64)
    step = parallel.value_and_grad(loss_fn, microbatch=3)
    want = bits(step(params, x, y))
    assert bits(step(params, x, y=y)) == bits(step(params, y=y, x=x)) == want

    def on_trees(w, *, batch):
        sizes.append(len(batch["x"]))
        return (w * batch["x"] * batch["z"][0]).mean()

    sizes = []
    parallel.value_and_grad(on_trees, microbatch=2)(np.ones(()), batch={"x": np.ones(5), "z": [np.ones(5)]})
    assert sorted(sizes) == [1, 2, 2]


def test_params_are_given_by_position():
    with pytest.raises(TypeError, match=r"parallel\.value_and_grad: params should be given first and without a name"):
        parallel.value_and_grad(loss_fn)(params=1, x=np.ones(3))


def test_what_is_given_by_name_is_checked_as_a_batch():
    step = parallel.value_and_grad(lambda w, x, train=True: (w * x).mean())
    with pytest.raises(ValueError, match=r"got \{'0': 4, 'train': 'no axis'\}; what is no batch, .* by a closure$"):
        step(np.ones(()), np.ones(4), train=False)
    with pytest.raises(ValueError, match=r"got \{'0': 4, 'y': 3\}; "):
        step(np.ones(()), np.ones(4), y=np.ones(3))
    with pytest.raises(TypeError, match="cannot be differentiated"):
        step(np.ones(()), x=mg.Tensor(np.ones(3), requires_grad=True))


@pytest.mark.parametrize("n", [2, 100, 10_000])
def test_a_list_as_a_batch_gets_a_short_message(n):
    for call in (
        lambda: parallel.value_and_grad(lambda w, x, y: w.sum())(np.ones(2), np.ones(n), [1.0] * n),
        lambda: parallel.map(lambda x, y: x, np.ones(n), [[1, 2]] * n),
    ):
        with pytest.raises(ValueError, match=r"a list is a tree of its entries, np\.asarray makes one array") as caught:
            call()
        assert len(str(caught.value)) < 400
        assert (" more; a list" in str(caught.value)) == (n > 6)


def test_batches_are_trees_of_arrays():
    def f(w, batch, extra):
        return (w * batch["a"] * batch["b"][0] * extra).mean()

    a, b, extra = rng().standard_normal((3, 7))
    result = parallel.value_and_grad(f, microbatch=2)(np.array(2.0), {"a": a, "b": [b]}, extra)
    assert_close(result, (2 * (a * b * extra).mean(), (a * b * extra).mean()))


def test_batch_norm_sees_its_own_part():
    r = rng()
    x, scale = r.standard_normal((8, 3)), r.standard_normal(3)

    def f(scale, x):
        y, mean, var = mg.batch_norm(x, scale, None, np.zeros(3), np.ones(3), train=True, momentum=1.0)
        return (y**3).mean(), (mean, var)

    (loss, (mean, var)), grad = parallel.value_and_grad(f, microbatch=4, has_aux=True)(scale, x)
    halves = [mg.value_and_grad(f, has_aux=True)(scale, half) for half in (x[:4], x[4:])]
    want = tree.map(lambda a, b: (a + b) / 2, *halves)
    assert_close(((loss, (mean, var)), grad), want)
    np.testing.assert_allclose(mean, x.mean(0))


def test_random_operations_differ_by_part_and_repeat_with_the_seed():
    def f(w, x):
        mask = mg.dropout(np.ones(50), 0.5)
        return (w * x).mean() * mask.mean(), [mask * 1]

    x = np.ones(6)

    def run(seed, threads):
        masks = []

        def noted(w, x):
            loss, (mask,) = f(w, x)
            masks.append(mask.tobytes())
            return loss

        with mg.random.use(np.random.default_rng(seed)):
            step = parallel.value_and_grad(noted, executor=Threads(threads), microbatch=1)
            results = [bits(step(np.ones(()), x)) for _ in range(2)]
        return results, masks

    (first, second), masks = run(0, 1)
    assert len(set(masks)) == 12  # another mask for each part of each step
    assert first != second
    for threads in (2, 3):
        results, again = run(0, threads)
        assert results == [first, second]
        assert set(again) == set(masks)
    assert run(1, 2)[0] != [first, second]


def test_mg_seed_repeats_a_step():
    step = parallel.value_and_grad(lambda w, x: mg.dropout(w * x, 0.5).mean(), microbatch=2)
    results = []
    for _ in range(2):
        mg.seed(3)
        results.append(bits(step(np.ones(()), np.ones(20))))
    assert results[0] == results[1]


def test_value_and_grad_records_under_no_grad():
    params, x, y = problem()
    step = parallel.value_and_grad(loss_fn, microbatch=2)
    want = step(params, x, y)
    with mg.no_grad():
        assert bits(step(params, x, y)) == bits(want)


@pytest.mark.parametrize("value", [0, -1, 1.5, "2"])
def test_bad_microbatch(value):
    with pytest.raises(ValueError, match=r"parallel.value_and_grad: microbatch should be an int of at least 1, got"):
        parallel.value_and_grad(loss_fn, microbatch=value)
    with pytest.raises(ValueError, match=r"parallel.map: microbatch should be an int of at least 1, got"):
        parallel.map(lambda x: x, np.ones(3), microbatch=value)


@pytest.mark.parametrize("value", [2, Threads])
def test_bad_executor(value):
    message = "executor should have workers, run and reduce, as Threads.. has, got"
    with pytest.raises(TypeError, match="parallel.value_and_grad: " + message):
        parallel.value_and_grad(loss_fn, executor=value)
    with pytest.raises(TypeError, match="parallel.map: " + message):
        parallel.map(lambda x: x, np.ones(3), executor=value)


@pytest.mark.parametrize(
    ("batch", "got"),
    [
        ((np.ones((4, 2)), np.ones(3)), r"\{'0': 4, '1': 3\}"),
        (({"x": np.ones(4), "y": np.ones(())},), r"\{'0.x': 4, '0.y': 'no axis'\}"),
        ((np.ones((0, 3)),), r"\{'0': 0\}"),
        ((np.ones(()),), r"\{'0': 'no axis'\}"),
        ((), r"\{\}"),
    ],
)
def test_bad_batches(batch, got):
    message = "the batch's arrays should have one leading length of at least 1, got " + got
    with pytest.raises(ValueError, match="parallel.value_and_grad: " + message):
        parallel.value_and_grad(lambda w, *batch: w.sum())(np.ones(2), *batch)
    with pytest.raises(ValueError, match="parallel.map: " + message):
        parallel.map(lambda *batch: batch[0], *batch)


@pytest.mark.parametrize(
    ("loss", "got"),
    [(lambda w, x: w * x, r"float64 \(2,\)"), (lambda w, x: 1, r"int64 \(\)"), (lambda w, x: None, "None")],
)
def test_a_loss_that_is_no_number(loss, got):
    with pytest.raises(TypeError, match=f"loss_fn should return one floating number, got {got}"):
        parallel.value_and_grad(loss, microbatch=2)(np.ones(()), np.ones(4))


def test_constant_tensors_are_arrays():
    grads = [parallel.value_and_grad(lambda w, x: (w * x).mean(), microbatch=2)(kind(3.0), kind(np.arange(4.0)))
             for kind in (np.array, mg.Tensor)]  # fmt: skip
    assert grads[0] == grads[1] == (4.5, 1.5)


def test_cannot_be_differentiated():
    step = parallel.value_and_grad(lambda w, x: (w * x).mean())
    for call in (
        lambda: mg.grad(lambda w: step(w, np.ones(3))[0])(np.ones(())),
        lambda: step(mg.Tensor(np.ones(()), requires_grad=True), np.ones(3)),
        lambda: step(np.ones(()), mg.Tensor(np.ones(3), requires_grad=True)),
    ):
        with pytest.raises(TypeError, match=r"cannot be differentiated.*: use minigraph\.value_and_grad"):
            call()


@given(n=st.integers(1, 12), microbatch=st.none() | st.integers(1, 15), threads=st.integers(1, 4))
def test_map_equals_the_unsplit_result(n, microbatch, threads):
    x = rng().standard_normal((n, 3))

    def f(x, extra):
        return {"y": x * extra, "rows": (x.sum(1), x > 0)}

    result = parallel.map(f, x, x[:, :1], executor=Threads(threads), microbatch=microbatch)
    tree.map(np.testing.assert_array_equal, result, f(x, x[:, :1]))


def test_map_keeps_dtypes_and_does_not_record():
    x = np.ones((5, 2), np.float32)
    result = parallel.map(lambda x: mg.exp(x), x, microbatch=2)
    assert type(result) is np.ndarray and result.dtype == np.float32


def test_map_draws_the_same_for_any_number_of_threads():
    results = []
    for threads in (1, 2, 3):
        with mg.random.use(np.random.default_rng(5)):
            executor = Threads(threads)
            results.append(parallel.map(lambda x: mg.dropout(x, 0.5), np.ones((9, 4)), executor=executor, microbatch=2))
    assert 0 < results[0].mean() < 2
    assert all(np.array_equal(r, results[0]) for r in results)


@pytest.mark.parametrize(
    ("f", "got"),
    [
        (lambda x: x.sum(), r"float64 \(\) for a part of 3 examples"),
        (lambda x: {"y": x, "m": x.mean(0)}, r"float64 \(2,\) at m for a part of 3 examples"),
    ],
)
def test_map_wants_one_result_an_example(f, got):
    with pytest.raises(ValueError, match="parallel.map: f gave " + got):
        parallel.map(f, np.ones((9, 2)), microbatch=3)

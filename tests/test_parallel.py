"""Batches in parts on threads: equal to unsplit, in the same bits however scheduled; errors and interruptions."""

import os
import signal
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info

import minigraph as mg
from minigraph import modes, parallel, tree


def rng():
    return np.random.default_rng(0)


def problem(n=10, dtype=np.float32):
    """Parameters of two layers, and a batch of n."""
    r = rng()
    params = {"w1": r.standard_normal((3, 4)), "b1": r.standard_normal(4), "w2": r.standard_normal((4, 2))}
    return tree.map(lambda a: a.astype(dtype), params), r.standard_normal((n, 3)).astype(dtype), r.integers(0, 2, n)


def loss_fn(params, x, y):
    return mg.cross_entropy(mg.tanh(x @ params["w1"] + params["b1"]) @ params["w2"], y)


def bits(result):
    return [np.asarray(a).tobytes() for a in tree.leaves(result)]


def assert_close(a, b, tolerance=1e-12):
    tree.map(lambda u, v: np.testing.assert_allclose(u, v, tolerance, tolerance), a, b)


# ---------------------------------------------------------------- value_and_grad


@given(n=st.integers(1, 12), microbatch=st.none() | st.integers(1, 15), threads=st.integers(1, 4))
def test_equals_the_unsplit_result(n, microbatch, threads):
    params, x, y = problem(n, np.float64)
    split = parallel.value_and_grad(loss_fn, threads=threads, microbatch=microbatch)(params, x, y)
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
    want = parallel.value_and_grad(loss_fn, threads=1, microbatch=3)(params, x, y)
    for _ in range(5):
        got = parallel.value_and_grad(slow_first_parts, threads=threads, microbatch=3)(params, x, y)
        assert bits(got) == bits(want)


@pytest.mark.parametrize(
    ("n", "threads", "microbatch", "sizes"),
    [
        (10, 2, 4, [4, 4, 2]),
        (10, 2, 10, [10]),
        (10, 2, 99, [10]),
        (10, 2, None, [5, 5]),
        (7, 2, None, [4, 3]),
        (140, 2, None, [64, 64, 12]),
        (1, 4, None, [1]),
    ],
)
def test_sizes_of_the_parts(n, threads, microbatch, sizes):
    seen = []

    def f(w, x):
        seen.append(len(x))
        return (w * x).mean()

    parallel.value_and_grad(f, threads=threads, microbatch=microbatch)(np.ones(()), np.ones(n))
    assert sorted(seen, reverse=True) == sizes


def test_batches_are_trees_of_arrays():
    def f(w, batch, extra):
        return (w * batch["a"] * batch["b"][0] * extra).mean()

    a, b, extra = rng().standard_normal((3, 7))
    result = parallel.value_and_grad(f, microbatch=2)(np.array(2.0), {"a": a, "b": [b]}, extra)
    assert_close(result, (2 * (a * b * extra).mean(), (a * b * extra).mean()))


def test_gradients_lie_in_one_flat_array():
    params, x, y = problem()
    for microbatch in (3, 10):
        _, grads = parallel.value_and_grad(loss_fn, microbatch=microbatch)(params, x, y)
        assert tree.flat_view(grads).size == sum(a.size for a in tree.leaves(params))


def test_gradients_of_mixed_dtypes():
    params = {"a": np.ones(3), "b": np.ones(3, np.float32)}

    def f(p, x):
        return (p["a"] * x).mean() + mg.Tensor.sum(p["b"]).astype(np.float64)

    _, grads = parallel.value_and_grad(f, microbatch=2)(params, np.ones((5, 3)))
    assert_close(grads, {"a": np.full(3, 1 / 3), "b": np.ones(3, np.float32)})
    assert grads["b"].dtype == np.float32


def test_gradients_belong_to_the_caller():
    w = np.ones(4)
    value_and_grad = parallel.value_and_grad(lambda w, x: (w * x).mean(), microbatch=1)
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
            step = parallel.value_and_grad(noted, threads=threads, microbatch=1)
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


# ---------------------------------------------------------------- context, errors


def in_threads(function):
    """What `function()` gives on each of two threads, which wait for each other."""
    meet = threading.Barrier(2, timeout=10)

    def f(x):
        meet.wait()
        seen.append((threading.current_thread(), function()))
        return x

    seen = []
    parallel.map(f, np.ones(2), threads=2, microbatch=1)
    assert len({thread for thread, _ in seen}) == 2
    return [value for _, value in seen]


def test_workers_see_the_callers_context():
    assert in_threads(modes.flags.get) == [modes.RECORD] * 2
    with mg.no_grad():
        assert in_threads(modes.flags.get) == [0, 0]
    with mg.detect_anomaly():
        assert in_threads(modes.flags.get) == [modes.RECORD | modes.ANOMALY] * 2
        assert in_threads(lambda: np.geterr()["divide"]) == ["ignore"] * 2
    assert in_threads(modes.flags.get) == [modes.RECORD] * 2


def test_value_and_grad_records_under_no_grad():
    params, x, y = problem()
    step = parallel.value_and_grad(loss_fn, microbatch=2)
    want = step(params, x, y)
    with mg.no_grad():
        assert bits(step(params, x, y)) == bits(want)


def test_detect_anomaly_names_the_line_in_a_thread():
    def f(w, x):
        return mg.log(w * x).mean()

    with mg.detect_anomaly(), pytest.raises(mg.AnomalyError, match=r"(?s)log\(.*test_parallel.py.*mg\.log\(w \* x\)"):
        parallel.value_and_grad(f, threads=2, microbatch=1)(np.ones(()), np.array([1.0, 1.0, 1.0, -1.0]))


def blas_threads():
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


def test_blas_has_one_thread_inside_and_its_own_again_after():
    before = blas_threads()
    assert before
    assert in_threads(blas_threads) == [[1] * len(before)] * 2
    assert blas_threads() == before

    def fails(x):
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        parallel.map(fails, np.ones(4))
    assert blas_threads() == before


@mg.custom_vjp
def broken(x):
    return x * 1


@broken.vjp
def _(g, _y, x):
    raise ArithmeticError("this rule is broken")


def test_an_error_in_a_thread_names_the_users_line():
    caller = threading.current_thread()
    meet = threading.Barrier(2, timeout=10)

    def f(w, x):
        meet.wait()
        return (broken(w * x) if threading.current_thread() is not caller else w * x).mean()

    with pytest.raises(mg.BackwardError, match=r"(?s)broken\(.*test_parallel.py.*broken\(w \* x\).*rule is broken"):
        parallel.value_and_grad(f, threads=2, microbatch=1)(np.ones(()), np.ones(2))


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_the_error_of_the_lowest_part_comes_and_later_parts_do_not_start(threads):
    started = []

    def f(x):
        started.append(int(x[0]))
        time.sleep(0.01 if x[0] == 1 else 0)  # the higher error is there first
        if x[0] in (1, 2):
            raise LookupError(f"part {x[0]:.0f}")
        return x

    for _ in range(5):
        started.clear()
        with pytest.raises(LookupError, match="part 1"):
            parallel.map(f, np.arange(100.0), threads=threads, microbatch=1)
        assert len(started) < 50


def test_works_after_an_error():
    with pytest.raises(ZeroDivisionError):
        parallel.map(lambda x: 1 // 0, np.ones(4), threads=2)
    np.testing.assert_array_equal(parallel.map(lambda x: 2 * x, np.ones(4), threads=2), np.full(4, 2))


@pytest.mark.parametrize("inner_threads", [1, 2, 3])
def test_works_inside_itself(inner_threads):
    x, meet = np.arange(12.0).reshape(4, 3), threading.Barrier(2, timeout=10)

    def outer(x):
        meet.wait()  # so that one of the two calls below is on a thread of the pool
        return parallel.map(lambda row: row * 2, x, threads=inner_threads, microbatch=1)

    np.testing.assert_array_equal(parallel.map(outer, x, threads=2, microbatch=2), 2 * x)


def test_calls_from_several_threads_leave_blas_as_it_was():
    before, seen = blas_threads(), []

    def f(x):
        seen.append(blas_threads())
        return x

    def call():
        for _ in range(20):
            parallel.map(f, np.ones(2), threads=2, microbatch=1)

    callers = [threading.Thread(target=call) for _ in range(3)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join()
    assert seen == [[1] * len(before)] * 120
    assert blas_threads() == before


def test_ctrl_c_ends_a_step_and_no_part_starts_after_it():
    started, before = [], blas_threads()

    def f(x):
        started.append(int(x[0]))
        if x[0] == 4:
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.005)
        return x

    with pytest.raises(KeyboardInterrupt):
        parallel.map(f, np.arange(1000.0), threads=2, microbatch=1)
    count = len(started)
    assert count < 100
    time.sleep(0.02)
    assert len(started) == count
    assert blas_threads() == before


def test_ctrl_c_while_the_other_thread_is_the_last_at_work():
    caller, finished = threading.current_thread(), []

    def f(x):
        if threading.current_thread() is caller:
            return x
        time.sleep(0.02)  # the caller is by now waiting for this thread
        signal.pthread_kill(caller.ident, signal.SIGINT)
        time.sleep(0.02)
        finished.append(x)
        return x

    meet = threading.Barrier(2, timeout=10)

    def both_at_work(x):
        meet.wait()
        return f(x)

    with pytest.raises(KeyboardInterrupt):
        parallel.map(both_at_work, np.ones(2), threads=2, microbatch=1)
    assert len(finished) == 1  # the interruption comes out only when no thread works on the batch any more


@pytest.mark.parametrize("name", ["threads", "microbatch"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "2"])
def test_bad_options(name, value):
    with pytest.raises(ValueError, match=rf"parallel.value_and_grad: {name} should be an int of at least 1, got"):
        parallel.value_and_grad(loss_fn, **{name: value})
    with pytest.raises(ValueError, match=rf"parallel.map: {name} should be an int of at least 1, got"):
        parallel.map(lambda x: x, np.ones(3), **{name: value})


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


# ---------------------------------------------------------------- map


@given(n=st.integers(1, 12), microbatch=st.none() | st.integers(1, 15), threads=st.integers(1, 4))
def test_map_equals_the_unsplit_result(n, microbatch, threads):
    x = rng().standard_normal((n, 3))

    def f(x, extra):
        return {"y": x * extra, "rows": (x.sum(1), x > 0)}

    result = parallel.map(f, x, x[:, :1], threads=threads, microbatch=microbatch)
    tree.map(np.testing.assert_array_equal, result, f(x, x[:, :1]))


def test_map_keeps_dtypes_and_does_not_record():
    x = np.ones((5, 2), np.float32)
    result = parallel.map(lambda x: mg.exp(x), x, microbatch=2)
    assert type(result) is np.ndarray and result.dtype == np.float32


def test_map_draws_the_same_for_any_number_of_threads():
    results = []
    for threads in (1, 2, 3):
        with mg.random.use(np.random.default_rng(5)):
            results.append(parallel.map(lambda x: mg.dropout(x, 0.5), np.ones((9, 4)), threads=threads, microbatch=2))
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


# ---------------------------------------------------------------- cores


def test_available_cores_is_within_affinity_and_quota(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    for quotas, cores in (
        ([], 8),
        ([(250_000, 100_000)], 3),
        ([(50_000, 100_000)], 1),
        ([(-1, 100_000)], 8),
        ([(1_600_000, 100_000)], 8),
    ):
        monkeypatch.setattr(parallel, "_quotas", lambda quotas=quotas: iter(quotas))
        assert parallel.available_cores() == cores
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert parallel.available_cores() == 1

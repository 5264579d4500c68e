"""Tasks on threads: the caller's context, BLAS at one thread, errors, interruptions, and how many cores there are."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_info

import minigraph as mg
from minigraph import modes, parallel
from minigraph.parallel import Threads, threads
from tests.threads import in_threads as start_together


def in_threads(function):
    """What `function()` gives on each of two threads, which wait for each other."""
    meet = threading.Barrier(2, timeout=10)

    def f(x):
        meet.wait()
        seen.append((threading.current_thread(), function()))
        return x

    seen = []
    parallel.map(f, np.ones(2), executor=Threads(2), microbatch=1)
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


def test_detect_anomaly_names_the_line_in_a_thread():
    def f(w, x):
        return mg.log(w * x).mean()

    with mg.detect_anomaly(), pytest.raises(mg.AnomalyError, match=r"(?s)log\(.*test_threads.py.*mg\.log\(w \* x\)"):
        parallel.value_and_grad(f, executor=Threads(2), microbatch=1)(np.ones(()), np.array([1.0, 1.0, 1.0, -1.0]))


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

    with pytest.raises(mg.BackwardError, match=r"(?s)broken\(.*test_threads.py.*broken\(w \* x\).*rule is broken"):
        parallel.value_and_grad(f, executor=Threads(2), microbatch=1)(np.ones(()), np.ones(2))


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_the_error_of_the_lowest_part_comes_and_later_parts_do_not_start(threads):
    started = []

    def f(x):
        started.append(int(x[0]))
        time.sleep(0.01 if x[0] == 1 else 0.001)  # the higher error is there first, and the others have not got far
        if x[0] in (1, 2):
            raise LookupError(f"part {x[0]:.0f}")
        return x

    for _ in range(5):
        started.clear()
        with pytest.raises(LookupError, match="part 1"):
            parallel.map(f, np.arange(2000.0), executor=Threads(threads), microbatch=1)
        assert len(started) < 1000


def test_works_after_an_error():
    with pytest.raises(ZeroDivisionError):
        parallel.map(lambda x: 1 // 0, np.ones(4), executor=Threads(2))
    np.testing.assert_array_equal(parallel.map(lambda x: 2 * x, np.ones(4), executor=Threads(2)), np.full(4, 2))


@pytest.mark.parametrize("inner_threads", [1, 2, 3])
def test_works_inside_itself(inner_threads):
    x, meet = np.arange(12.0).reshape(4, 3), threading.Barrier(2, timeout=10)

    def outer(x):
        meet.wait()  # so that one of the two calls below is on a thread of the pool
        return parallel.map(lambda row: row * 2, x, executor=Threads(inner_threads), microbatch=1)

    np.testing.assert_array_equal(parallel.map(outer, x, executor=Threads(2), microbatch=2), 2 * x)


def test_calls_from_several_threads_leave_blas_as_it_was():
    before, seen = blas_threads(), []

    def f(x):
        seen.append(blas_threads())
        return x

    def call():
        for _ in range(20):
            parallel.map(f, np.ones(2), executor=Threads(2), microbatch=1)

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
        parallel.map(f, np.arange(1000.0), executor=Threads(2), microbatch=1)
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
        parallel.map(both_at_work, np.ones(2), executor=Threads(2), microbatch=1)
    assert len(finished) == 1  # the interruption comes out only when no thread works on the batch any more


def test_available_cores_is_within_affinity_and_quota(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    for quotas, cores in (
        ([], 8),
        ([(250_000, 100_000)], 3),
        ([(50_000, 100_000)], 1),
        ([(-1, 100_000)], 8),
        ([(1_600_000, 100_000)], 8),
    ):
        monkeypatch.setattr(threads, "_quotas", lambda quotas=quotas: iter(quotas))
        assert parallel.available_cores() == cores
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert parallel.available_cores() == 1


# ---------------------------------------------------------------- quotas of control groups

CGROUPS = {  # /proc/self/cgroup, the files below /sys/fs/cgroup, and the cores that remain of 64
    "none": ("", {}, 64),
    "version 2, at the root": ("0::/", {"cpu.max": "250000 100000"}, 3),
    "version 2, no quota": ("0::/", {"cpu.max": "max 100000"}, 64),
    "version 2, its own": ("0::/user/app", {"user/app/cpu.max": "400000 100000"}, 4),
    "version 2, above it": ("0::/a/b/c", {"a/cpu.max": "200000 100000", "a/b/c/cpu.max": "800000 100000"}, 2),
    "version 2, another's": ("0::/a/b", {"a/c/cpu.max": "100000 100000", "a/b/cpu.max": "max 100000"}, 64),
    "version 2, out of the root": ("0::/../b", {"cpu.max": "500000 100000"}, 5),
    "version 1": (
        "5:memory:/m\n4:cpu,cpuacct:/x/y",
        {"cpu/x/y/cpu.cfs_quota_us": "150000", "cpu/x/y/cpu.cfs_period_us": "100000", "memory/m/cpu.max": "1 1"}, 2,
    ),
    "version 1, above it": (
        "4:cpuacct,cpu:/x/y",
        {
            "cpuacct,cpu/x/y/cpu.cfs_quota_us": "-1", "cpuacct,cpu/x/y/cpu.cfs_period_us": "100000",
            "cpuacct,cpu/x/cpu.cfs_quota_us": "600000", "cpuacct,cpu/x/cpu.cfs_period_us": "100000",
        }, 6,
    ),
    "version 1, the path of the host": (
        "4:cpu,cpuacct:/docker/0123", {"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3,
    ),
    "both": (
        "1:name=systemd:/\n4:cpu:/x\n0::/x",
        {"cpu/x/cpu.cfs_quota_us": "700000", "cpu/x/cpu.cfs_period_us": "100000", "unified/x/cpu.max": "max 100000"}, 7,
    ),
    "damaged": ("0::/a", {"a/cpu.max": "none", "cpu.max": ""}, 64),
}  # fmt: skip


@pytest.mark.parametrize("name", CGROUPS)
def test_the_smallest_quota_on_the_path_to_the_root_counts(name, tmp_path, monkeypatch):
    own, files, cores = CGROUPS[name]
    for path, content in {"proc/self/cgroup": own, **{f"sys/fs/cgroup/{p}": c for p, c in files.items()}}.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content + "\n")
    quotas = threads._quotas
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    monkeypatch.setattr(threads, "_quotas", lambda: quotas(tmp_path))
    assert parallel.available_cores() == cores


def test_a_system_that_does_not_say_its_groups(tmp_path):
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cpu.max").write_text("200000 100000\n")
    assert list(threads._quotas(tmp_path)) == [(200_000, 100_000)]


# ---------------------------------------------------------------- processes and threads

FORK = """
import os, sys, threading, warnings
import numpy as np
from threadpoolctl import threadpool_info
from minigraph import parallel
warnings.simplefilter("ignore")  # of newer Pythons, on every fork beside threads

inside, leave = threading.Event(), threading.Event()

def work(x):
    inside.set()
    leave.wait()
    return x

def double():
    x = np.arange(6.0)
    return np.array_equal(parallel.map(lambda x: 2 * x, x, executor=parallel.Threads(3), microbatch=1), 2 * x)

def blas():
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

before = blas()
assert double()
other = threading.Thread(target=lambda: parallel.map(work, np.ones(4), executor=parallel.Threads(2), microbatch=1))
other.start()
inside.wait()
child = os.fork()
if child == 0:
    os._exit(0 if blas() == before and double() and double() and blas() == before else 1)
_, status = os.waitpid(child, 0)
leave.set()
other.join()
assert double() and blas() == before
sys.exit(os.waitstatus_to_exitcode(status))
"""

FORK_INSIDE = """
import os, sys, warnings
import numpy as np
from minigraph import parallel
warnings.simplefilter("ignore")

def work(x):
    child = os.fork()
    if child == 0:
        y = parallel.map(lambda x: 2 * x, np.ones(4), executor=parallel.Threads(2), microbatch=1)
        os._exit(0 if np.array_equal(y, np.full(4, 2)) else 1)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    return x

codes = []
parallel.map(work, np.ones(2), executor=parallel.Threads(2), microbatch=1)
sys.exit(codes != [0, 0])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
@pytest.mark.parametrize("program", [FORK, FORK_INSIDE], ids=["beside", "inside"])
def test_a_child_forked_while_parts_are_running_can_run_parts_itself(program):
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stderr) == (0, "")


def test_there_is_one_pool_and_it_grows(monkeypatch):
    monkeypatch.setattr(threads, "_state", threads._State())  # of this test alone
    before = set(threading.enumerate())
    for workers in (1, 2, 3, 4, 5, 6, 7, 8, 3, 1, 8):
        parallel.map(lambda x: time.sleep(0.001) or x, np.ones(16), executor=Threads(workers), microbatch=1)
    deadline = time.monotonic() + 10
    while len(set(threading.enumerate()) - before) > 7 and time.monotonic() < deadline:
        time.sleep(0.01)  # the threads of the smaller pools end
    assert len(set(threading.enumerate()) - before) <= 7
    threads._state.pool.shutdown()


def test_calls_of_other_sizes_at_once_do_not_take_each_others_pool(monkeypatch):
    monkeypatch.setattr(threads, "_state", threads._State())
    x = np.arange(6.0)

    def call(workers):
        def inner(part):
            return parallel.map(lambda row: 2 * row, part, executor=Threads(workers + 1), microbatch=1)

        for _ in range(20):
            got = parallel.map(inner, x, executor=Threads(workers), microbatch=2)
            assert np.array_equal(got, 2 * x)

    start_together(6, lambda i: call(i + 1))
    threads._state.pool.shutdown()


def test_any_number_of_threads_is_taken():
    x = np.arange(3.0)
    assert np.array_equal(parallel.map(lambda x: x, x, executor=Threads(10**20), microbatch=1), x)


# ---------------------------------------------------------------- the executor by itself


def test_run_gives_the_results_in_order():
    assert Threads(3).run(lambda i: time.sleep(0.002 * (i == 0)) or i * i, 7) == [i * i for i in range(7)]


def test_an_error_of_combining_comes_out_as_that_of_a_task_does():
    def combine(a, b):
        if a in ("2", "4"):
            raise ArithmeticError(f"{a} and {b}")
        return a + b

    for n in (1, 2, 4):
        with pytest.raises(ArithmeticError, match="2 and 3"):
            Threads(n).reduce(str, 8, combine)


@pytest.mark.parametrize("n", [0, -1, 1.5, "2"])
def test_bad_number_of_threads(n):
    with pytest.raises(ValueError, match=r"parallel.Threads: n should be an int of at least 1, got"):
        Threads(n)


def test_all_cores_by_default_and_a_short_repr():
    assert Threads().workers == parallel.available_cores()
    assert repr(Threads(2)) == "Threads(2)"

"""`profile`: what it notes of a program, and what it leaves as it is."""

import json
import re
import threading
import time

import numpy as np
import pytest

import minigraph as mg
from minigraph.watch import current


def loss(params, x):
    with mg.scope("body"):
        h = mg.tanh(x @ params["w"])
    with mg.scope("head"):
        return (h @ params["v"]).sum()


PARAMS = {"w": np.ones((3, 4), np.float32), "v": np.ones((4, 2), np.float32)}
X = np.ones((6, 3), np.float32)


def cells(table):
    """The rows of a table, by their first cell: the others as texts."""
    rows = [re.split(r"  +", line) for line in table.splitlines()[1:] if line]
    return {row[0]: row[1:] for row in rows}


def seconds(text):
    n, unit = text.split()
    return float(n) * {"s": 1, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}[unit]


def profiled(times=3, f=None):
    f = f or mg.value_and_grad(loss)
    with mg.profile() as p:
        for _ in range(times):
            f(PARAMS, X)
    return p


def test_operations_scopes_and_lines_have_rows():
    p = profiled()
    ops = cells(p.table())
    assert {name: row[0] for name, row in ops.items() if name not in ("other", "total")} == {
        "matmul": "6", "tanh": "3", "sum": "3",
    }  # fmt: skip
    _, forward, backward, both, _, results = ops["matmul"]
    assert seconds(forward) + seconds(backward) == pytest.approx(seconds(both), rel=0.02)
    assert results == f"{3 * 4 * 6 * (4 + 2)} B"
    assert {*cells(p.table(by="scope"))} == {"body", "head", "other", "total"}
    scopes = cells(p.table(by="scope"))
    assert (scopes["body"][0], scopes["head"][0]) == ("6", "6") and scopes["head"][2]  # rules lie in scopes too
    first = loss.__code__.co_firstlineno
    assert {*cells(p.table(by="line"))} >= {f"test_profile.py:{first + 2}", f"test_profile.py:{first + 4}"}
    assert repr(p) == "<profile of 24 operations and rules>"


def test_the_total_is_the_wall_time():
    profile = mg.profile()  # the first use of the name imports the module
    begin = time.perf_counter()
    with profile as p:
        mg.value_and_grad(loss)(PARAMS, X)
        time.sleep(0.2)
    wall = time.perf_counter() - begin
    rows = cells(p.table())
    assert seconds(rows["total"][0]) == pytest.approx(wall, rel=0.05)
    parts = [seconds(row[3]) for name, row in rows.items() if name not in ("other", "total")]
    assert sum(parts) + seconds(rows["other"][0]) == pytest.approx(wall, rel=0.05)
    assert seconds(rows["other"][0]) >= 0.2  # of three digits


def test_what_a_rule_computes_is_part_of_its_time():
    again = mg.checkpoint(lambda x, w: mg.tanh(x @ w))
    with mg.profile() as p:
        mg.grad(lambda w: again(X, w).sum())(PARAMS["w"])
    assert {*cells(p.table())} == {"checkpoint(<lambda>)", "sum", "other", "total"}


def test_threads_have_tracks(tmp_path):
    together = threading.Barrier(2, timeout=20)

    def waits(params, x):
        together.wait()  # each thread gets one of the two parts
        return loss(params, x)

    step = mg.parallel.value_and_grad(waits, executor=mg.parallel.Threads(2), microbatch=3)
    with mg.profile() as p:
        step(PARAMS, X)
    table = p.table()
    assert cells(table)["matmul"][0] == "4"
    here = threading.current_thread().name
    assert re.search(rf"^2 threads, each .*s:\n{here} .* in operations, .* other\nminigraph_\d .* other$", table, re.M)
    total = seconds(cells(table)["total"][0])
    assert total == pytest.approx(2 * p.seconds, rel=0.01)
    p.save(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert {e["tid"] for e in events if e["ph"] == "X"} == {1, 2}
    assert next(e["args"]["name"] for e in events if e["name"] == "thread_name") == here


def test_the_file_is_in_the_trace_event_format(tmp_path):
    p = profiled(times=1)
    p.save(str(tmp_path / "trace.json"))
    content = json.loads((tmp_path / "trace.json").read_text())
    bars = [e for e in content["traceEvents"] if e["ph"] == "X"]
    assert [e["name"] for e in bars] == [
        "matmul", "tanh", "matmul", "sum", "sum, backward", "matmul, backward", "tanh, backward", "matmul, backward",
    ]  # fmt: skip
    for before, e in zip([None, *bars], bars, strict=False):
        assert e.keys() == {"ph", "name", "cat", "ts", "dur", "pid", "tid", "args"}
        assert 0 <= e["ts"] <= e["ts"] + e["dur"] <= 1e6 * p.seconds
        assert before is None or before["ts"] + before["dur"] <= e["ts"]
    assert bars[0]["args"]["scope"] == "body" and bars[0]["args"]["bytes"] == 96
    assert bars[0]["args"]["line"].endswith('h = mg.tanh(x @ params["w"])')


def test_a_file_that_cannot_be_written(tmp_path):
    p = profiled(times=1)
    with pytest.raises(FileNotFoundError, match=r"the profile was not written to .*none.trace\.json: No such file"):
        p.save(tmp_path / "none" / "trace.json")
    (tmp_path / "old.json").write_text("old")
    with pytest.raises(OSError, match="was not written"):
        p.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["old.json"]


def test_the_bits_are_the_same_and_nothing_stays():
    f = mg.value_and_grad(loss)
    before = f(PARAMS, X)
    results = []
    profiled(f=lambda *inputs: results.append(f(*inputs)))
    for path, g in mg.tree.items(results[0]):
        assert np.array_equal(g, dict(mg.tree.items(before))[path]), path
    assert current() is None


def test_results_without_a_graph_are_seen():
    with mg.profile() as p, mg.no_grad():
        mg.exp(mg.Tensor(X))
        mg.exp(X)
    assert cells(p.table())["exp"][0] == "2"
    assert any(line.startswith("test_profile.py:") for line in cells(p.table(by="line")))


def test_inside_the_with_there_is_what_has_run_so_far(tmp_path):
    with mg.profile() as p:
        mg.exp(X)
        assert cells(p.table())["exp"][0] == "1"
        p.save(tmp_path / "trace.json")
        mg.exp(X)
    assert cells(p.table())["exp"][0] == "2"
    first = p.seconds
    assert p.seconds == first  # the clock has stopped


def test_after_an_error_the_profile_goes_on():
    @mg.custom_vjp
    def fails(x):
        return x

    @fails.vjp
    def _(g, _y, _x):
        raise ZeroDivisionError("no")

    with pytest.raises(KeyError), mg.profile() as p:
        with pytest.raises(mg.BackwardError):
            mg.grad(lambda x: fails(mg.exp(x)).sum())(X)
        mg.grad(lambda x: mg.exp(x).sum())(X)
        raise KeyError
    assert current() is None
    rows = cells(p.table())
    assert rows["exp"][0] == "2" and rows["exp"][2]  # the rule of the second one was seen


def test_misuse():
    p = mg.profile()
    with pytest.raises(RuntimeError, match="nothing was profiled; write `with mg"):
        p.table()
    with p:
        with pytest.raises(RuntimeError, match="a profile is going on already"), mg.profile():
            pass
        assert current() is p
    with pytest.raises(RuntimeError, match="this one was entered before"), p:
        pass
    with pytest.raises(ValueError, match="by should be one of op, scope, line, got 'module'"):
        p.table(by="module")

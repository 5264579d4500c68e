"""`profile`: where the time of a program goes, by operation, by scope, by line, and on each thread."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from types import CodeType
from typing import Any, NamedTuple

from .. import watch
from ..blame import describe, line_of, user_frame
from ..context import Context
from ..primitive import Primitive
from ..serialize import atomic_write
from ..tape import Node
from .dot import quantity
from .scale import duration
from .table import table

_KINDS = ("op", "scope", "line")
_COLUMNS = ("calls", "forward", "backward", "time", "share", "results")


def profile() -> Profile:
    """A context manager that notes each operation inside, and each rule of a backward pass, with its time.

        with mg.profile() as p:
            for x, y in batches:
                step(x, y)
        print(p.table())         # by="scope", by="line"
        p.save("trace.json")     # for https://ui.perfetto.dev

    It sees what runs in its context, and in the threads that `parallel` gives parts of it. What is computed does not
    change. Each note takes some microseconds and, as long as the profile lives, some hundred bytes. In the threads of
    `parallel` an operation may also wait for Python's global lock, and that is part of its time.

    Raises RuntimeError where it is entered inside another profile, which would not see what is inside, or again.
    """
    return Profile()


class Event(NamedTuple):
    """An operation, or the rule of one, that has run.

    Attributes:
        name: that of the operation. backward: whether it was its rule. scope: the names of the scopes it lies in.
        call: the user's call of the operation, as (code, instruction).
        start, end: when, by `time.perf_counter`. nbytes: of an operation's result; 0 for a rule.
    """

    name: str
    backward: bool
    scope: tuple[str, ...]
    call: tuple[CodeType, int]
    start: float
    end: float
    nbytes: int

    def title(self, by: str) -> str:
        """What its row is called in a table."""
        if by == "op":
            return self.name
        if by == "scope":
            return ".".join(self.scope) or "(no scope)"
        line, _, text = line_of(*self.call)
        return f"{os.path.basename(self.call[0].co_filename)}:{line}  {text if len(text) <= 60 else text[:57] + '...'}"


class _Track:
    """What has run on a thread. `rules` are the nodes whose rules run now, the outermost first, since `start`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.events: list[Event] = []
        self.rules: list[Node] = []
        self.start = 0.0


class _Row:
    """The sums over the events of a row."""

    def __init__(self) -> None:
        self.calls = [0, 0]  # of the operations, and of their rules
        self.seconds = [0.0, 0.0]
        self.nbytes = 0

    def add(self, event: Event) -> None:
        self.calls[event.backward] += 1
        self.seconds[event.backward] += event.end - event.start
        self.nbytes += event.nbytes

    def cells(self, total: float) -> list[str]:
        times = [duration(t) if n else "" for n, t in zip(self.calls, self.seconds, strict=True)]
        time = sum(self.seconds)
        return [f"{max(self.calls):,}", *times, duration(time), f"{time / total:.1%}", quantity(self.nbytes, "B")]


class Profile:
    """What `profile` returns."""

    def __init__(self) -> None:
        self._tracks: dict[int, _Track] = {}  # by the thread's identity, that of the `with` first
        self._scopes: dict[int, tuple[str, ...]] = {}  # by the id of a node, for its rule
        self._context: Context | None = None
        self._begin = self._end = 0.0  # the end is 0 until there is one

    def __enter__(self) -> Profile:
        if self._context is not None:
            raise RuntimeError("profile: this one was entered before; make another by mg.profile()")
        if isinstance(watch.current(), Profile):
            raise RuntimeError("profile: a profile is going on already, which would not see what is inside this one")
        self._context = watch.watching(self)
        self._context.__enter__()
        self._track()
        self._begin = perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        self._end = perf_counter()
        assert self._context is not None
        self._context.__exit__(*error)

    def __repr__(self) -> str:
        events = sum(len(track.events) for track in self._tracks.values())
        return f"<profile of {events:,} operations and rules>"

    # ------------------------------------------------------------ while it runs

    def operation(self, op: Primitive[Any], run: Callable[[], Any]) -> Any:
        track = self._track()
        if track.rules:  # a rule is made of operations, which are a part of its time
            return run()
        start = perf_counter()
        y = run()
        end = perf_counter()
        scope = tuple([entry.name for entry in watch.scopes()])
        node = getattr(y, "node", None)
        if scope and node is not None:
            self._scopes[node.id] = scope
        call = user_frame(2) if node is None else node.call
        track.events.append(Event(op.name, False, scope, call, start, end, y.size * y.dtype.itemsize))
        return y

    def rule_begins(self, node: Node, g: Any) -> None:
        track = self._track()
        track.rules.append(node)
        if len(track.rules) == 1:
            track.start = perf_counter()

    def rule_ends(self, node: Node) -> None:
        track = self._track()
        track.rules.pop()
        if not track.rules:
            end, scope = perf_counter(), self._scopes.get(node.id, ())
            assert node.op is not None
            track.events.append(Event(node.op.name, True, scope, node.call, track.start, end, 0))

    def adds(self, node: Node, i: int, gradient: Any) -> None:
        pass

    def derives(self, array: Any, source: Any, how: str) -> None:
        pass

    def _track(self) -> _Track:
        thread = threading.get_ident()
        if thread not in self._tracks:
            self._tracks[thread] = _Track(threading.current_thread().name)
        return self._tracks[thread]

    # ------------------------------------------------------------ reading

    @property
    def seconds(self) -> float:
        """The wall time from the beginning of the `with` to its end, or until now."""
        if self._context is None:
            raise RuntimeError("profile: nothing was profiled; write `with mg.profile() as p:` around what is to be")
        return (self._end or perf_counter()) - self._begin

    def table(self, by: str = "op") -> str:
        """The times as a table, the longest first.

        Args:
            by: "op" for a row for each operation, "scope" for each scope of `mg.scope`, "line" for each line of the
                user's code that calls operations.

        A row has the number of calls, the time of the operations (forward) and that of their rules (backward), the sum
        of both, its share of the total, and the bytes of all results. The row `other` is the time between operations:
        Python, the optimizer, the data; in the threads of `parallel`, waiting for work. The total is the wall time,
        times the number of threads. Where there are several, a line for each says what it did in that time.

        Inside the `with`, the table is of what has run so far. Raises ValueError for another `by`, RuntimeError where
        nothing was profiled.
        """
        if by not in _KINDS:
            raise ValueError(f"profile: by should be one of {', '.join(_KINDS)}, got {describe(by)}")
        wall = self.seconds
        tracks = [(track.name, [*track.events]) for track in [*self._tracks.values()]]
        total = wall * len(tracks)
        rows: dict[str, _Row] = {}
        for _, events in tracks:
            for event in events:
                rows.setdefault(event.title(by), _Row()).add(event)
        ordered = sorted(rows.items(), key=lambda row: -sum(row[1].seconds))
        lines = [[by, *_COLUMNS], *([title, *row.cells(total)] for title, row in ordered)]
        busy = [sum(event.end - event.start for event in events) for _, events in tracks]
        for title, time in (("other", total - sum(busy)), ("total", total)):
            lines.append([title, "", "", "", duration(time), f"{time / total:.1%}", ""])
        text = table(lines, right=range(1, len(_COLUMNS) + 1))
        if len(tracks) == 1:
            return text
        threads = [
            [name, f"{duration(time)} in operations,", f"{duration(wall - time)} other"]
            for (name, _), time in zip(tracks, busy, strict=True)
        ]
        return f"{text}\n\n{len(tracks)} threads, each {duration(wall)}:\n{table(threads, right=(1, 2))}"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the events as JSON in the Trace Event Format, which https://ui.perfetto.dev and Chrome open.

        Each thread is a track. An operation or a rule is a bar in it, with its scope, its line and the bytes of its
        result. The file is written whole or not at all, over an older one.

        Raises OSError where it cannot be written, RuntimeError where nothing was profiled.
        """
        content = {"traceEvents": self._traced(), "displayTimeUnit": "ms", "otherData": {"seconds": self.seconds}}
        try:
            with atomic_write(path) as file:
                file.write(json.dumps(content).encode())
        except OSError as error:
            where = Path(path)
            raise type(error)(f"the profile was not written to {where}: {error.strerror or error}") from None

    def _traced(self) -> list[dict[str, Any]]:
        """The events of the file: times are microseconds since the beginning."""
        out: list[dict[str, Any]] = []
        for thread, track in enumerate([*self._tracks.values()], 1):
            place = {"pid": os.getpid(), "tid": thread}
            out.append({"ph": "M", "name": "thread_name", **place, "args": {"name": track.name}})
            out.append({"ph": "M", "name": "thread_sort_index", **place, "args": {"sort_index": thread}})
            for e in [*track.events]:
                name, kind = (f"{e.name}, backward", "backward") if e.backward else (e.name, "forward")
                details: dict[str, Any] = {"line": e.title("line")}
                details |= {"scope": e.title("scope")} if e.scope else {}
                details |= {"bytes": e.nbytes} if not e.backward else {}
                times = {"ts": (e.start - self._begin) * 1e6, "dur": (e.end - e.start) * 1e6}
                out.append({"ph": "X", "name": name, "cat": kind, **times, **place, "args": details})
        return out

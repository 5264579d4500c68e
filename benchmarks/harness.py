"""One process a system and work, only one of them at work at a time; and the statistics of their turns.

A process of its own gives each system its own thread pools, allocator and peak memory.
"""

import fnmatch
import math
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
import traceback
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # models/ is no installed package

# name: (packages, the first of which has to be there; class in systems.py; the works it can do)
COMPILED = ("W?", "infer-*", "conv-*", "memory-*", "mlp")
ALL = (*COMPILED, "tape", "scalar")
SYSTEMS = {
    "minigraph": (("minigraph", "numpy"), "Minigraph", ALL),
    "minigraph-plain": (("minigraph", "numpy"), "Plain", ("mlp",)),
    "numpy": (("numpy",), "ByHand", ("mlp", "W1", "W2", "infer-W1", "infer-W2")),
    "torch-eager": (("torch",), "TorchEager", ALL),
    "torch-channels-last": (("torch",), "Torch", (*COMPILED, "tape")),
    "torch-compile": (("torch",), "TorchCompile", COMPILED),
    "onnxruntime": (("onnxruntime", "onnx"), "OnnxRuntime", ("infer-*",)),
    "jax": (("jax",), "Jax", ("*W1",)),
    "mygrad": (("mygrad", "numpy"), "MyGrad", ("W1", "memory-W1", "tape", "scalar")),
    "autograd": (("autograd", "numpy"), "Autograd", ("W1", "memory-W1", "tape", "scalar")),
    "micrograd": (("micrograd",), "Micrograd", ("scalar",)),
}
# model, batch of a training step, shape of an image
MODELS = {"W1": ("cnn", 128, (32, 32, 3)), "W2": ("airnet", 512, (32, 32, 3)), "mlp": ("mlp", 32, (28, 28, 1))}
CONV_GRID = ((32, 64, 64), (16, 64, 128), (16, 128, 128), (8, 128, 256), (8, 256, 256))  # H = W, C, K
INFER_BATCH, CONV_BATCH, TAPE_OPS = 512, 128, 1000

# ||result - reference|| / ||reference|| of the worst array (loss, each gradient, logits); the reference is minigraph's
# result in float64. In float32, rounding now and then decides which of two nearly equal entries is a maximum, and the
# gradient goes elsewhere: that is the size of the second tolerance, and why float64 is compared too.
TOLERANCE = {"float64": 1e-9, "float32": 1e-2}

# They pin a slower BLAS kernel, or fewer threads than were asked for.
CLEARED = (
    "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
)  # fmt: skip

REPETITION = 1.0  # seconds that one turn lasts at least
PAUSE = 0.05  # seconds between turns, in which the threads of the last one go to sleep


class Failed(Exception):
    """A worker could not do its work."""


def clear_environment():
    """Remove `CLEARED` from the environment; the names that were there."""
    return [name for name in CLEARED if os.environ.pop(name, None) is not None]


def cores():
    """The numbers of the cores this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [*range(os.cpu_count() or 1)]


def installed(system):
    return find_spec(SYSTEMS[system][0][0]) is not None


def can(system, work):
    return any(fnmatch.fnmatch(work, pattern) for pattern in SYSTEMS[system][2])


def versions(system):
    return {name: version(name) for name in SYSTEMS[system][0]}


def kind_of(work):
    """ "W1" -> "train", "infer-W1" -> "infer", "conv-32-64-64" -> "conv", "tape" -> "tape", "scalar" -> "scalar" """
    return "train" if work in MODELS else work.partition("-")[0]


# ---------------------------------------------------------------- the parent's side


class Worker:
    """A process on `threads` cores that has called `prepare(*args)`, which returns `(run, runs, info)`.

    `run()` is what is measured, `runs` times a turn. Failed when the process raises.
    """

    def __init__(self, threads, prepare, *args):
        self.pipe, theirs = multiprocessing.get_context("spawn").Pipe()
        self.process = start(_serve, theirs, threads, prepare, args)
        theirs.close()
        try:
            self.info = self._receive()
        except BaseException:
            self.close()
            raise

    def measure(self):
        """One turn: {"seconds", "faults"} (minor page faults) of one run, on average."""
        return self._ask("measure")

    def peak(self):
        """The largest resident memory of the process so far, in bytes."""
        return self._ask("peak")

    def close(self):
        self.pipe.close()
        self.process.join(1)
        self.process.terminate()
        self.process.join()

    def _ask(self, question):
        self.pipe.send(question)
        return self._receive()

    def _receive(self):
        try:
            answer = self.pipe.recv()
        except EOFError:
            self.process.join()
            raise Failed(f"the process ended with code {self.process.exitcode}") from None
        if isinstance(answer, str):
            raise Failed(answer)
        return answer


def start(target, *args):
    process = multiprocessing.get_context("spawn").Process(target=target, args=args)
    process.start()
    return process


@contextmanager
def inputs(work, threads, microbatch):
    """A folder with the inputs of `work`, and its results in float64."""
    with tempfile.TemporaryDirectory() as folder:
        process = start(_write_inputs, work, folder, threads, microbatch)
        process.join()
        if process.exitcode:
            raise Failed(f"the inputs of {work} could not be made")
        yield folder


def interleave(workers, rounds):
    """{name: one measurement a round}: the workers take turns."""
    turns = {name: [] for name in workers}
    for i in range(rounds):
        for name in list(workers)[:: -1 if i % 2 else 1]:  # back and forth: none always follows the same one
            time.sleep(PAUSE)
            turns[name].append(workers[name].measure())
    return turns


def quartiles(values):
    return statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [*values] * 3


def cpu_model():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        import platform

        return platform.processor() or platform.machine()


# ---------------------------------------------------------------- the worker's side


def _serve(pipe, threads, prepare, args):
    try:
        pin(threads)
        run, runs, info = prepare(*args)
        pipe.send(info)
        while True:
            question = pipe.recv()
            pipe.send(_measure(run, runs) if question == "measure" else _peak())
    except EOFError:  # the parent needs no more
        pass
    except Exception as error:
        traceback.print_exc()
        pipe.send(traceback.format_exception_only(error)[-1].strip())


def pin(threads):
    """Leave this process `threads` cores: every library then takes them for all there are."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores()[:threads])


def prepare(system, work, folder, threads, microbatch, compare=True):
    """`system` ready to do `work`, whose inputs are in `folder`; with `compare`, only if its results are right."""
    import systems

    adapter = getattr(systems, SYSTEMS[system][1])(threads, microbatch)
    arguments, want = _load(Path(folder) / f"{work}.npz", compare)
    do = partial(getattr(adapter, kind_of(work)), **_constants(work))
    run, results = do(**arguments)
    if not compare:
        return run, 1, {}
    split = {"microbatch": int(want.pop("microbatch"))} if kind_of(work) == "train" else {}
    if adapter.float64:
        _compare(do(**_double(arguments))[1](**split), want, "float64")
    error = _compare(results(**split), want, "float64" if kind_of(work) == "scalar" else "float32")
    return run, _runs(run), {"error": error, "blas": _blas()}


def _compare(got, want, dtype):
    """The largest distance of an array from the reference; see `TOLERANCE`."""
    import numpy as np

    distances = []
    for name, array in want.items():
        if got[name].shape != array.shape or got[name].dtype != dtype:
            raise TypeError(f"{name}: expected {dtype} {array.shape}, got {got[name].dtype} {got[name].shape}")
        distances.append(float(np.linalg.norm(got[name] - array) / np.linalg.norm(array)))
    if not max(distances) < TOLERANCE[dtype]:
        raise ValueError(f"in {dtype} its result is {max(distances):.0e} from the reference")
    return max(distances)


def _double(arguments):
    import numpy as np

    from minigraph import tree

    return tree.map(lambda a: a.astype(np.float64) if a.dtype == np.float32 else a, arguments)


def _constants(work):
    if work == "tape":
        return {"ops": TAPE_OPS}
    return {} if kind_of(work) in ("conv", "scalar") else {"model": MODELS[work.removeprefix("infer-")][0]}


def _blas():
    """The BLAS libraries NumPy and others loaded, with the kernels they chose."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return []
    libraries = [library for library in threadpool_info() if library["user_api"] == "blas"]
    return sorted({f"{b['internal_api']} {b['version']} {b.get('architecture', '')}".strip() for b in libraries})


def _runs(run):
    """How many runs make a turn, after warming up."""
    run()
    clock = time.perf_counter()
    run()
    return math.ceil(REPETITION / (time.perf_counter() - clock))


def _measure(run, runs):
    run()  # the caches held another process's data, and the threads slept
    faults, clock = _usage().ru_minflt, time.perf_counter()
    for _ in range(runs):
        run()
    seconds, faults = time.perf_counter() - clock, _usage().ru_minflt - faults
    return {"seconds": seconds / runs, "faults": faults / runs}


def _peak():
    return _usage().ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _usage():
    return resource.getrusage(resource.RUSAGE_SELF)


def _write_inputs(work, folder, threads, microbatch):
    import numpy as np
    import systems


    pin(threads)
    rng = np.random.default_rng(0)
    kind = kind_of(work)
    if kind == "conv":
        h, c, k = map(int, work.split("-")[1:])
        shapes = {"x": (CONV_BATCH, h, h, c), "w": (3, 3, c, k), "g": (CONV_BATCH, h, h, k)}
        arguments = {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    elif kind == "tape":
        arguments = {"x": rng.standard_normal((8, 8), np.float32), "c": rng.random((8, 8), np.float32)}
    elif kind == "scalar":
        arguments = {"a": np.float64(-1.5), "b": np.float64(2.25)}
    else:
        arguments = systems.arguments(work.removeprefix("infer-"), rng)
        if kind == "infer":
            del arguments["y"]
            arguments["x"] = rng.standard_normal((INFER_BATCH, *arguments["x"].shape[1:]), np.float32)
    _, results = getattr(systems.Minigraph(threads, microbatch), kind)(**_double(arguments), **_constants(work))
    np.savez(Path(folder) / f"{work}.npz", **_flat(arguments), **_flat({"result": results()}))


def _flat(groups):
    """{"x": array, "params": {"head.w": array}} -> {"x": array, "params/head.w": array}"""
    flat = {}
    for name, value in groups.items():
        flat |= {f"{name}/{path}": a for path, a in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def _load(path, compare):
    """The arguments and, with `compare`, the results that `_flat` laid flat."""
    import numpy as np

    groups = {}
    with np.load(path) as file:
        for key in file:
            name, _, leaf = key.partition("/")
            if not leaf:
                groups[name] = file[key]
            elif name != "result" or compare:
                groups.setdefault(name, {})[leaf] = file[key]
    if "params" in groups:
        groups.setdefault("state", {})  # the cnn has none, so there is no array of it
    return groups, groups.pop("result", None)

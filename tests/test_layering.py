"""What may import what, read off the source, and what `import minigraph` loads."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = [  # each may import from its own line and those above
    {"minigraph.kernels"},
    {"minigraph.context", "minigraph.freeing"},
    {f"minigraph.{name}" for name in ("tree", "random", "modes", "blame", "anomaly", "fit", "watch")},
    {"minigraph.tape"},
    {"minigraph.tensor", "minigraph.primitive", "minigraph.ops"},  # Tensor's operators are ops, the ops make Tensors
    {"minigraph.transforms"},
    {f"minigraph.{name}" for name in ("recompute", "optim", "parallel", "serialize", "interop", "examples")},
    {f"minigraph.{name}" for name in ("testing", "graph", "data")},
    {"minigraph.onnx"},
    {"minigraph.training"},
    {"minigraph"},
    {"models"},
    {"train_cifar", "train_text"},
]
FILES = sorted([*ROOT.glob("minigraph/**/*.py"), *ROOT.glob("models/*.py"), *ROOT.glob("train_*.py")])
HEAVY = [
    "onnx", "mpi4py", "scipy", "matplotlib", "pooch", "tqdm", "graphviz", "threadpoolctl", "concurrent.futures",
    "tarfile", "minigraph.optim", "minigraph.parallel",
]  # fmt: skip


def module(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer(name):
    """The layer of the most specific entry that `name` is in; None for what is not the project's."""
    found = [(len(e), i) for i, entries in enumerate(LAYERS) for e in entries if f"{name}.".startswith(f"{e}.")]
    return max(found)[1] if found else None


def imports(path):
    """(full name, whether it is at the top of the module) of every import; types alone do not count."""
    source = ast.parse(path.read_text())
    package = module(path).split(".") if path.name == "__init__.py" else module(path).split(".")[:-1]
    conditions = [node for node in ast.walk(source) if isinstance(node, ast.If)]
    skipped = {n for c in conditions if ast.unparse(c.test) == "TYPE_CHECKING" for n in c.body}
    for node in ast.walk(source):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from ((a.name, node in source.body) for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            is_package = (ROOT / base.replace(".", "/") / "__init__.py").exists()
            yield from ((f"{base}.{a.name}" if is_package else base, node in source.body) for a in node.names)


@pytest.mark.parametrize("path", FILES, ids=module)
def test_nothing_imports_upward(path):
    assert layer(module(path)) is not None, "a module that no layer has"
    for name, top in imports(path):
        if layer(name) is not None:
            late = path.name == "numpy_api.py" and name == "minigraph.ops" and not top
            assert layer(name) <= layer(module(path)) or late, f"{module(path)} imports {name}"


@pytest.mark.parametrize("path", [f for f in FILES if "kernels" in f.parts], ids=module)
def test_kernels_import_little_beside_each_other(path):
    """threadpoolctl tells them which BLAS NumPy has."""
    for name, _ in imports(path):
        top = name.split(".")[0]
        outside = {"numpy", "threadpoolctl", *sys.stdlib_module_names}
        assert top in outside or name.startswith("minigraph.kernels"), name


@pytest.mark.parametrize("path", [f for f in FILES if "minigraph" in f.relative_to(ROOT).parts], ids=module)
def test_numpy_alone_is_imported_at_the_top(path):
    outside = {n.split(".")[0] for n, top in imports(path) if top} - {"minigraph", *sys.stdlib_module_names}
    assert outside <= {"numpy"}


def test_import_minigraph_loads_nothing_heavy():
    code = f"import sys, minigraph; print([m for m in {HEAVY} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"

"""Hold the libraries to AVX2 on a processor that has more, to see what a machine without AVX-512 would do.

The settings are environment variables, which each library reads when it is loaded. A process of its own then loads them
and says what they took. ONNX Runtime reads no such variable, and is left out.
"""

import getpass
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

SETTINGS = {
    "OPENBLAS_CORETYPE": "Haswell",  # NumPy's products
    "ATEN_CPU_CAPABILITY": "avx2",  # PyTorch's own kernels
    "ONEDNN_MAX_CPU_ISA": "AVX2",  # its convolutions
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",  # its products
}

LOOK = """
import json, os, sys
import numpy
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__
from threadpoolctl import threadpool_info
numpy.ones((2, 2)) @ numpy.ones((2, 2))
# __cpu_features__ names all that the processor can do. NumPy chooses its kernels by those in __cpu_dispatch__ alone.
found = {"NumPy": [name for name in __cpu_dispatch__ if __cpu_features__.get(name)]}
found["OpenBLAS"] = [b.get("architecture") or "" for b in threadpool_info() if b["internal_api"] == "openblas"]
try:
    import torch
except ImportError:
    pass
else:
    found["ATen"] = [torch.backends.cpu.get_cpu_capability()]
    with torch.no_grad():
        torch.nn.Conv2d(64, 64, 3)(torch.zeros(8, 64, 32, 32)), torch.ones(64, 64) @ torch.ones(64, 64)
sys.stdout.flush()
print("FOUND" + json.dumps(found))
"""
AVX512 = ("AVX512", "AVX-512", "AVX10", "X86_V4", "SKYLAKEX", "COOPERLAKE", "SAPPHIRERAPIDS")


def limit(isa):
    """Set the environment for the processes to come; what the libraries say in it, in one line.

    Raises RuntimeError where one of them still takes AVX-512.
    """
    assert isa == "avx2"
    os.environ.update(SETTINGS)
    # What torch.compile has compiled for AVX-512 before, it would take again here, with results that are wrong.
    own = f"torchinductor_{getpass.getuser()}_{isa}"
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(tempfile.gettempdir()) / own)
    dispatched = "from numpy._core._multiarray_umath import __cpu_dispatch__; print(*__cpu_dispatch__)"
    names = subprocess.run([sys.executable, "-c", dispatched], capture_output=True, text=True, check=True).stdout
    os.environ["NPY_DISABLE_CPU_FEATURES"] = " ".join(filter(_is_avx512, names.split()))
    said = look()
    wrong = [f"{library}: {text}" for library, texts in said.items() for text in texts if _is_avx512(text)]
    if wrong:
        raise RuntimeError(f"not held to AVX2: {'; '.join(wrong)}")
    shown = {library: texts for library, texts in said.items() if library != "NumPy"}
    return "; ".join(f"{library}: {', '.join(sorted(set(texts)))}" for library, texts in shown.items())


def native():
    """The kind of vector instructions that this processor has, as far as the bars tell them apart."""
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        flags = []
    return "avx512" if "avx512f" in flags else "avx2" if "avx2" in flags else "other"


def look():
    """What each library says that it takes, in a process of its own: {library: texts}."""
    environment = {**os.environ, "ONEDNN_VERBOSE": "1", "MKL_VERBOSE": "1"}
    run = subprocess.run([sys.executable, "-c", LOOK], env=environment, capture_output=True, text=True, check=True)
    lines = run.stdout.splitlines()
    found = next(json.loads(line.removeprefix("FOUND")) for line in lines if line.startswith("FOUND"))
    for library, mark in (("oneDNN", "isa:"), ("MKL", "MKL_VERBOSE oneMKL")):
        texts = [line[line.index(mark) + len(mark) :].strip() for line in lines if mark in line]
        if texts:
            found[library] = texts
    return found


def _is_avx512(text):
    return any(name in text.upper() for name in AVX512)

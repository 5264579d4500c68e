"""minigraph: a computational graph with reverse-mode automatic differentiation, on NumPy."""

from . import ops, optim, parallel, serialize, tree
from .graph.draw import draw
from .ops import *
from .primitive import Primitive, custom_vjp, primitive, primitives
from .random import seed
from .tape import AnomalyError, BackwardError, MutationError, detect_anomaly, no_grad
from .tensor import Tensor
from .transforms import checkpoint, grad, hessian, hvp, jacobian, jvp, value_and_grad, vjp

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """`mg.data`, `mg.testing` and `mg.training` are imported when they are first used: few programs need all three."""
    if name in ("data", "testing", "training"):
        import importlib

        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

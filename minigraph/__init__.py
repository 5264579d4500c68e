"""minigraph: a computational graph with reverse-mode automatic differentiation, on NumPy."""

from . import ops, optim, parallel, serialize, tree
from .graph.draw import draw
from .ops import *
from .primitive import Primitive, custom_vjp, primitive, primitives
from .random import seed
from .anomaly import AnomalyError, MutationError
from .blame import BackwardError
from .modes import detect_anomaly, no_grad
from .tensor import Tensor
from .recompute import checkpoint
from .transforms import grad, hessian, hvp, jacobian, jvp, value_and_grad, vjp

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """`mg.data` and `mg.testing` are imported when they are first used: training needs one, few programs the other."""
    if name in ("data", "testing"):
        import importlib

        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

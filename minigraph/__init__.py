"""minigraph: a computational graph with reverse-mode automatic differentiation, on NumPy."""

from typing import TYPE_CHECKING

from . import ops, optim, parallel, random, serialize, tree
from .anomaly import AnomalyError, MutationError
from .blame import BackwardError
from .graph.draw import draw
from .kernels.memory import empty_cache, memory_stats
from .modes import detect_anomaly, no_grad
from .ops.conv import *
from .ops.elementwise import *
from .ops.linalg import *
from .ops.loss import *
from .ops.norm import *
from .ops.pool import *
from .ops.reduce import *
from .ops.shape import *
from .ops.attention import *
from .ops.conv_nd import *
from .ops.decompositions import *
from .ops.inverses import *
from .ops.least_squares import *
from .ops.products import *
from .ops.resize import *
from .ops.signal import *
from .primitive import Primitive, custom_vjp, primitive, primitives
from .random import seed
from .recompute import checkpoint
from .tensor import ArrayLike, Tensor
from .transforms import grad, hessian, hvp, jacobian, jvp, value_and_grad, vjp
from .watch import scope

__version__ = "0.1.0"

__all__ = [  # noqa: RUF022  (by kind)
    # the graph and its gradients
    "ArrayLike", "Tensor", "checkpoint", "detect_anomaly", "draw", "empty_cache", "grad", "hessian", "hvp",
    "jacobian", "jvp", "memory_stats", "no_grad", "scope", "seed", "value_and_grad", "vjp",
    "AnomalyError", "BackwardError", "MutationError",
    # primitives of one's own
    "Primitive", "custom_vjp", "primitive", "primitives",
    # modules
    "data", "interop", "ops", "optim", "parallel", "random", "serialize", "testing", "training", "tree",
    # operations: those that the families in ops/ list
    "abs", "add", "astype", "avg_pool", "batch_norm", "broadcast_to", "clip", "concatenate", "conv2d",
    "conv_transpose2d", "cos", "cross_entropy", "cumsum", "divide", "dropout", "einsum", "elu", "erf", "exp",
    "expand_dims", "expm1", "flip", "gelu", "getitem", "layer_norm", "leaky_relu", "log", "log1p", "log_softmax",
    "logsumexp", "matmul", "max", "max_pool", "maximum", "mean", "min", "minimum", "mse", "multiply", "negative",
    "norm", "pad", "power", "prod", "relu", "remainder", "reshape", "scatter", "scatter_add", "sigmoid", "silu", "sin",
    "softmax", "softplus", "split", "sqrt", "squeeze", "stack", "std", "subtract", "sum", "take", "take_along_axis",
    "tanh", "transpose", "var", "where",
    # linear algebra
    "cholesky", "cross", "det", "dot", "eigh", "eigvalsh", "expm", "inner", "inv", "kron", "lstsq", "matrix_norm",
    "matrix_power", "multi_dot", "outer", "pinv", "qr", "slogdet", "solve", "svd", "svdvals", "tensordot", "vdot",
    "vecdot",
    # sequences
    "convolve", "correlate", "interp", "irfft", "rfft",
    # nets
    "adaptive_avg_pool", "adaptive_max_pool", "binary_cross_entropy", "conv1d", "conv3d", "embedding", "group_norm",
    "huber", "resize_bilinear", "rms_norm", "scaled_dot_product_attention",
]  # fmt: skip

if TYPE_CHECKING:
    from . import data, interop, testing, training
else:  # these are imported when they are first used, since few programs need all of them

    def __getattr__(name: str) -> object:
        if name in ("data", "interop", "testing", "training"):
            import importlib

            return importlib.import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])

"""minigraph: a computational graph with reverse-mode automatic differentiation, on NumPy."""

from typing import TYPE_CHECKING

from . import ops, random, tree
from .anomaly import AnomalyError, MutationError
from .blame import BackwardError
from .kernels.memory import empty_cache, memory_stats
from .modes import detect_anomaly, no_grad
from .ops.activations import *
from .ops.conv import *
from .ops.creation import *
from .ops.cumulative import *
from .ops.differences import *
from .ops.elementwise import *
from .ops.exponential import *
from .ops.indexing import *
from .ops.joining import *
from .ops.linalg import *
from .ops.loss import *
from .ops.norm import *
from .ops.order import *
from .ops.padding import *
from .ops.pool import *
from .ops.reduce import *
from .ops.rounding import *
from .ops.shape import *
from .ops.statistics import *
from .ops.trigonometric import *
from .ops.variance import *
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
    "jacobian", "jvp", "memory_stats", "no_grad", "profile", "scope", "seed", "summary", "value_and_grad", "vjp",
    "AnomalyError", "BackwardError", "MutationError",
    # primitives of one's own
    "Primitive", "custom_vjp", "primitive", "primitives",
    # modules
    "data", "graph", "interop", "onnx", "ops", "optim", "parallel", "random", "serialize", "testing", "training",
    "tree",
    # operations: those that the families in ops/ list
    "abs", "add", "astype", "avg_pool", "batch_norm", "broadcast_to", "clip", "concatenate", "conv2d",
    "conv_transpose2d", "cos", "cross_entropy", "cumsum", "divide", "dropout", "einsum", "elu", "erf", "exp",
    "expand_dims", "expm1", "flip", "gelu", "getitem", "layer_norm", "leaky_relu", "log", "log1p", "log_softmax",
    "logsumexp", "matmul", "max", "max_pool", "maximum", "mean", "min", "minimum", "mse", "multiply", "negative",
    "norm", "pad", "power", "prod", "relu", "remainder", "reshape", "scatter", "scatter_add", "sigmoid", "silu", "sin",
    "softmax", "softplus", "split", "sqrt", "squeeze", "stack", "std", "subtract", "sum", "take", "take_along_axis",
    "tanh", "transpose", "var", "where",
    # operations that NumPy has too
    "append", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh", "array", "array_split",
    "atleast_1d", "atleast_2d", "atleast_3d", "average", "block", "broadcast_arrays", "cbrt", "ceil", "choose",
    "column_stack", "compress", "copy", "copysign", "corrcoef", "cosh", "cov", "cumprod", "cumulative_prod",
    "cumulative_sum", "deg2rad", "delete", "diag", "diagflat", "diagonal", "diff", "divmod", "dsplit", "dstack",
    "ediff1d", "exp2", "extract", "fliplr", "flipud", "floor", "floor_divide", "fmax", "fmin", "fmod", "full_like",
    "gradient", "heaviside", "hsplit", "hstack", "hypot", "insert", "ldexp", "linspace", "log10", "log2", "logaddexp",
    "logaddexp2", "logspace", "matrix_transpose", "median", "meshgrid", "modf", "moveaxis", "nan_to_num",
    "nancumprod", "nancumsum", "nanmax", "nanmean", "nanmin", "nanprod", "nanstd", "nansum", "nanvar", "partition",
    "percentile", "positive", "ptp", "quantile", "rad2deg", "ravel", "reciprocal", "repeat", "rint", "roll",
    "rollaxis", "rot90", "round", "select", "sign", "sinc", "sinh", "sort", "square", "swapaxes", "tan", "tile",
    "top_k", "trace", "trapezoid", "tril", "triu", "trunc", "unique", "unstack", "unwrap", "vsplit", "vstack",
    "xlogy",
    # linear algebra
    "cholesky", "cond", "cross", "det", "dot", "eigh", "eigvalsh", "expm", "inner", "inv", "kron", "lstsq",
    "matrix_norm", "matrix_power", "multi_dot", "outer", "pinv", "qr", "slogdet", "solve", "svd", "svdvals",
    "tensordot", "tensorinv", "tensorsolve", "vdot", "vecdot",
    # sequences
    "convolve", "correlate", "fftshift", "ifftshift", "interp", "irfft", "rfft",
    # nets
    "adaptive_avg_pool", "adaptive_max_pool", "binary_cross_entropy", "conv1d", "conv3d", "embedding", "group_norm",
    "huber", "resize_bilinear", "rms_norm", "scaled_dot_product_attention",
]  # fmt: skip

if TYPE_CHECKING:
    from . import data, graph, interop, onnx, optim, parallel, serialize, testing, training
    from .graph.draw import draw
    from .graph.profile import profile
    from .graph.summary import summary
else:  # these are imported when they are first used, since they take time and few programs need all of them

    def __getattr__(name: str) -> object:
        import importlib

        if name in ("data", "graph", "interop", "onnx", "optim", "parallel", "serialize", "testing", "training"):
            return importlib.import_module(f"{__name__}.{name}")
        if name in ("draw", "profile", "summary"):
            return getattr(importlib.import_module(f"{__name__}.graph.{name}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])

"""Every differentiable operation, by family. Each forward has its rule beside it."""

from .elementwise import (
    abs, add, astype, clip, cos, divide, elu, erf, exp, expm1, gelu, leaky_relu, log, log1p, maximum, minimum, multiply,
    negative, power, relu, remainder, sigmoid, silu, sin, softplus, sqrt, subtract, tanh, where,
)  # fmt: skip
from .linalg import einsum, matmul
from .numpy_api import numpy_function, numpy_ufunc
from .reduce import cumsum, logsumexp, max, mean, min, norm, prod, std, sum, var
from .shape import (
    broadcast_to, concatenate, expand_dims, flip, getitem, pad, reshape, scatter, scatter_add, split, squeeze, stack,
    take, take_along_axis, transpose,
)  # fmt: skip

__all__ = [
    "abs", "add", "astype", "broadcast_to", "clip", "concatenate", "cos", "cumsum", "divide", "einsum", "elu", "erf",
    "exp", "expand_dims", "expm1", "flip", "gelu", "getitem", "leaky_relu", "log", "log1p", "logsumexp", "matmul",
    "max", "maximum", "mean", "min", "minimum", "multiply", "negative", "norm", "numpy_function", "numpy_ufunc", "pad",
    "power", "prod", "relu", "remainder", "reshape", "scatter", "scatter_add", "sigmoid", "silu", "sin", "softplus",
    "split", "sqrt", "squeeze", "stack", "std", "subtract", "sum", "take", "take_along_axis", "tanh", "transpose",
    "var", "where",
]  # fmt: skip

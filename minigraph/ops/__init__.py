"""Every differentiable operation, by family. Each forward has its rule beside it."""

from .conv import conv2d, conv_transpose2d
from .elementwise import (
    abs, add, astype, clip, cos, divide, elu, erf, exp, expm1, gelu, leaky_relu, log, log1p, maximum, minimum, multiply,
    negative, power, relu, remainder, sigmoid, silu, sin, softplus, sqrt, subtract, tanh, where,
)  # fmt: skip
from .linalg import einsum, matmul
from .loss import cross_entropy, log_softmax, mse, softmax
from .norm import batch_norm, dropout, layer_norm
from .numpy_api import numpy_function, numpy_ufunc
from .pool import avg_pool, max_pool
from .reduce import cumsum, logsumexp, max, mean, min, norm, prod, std, sum, var
from .shape import (
    broadcast_to, concatenate, expand_dims, flip, getitem, pad, reshape, scatter, scatter_add, split, squeeze, stack,
    take, take_along_axis, transpose,
)  # fmt: skip

__all__ = [
    "abs", "add", "astype", "avg_pool", "batch_norm", "broadcast_to", "clip", "concatenate",
    "conv2d", "conv_transpose2d", "cos", "cross_entropy", "cumsum", "divide", "dropout", "einsum",
    "elu", "erf", "exp", "expand_dims", "expm1", "flip", "gelu", "getitem", "layer_norm",
    "leaky_relu", "log", "log1p", "log_softmax", "logsumexp", "matmul", "max", "max_pool",
    "maximum", "mean", "min", "minimum", "mse", "multiply", "negative", "norm", "pad", "power",
    "prod", "relu", "remainder", "reshape", "scatter", "scatter_add", "sigmoid", "silu", "sin",
    "softmax", "softplus", "split", "sqrt", "squeeze", "stack", "std", "subtract", "sum", "take",
    "take_along_axis", "tanh", "transpose", "var", "where",
]  # fmt: skip

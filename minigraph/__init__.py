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

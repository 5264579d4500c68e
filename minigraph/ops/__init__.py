"""Every differentiable operation, by family. Each forward has its rule beside it; each family lists its names."""

from . import activations, conv, creation, cumulative, differences, elementwise, exponential, indexing, joining, linalg
from . import loss, norm as normalisation, order, padding, pool, reduce, rounding, shape, statistics, trigonometric
from . import variance
from . import attention, conv_nd, decompositions, inverses, least_squares, products, resize, signal
from .activations import *
from .conv import *
from .creation import *
from .cumulative import *
from .differences import *
from .elementwise import *
from .exponential import *
from .indexing import *
from .joining import *
from .linalg import *
from .loss import *
from .norm import *
from .numpy_api import numpy_function, numpy_ufunc
from .order import *
from .padding import *
from .pool import *
from .reduce import *  # among it the function norm, which from here on is `ops.norm`
from .rounding import *
from .shape import *
from .statistics import *
from .trigonometric import *
from .variance import *

from .attention import *
from .conv_nd import *
from .decompositions import *
from .inverses import *
from .least_squares import *
from .products import *
from .resize import *
from .signal import *

_FAMILIES = (
    activations, conv, creation, cumulative, differences, elementwise, exponential, indexing, joining, linalg, loss,
    normalisation, order, padding, pool, reduce, rounding, shape, statistics, trigonometric, variance,
    attention, conv_nd, decompositions, inverses, least_squares, products, resize, signal,
)  # fmt: skip
__all__ = [name for family in _FAMILIES for name in family.__all__]

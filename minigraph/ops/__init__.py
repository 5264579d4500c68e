"""Every differentiable operation, by family. Each forward has its rule beside it; each family lists its names."""

from . import conv, elementwise, linalg, loss, norm as normalisation, pool, reduce, shape
from . import attention, conv_nd, decompositions, inverses, least_squares, products, resize, signal
from .conv import *
from .elementwise import *
from .linalg import *
from .loss import *
from .norm import *
from .numpy_api import numpy_function, numpy_ufunc
from .pool import *
from .reduce import *  # among it the function norm, which from here on is `ops.norm`
from .shape import *
from .attention import *
from .conv_nd import *
from .decompositions import *
from .inverses import *
from .least_squares import *
from .products import *
from .resize import *
from .signal import *

_FAMILIES = (
    conv, elementwise, linalg, loss, normalisation, pool, reduce, shape,
    attention, conv_nd, decompositions, inverses, least_squares, products, resize, signal,
)  # fmt: skip
__all__ = [name for family in _FAMILIES for name in family.__all__]

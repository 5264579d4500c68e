"""Training steps and inference on several cores: a batch is cut into parts, and each part runs whole on one thread.

Each part, a *micro-batch*, goes through the complete forward and backward pass on one thread, and BLAS uses one thread.
All operations then run in parallel, not only the matrix products, because NumPy releases the GIL while it computes;
and the arrays of a part are small enough to stay in the cache.

Three pieces are kept apart: `batch` cuts the batch and says what is done with a part, an `Executor` runs the parts (by
default `Threads`; `MPI` on many machines), and `partial` says how the results of two parts become one.
"""

from .batch import map, split, value_and_grad
from .executor import Executor
from .mpi import MPI
from .threads import Threads, available_cores

__all__ = ["MPI", "Executor", "Threads", "available_cores", "map", "split", "value_and_grad"]

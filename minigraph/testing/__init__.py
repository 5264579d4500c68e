"""Checks of gradients, by finite differences and by an identity of linear functions.

`check_vjp` checks the gradient of a function in each of its inputs. `check_graph` finds the operation that is wrong in
a function made of many. `check_adjoint` is the most exact, and for linear functions only. All computation is in
float64. `differences` says how the finite differences are made.
"""

from .check import GradientMismatch, InputReport, KinkError, Passed, check_adjoint, check_vjp
from .graph import GraphMismatch, GraphReport, OperationReport, check_graph

__all__ = [
    "GradientMismatch",
    "GraphMismatch",
    "GraphReport",
    "InputReport",
    "KinkError",
    "OperationReport",
    "Passed",
    "check_adjoint",
    "check_graph",
    "check_vjp",
]

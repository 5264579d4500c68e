"""Blame: which call of the user's made a node, and how errors describe it."""

from __future__ import annotations

import linecache
import os
import sys
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .tape import Node

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_is_ours: dict[str, bool] = {}  # by file name: whether the file belongs to this package
OUTSIDE = (
    "it uses a Tensor that requires a gradient and is not an argument of the transformed function, whose results are "
    "arrays and would lose that gradient: pass the Tensor as an argument, or use t.detach() or mg.no_grad()"
)


class BackwardError(RuntimeError):
    """The backward pass failed in the rule of a primitive, or it met a graph that is freed already."""


def user_frame(skip: int) -> tuple[CodeType, int]:
    """The innermost frame outside this package, as (code, instruction).

    The pair is cheap to keep, and unlike the frame itself it keeps no local variable alive.

    Args:
        skip: how many callers, from this function outwards, are known to be code of the package. They are not looked
            at, which saves time.
    """
    try:
        frame: FrameType = sys._getframe(skip + 1)
    except ValueError:  # the stack ends earlier: a thread or an exit handler called the operation directly
        frame = sys._getframe(skip)
    while True:
        code = frame.f_code
        ours = _is_ours.get(code.co_filename)
        if ours is None:
            ours = is_ours(code)
        if not ours or frame.f_back is None:
            return code, frame.f_lasti
        frame = frame.f_back


def is_ours(code: CodeType) -> bool:
    """Whether the code belongs to this package."""
    return _is_ours.setdefault(code.co_filename, code.co_filename.startswith(_PACKAGE))


def line_of(code: CodeType, instruction: int) -> tuple[int, str, str]:
    """The number of the source line, the name of its function, and its text, "" where it cannot be read."""
    lines = (n for start, stop, n in code.co_lines() if start <= instruction < stop and n)
    line = next(lines, code.co_firstlineno)
    return line, code.co_name, linecache.getline(code.co_filename, line).strip()


def location(code: CodeType, instruction: int) -> str:
    """`File "x.py", line 3, in f`, followed by the source line where it can be read."""
    line, name, text = line_of(code, instruction)
    where = f'File "{code.co_filename}", line {line}, in {name}'
    return f"{where}\n    {text}" if text else where


def describe(value: Any) -> str:
    """`float32 (2, 3)` for an array, Tensor or node; the value itself, cut at 60 characters, for anything else."""
    if hasattr(value, "dtype") and hasattr(value, "shape") and not isinstance(value, type):  # np.float32 has both
        return f"{value.dtype} {tuple(value.shape)}"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def describe_call(node: Node) -> str:
    """`matmul(float32 (2, 3), float32 (3, 4)) -> float32 (2, 4)`, and below it the user's line."""
    assert node.op is not None
    args = [describe(a) for a in node.args or ()]
    args += [f"{k}={describe(v)}" for k, v in (node.kwargs or {}).items() if k != "saved"]
    call = f"{node.op.name}({', '.join(args)}) -> {describe(node)}"
    return f"{call}\n  {location(*node.call)}"


def hint(error: Exception) -> str:
    """What the author of a forward or a rule may have missed."""
    if isinstance(error, ValueError) and "read-only" in str(error):
        return "; it writes into an array that it was given, which others need as it is: return a new array instead"
    if isinstance(error, (TypeError, AttributeError)) and "Node" in str(error):
        return (
            "; the rule reads an argument that it names with a leading underscore, and for which it therefore gets a "
            "stand-in with a shape and a dtype only: name it without the underscore"
        )
    return ""


def blame(error: Exception, node: Node) -> BackwardError:
    """The `error` that came while the gradient of `node` was computed, as an error that names the user's call."""
    if node.args is None:  # once the arguments are gone, whatever error followed is only a consequence
        cause = (
            "the graph was freed by an earlier backward pass; to go through it again, "
            "call the first one with retain_graph=True"
        )
    elif isinstance(error, BackwardError):  # of a pass inside the rule
        cause = str(error)
    else:
        cause = f"{type(error).__name__}: {error}{hint(error)}"
    return BackwardError(f"backward of {describe_call(node)}\n{cause}")

"""Freeing a graph without recursion, for the one version of Python that needs it.

When the last reference to a graph goes, its youngest node is freed, which frees the node's inputs, and so on. This is a
recursion in C as deep as the graph. CPython cuts such recursions into pieces: most versions after 50 levels, or when
the stack becomes short. Python 3.13 does so after thousands of levels, whatever the stack, and the small stack of a
thread overflows. There, nodes have a finalizer: it puts what the node refers to into a list, which a loop empties.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

RECURSES = sys.version_info[:2] == (3, 13)


class _Local(threading.local):
    pending: list[Any] | None = None


_local = _Local()


def release(node: Any) -> None:
    """The finalizer of a node. What the node refers to is freed here or, below another finalizer, by that one."""
    held = node.parents, node.args
    if not node.parents:
        return  # a leaf, or a node that a backward pass has freed
    node.parents = node.args = ()
    pending = _local.pending
    if pending is not None:
        pending.append(held)
        return
    pending = _local.pending = [held]
    del held
    while pending:
        pending.pop()  # frees inputs that nothing else refers to; their finalizers append to the list
    _local.pending = None

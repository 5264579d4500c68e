"""What an optimizer is."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from ..tree import Tree

State = dict[str, Any]


@runtime_checkable
class Optimizer(Protocol):
    """Turns parameters, gradients and a state into new parameters and a new state. No base class is needed.

    The state is a dict of trees of plain arrays; `state["step"]` is the number of steps taken, an int64 array of shape
    (). All that an optimizer has to remember is in it, so that a run which loads params and state from a file goes on
    as if it had never stopped.
    """

    def init(self, params: Tree) -> State:
        """The state before the first step."""
        ...

    def step(self, params: Tree, grads: Tree, state: State) -> tuple[Tree, State]:
        """The parameters and the state after one update; `grads` is a tree like `params`.

        An optimizer may update arrays in place which an earlier step of its own returned, but neither the gradients nor
        an array that the caller made.
        """
        ...

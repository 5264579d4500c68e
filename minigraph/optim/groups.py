"""Parameters in groups, each with an optimizer of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import tree
from ..tree import Tree
from .checks import step_count
from .protocol import Optimizer, State


class Groups:
    """An optimizer for each group of parameters; a group is chosen by a pattern.

        opt = Groups({"whiten.*": None, "head": SGD(0.2), "ndim >= 2": Muon(0.1), "*": SGD(0.05)})

    A pattern is one for paths such as `blocks.0.conv.w`, which are those of `tree.items`, or `ndim >= 2` for all arrays
    of at least 2 dimensions; see `tree.matches`. A parameter belongs to the first pattern that picks it.

    Args:
        groups: an optimizer for each pattern. None instead of an optimizer freezes the group: its parameters are
            returned as they came, without work and memory for a step. `tree.partition` saves the work of their
            gradients too. An optimizer that stands for two patterns would copy their parameters at every step; give
            each a new one.

    The state has the keys "step" (the number of steps) and "groups" (the state of each optimizer by its pattern). The
    parameters that an optimizer sees are a tree like the whole, with None in place of those of other groups.

    Raises:
        ValueError: there is no group; by `init` and `step`, a parameter that no pattern matches, or a pattern that is
            the first match of no parameter.
        TypeError: a pattern is not a string, or its value neither an `Optimizer` nor None; by `init` and `step`, a
            parameter that is not an array.
    """

    def __init__(self, groups: Mapping[str, Optimizer | None]) -> None:
        if not isinstance(groups, Mapping) or not groups:
            raise ValueError(f"Groups: expected a dict from patterns to optimizers, got {groups!r}")
        for pattern, optimizer in groups.items():
            if not isinstance(pattern, str):
                raise TypeError(f"Groups: expected a string as pattern, got {pattern!r}")
            if isinstance(optimizer, type) or not isinstance(optimizer, Optimizer | None):
                raise TypeError(f"Groups: expected an optimizer or None for {pattern!r}, got {optimizer!r}")
        self.groups = dict(groups)

    def __repr__(self) -> str:
        return f"Groups({self.groups})"

    def init(self, params: Tree) -> State:
        """The state before the first step."""
        members = self._members(params, "Groups.init")
        states = {
            pattern: optimizer.init(_only(pattern, members, params))
            for pattern, optimizer in self.groups.items()
            if optimizer is not None
        }
        return {"step": np.array(0, np.int64), "groups": states}

    def step(self, params: Tree, grads: Tree, state: State) -> tuple[Tree, State]:
        """One step of every group's optimizer.

        Raises ValueError or TypeError, with nothing changed, where `grads` does not fit `params` or `state` is not one
        of these groups. Where an optimizer raises (for a learning rate that is not finite), those before it have
        already taken their step.
        """
        members = self._members(params, "Groups.step")
        grads = tree.check_like(params, grads, "Groups.step: grads")
        optimizers = {pattern: optimizer for pattern, optimizer in self.groups.items() if optimizer is not None}
        count = step_count(state, {"groups"}, "Groups.step")
        states = state["groups"]
        if not isinstance(states, dict) or states.keys() != optimizers.keys():
            got = [*states] if isinstance(states, dict) else type(states).__name__
            raise ValueError(f"Groups.step: state['groups']: expected the keys {[*optimizers]}, got {got}")

        new: dict[str, Any] = {pattern: _only(pattern, members, params) for pattern in self.groups}
        states = dict(states)
        for pattern, optimizer in optimizers.items():
            gradients = _only(pattern, members, grads)
            new[pattern], states[pattern] = optimizer.step(new[pattern], gradients, states[pattern])
        leaves = {pattern: iter(tree.leaves(part)) for pattern, part in new.items()}
        merged = tree.map(lambda pattern: next(leaves[pattern]), members)
        return merged, {"step": np.array(count + 1, np.int64), "groups": states}

    def _members(self, params: Tree, where: str) -> Tree:
        """A tree like `params` that holds the pattern of each parameter."""
        found = []
        for path, leaf in tree.items(params):
            if not tree.is_array(leaf):
                raise TypeError(f"{where}: params at {path or 'the top'}: expected an array, got {type(leaf).__name__}")
            pattern = next((pattern for pattern in self.groups if tree.matches(pattern, path, leaf)), None)
            if pattern is None:
                at = path or "the top"
                raise ValueError(f"{where}: none of the patterns {[*self.groups]} matches the parameter at {at}")
            found.append(pattern)
        idle = [pattern for pattern in self.groups if pattern not in found]
        if idle:
            paths = [path for path, _ in tree.items(params)]
            raise ValueError(
                f"{where}: each pattern should be the first that matches some parameter, but {idle} match none of "
                f"those left to them; the paths are {paths}"
            )
        return tree.unflatten(params, found)


def _only(pattern: str, members: Tree, params: Tree) -> Tree:
    """`params` with None in place of the leaves that belong to another pattern."""
    return tree.map(lambda member, leaf: leaf if member == pattern else None, members, params)

"""What a primitive computes, and what its rule does, in words and formulas: as they stand beside the code."""

from __future__ import annotations

import ast
import inspect
import textwrap
from types import FunctionType
from typing import Any

from .. import ops
from ..primitive import Primitive, primitives

_TRANSPARENT = ("value", "widened")  # they change what an array is kept in, and nothing that mathematics knows of
_MODULES = ("mg", "math", "np")


def definition(op: Primitive[Any]) -> list[str]:
    """The paragraphs of the primitive's docstring, without its sections such as `Args`.

    A primitive without one stands for the public function of the same name in its module, and has that one's.
    """
    public = getattr(inspect.getmodule(op.forward), op.name, None)
    text = inspect.cleandoc(op.forward.__doc__ or (isinstance(public, FunctionType) and public.__doc__) or "")
    found = (p for p in text.split("\n\n") if not p.startswith(("Args:", "Raises:", "Returns:", " ")))
    return [" ".join(paragraph.split()) for paragraph in found if paragraph]


def gradient(op: Primitive[Any]) -> str:
    """The gradients of the arguments by those of the result, g, and by the result, y: a line for each argument.

    They are the docstring of the rule. Where it has none, they are the expressions that it returns, if these are
    formulas of its arguments, of numbers and of operations. Otherwise this is "".
    """
    if op.rule == op._no_rule:
        return ""
    if op.rule.__doc__:
        return inspect.cleandoc(op.rule.__doc__)
    try:
        function = _parsed(inspect.getsourcelines(op.rule)[0])
        if function is None or len(function.body) > 1 or not isinstance(returned := function.body[0], ast.Return):
            return ""
        terms = returned.value.elts if isinstance(returned.value, ast.Tuple) else [returned.value]
        names = {a.arg for a in (*function.args.args, *function.args.kwonlyargs)}
        formulas = [_formula(term, names) for term in terms]
    except (OSError, TypeError, ValueError):  # no source, or something other than formulas
        return ""
    if set(formulas) == {"None"}:
        return "0"
    if len(formulas) == 1:
        return formulas[0]
    lines = [f"{name}: {f}" for name, f in zip(op.parameters, formulas, strict=False) if f != "None"]
    return "\n".join(lines) if len(formulas) <= len(op.parameters) else ""


def without_docstring(lines: list[str]) -> list[str]:
    """The lines of a function, without its docstring."""
    function = _parsed(lines)
    if function is None or not ast.get_docstring(function):
        return lines
    docstring = function.body[0]
    return lines[: docstring.lineno - 1] + lines[docstring.end_lineno :]


def _parsed(lines: list[str]) -> ast.FunctionDef | None:
    """The function that the lines define; None where they define none, such as those of a lambda."""
    try:
        found = ast.parse(textwrap.dedent("".join(lines))).body[0]
    except SyntaxError:
        return None
    return found if isinstance(found, ast.FunctionDef) else None


def _formula(node: Any, names: set[str]) -> str:
    """An expression as a formula, without what only Python asks for. Raises ValueError where it is none."""
    return ast.unparse(_Formula(names).visit(node)).replace(" ** ", "^")


class _Formula(ast.NodeTransformer):
    """An expression without thunks and underscores; ValueError for anything that is not arithmetic or an operation."""

    def __init__(self, names: set[str]):
        self.names = names

    def visit_Lambda(self, node: ast.Lambda) -> Any:
        if node.args.args:
            raise ValueError("a function")
        return self.visit(node.body)

    def visit_Call(self, node: ast.Call) -> Any:
        f = node.func
        if isinstance(f, ast.Attribute) and isinstance(f.value, ast.Name) and f.value.id in _MODULES:
            f = ast.Name(f.attr)
        if not isinstance(f, ast.Name) or node.keywords:
            raise ValueError("a call of something else than an operation")
        if f.id in _TRANSPARENT and len(node.args) == 1:
            return self.visit(node.args[0])
        if f.id not in primitives() and f.id not in ops.__all__:
            raise ValueError(f"{f.id} is no operation")
        return ast.Call(f, [self.visit(a) for a in node.args], [])

    def visit_Attribute(self, node: ast.Attribute) -> Any:
        if node.attr != "shape":
            raise ValueError(f"an attribute {node.attr}")
        return ast.Attribute(self.visit(node.value), node.attr)

    def visit_Name(self, node: ast.Name) -> Any:
        if node.id not in self.names:
            raise ValueError(f"{node.id} is no argument")
        return ast.Name(node.id.removeprefix("_"))

    def generic_visit(self, node: ast.AST) -> Any:
        if not isinstance(node, (ast.BinOp, ast.UnaryOp, ast.Constant, ast.operator, ast.unaryop, ast.expr_context)):
            raise ValueError(f"{type(node).__name__} is no formula")
        return super().generic_visit(node)

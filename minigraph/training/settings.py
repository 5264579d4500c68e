"""Settings of a program as a dataclass: each field is a command-line option, with its help and its checks in one line.

    @dataclass(frozen=True, repr=False)
    class Config(Settings):
        epochs: int = setting(10, "passes over the training data", at_least=1)
        shuffle: bool = setting(True, "in an order of its own in each epoch")

`--epochs 20 --no-shuffle` on the command line then makes `Config(epochs=20, shuffle=False)`.
"""

from __future__ import annotations

import argparse
import os
import sys
import types
import typing
from collections.abc import Callable, Iterable
from dataclasses import Field, asdict, dataclass, field, fields
from typing import Any, NoReturn

from .errors import Stop

Choices = Iterable[str] | Callable[[], Iterable[str]]


def setting(
    default: Any,
    help: str = "",
    *,
    at_least: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: Choices | None = None,
    metavar: str | None = None,
    shown: str | None = None,
    may_change: bool = False,
    path: bool = False,
) -> Any:
    """A field of a Settings class.

    Args:
        default: its value where none is given.
        help: what it is, in a few words, for `--help`.
        at_least, above, below: the range of a number. A float has to be finite in any case.
        choices: the values that a text may have, or a function that returns them.
        metavar: what stands for the value in `--help`, for instance DIR.
        shown: what `--help` gives as the default, where the value itself says little.
        may_change: whether a resumed run may be given another value.
        path: whether a text is the path of a file or a folder. A run keeps it absolute, so that it can be resumed from
            another folder.
    """
    return field(
        default=default,
        metadata={
            "help": help, "at_least": at_least, "above": above, "below": below, "choices": choices,
            "metavar": metavar, "shown": shown, "may_change": may_change,
            "path": path,
        },
    )  # fmt: skip


@dataclass(frozen=True, repr=False)
class Settings:
    """Base of a dataclass of settings, each of which is a str, int, float or bool, or one of these `| None`.

    Raises Stop, naming the option, for a value of the wrong type or out of its range. Its repr shows what differs from
    the defaults.
    """

    def __post_init__(self) -> None:
        for f, kinds in _fields(type(self)):
            value = getattr(self, f.name)
            if not _fits(value, f, kinds):
                raise Stop(f"{option(f.name)} is {_short(value)}, expected {_expected(f, kinds)}")

    def __repr__(self) -> str:
        changed = [f for f in fields(self) if getattr(self, f.name) != f.default]
        return f"{type(self).__name__}({', '.join(f'{f.name}={getattr(self, f.name)!r}' for f in changed)})"


def option(name: str) -> str:
    """The command-line option of a field."""
    return "--" + name.replace("_", "-")


def may_change(settings: type[Settings]) -> set[str]:
    """The names of the fields that a resumed run may be given anew."""
    return {f.name for f in fields(settings) if f.metadata.get("may_change")}


def plain(settings: Settings) -> dict[str, Any]:
    """The settings as a dict of plain values, as a run saves them: paths are absolute."""
    values = asdict(settings)
    for f in fields(settings):
        if f.metadata.get("path") and values[f.name] is not None:
            values[f.name] = os.path.abspath(os.path.expanduser(values[f.name]))
    return values


class Parser(argparse.ArgumentParser):
    """A parser of command lines that raises Stop where argparse prints its usage and exits."""

    def error(self, message: str) -> NoReturn:
        raise Stop(message)


def parser(defaults: Settings, presets: Iterable[str] = (), **options: Any) -> Parser:
    """A parser with an option for each field of `defaults`; what it parses holds only the options that were given.

    `presets` are the choices of a field named `preset`; `options` go to argparse's parser (prog, description).
    """
    parser = Parser(argument_default=argparse.SUPPRESS, allow_abbrev=False, **options)
    for f, kinds in _fields(type(defaults)):
        shown = f.metadata.get("shown") or _show(getattr(defaults, f.name))
        arguments: dict[str, Any] = {"help": f"{f.metadata.get('help', '')} ({shown})".strip().replace("%", "%%")}
        kind = next(k for k in kinds if k is not type(None))
        if kind is bool:
            arguments["action"] = argparse.BooleanOptionalAction
        elif choices := list(presets) if f.name == "preset" else _choices(f):
            arguments["choices"] = choices
        else:
            arguments["type"] = kind
            arguments["metavar"] = f.metadata.get("metavar") or {int: "N", float: "X", str: "TEXT"}[kind]
        parser.add_argument(option(f.name), **arguments)
    return parser


def _fields(settings: type[Settings]) -> list[tuple[Field[Any], tuple[type, ...]]]:
    """Each field with the types that its value may have."""
    hints = typing.get_type_hints(settings)
    found = []
    for f in fields(settings):
        hint = hints[f.name]
        kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        if sum(k in (str, int, float, bool) for k in kinds) != 1 or len(set(kinds) - {type(None)}) != 1:
            raise TypeError(f"{settings.__name__}.{f.name} is {hint}, expected str, int, float or bool (or | None)")
        found.append((f, kinds))
    return found


def _choices(f: Field[Any]) -> list[str]:
    choices = f.metadata.get("choices") or ()
    return list(choices() if callable(choices) else choices)


def _fits(value: Any, f: Field[Any], kinds: tuple[type, ...]) -> bool:
    """Whether the type and the range of a field admit `value`."""
    if type(value) not in kinds and not (type(value) is int and float in kinds):
        return False
    if isinstance(value, str):
        return f.metadata.get("choices") is None or value in _choices(f)
    if value is None or isinstance(value, bool):
        return True
    at_least, above, below = (f.metadata.get(bound) for bound in ("at_least", "above", "below"))
    return (
        (float not in kinds or abs(value) <= sys.float_info.max)
        and (at_least is None or value >= at_least)
        and (above is None or value > above)
        and (below is None or value < below)
    )


def _expected(f: Field[Any], kinds: tuple[type, ...]) -> str:
    """What a field admits, in words."""
    if f.metadata.get("choices") is not None:
        return "one of " + ", ".join(_choices(f))
    names = {int: "a whole number", float: "a finite number", bool: "true or false", str: "a text"}
    words = next(names[k] for k in kinds if k in names)
    for bound, phrase in (("at_least", "of at least"), ("above", "above"), ("below", "and below")):
        if f.metadata.get(bound) is not None:
            words += f" {phrase} {f.metadata[bound]:,}"
    return words


def _show(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def _short(value: Any) -> str:
    """The value as text, cut where it is long."""
    text = str(value) if not isinstance(value, int) or abs(value) < 10**50 else f"{'-' * (value < 0)}10**50 or more"
    return text if len(text) <= 100 else f"{text[:97]}..."

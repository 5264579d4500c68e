"""From the command line to a run, and from an error to one line."""

from __future__ import annotations

import argparse
import inspect
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

from ..data import DataError
from ..serialize import CheckpointError
from .checkpoint import CHECKPOINT
from .errors import Stop
from .interruption import Interrupted
from .ranks import Ranks
from .run import Run
from .settings import Settings, may_change, option, parser
from .supervisor import supervise

Config = TypeVar("Config", bound=Settings)


def launch(
    train: Callable[[Config, Run], None],
    presets: Config | Mapping[str, Config],
    argv: Sequence[str] | None = None,
    commands: Sequence[Callable[..., None]] = (),
    *,
    default: Callable[[Mapping[str, Any]], str] | None = None,
) -> int:
    """Call `train(config, run)` as a command-line program: the body of `if __name__ == "__main__": sys.exit(...)`.

    Each field of the config is an option. Beside them there are `--out DIR` for the results and `--resume DIR`, which
    goes on with a run under its own settings; then only those that `may_change` can be given.

    A program can do more than train, by commands. A function `predict(config, run, image, *images)` among `commands`
    makes the option `--predict RUN IMAGE [IMAGE ...]`, whose help is the first line of its docstring. The program then
    calls the function with these texts and trains nothing. Of the other options only those that `may_change` can be
    given beside a command.

    Args:
        train: the training. Errors that it or a command raises as Stop, DataError or OSError are shown in one line.
        presets: the default settings, or several named ones, the first of which is the default; the config then has a
            field `preset` for the name.
        argv: the arguments, by default those of the process.
        commands: functions of the config and of one text or more, positional arguments without defaults. A last
            argument with a star takes all texts that are left; its name should be a plural. In the config the settings
            are those of the default preset, but for those that were given.
        default: which preset it is where none is given, by the other options that are given; otherwise the first.

    Returns:
        the exit code: 0, 2 after an error that is the user's to mend, 128 + n after the signal n (130 after Ctrl-C).
    """
    if isinstance(presets, Settings):
        presets = {"": presets}
    program = Path(inspect.getfile(train)).name
    if (code := supervise(program)) is not None:
        return code
    where: Path | None = None  # the directory, once a run has it

    def work(ranks: Ranks) -> None:
        nonlocal where
        defaults = next(iter(presets.values()))
        words = parser(defaults, presets, prog=program, description=(inspect.getdoc(train) or "").partition("\n")[0])
        words.add_argument("--out", metavar="DIR", default=None, help="for the results (runs/<time>)")
        words.add_argument("--resume", metavar="DIR", default=None, help=_resume_help(defaults))
        for command in commands:
            _add_command(words, command)
        options = vars(words.parse_args(argv))
        out, resume = options.pop("out"), options.pop("resume")
        given = [command for command in commands if command.__name__ in options]
        if given:
            texts, *_ = [options.pop(command.__name__) for command in given]
            also = [command.__name__ for command in given[1:]]
            also += [name for name, value in (("out", out), ("resume", resume)) if value is not None]
            also += [name for name in options if name not in may_change(type(defaults))]
            if also:
                raise Stop(f"{option(given[0].__name__)} trains nothing; drop {', '.join(map(option, also))}")
            if ranks.size > 1:
                raise Stop(f"{option(given[0].__name__)} is for one process; drop mpiexec")
            _check_number(given[0], texts)
            given[0](replace(defaults, **options), *texts)
            return
        if resume is None:
            name = options.get("preset") or (default(options) if default else next(iter(presets)))
            config = replace(presets[name], **options)
        elif refused := [option(name) for name in options if name not in may_change(type(defaults))]:
            raise Stop(f"--resume takes the settings of the run; drop {', '.join(refused)}")
        elif out is not None:
            raise Stop("--resume takes the settings of the run; drop --out")
        with Run(resume or out, resume=resume is not None, ranks=ranks) as run:
            where = run.directory
            if run.saved is not None:
                saved = saved_config(type(defaults), run.saved.config, run.directory / CHECKPOINT)
                config = replace(saved, **options)
            train(config, run)

    ranks: Ranks | None = None
    code, head, text = 0, "", ""
    try:
        ranks = Ranks()
        with ranks.silent():
            work(ranks)
    except (Stop, DataError, OSError) as error:
        code, head, text = 2, _head(program, error), " ".join(_in_words(error).split())
    except KeyboardInterrupt as error:
        code, head = 128 + (error.number if isinstance(error, Interrupted) else 2), "interrupted"
        if where is not None and (where / CHECKPOINT).exists():
            text = f"go on with --resume {where}"
    except BaseException as error:
        if ranks is None or ranks.size == 1 or (isinstance(error, SystemExit) and not error.code):
            raise
        elsewhere = getattr(error, "rank", ranks.rank) != ranks.rank
        trace = error.__notes__[-1] if elsewhere else "".join(traceback.format_exception(error))
        code, head, text = 1, _head(program, error), f"{error!r}\n{trace}"
    if ranks is not None:
        return ranks.end(code, head, text, _say)
    _say(f"{head}: {text}")
    return code


def _head(program: str, error: BaseException) -> str:
    """How the message of an error begins; it names the rank, where the error came from one to all."""
    rank = getattr(error, "rank", None)
    return f"{program}: error" + ("" if rank is None else f" on rank {rank}")


def _add_command(words: argparse.ArgumentParser, command: Callable[..., None]) -> None:
    """The option that calls `command`."""
    names, more = _texts(command)
    help = (inspect.getdoc(command) or "").partition("\n")[0].replace("%", "%%")
    nargs, metavar = ("+", (" ".join(names), more)) if more else (len(names), tuple(names))
    words.add_argument(option(command.__name__), nargs=nargs, metavar=metavar, help=help)


def _check_number(command: Callable[..., None], texts: list[str]) -> None:
    names, more = _texts(command)
    if len(texts) < len(names):  # more than there may be are an error of argparse's
        usage = f"{' '.join(names)} [{more} ...]"
        raise Stop(f"{option(command.__name__)} takes {usage}, got {len(texts)}: {' '.join(texts)}")


def _texts(command: Callable[..., None]) -> tuple[list[str], str | None]:
    """What a command takes, in the words of its usage: the names of its texts, and that of those with a star.

    Without another the first of the latter is needed as well: a command with no text could not be told from one that
    was not given.
    """
    names, more = [], None
    for parameter in list(inspect.signature(command).parameters.values())[1:]:
        name = parameter.name.upper()
        if parameter.kind is parameter.VAR_POSITIONAL:
            more = name.removesuffix("S")
        else:
            names.append(name)
    return names or [more or ""], more


def saved_config(settings: type[Config], saved: Mapping[str, Any], path: Path) -> Config:
    """The settings saved in the checkpoint `path`, once names, types and ranges are checked. Raises CheckpointError."""
    where = f"{path} is no checkpoint of this version"
    names, expected = saved.keys(), {f.name for f in fields(settings)}
    if names != expected:  # a default in the place of a setting that is missing could be another one than the run had
        missing, unknown = sorted(expected - names)[:5], sorted(names - expected)[:5]
        raise CheckpointError(f"{where}: settings that are missing: {missing}, settings that are unknown: {unknown}")
    try:
        return settings(**saved)
    except Stop as error:
        raise CheckpointError(f"{where}: {error}") from error


def _resume_help(defaults: Settings) -> str:
    changing = sorted(option(name) for name in may_change(type(defaults)))
    only = f"; only {', '.join(changing)} may be given anew" if changing else ""
    return f"go on with the run in DIR, under its own settings{only}"


def _in_words(error: BaseException) -> str:
    """The text of an error; for one of the operating system, the file and the reason without its number."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _say(line: str) -> None:
    with suppress(OSError):  # after SIGHUP the terminal may be gone
        print(line, file=sys.stderr, flush=True)

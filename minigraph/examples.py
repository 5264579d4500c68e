"""The programs that come with minigraph, to read, to run and to change: `python -m minigraph.examples DIR` copies them.

They are `train_cifar.py`, `train_text.py` and the models that they train, in `models/`. Programs and their models are
the user's to change, so they are no part of the package: `pip install` lays them beside it, in `share/minigraph`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

PROGRAMS, MODELS = ("train_cifar.py", "train_text.py"), "models"


def source() -> Path:
    """The directory that holds the programs: the checkout, or where the installation has laid them.

    Raises FileNotFoundError where there are none.
    """
    checkout = Path(__file__).parent.parent
    if (checkout / PROGRAMS[0]).is_file():
        return checkout
    for file in metadata.files("minigraph") or ():
        if file.name == PROGRAMS[0]:
            return Path(os.fspath(file.locate())).parent
    raise FileNotFoundError(f"the installation of minigraph has no {PROGRAMS[0]}")


def copy(directory: str | os.PathLike[str]) -> list[Path]:
    """Copy the programs into a directory, which is made where it is missing; returns the files.

    Raises FileExistsError, before anything is written, where one of them is there already, and OSError for a directory
    that cannot be written.
    """
    here, there = source(), Path(directory)
    models = sorted(p.relative_to(here) for p in (here / MODELS).iterdir() if p.suffix in (".py", ".toml"))
    names = [*map(Path, PROGRAMS), *models]
    for name in names:
        if (there / name).exists():
            raise FileExistsError(f"{there / name} is there already; copy into another directory")
    for name in names:
        (there / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(here / name, there / name)
    return [there / name for name in names]


def main(argv: Sequence[str] | None = None) -> int:
    """The program: 0, or 2 after an error that is the user's to mend."""
    words = argparse.ArgumentParser(
        prog="python -m minigraph.examples",
        description=f"Copy {', '.join(PROGRAMS)} and models/, to run and to change.",
    )
    words.add_argument("directory", metavar="DIR", help="where the copies go")
    directory = words.parse_args(argv).directory
    try:
        files = copy(directory)
    except OSError as error:
        print(f"minigraph.examples: error: {error}", file=sys.stderr)
        return 2
    print(f"{len(files)} files in {directory}. Now: cd {directory} && python {PROGRAMS[0]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

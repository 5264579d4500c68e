"""Where the data comes from: a directory, the environment, the user's cache, or a download."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from . import cifar, synthetic
from .dataset import DataError, Dataset

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
ARCHIVE_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"

SYNTHETIC_NOTICE = f"""\
This is the SYNTHETIC data set: shapes drawn by code, not CIFAR-10. Its accuracies say nothing
about CIFAR-10. To get the real one, run again with a network, or download
{URL}
and pass the directory it is in with --data DIR or MINIGRAPH_DATA."""


def load(dataset: str = "auto", directory: str | Path | None = None) -> Dataset:
    """Load CIFAR-10, or the synthetic set that stands in for it.

    "cifar10" takes what `find` finds; "synthetic" draws the synthetic set; "auto" is "cifar10",
    and "synthetic" when the download fails for want of a network: then the result's `name` is
    "synthetic" and the caller shows SYNTHETIC_NOTICE. Raises DataError for data that is missing or
    damaged; that never falls back.
    """
    if dataset not in ("auto", "cifar10", "synthetic"):
        raise DataError(f"dataset is {dataset!r}, expected 'auto', 'cifar10' or 'synthetic'")
    if dataset == "synthetic":
        if directory is not None:
            raise DataError(f"the synthetic set is drawn, not read from a directory: {directory}")
        return synthetic.draw()
    try:
        return cifar.read_first(find(directory))
    except ConnectionError as error:
        if dataset == "cifar10":
            raise DataError(f"{error}; pass the directory it is in, or use 'synthetic'") from error
        logging.getLogger(__name__).warning("%s", error)
        return synthetic.draw()


def find(directory: str | Path | None = None) -> list[tuple[cifar.Version, Path]]:
    """Find CIFAR-10 in `directory`, else in $MINIGRAPH_DATA, else the user's cache, else download it.

    `directory` is one of the official archives (packed or as a plain tar, under any name), a folder
    `cifar-10-batches-bin/` or `cifar-10-batches-py/`, or a folder that holds one of these, itself or in a folder in it.
    `~` is the user's home. Returns what there is, as versions and paths for `cifar.read_first`. Raises DataError when
    the directory that was named holds no data, and ConnectionError when the download fails.
    """
    origin = ""
    if directory is None:
        directory = os.environ.get("MINIGRAPH_DATA") or None
        origin = "MINIGRAPH_DATA: "
    if directory is not None:
        path = Path(os.path.expanduser(directory))
        found = cifar.locate(path)
        if not found:
            kind = "no CIFAR-10 in it" if path.is_dir() else "no such directory"
            kind = "not an archive of CIFAR-10" if path.is_file() else kind
            names = " or ".join(n for v in cifar.VERSIONS for n in (f"{v.folder}/", v.archive))
            raise DataError(f"{origin}{directory}: {kind}; expected {names}")
        return found
    try:
        import pooch
    except ModuleNotFoundError as error:
        raise DataError(
            "the download of CIFAR-10 needs pooch: pip install -e '.[train]', or pass the directory of the data"
        ) from error
    cache = pooch.os_cache("minigraph")
    return cifar.locate(cache) or [(cifar.BINARY, download(cache))]


def download(folder: Path) -> Path:
    """Download the official binary archive (170 MB) into `folder`; its path.

    The file appears under its name only when it is whole and its checksum is right. Raises
    ConnectionError when the network fails, DataError for a wrong file or an unwritable folder.
    """
    import pooch
    import requests

    try:
        path = pooch.retrieve(
            URL,
            known_hash=f"md5:{ARCHIVE_MD5}",
            fname=cifar.BINARY.archive,
            path=folder,
            downloader=pooch.HTTPDownloader(
                progressbar=sys.stderr.isatty(),
                chunk_size=1 << 16,
                timeout=(5, 30),  # seconds to connect, and between two packets
            ),
        )
    except requests.RequestException as error:
        raise ConnectionError(f"{URL}: the download failed: {error}") from error
    except OSError as error:
        raise DataError(f"{folder}: cannot write the download: {error}") from error
    except ValueError as error:  # pooch's word for a wrong checksum
        raise DataError(f"{URL}: {error}") from error
    return Path(path)

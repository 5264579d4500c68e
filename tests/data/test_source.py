import gzip
import hashlib
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pooch
import pytest
from cifar_files import VERSIONS, small_version, write_archive, write_folder

from minigraph.data import SYNTHETIC_NOTICE, DataError, cifar, load, source, synthetic

KINDS = ["python", "binary"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty user's cache, small data files, a small synthetic set, and no network."""
    folder = tmp_path / "cache" / "minigraph"
    draw = synthetic.draw
    monkeypatch.setattr(synthetic, "draw", lambda: draw(10, 5))
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    monkeypatch.setattr(cifar, "BINARY", small_version("binary"))
    monkeypatch.setattr(cifar, "PYTHON", small_version("python"))
    monkeypatch.setattr(cifar, "VERSIONS", (cifar.BINARY, cifar.PYTHON))
    monkeypatch.setattr(source, "URL", "http://127.0.0.1:9/cifar-10-binary.tar.gz")  # refused
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("MINIGRAPH_DATA", raising=False)
    return folder


@pytest.fixture
def directory(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def is_real(dataset):
    return dataset.name == "cifar10" and len(dataset.train_images) == 20


@pytest.fixture
def serve(monkeypatch):
    """`serve(body, length)` puts `body` on a local web server, announced as `length` bytes."""
    servers = []

    def start(body: bytes, length: int | None = None, status: int = 200) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                self.send_header("Content-Length", str(length or len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments):
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        servers.append((server, thread))
        url = f"http://127.0.0.1:{server.server_port}/cifar-10-binary.tar.gz"
        monkeypatch.setattr(source, "URL", url)

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("write", [write_folder, write_archive])
@pytest.mark.parametrize("dataset", ["auto", "cifar10"])
def test_load_from_a_directory_that_holds_the_data(kind, write, dataset, directory):
    write(kind, directory)
    assert is_real(load(dataset, directory))
    assert is_real(load(dataset, str(directory)))


@pytest.mark.parametrize("kind", KINDS)
def test_load_from_the_folder_itself(kind, directory):
    assert is_real(load(directory=write_folder(kind, directory)))


def packed(kind, directory):
    return write_archive(kind, directory)


def as_plain_tar(kind, directory):
    """As a browser leaves it that unpacks what it downloads."""
    path = write_archive(kind, directory)
    plain = path.with_suffix("")
    plain.write_bytes(gzip.decompress(path.read_bytes()))
    path.unlink()
    return plain


def renamed(suffix):
    def write(kind, directory):
        path = write_archive(kind, directory)
        return path.rename(directory / (path.name.split(".")[0] + suffix))

    return write


def under_another_name(kind, directory):
    return write_archive(kind, directory).rename(directory / "cifar")


def nested(name):
    def write(kind, directory):
        return write_folder(kind, directory / (name or VERSIONS[kind].folder)).parent

    return write


def half_unpacked(fault):
    """The archive, and beside it a folder in which a file is missing or cut off."""

    def write(kind, directory):
        write_archive(kind, directory)
        path = write_folder(kind, directory) / [*VERSIONS[kind].checksums][-1]
        path.write_bytes(path.read_bytes()[:5000]) if fault == "cut off" else path.unlink()
        return directory

    return write


SHAPES = {
    "archive": packed, "tar": as_plain_tar, "tgz": renamed(".tgz"), "downloaded twice": renamed(" (1).tar.gz"),
    "another name": under_another_name, "folder in a folder": nested(""), "folder in another": nested("cifar"),
    "half unpacked": half_unpacked("missing"), "half unpacked, all names": half_unpacked("cut off"),
    "one of the files": lambda kind, directory: next(write_folder(kind, directory).iterdir()),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_data_is_found_in_other_shapes(kind, shape, directory):
    path = SHAPES[shape](kind, directory)
    assert is_real(load("cifar10", path))
    if shape not in ("another name", "one of the files"):  # a file of any name is looked into if it is named
        assert is_real(load("cifar10", directory))


@pytest.mark.parametrize("name", ["~/data", "~"])
def test_a_tilde_is_the_users_home(name, directory, monkeypatch):
    monkeypatch.setenv("HOME", str(directory.parent if "/" in name else directory))
    monkeypatch.setenv("USERPROFILE", str(directory.parent if "/" in name else directory))  # Windows
    write_folder("binary", directory)
    assert is_real(load("cifar10", name))
    monkeypatch.setenv("MINIGRAPH_DATA", name)
    assert is_real(load("cifar10"))


def test_the_archive_that_is_taken_for_a_damaged_folder_is_named(directory, caplog):
    half_unpacked("cut off")("binary", directory)
    load("cifar10", directory)
    assert "test_batch.bin: truncated, corrupt" in caplog.text and "; took " in caplog.text
    (directory / cifar.BINARY.archive).write_bytes(b"")
    with pytest.raises(DataError, match=r"cifar-10-batches-bin.test_batch\.bin: truncated, corrupt"):
        load("cifar10", directory)


def test_a_file_that_is_no_archive(directory):
    (directory / "file").write_text("text")
    with pytest.raises(DataError, match="file: not an archive of CIFAR-10; expected cifar-10-batches-bin/"):
        load("cifar10", directory / "file")


def test_the_directory_is_taken_before_the_environment_and_that_before_the_cache(cache, directory, monkeypatch):
    in_cache = write_folder("binary", cache)
    assert source.find() == [(cifar.BINARY, in_cache)]
    in_environment = write_folder("python", directory / "environment")
    monkeypatch.setenv("MINIGRAPH_DATA", str(directory / "environment"))
    assert source.find() == [(cifar.PYTHON, in_environment)]
    named = write_folder("binary", directory / "named")
    assert source.find(directory / "named") == [(cifar.BINARY, named)]


@pytest.mark.parametrize("dataset", ["auto", "cifar10"])
@pytest.mark.parametrize("exists", [True, False])
def test_a_named_directory_without_data_is_an_error(dataset, exists, cache, directory, monkeypatch):
    write_folder("binary", cache)
    empty = directory if exists else directory / "none"
    message = f"{empty}: {'no CIFAR-10 in it' if exists else 'no such directory'}; expected cifar-10-batches-bin/"
    with pytest.raises(DataError) as error:
        load(dataset, empty)
    assert str(error.value).startswith(message)
    monkeypatch.setenv("MINIGRAPH_DATA", str(empty))
    with pytest.raises(DataError) as error:
        load(dataset)
    assert str(error.value).startswith(f"MINIGRAPH_DATA: {message}")


@pytest.mark.parametrize("dataset", ["auto", "cifar10"])
def test_damaged_data_is_an_error_and_never_falls_back(dataset, directory):
    (write_folder("binary", directory) / "test_batch.bin").write_bytes(b"x")
    with pytest.raises(DataError, match=r"test_batch.bin: truncated, corrupt"):
        load(dataset, directory)


def test_auto_without_a_network_falls_back_and_says_why(cache, caplog):
    dataset = load()
    assert dataset.name == "synthetic"
    assert f"{source.URL}: the download failed" in caplog.text
    assert list(cache.iterdir()) == []


def test_an_empty_environment_variable_is_none(monkeypatch):
    monkeypatch.setenv("MINIGRAPH_DATA", "")
    assert load().name == "synthetic"


def test_cifar10_without_a_network_is_an_error():
    with pytest.raises(DataError, match=r"the download failed.*pass the directory"):
        load("cifar10")


def test_the_notice_says_what_it_is_and_how_to_get_the_real_one():
    for part in ("SYNTHETIC", "not CIFAR-10", "https://www.cs.toronto.edu/", "--data", "MINIGRAPH_DATA"):
        assert part in SYNTHETIC_NOTICE


def test_synthetic_is_drawn_whatever_data_there_is(cache, directory, monkeypatch):
    write_folder("binary", cache)
    monkeypatch.setenv("MINIGRAPH_DATA", str(directory))
    assert load("synthetic").name == "synthetic"
    with pytest.raises(DataError, match="drawn, not read from a directory"):
        load("synthetic", directory)


def test_an_unknown_data_set_is_an_error():
    with pytest.raises(DataError, match="dataset is 'mnist', expected 'auto', 'cifar10' or 'synthetic'"):
        load("mnist")


def test_download_fills_the_cache_once(cache, directory, serve, monkeypatch):
    raw = write_archive("binary", directory).read_bytes()
    monkeypatch.setattr(source, "ARCHIVE_MD5", hashlib.md5(raw).hexdigest())
    serve(raw)
    assert is_real(load())
    assert [path.name for path in cache.iterdir()] == ["cifar-10-binary.tar.gz"]
    monkeypatch.setattr(source, "download", None)  # would raise if it were called
    assert is_real(load())


@pytest.mark.parametrize("dataset", ["auto", "cifar10"])
def test_a_download_of_another_file_is_an_error_and_leaves_nothing(dataset, cache, serve):
    serve(b"<html>log in to use the network</html>")
    with pytest.raises(DataError, match=f"{source.URL}: .*{source.ARCHIVE_MD5}"):
        load(dataset)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("answer", [{"length": 10**6}, {"status": 503}], ids=["interrupted", "unavailable"])
def test_a_download_that_breaks_off_leaves_nothing(answer, cache, serve):
    serve(b"x" * 1000, **answer)
    with pytest.raises(DataError, match="the download failed"):
        load("cifar10")
    assert load("auto").name == "synthetic"
    assert list(cache.iterdir()) == []


def test_ctrl_c_in_a_download_leaves_nothing(cache, monkeypatch):
    def interrupt(self, url, output_file, *arguments):
        Path(output_file).write_bytes(b"the first half")
        raise KeyboardInterrupt

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", interrupt)
    with pytest.raises(KeyboardInterrupt):
        load()
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("dataset", ["auto", "cifar10"])
def test_a_full_disk_is_an_error(dataset, monkeypatch):
    def fill(self, *arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", fill)
    with pytest.raises(DataError, match=r"cannot write the download: .*No space left"):
        load(dataset)


def test_without_pooch_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(DataError, match=r"pip install -e '\.\[train\]'"):
        load()

"""Checkpoints: bit-exact round trips, files that are whole or absent, files that are not ours."""

import errno
import os
import signal
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minigraph.serialize import CheckpointError, atomic_write, check_like, load, remove_leftovers, save

TREE = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "epoch": 3, "rng": [2**127 + 1, None]}


def same(a, b):
    """Equal in types and bits; written apart from minigraph.tree."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return [*a] == [*b] and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, (np.ndarray, np.generic)):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return repr(a) == repr(b)  # tells nan, -0.0 and 1 from 1.0


arrays = hnp.arrays(
    st.one_of(
        hnp.boolean_dtypes(),
        hnp.integer_dtypes(endianness="?"),
        hnp.unsigned_integer_dtypes(),
        hnp.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
        hnp.complex_number_dtypes(sizes=(64, 128)),
    ),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
values = st.recursive(
    scalars | arrays | arrays.map(lambda a: a.dtype.type(a.flat[0]) if a.size else a),
    lambda t: (
        st.lists(t, max_size=3)
        | st.lists(t, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=4), t, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(values)
@pytest.mark.slow
def test_round_trip(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "round_trip"
    save(path, value)
    assert same(load(path), value)


@pytest.mark.parametrize(
    "value",
    [
        np.array([0x7FC00001, 0xFFC12345, 0x7F800001], np.uint32).view(np.float32),  # NaNs
        np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1)[:, ::-1],
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.broadcast_to(np.float32(3), (2, 2)),
        np.longdouble("0.1") * np.ones(2, np.longdouble),
        {"dict": [], "array": 0, "tuple": (), "": {"a.b": {}, "a": {"b": ()}}, "\ud800\0/": -0.0},
        np.random.default_rng(3).bit_generator.state,
        np.random.Generator(np.random.MT19937(3)).bit_generator.state,
        np.random.Generator(np.random.Philox(3)).bit_generator.state,
    ],
)
def test_round_trip_of_special_values(tmp_path, value):
    save(tmp_path / "c", value)
    assert same(load(tmp_path / "c"), value)


def test_a_generator_goes_on_where_it_was(tmp_path):
    rng = np.random.default_rng(0)
    rng.random(5, dtype=np.float32)
    save(tmp_path / "c", rng.bit_generator.state)
    other = np.random.default_rng(1)
    other.bit_generator.state = load(tmp_path / "c")
    np.testing.assert_array_equal(rng.random(9, np.float32), other.random(9, np.float32))


def test_loaded_arrays_are_writeable_and_their_own(tmp_path):
    save(tmp_path / "c", TREE)
    loaded = load(tmp_path / "c")
    loaded["w"] += 1
    assert same(load(tmp_path / "c"), TREE)


def test_numpy_reads_the_arrays(tmp_path):
    save(tmp_path / "c.npz", TREE)
    with np.load(tmp_path / "c.npz", allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["0"], TREE["w"])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [np.array([None])]}, r"got an array of object at a\.0"),
        (np.zeros(2, "V2"), "got an array of .*V2.* at the top"),  # how bfloat16 would be stored
        (np.array(["text"]), "got an array of <U4"),
        ((1, {1, 2}), "got a set at 1"),
        ({"a": {1: 2}}, "string keys.* got a dict at a"),
        (np.ma.masked_array([1.0]), "got an array of float64"),
        (b"bytes", "got a bytes"),
    ],
)
def test_save_refuses_what_load_could_not_return(tmp_path, value, message):
    save(tmp_path / "c", TREE)
    with pytest.raises(TypeError, match=message):
        save(tmp_path / "c", value)
    assert same(load(tmp_path / "c"), TREE)


KILLED = """
import os, signal, sys
import numpy as np
from minigraph.serialize import save
def kill(*args, **options): os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "write": np.lib.format.write_array = kill
else: setattr(os, sys.argv[2], kill)
save(sys.argv[1], {"new": np.ones(5)})
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
@pytest.mark.parametrize("moment", ["write", "fsync", "replace", "close"])
def test_a_kill_leaves_the_old_or_the_new_file_whole(tmp_path, moment):
    path = tmp_path / "c"
    save(path, TREE)
    run = subprocess.run([sys.executable, "-c", KILLED, path, moment], cwd=os.getcwd())
    assert run.returncode == -signal.SIGKILL
    expected = {"new": np.ones(5)} if moment == "close" else TREE  # the directory's, after renaming
    assert same(load(path), expected)


def _disk_full(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("name", ["os.fsync", "os.replace", "numpy.lib.format.write_array"])
def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, name):
    path = tmp_path / "c"
    save(path, TREE)
    with monkeypatch.context() as patch:
        patch.setattr(name, _disk_full)
        with pytest.raises(CheckpointError, match=r"c: .* not written: No space left") as caught:
            save(path, {"new": np.ones(5)})
    assert caught.value.__cause__.errno == errno.ENOSPC
    assert os.listdir(tmp_path) == ["c"]
    assert same(load(path), TREE)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full, a disk that is full")
def test_a_full_disk_seen_by_the_system(tmp_path, monkeypatch):
    path = tmp_path / "c"
    save(path, TREE)
    with monkeypatch.context() as patch, pytest.raises(CheckpointError, match="No space left"):
        patch.setattr("builtins.open", lambda *args: _open("/dev/full", "wb"))
        save(path, {"new": np.ones(100_000)})
    assert same(load(path), TREE)


_open = open


def test_save_names_a_path_that_cannot_be_written(tmp_path):
    with pytest.raises(CheckpointError, match=r"missing/c: .*No such file or directory"):
        save(tmp_path / "missing" / "c", TREE)
    (tmp_path / "directory").mkdir()
    with pytest.raises(CheckpointError, match=r"directory: .* not written"):
        save(tmp_path / "directory", TREE)
    assert os.listdir(tmp_path) == ["directory"]


def test_load_of_a_truncated_file(tmp_path):
    path = tmp_path / "c"
    save(path, TREE)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"c: not a readable checkpoint: .+"):
            load(path)


def test_load_of_a_file_with_a_flipped_bit(tmp_path):
    """Every byte in turn: an error, or a byte that carries nothing (a date, an attribute)."""
    path = tmp_path / "c"
    save(path, TREE)
    whole = path.read_bytes()
    errors = 0
    for i in range(len(whole)):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 1 << i % 8]) + whole[i + 1 :])
        try:
            assert same(load(path), TREE)
        except CheckpointError:
            errors += 1
    assert errors > len(whole) // 2


def test_load_checks_the_crc_of_what_a_corrupt_header_leaves_unread(tmp_path):
    path = tmp_path / "c"
    save(path, np.zeros(10_000))
    path.write_bytes(path.read_bytes().replace(b"(10000,)", b"(1000,) "))
    with pytest.raises(CheckpointError, match="Bad CRC-32"):
        load(path)


def _other(path, kind):
    if kind == "text":
        path.write_text("not a checkpoint")
    elif kind == "npz":
        np.savez(path, w=np.ones(2))
        path.with_name("c.npz").rename(path)
    elif kind == "npy":
        np.save(path, np.ones(2))
        path.with_name("c.npy").rename(path)
    elif kind == "a directory":
        path.mkdir()
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("tree.json", kind)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("text", "File is not a zip file"),
        ("npz", "no item named 'tree.json'"),
        ("npy", "File is not a zip file"),
        ("a directory", "Is a directory"),
        ("[", "Expecting value"),
        ("{}", "format"),
        ('{"format": "other 1", "tree": 1}', "expected format 'minigraph checkpoint 1', got 'oth"),
        ('{"format": "minigraph checkpoint 1", "tree": {"set": []}}', "got 'set'"),
        ('{"format": "minigraph checkpoint 1", "tree": {"array": 0}}', "no item named '0.npy'"),
    ],
)
def test_load_of_another_kind_of_file(tmp_path, kind, message):
    _other(tmp_path / "c", kind)
    with pytest.raises(CheckpointError, match=r"c: not a readable checkpoint: .*" + message):
        load(tmp_path / "c")


def test_load_of_a_pickled_array_runs_nothing(tmp_path):
    with zipfile.ZipFile(tmp_path / "c", "w") as archive:
        tree = '{"format": "minigraph checkpoint 1", "tree": {"array": 0}}'
        archive.writestr("tree.json", tree)
        with archive.open("0.npy", "w") as entry:
            np.lib.format.write_array(entry, np.array([{}]), allow_pickle=True)
    with pytest.raises(CheckpointError, match="allow_pickle=False"):
        load(tmp_path / "c")


def test_load_of_no_file(tmp_path):
    with pytest.raises(CheckpointError, match="c: there is no such checkpoint"):
        load(tmp_path / "c")


def test_check_like():
    model = {"conv1": {"w": np.zeros((3, 3), np.float32)}, "b": np.zeros(4, np.float32)}
    loaded = {"b": np.ones(4, np.float32), "conv1": {"w": np.ones((3, 3), np.float32)}}
    assert list(check_like(model, loaded)) == ["conv1", "b"]
    for change, message in [
        ({"b": np.ones(5, np.float32)}, r"params at b: expected float32 \(4,\), got float32 \(5,\)"),
        ({"b": np.ones(4)}, r"params at b: expected float32 \(4,\), got float64 \(4,\)"),
        ({"c": 1}, r"params: trees differ at the top: missing keys \[\], unexpected keys \['c'\]"),
    ]:
        with pytest.raises(CheckpointError, match="of another model: " + message):
            check_like(model, loaded | change)


def test_atomic_write(tmp_path):
    path = tmp_path / "summary.json"
    with atomic_write(path) as file:
        file.write(b"old")
        assert not path.exists()
    with pytest.raises(KeyboardInterrupt), atomic_write(path) as file:
        file.write(b"half of the n")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    with atomic_write(str(path)) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["summary.json"]
    expected = os.open(tmp_path / "plain", os.O_CREAT | os.O_WRONLY, 0o666)
    assert path.stat().st_mode == os.fstat(expected).st_mode
    os.close(expected)


@pytest.mark.skipif(not hasattr(os, "O_DIRECTORY"), reason="directories that can be synced")
def test_atomic_write_syncs_the_file_then_renames_then_syncs_the_directory(tmp_path, monkeypatch):
    calls = []

    def record(name, function):
        monkeypatch.setattr(os, name, lambda *args: calls.append(name) or function(*args))

    record("fsync", os.fsync)
    record("replace", os.replace)
    with atomic_write(tmp_path / "c"):
        pass
    assert calls == ["fsync", "replace", "fsync"]


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_remove_leftovers_removes_what_a_killed_save_left_and_nothing_else(tmp_path):
    subprocess.run([sys.executable, "-c", KILLED, tmp_path / "c.npz", "fsync"], cwd=os.getcwd())
    mine = ["c.tmp", ".c.tmp", ".c.npz.zzzzzzzz.tmp", ".c.npz.0123abcd.tmp.txt", "0123abcd.tmp"]
    for name in mine:
        (tmp_path / name).write_text("")
    assert len(os.listdir(tmp_path)) == len(mine) + 1
    remove_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(mine)

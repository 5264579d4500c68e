"""Checkpoints: bit-exact round trips, files that are whole or absent, files that are not ours."""

import errno
import json
import os
import signal
import stat
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load_file

from minigraph import serialize
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
        hnp.complex_number_dtypes(sizes=(64,)),
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
    assert same(load(path), native(value))


def native(value):
    """`value` with its arrays in the byte order of the machine."""
    if isinstance(value, dict):
        return {k: native(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(native, value))
    return value.astype(value.dtype.newbyteorder("=")) if isinstance(value, np.ndarray) else value


@pytest.mark.parametrize(
    "value",
    [
        np.array([0x7FC00001, 0xFFC12345, 0x7F800001], np.uint32).view(np.float32),  # NaNs
        np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1)[:, ::-1],
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.broadcast_to(np.float32(3), (2, 2)),
        {"dict": [], "array": 0, "tuple": (), "": {"a.b": {}, "a": {"b": ()}}, "\ud800\0/": -0.0},
        {"a.b": np.ones(1), "a": {"b": np.zeros(2)}, "": np.ones(3), "\ud800": np.ones(4), "__metadata__": np.ones(5)},
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


def test_other_programs_read_the_arrays_by_their_paths(tmp_path):
    tree = {"params": {"conv1": {"w": TREE["w"]}}, "blocks": [np.ones(2), np.zeros(3, np.float16)], "epoch": 3}
    save(tmp_path / "c.safetensors", tree)
    read = load_file(tmp_path / "c.safetensors")
    assert read.keys() == {"params.conv1.w", "blocks.0", "blocks.1"}
    assert same(read["params.conv1.w"], TREE["w"]) and same(read["blocks.1"], np.zeros(3, np.float16))


def test_pytorch_reads_the_arrays(tmp_path):
    pytest.importorskip("torch")
    from safetensors.torch import load_file

    save(tmp_path / "c", {"w": TREE["w"].T, "n": np.array(3)})
    read = load_file(tmp_path / "c")
    assert read["w"].tolist() == TREE["w"].T.tolist() and read["n"].item() == 3


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [np.array([None])]}, r"got an array of object at a\.0"),
        (np.zeros(2, "V2"), "got an array of .*V2.* at the top"),  # how bfloat16 would be stored
        (np.array(["text"]), "got an array of <U4"),
        ((1, {1, 2}), "got a set at 1"),
        ({"a": {1: 2}}, "string keys.* got a dict at a, whose key 1 is no string$"),
        ({"a": np.ones(2, np.complex128)}, "got an array of complex128 at a"),
        (np.ones(2, np.longdouble), "got an array of .*128 at the top" if np.longdouble(0).itemsize > 8 else "float"),
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
if sys.argv[2] == "write":
    import safetensors.numpy
    safetensors.numpy.save = kill
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


LOOP = """
import sys, numpy as np
from minigraph.serialize import save
for i in range(10**6):
    save(sys.argv[1], {"n": i, "w": np.full(200_000, i)})
    print(flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
@pytest.mark.parametrize("delay", [0.0, 0.003, 0.01, 0.03])
def test_a_kill_at_any_moment_leaves_a_whole_file(tmp_path, delay):
    path = tmp_path / "c"
    with subprocess.Popen([sys.executable, "-c", LOOP, path], stdout=subprocess.PIPE, cwd=os.getcwd()) as process:
        process.stdout.readline()
        time.sleep(delay)
        process.kill()
    loaded = load(path)
    assert same(loaded["w"], np.full(200_000, loaded["n"]))


def _disk_full(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("name", ["os.fsync", "os.replace"])
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
    """Every byte in turn: an error, or a byte that carries nothing (a space at the header's end)."""
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
    assert errors > len(whole) * 0.9


def write_raw(path, header, data=b""):
    """A safetensors file with this header, a dict or bytes."""
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)


def crafted(tree, data=b"", **arrays):
    """The header of a file of ours with that JSON as its tree."""
    return {"__metadata__": {"format": serialize.FORMAT, "tree": tree, "sha256": ""}, **arrays}


FOUR = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
CRAFTED = [
    ({}, b"", "expected format 'minigraph checkpoint 2' in its metadata, got None"),
    ({"w": FOUR}, b"1234", "expected format 'minigraph checkpoint 2' in its metadata, got None"),
    ({"__metadata__": {"format": "pt"}}, b"", "got 'pt'"),
    ({"__metadata__": {"format": serialize.FORMAT}}, b"", "tree"),
    (crafted("1"), b"", "its checksum is wrong"),
    (crafted("[", w=FOUR), b"1234", "its checksum is wrong"),
    (crafted("1", w={**FOUR, "shape": [2**40]}), b"1234", "."),  # more than there is
    (crafted("1", w={**FOUR, "shape": [2**40], "data_offsets": [0, 2**42]}), b"1234", "."),
    (crafted("1", w={**FOUR, "shape": [2**62, 2**62]}), b"1234", "."),  # the product overflows
    (crafted("1", w={**FOUR, "shape": [-1]}), b"1234", "."),
    (crafted("1", w={**FOUR, "dtype": "F8_E5M2"}), b"1234", "."),
    (crafted("1", w=FOUR, v=FOUR), b"1234", "."),  # two arrays in one place
    (crafted("1", w=FOUR), b"12345678", "."),  # bytes that belong to none
    (b"[" * 100_000, b"", "."),
    (b"", b"", "."),
]


@pytest.mark.parametrize(("header", "content", "message"), CRAFTED, ids=range(len(CRAFTED)))
def test_load_of_a_crafted_header(tmp_path, header, content, message):
    write_raw(tmp_path / "c", header, content)
    with pytest.raises(CheckpointError, match=r"c: not a readable checkpoint: .*" + message) as caught:
        load(tmp_path / "c")
    assert len(str(caught.value)) < 400


def test_a_header_that_claims_more_than_the_file_has(tmp_path):
    (tmp_path / "c").write_bytes(struct.pack("<Q", 2**40) + b"{}")
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        load(tmp_path / "c")


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ("[", "Expecting value"),
        ('{"set": []}', "got 'set'"),
        ('{"dict": {}, "array": "w"}', "."),
        ('{"dict": 1}', "."),
        ('{"array": "v"}', "v"),
        ('{"array": []}', "."),
        ('[{"array": "w"}, {"array": "w"}]', "w"),  # one array in two places
        ("1", r"there is no place for the arrays \['w'\]"),
        ("[" * 100_000 + "]" * 100_000, "(recursion|Stack overflow)"),
        ("9" * 5000, "."),
    ],
)
def test_load_of_a_crafted_tree_with_a_right_checksum(tmp_path, tree, message):
    arrays = {"w": np.array([1], np.float32)}
    header = crafted(tree, w=FOUR)
    header["__metadata__"]["sha256"] = serialize._digest(tree, arrays)
    write_raw(tmp_path / "c", header, arrays["w"].tobytes())
    with pytest.raises(CheckpointError, match=r"c: not a readable checkpoint: .*" + message) as caught:
        load(tmp_path / "c")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(("kind", "message"), [("text", "."), ("npz", "."), ("empty", "."), ("a directory", ".")])
def test_load_of_another_kind_of_file(tmp_path, kind, message):
    path = tmp_path / "c"
    if kind == "npz":
        np.savez(tmp_path / "c.npz", w=np.ones(2))
        (tmp_path / "c.npz").rename(path)
    elif kind == "a directory":
        path.mkdir()
    else:
        path.write_text("not a checkpoint" * (kind == "text"))
    with pytest.raises(CheckpointError, match=r"c: not a readable checkpoint: .*" + message):
        load(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes")
def test_a_pipe_is_neither_read_nor_replaced(tmp_path):
    os.mkfifo(tmp_path / "c")
    with pytest.raises(CheckpointError, match="c: not a readable checkpoint: not a regular file"):
        load(tmp_path / "c")
    with pytest.raises(CheckpointError, match="c is not a regular file"):
        save(tmp_path / "c", TREE)
    assert stat.S_ISFIFO((tmp_path / "c").stat().st_mode)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4), st.integers(0, 40))
def test_load_of_a_file_changed_at_random(tmp_path_factory, changes, cut):
    """An error, or the same content."""
    path = tmp_path_factory.getbasetemp() / "changed"
    save(path, TREE)
    content = bytearray(path.read_bytes())
    for place, value in changes:
        content[place % len(content)] = value
    path.write_bytes(content[: len(content) - cut])
    try:
        assert same(load(path), TREE)
    except CheckpointError as error:
        assert len(str(error)) < 400


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


@pytest.mark.skipif(os.name != "posix", reason="permissions and symbolic links")
def test_permissions_and_symbolic_links_stay(tmp_path):
    path = tmp_path / "there" / "c"
    path.parent.mkdir()
    save(path, TREE)
    path.chmod(0o604)
    link = tmp_path / "link"
    link.symlink_to(path)
    save(link, {"new": np.ones(5)})
    assert link.is_symlink() and stat.S_IMODE(path.stat().st_mode) == 0o604
    assert same(load(path), {"new": np.ones(5)}) and os.listdir(path.parent) == ["c"]


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

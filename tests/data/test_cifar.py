import gzip
import hashlib
import io
import os
import pickle
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
from cifar_files import (
    VERSIONS,
    WRITERS,
    binary_batch,
    naive_images,
    python2_pickle,
    python_batch,
    random_batch,
    small_files,
    small_version,
    write_archive,
    write_folder,
)

from minigraph.data import DataError, cifar

KINDS = ["python", "binary"]


@pytest.mark.parametrize("kind", KINDS)
def test_parse_reads_images_and_labels(kind):
    data, labels = random_batch(0)
    images, got = VERSIONS[kind].parse(WRITERS[kind](data, labels), "file")
    np.testing.assert_array_equal(images, naive_images(data))
    assert images.dtype == np.uint8 and images.flags.c_contiguous
    assert got.dtype == np.int64 and got.tolist() == labels


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("label", [10, 255])
def test_parse_refuses_a_label_out_of_range(kind, label):
    data, labels = random_batch(0)
    raw = WRITERS[kind](data, [*labels[:2], label, labels[3]])
    with pytest.raises(DataError, match=f"some/file: expected labels 0 to 9, got {label} for image 2"):
        VERSIONS[kind].parse(raw, "some/file")


@pytest.mark.parametrize("cut", [0, 1, 3072, 3074, 2 * 3073 - 1])
def test_parse_binary_refuses_partial_records(cut):
    raw = binary_batch(*random_batch(0))[:cut]
    with pytest.raises(DataError, match=f"file: expected records of 3073 bytes, got {cut} bytes"):
        cifar.parse_binary(raw, "file")


def test_parse_python_refuses_every_truncation():
    raw = python_batch(*random_batch(0, n=1))
    for cut in range(len(raw)):
        with pytest.raises(DataError, match=r"^file: not a readable pickle"):
            cifar.parse_python(raw[:cut], "file")


DATA, LABELS = random_batch(0)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ([1, 2], "expected a dict with b'data' and b'labels', got list"),
        ({b"data": DATA}, "expected a dict with b'data' and b'labels', got dict"),
        ({b"data": LABELS, b"labels": LABELS}, r"expected data of uint8 \(N, 3072\), got list"),
        ({b"data": DATA[:, :3071], b"labels": LABELS}, r"got uint8 \(4, 3071\)"),
        ({b"data": DATA[0], b"labels": LABELS}, r"got uint8 \(3072,\)"),
        ({b"data": DATA.astype(np.int16), b"labels": LABELS}, r"got int16 \(4, 3072\)"),
        ({b"data": DATA, b"labels": LABELS[:3]}, r"expected 4 integer labels, got int64 \(3,\)"),
        ({b"data": DATA, b"labels": [b"a"] * 4}, r"expected 4 integer labels, got \|S1 \(4,\)"),
        ({b"data": DATA, b"labels": [0, [1], 2, 3]}, "expected a list of labels"),
        ({b"data": DATA, b"labels": [0, 1, -1, 3]}, "expected labels 0 to 9, got -1 for image 2"),
    ],
)
def test_parse_python_refuses_other_contents(batch, message):
    with pytest.raises(DataError, match=f"^file: .*{message}"):
        cifar.parse_python(python2_pickle(batch), "file")


class Malicious:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("function", [os.mkdir, eval, getattr, np.save, np.frombuffer])
def test_parse_python_refuses_any_other_global_and_runs_nothing(tmp_path, protocol, function):
    raw = pickle.dumps(Malicious(function, str(tmp_path / "made"), 0), protocol)
    with pytest.raises(DataError, match=rf"^file: the pickle asks for \w.*\.{function.__name__}\b.*refused"):
        cifar.parse_python(raw, "file")
    assert not list(tmp_path.iterdir())


def test_a_malicious_file_in_place_of_a_batch_is_refused_and_not_run(tmp_path):
    folder = write_folder("python", tmp_path)
    raw = pickle.dumps(Malicious(os.mkdir, str(tmp_path / "made")), 2)
    (folder / "data_batch_2").write_bytes(raw)
    with pytest.raises(DataError, match="data_batch_2: truncated, corrupt or not the official file"):
        cifar.read(small_version("python"), folder)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("write", [write_folder, write_archive])
def test_read_gives_five_training_batches_and_a_test_batch(kind, write, tmp_path):
    dataset = cifar.read(small_version(kind), write(kind, tmp_path))
    batches = [random_batch(i) for i in range(6)]
    expected = naive_images(np.concatenate([data for data, _ in batches]))
    assert dataset.name == "cifar10" and len(dataset.classes) == 10
    np.testing.assert_array_equal(dataset.train_images, expected[:20])
    np.testing.assert_array_equal(dataset.test_images, expected[20:])
    assert dataset.train_labels.tolist() == [label for _, labels in batches[:5] for label in labels]
    assert dataset.test_labels.tolist() == batches[5][1]


@pytest.mark.parametrize("kind", KINDS)
def test_reading_an_archive_unpacks_nothing(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_archive(kind, tmp_path, prefix="./")
    cifar.read(small_version(kind), path)
    assert list(tmp_path.iterdir()) == [path]


def test_an_archive_member_that_is_a_link_or_lies_elsewhere_is_not_read(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(small_files("binary")["test_batch.bin"])
    path = tmp_path / cifar.BINARY.archive
    with tarfile.open(path, "w:gz") as archive:
        link = tarfile.TarInfo("cifar-10-batches-bin/data_batch_1.bin")
        link.type, link.linkname = tarfile.SYMTYPE, str(secret)
        archive.addfile(link)
        elsewhere = tarfile.TarInfo("../cifar-10-batches-bin/data_batch_1.bin")
        archive.addfile(elsewhere, io.BytesIO())
    with pytest.raises(DataError, match=r"data_batch_1\.bin: missing"):
        cifar.read(small_version("binary"), path)


@pytest.mark.parametrize("kind", KINDS)
def test_read_names_a_missing_file(kind, tmp_path):
    folder = write_folder(kind, tmp_path)
    missing = folder / list(small_files(kind))[3]
    missing.unlink()
    with pytest.raises(DataError, match=f"^{re.escape(str(missing))}: missing$"):
        cifar.read(small_version(kind), folder)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", ["a bit flipped", "truncated", "longer"])
def test_read_names_file_and_checksums_of_a_damaged_file(kind, fault, tmp_path):
    folder = write_folder(kind, tmp_path)
    name, expected = list(small_version(kind).checksums.items())[5]
    raw = (folder / name).read_bytes()
    damaged = {"a bit flipped": raw[:-1] + bytes([raw[-1] ^ 1]), "truncated": raw[:-3073], "longer": raw + b"x"}[fault]
    (folder / name).write_bytes(damaged)
    got = hashlib.md5(damaged).hexdigest()
    with pytest.raises(DataError) as error:
        cifar.read(small_version(kind), folder)
    for part in (str(folder / name), expected, got, f"{len(damaged)} bytes"):
        assert part in str(error.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_archive_is_refused(kind, tmp_path):
    path = write_archive(kind, tmp_path)
    raw = path.read_bytes()
    for cut in [0, 1, 100, *range(1000, len(raw) * 9 // 10, 9973)]:
        path.write_bytes(raw[:cut])
        with pytest.raises(DataError, match=re.escape(str(path))):
            cifar.read(small_version(kind), path)


def test_an_archive_that_claims_an_absurd_size_is_refused_at_once(tmp_path):
    header = tarfile.TarInfo("cifar-10-batches-bin/data_batch_1.bin")
    header.size = 1 << 80
    path = tmp_path / cifar.BINARY.archive
    path.write_bytes(gzip.compress(header.tobuf(tarfile.GNU_FORMAT)))
    with pytest.raises(DataError, match="cannot be read"):
        cifar.read(cifar.BINARY, path)


def test_what_is_no_archive_is_refused(tmp_path):
    path = tmp_path / cifar.PYTHON.archive
    for content in [b"<html>not found</html>", b"\x1f\x8b\x08" + b"\0" * 500]:
        path.write_bytes(content)
        with pytest.raises(DataError, match="cannot be read"):
            cifar.read(cifar.PYTHON, path)


@pytest.mark.parametrize("kind", KINDS)
def test_locate(kind, tmp_path):
    version = VERSIONS[kind]
    assert cifar.locate(tmp_path) == []
    archive = write_archive(kind, tmp_path)
    assert cifar.locate(tmp_path) == [(version, archive)]
    folder = write_folder(kind, tmp_path)
    assert cifar.locate(folder) == [(version, folder)]
    assert cifar.locate(tmp_path) == [(version, folder), (version, archive)]
    (folder / next(iter(version.checksums))).unlink()
    assert cifar.locate(tmp_path) == [(version, archive), (version, folder)]
    renamed = folder.rename(tmp_path / "renamed")
    assert cifar.locate(renamed) == [(version, renamed)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "content", [b"", b"text", gzip.compress(b"text"), b"\x1f\x8b", b"\0" * 1024], ids=range(5)
)
def test_a_file_of_another_name_that_is_no_cifar10_is_none(kind, content, tmp_path):
    (tmp_path / "file").write_bytes(content)
    assert cifar.locate(tmp_path / "file") == []


@pytest.mark.skipif("MINIGRAPH_DATA" not in os.environ, reason="MINIGRAPH_DATA names no CIFAR-10")
def test_the_real_data():
    dataset = cifar.read_first(cifar.locate(Path(os.environ["MINIGRAPH_DATA"])))
    assert dataset.train_images.shape == (50_000, 32, 32, 3)
    assert dataset.test_images.shape == (10_000, 32, 32, 3)
    assert np.bincount(dataset.train_labels).tolist() == [5000] * 10
    assert np.bincount(dataset.test_labels).tolist() == [1000] * 10
    assert [dataset.classes[i] for i in dataset.train_labels[:3]] == ["frog", "truck", "truck"]
    for channel in range(3):
        counts = np.bincount(dataset.train_images[..., channel].reshape(-1), minlength=256)
        values = np.arange(256) / 255
        mean = np.average(values, weights=counts)
        std = np.sqrt(np.average((values - mean) ** 2, weights=counts))
        assert (mean, std) == pytest.approx((cifar.MEAN[channel], cifar.STD[channel]), abs=6e-5)

    # The two versions hold the same examples: written as records, they have the binary checksums.
    images = np.concatenate([dataset.train_images, dataset.test_images])
    labels = np.concatenate([dataset.train_labels, dataset.test_labels])
    data = images.transpose(0, 3, 1, 2).reshape(-1, 3072)  # NHWC -> NCHW
    for i, expected in enumerate(cifar.BINARY.checksums.values()):
        batch = slice(10_000 * i, 10_000 * (i + 1))
        assert hashlib.md5(binary_batch(data[batch], labels[batch])).hexdigest() == expected

"""Texts as arrays: there and back, files of every kind, and what has no place in an alphabet."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigraph.data import DataError, alphabet, decode, encode, read_text


@given(st.text())
def test_there_and_back(text):
    letters = alphabet(text)
    assert sorted(set(text)) == list(letters)
    codes = encode(text, letters)
    assert codes.dtype == np.int64 and codes.shape == (len(text),)
    assert decode(codes, letters) == text


def test_an_alphabet_may_be_in_any_order():
    assert encode("abca", "cba").tolist() == [2, 1, 0, 2] and decode([2, 1, 0], "cba") == "abc"


@pytest.mark.parametrize(("text", "letters", "message"), [
    ("abxa", "abc", "encode: 'x', at place 2 of the text, is not in the alphabet"),
    ("ab😀", "ab", "encode: '😀', at place 2"),
    ("a", "", "encode: 'a', at place 0"),
    ("a", "aba", "expected an alphabet of different characters, got 'aba'"),
])  # fmt: skip
def test_what_cannot_be_encoded(text, letters, message):
    with pytest.raises(DataError, match=message):
        encode(text, letters)


@pytest.mark.parametrize(("codes", "message"), [
    ([0, 3, 1], r"code 3 is outside \[0, 2\)"), ([-1], "code -1 is outside"),
    ([0.0], r"codes \(N,\) of integers, got float64"), ([[0]], r"got int64 \(1, 1\)"),
])  # fmt: skip
def test_what_cannot_be_decoded(codes, message):
    with pytest.raises(DataError, match=message):
        decode(np.array(codes), "ab")


def test_files(tmp_path):
    path = tmp_path / "t.txt"
    path.write_bytes("\ufeffä\r\nb\n".encode())
    assert read_text(path) == "ä\nb\n"
    path.write_bytes(b"ab\xff")
    with pytest.raises(DataError, match=r"t\.txt: not a text in UTF-8: byte 0xff at place 2"):
        read_text(path)
    with pytest.raises(DataError, match=r"none\.txt: no such file"):
        read_text(tmp_path / "none.txt")
    with pytest.raises(DataError, match=f"{tmp_path}: not a readable text: "):
        read_text(tmp_path)

"""Trees: walking order, structure checks, and trees of views of one flat array."""

from collections import namedtuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigraph as mg
from minigraph import tree

Point = namedtuple("Point", "x y")

keys = st.text("abc.", min_size=1, max_size=3)


def trees(leaf):
    return st.recursive(
        leaf | st.none(),
        lambda t: st.lists(t, max_size=3) | st.lists(t, max_size=3).map(tuple) | st.dictionaries(keys, t, max_size=3),
        max_leaves=6,
    )


shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
arrays = hnp.arrays(np.float32, shapes, elements=st.floats(-9, 9, width=32))


def test_items_walk_in_insertion_order_and_name_the_path():
    t = {"z": [1, (2, None, {"w": 3})], "a": 4}
    assert list(tree.items(t)) == [("z.0", 1), ("z.1.0", 2), ("z.1.2.w", 3), ("a", 4)]
    assert list(tree.items(5)) == [("", 5)]
    assert list(tree.items(None)) == []


def test_map_reads_the_second_tree_by_the_first_ones_keys():
    first, second = {"a": 1, "b": (2, [3])}, {"b": (20, [30]), "a": 10}
    assert tree.map(lambda x, y: x + y, first, second) == {"a": 11, "b": (22, [33])}
    assert list(tree.map(abs, second)) == ["b", "a"]


def test_map_keeps_containers_and_none():
    mapped = tree.map(lambda x: -x, {"p": Point(1, None), "q": [()]})
    assert mapped == {"p": Point(-1, None), "q": [()]}
    assert type(mapped["p"]) is Point


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"a": {"b": 1}}, r"differ at a: missing keys \['c'\], unexpected keys \[\]"),
        ({"a": {"b": 1, "c": [2, 3], "d": 0}}, r"differ at a: .* unexpected keys \['d'\]"),
        ({"a": {"b": 1, "c": [2]}}, "differ at a.c: expected a list of length 2, got .* length 1"),
        ({"a": {"b": 1, "c": (2, 3)}}, "differ at a.c: expected a list .* got a tuple"),
        ({"a": {"b": {}, "c": [2, 3]}}, "differ at a.b: expected a leaf .int.*, got a dict"),
        ({"a": {"b": None, "c": [2, 3]}}, "differ at a.b: expected a leaf .int.*, got None"),
        (7, "differ at the top: expected a dict with keys .*, got a leaf"),
    ],
)
def test_map_names_the_first_difference(other, message):
    t = {"a": {"b": 1, "c": [2, 3]}}
    with pytest.raises(ValueError, match=message):
        tree.map(lambda x, y: x, t, other)


@given(trees(st.integers()))
def test_unflatten_inverts_leaves(t):
    found = tree.leaves(t)
    assert found == [leaf for _, leaf in tree.items(t)]
    assert tree.unflatten(t, found) == t


@pytest.mark.parametrize("count", [1, 3])
def test_unflatten_counts_the_leaves(count):
    with pytest.raises(ValueError, match=f"2 leaves, got {count}"):
        tree.unflatten({"a": 1, "b": [2]}, [0] * count)


def test_check_like_returns_the_tree_in_the_expected_order():
    a, b = np.zeros((2, 3)), np.float64(1)
    checked = tree.check_like({"a": a, "b": np.array(0.0)}, {"b": b, "a": a}, "grads")
    assert list(checked) == ["a", "b"]
    assert checked["a"] is a and checked["b"] is b


@pytest.mark.parametrize(
    ("got", "error", "message"),
    [
        (np.zeros((3, 2), "f4"), ValueError, r"grads at a.1: expected float32 \(2, 3\), got .*2\)"),
        (np.zeros((2, 3), "f8"), TypeError, r"at a.1: expected float32 \(2, 3\), got float64 \("),
        (0.5, TypeError, r"at a.1: expected float32 \(2, 3\), got a leaf \(float\)"),
        (None, ValueError, r"grads: trees differ at a.1: expected float32 \(2, 3\), got None"),
    ],
)
def test_check_like_names_what_and_where(got, error, message):
    expected = {"a": [np.zeros(2), np.zeros((2, 3), np.float32)]}
    with pytest.raises(error, match=message):
        tree.check_like(expected, {"a": [np.zeros(2), got]}, "grads")


PARAMS = {
    "stem": {"w": np.ones((2, 3)), "b": np.ones(3)},
    "Blocks": [{"w": np.ones((3, 3)), "b": np.ones(3)}, None],
    "scale": np.ones(()),
}


@pytest.mark.parametrize(
    ("patterns", "paths"),
    [
        (["stem.*"], ["stem.w", "stem.b"]),
        (["*.b", "scale"], ["stem.b", "Blocks.0.b", "scale"]),
        (["*.0.?"], ["Blocks.0.w", "Blocks.0.b"]),
        (["[Bb]locks*w"], ["Blocks.0.w"]),
        (["ndim >= 2"], ["stem.w", "Blocks.0.w"]),
        (["*"], ["stem.w", "stem.b", "Blocks.0.w", "Blocks.0.b", "scale"]),
        ([], []),
    ],
)
def test_partition_picks_by_patterns_and_merge_puts_together_again(patterns, paths):
    picked, rest = tree.partition(PARAMS, *patterns)
    named = dict(tree.items(PARAMS))
    assert [path for path, _ in tree.items(picked)] == paths
    assert [path for path, _ in tree.items(rest)] == [path for path in named if path not in paths]
    for merged in (tree.merge(picked, rest), tree.merge(rest, picked)):
        assert tree.map(lambda a, b: a is b, PARAMS, merged) == tree.map(lambda a: True, PARAMS)


@given(trees(st.integers()), st.sets(st.integers(0, 5)))
def test_merge_inverts_any_split_of_the_leaves(t, chosen):
    leaves = list(enumerate(tree.leaves(t)))
    first = tree.unflatten(t, [leaf if i in chosen else None for i, leaf in leaves])
    second = tree.unflatten(t, [None if i in chosen else leaf for i, leaf in leaves])
    assert tree.merge(first, second) == t


def test_a_pattern_that_picks_nothing_is_an_error():
    with pytest.raises(ValueError, match=r"'blocks.\*' picks none of the leaves, whose paths are \['stem.w'"):
        tree.partition(PARAMS, "*.b", "blocks.*")


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({"a": [None, 1]}, {"a": [None, 2]}, "merge: both trees have a leaf at a.1"),
        (1, 2, "merge: both trees have a leaf at the top"),
        ({"a": {"b": 1}}, {"a": {"c": 1}}, r"merge: trees differ at a: missing keys \['b'\], unexpected keys \['c'\]"),
        ({"a": [1]}, {"a": (None,)}, "merge: trees differ at a: expected a list of length 1, got a tuple"),
        ({"a": 1}, {"a": [None]}, "merge: trees differ at a: expected a leaf .int., got a list of length 1"),
    ],
)
def test_merge_names_what_does_not_fit(first, second, message):
    with pytest.raises(ValueError, match=message):
        tree.merge(first, second)


@pytest.mark.parametrize("transform", [mg.value_and_grad, mg.parallel.value_and_grad])
def test_no_gradient_is_computed_for_what_is_frozen(transform):
    """No rule is called before the first trained parameter, and after it none for a frozen one."""
    calls = []

    @mg.custom_vjp
    def layer(x, w):
        return x @ w

    @layer.vjp
    def _(g, y, x, w):
        def of_x():
            calls.append(("x", w.shape))
            return g @ w.T

        def of_w():
            calls.append(("w", w.shape))
            return x.T @ g

        return of_x, of_w

    params = {"first": np.ones((2, 3)), "second": np.ones((3, 4)), "third": np.ones((4, 5)), "last": np.ones((5, 1))}
    trained, frozen = tree.partition(params, "second", "last")

    def loss(p, x):
        p = tree.merge(p, frozen)
        return mg.mean(layer(layer(layer(layer(x, p["first"]), p["second"]), p["third"]), p["last"]))

    x = np.random.default_rng(0).normal(size=(6, 2))
    value, grads = transform(loss)(trained, x)
    per_part = [("x", (5, 1)), ("w", (5, 1)), ("x", (4, 5)), ("w", (3, 4))]
    assert sorted(calls) == sorted(per_part * (len(calls) // 4)) and calls
    assert grads["first"] is None and grads["third"] is None

    frozen = tree.map(lambda leaf: None, params)
    same, all_grads = transform(loss)(params, x)
    assert same == value
    for name in ("second", "last"):
        np.testing.assert_allclose(grads[name], all_grads[name], rtol=1e-12)


@given(trees(arrays))
def test_flatten_copies_and_flat_view_finds_the_flat_array(t):
    found = tree.leaves(t)
    if not found:
        with pytest.raises(ValueError, match="without a leaf"):
            tree.flatten(t)
        assert tree.flat_view(t) is None
        return
    flat, views = tree.flatten(t)
    assert flat.shape == (sum(leaf.size for leaf in found),) and flat.dtype == np.float32
    tree.map(np.testing.assert_array_equal, t, views)
    assert not any(np.shares_memory(flat, leaf) for leaf in found)
    flat += 1
    tree.map(lambda leaf, view: np.testing.assert_array_equal(leaf + 1, view), t, views)
    if flat.size:
        view = tree.flat_view(views)
        assert view.shape == flat.shape and np.shares_memory(view, flat)
        view[-1] = 7
        assert flat[-1] == 7


def test_flat_view_of_a_part_of_a_buffer():
    _, views = tree.flatten({"a": np.arange(4.0).reshape(2, 2), "b": np.ones(()), "c": np.ones(3)})
    np.testing.assert_array_equal(tree.flat_view([views["b"], views["c"]]), np.ones(4))
    rows = np.arange(12.0).reshape(2, 6)  # one flat tree a row
    second = tree.unravel({"a": np.empty((2, 2)), "b": np.empty(2)}, rows[1])
    np.testing.assert_array_equal(tree.flat_view(second), rows[1])


def _cases():
    flat, views = tree.flatten({"a": np.zeros((2, 3)), "b": np.zeros((2, 2)), "c": np.zeros(2)})
    a, b, c = views.values()
    memory = bytearray(32)
    halves = [np.frombuffer(memory, offset=offset, count=2) for offset in (0, 16)]
    return {
        "another order": [b, a, c],
        "a gap": [a, c],
        "twice the same": [a, a],
        "an array of its own": [a, b.copy(), c],
        "not contiguous": [a, b.T, c],
        "a strided view": [flat[::2]],
        "another dtype": [a.view(np.int64), b],
        "owns its memory": [flat],
        "a scalar": [a, np.float64(0)],
        "not an array": [a, 0.0],
        "neighbours of two bases": [half[:] for half in halves],
        "a buffer of bytes": [np.frombuffer(b"12345678")],
        "a strided base": [np.zeros((4, 4))[:, :2]],
        "a base in Fortran order": [np.zeros((4, 4), order="F").T],
        "only empty arrays": [np.zeros((2, 0))[:1]],
        "empty": {},
    }


@pytest.mark.parametrize("case", _cases())
def test_flat_view_is_none_for(case):
    assert tree.flat_view(_cases()[case]) is None


def test_flatten_refuses_what_one_flat_array_cannot_hold():
    f4, f8 = np.zeros(1, np.float32), np.zeros(1)
    with pytest.raises(TypeError, match=r"got float32 at a and float64 at b\.0"):
        tree.flatten({"a": f4, "b": [f8]})
    with pytest.raises(TypeError, match=r"expected an array at b, got a leaf \(float\)"):
        tree.flatten({"a": f8, "b": 1.0})
    with pytest.raises(ValueError, match="holds 2 elements, flat has shape"):
        tree.unravel({"a": f4, "b": f8}, np.zeros(3))

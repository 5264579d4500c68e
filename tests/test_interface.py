"""The names of `minigraph`: what `mg.` offers, what `help` and `dir` show."""

import inspect
import pydoc

import pytest

import minigraph as mg
from minigraph import ops


def test_every_public_operation_is_a_name_of_the_package():
    assert set(ops.__all__) <= set(mg.__all__)
    assert len(set(mg.__all__)) == len(mg.__all__)
    for name in ops.__all__:
        assert getattr(mg, name) is getattr(ops, name)


def test_dir_shows_what_is_for_users_and_all_of_it_is_there():
    assert dir(mg) == sorted([*mg.__all__, "__version__"])
    for name in dir(mg):
        assert getattr(mg, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'rleu'"):
        _ = mg.rleu


@pytest.mark.parametrize("f", [mg.softmax, mg.sum, mg.clip, mg.conv2d, mg.grad], ids=lambda f: f.__name__)
def test_help_shows_the_signature_first(f):
    text = pydoc.plain(pydoc.render_doc(f))
    parameters = ", ".join(inspect.signature(f).parameters)
    assert text.index(f"{f.__name__}(") < text.index(inspect.getdoc(f).splitlines()[0])
    assert all(name in text[: text.index(inspect.getdoc(f).splitlines()[0])] for name in parameters.split(", "))


def test_a_primitive_has_the_signature_of_its_forward():
    assert str(inspect.signature(mg.softmax)).startswith("(x: 'ArrayLike', axis: 'Axis' = -1)")
    assert repr(mg.softmax) == "<primitive softmax(x, axis=-1)>"
    assert repr(mg.clip) == "<primitive clip(x, low=None, high=None)>"

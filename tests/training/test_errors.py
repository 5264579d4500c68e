import pytest

from minigraph.training import Stop, need


def test_need_names_the_first_package_that_is_missing():
    need("numpy", "json")
    with pytest.raises(Stop, match=r"^no_such_a is missing: pip install -e '\.\[train\]'"):
        need("numpy", "no_such_a", "no_such_b")

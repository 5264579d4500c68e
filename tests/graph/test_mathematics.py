"""What is said of a primitive and of its rule, beside what stands in the source."""

import pytest

import minigraph as mg
from minigraph.graph.mathematics import definition, gradient, without_docstring


def op(name):
    return mg.primitives()[name]


def test_a_primitive_is_defined_by_its_own_docstring():
    assert definition(op("negative")) == ["-x."]
    assert definition(op("pad")) == ["x inside a larger array filled with `constant_values`."]  # not as mg.pad


def test_one_without_a_docstring_is_defined_by_the_public_function_of_its_name():
    assert definition(op("relu"))[0].startswith("max(x, 0). At 0 and at NaN the derivative is 0.")


def test_sections_are_no_part_of_a_definition_and_what_follows_them_is():
    first, *rest = definition(op("svd"))
    assert first.startswith("a = U diag(S) Vh") and len(rest) == 1
    assert rest[0].startswith("A gradient that comes through U or Vh needs singular values that differ")


def test_what_a_rule_returns_is_its_mathematics():
    assert gradient(op("sin")) == "g * cos(x)"
    assert gradient(op("sinh")) == "g * cosh(x)"  # widened(x) in the source
    assert gradient(op("abs")) == "g * sign(x)"  # np.sign(value(x))
    assert gradient(op("divide")) == "a: g / b\nb: -(g / b) * y"  # thunks, and `_a`
    assert gradient(op("gate")) == "x: gate(g, mask)"  # None for the mask
    assert gradient(op("floor")) == gradient(op("floor_divide")) == "0"
    assert gradient(op("squeeze")) == "reshape(g, x.shape)"


def test_the_docstring_of_a_rule_goes_first():
    assert gradient(op("tan")) == "g * (1 + y^2)"
    assert gradient(op("hypot")) == "a: g * a / y\nb: g * b / y"


SCALE = 2.0


@mg.custom_vjp
def scaled(x):
    return SCALE * x


def a_name(g, _y, _x):
    return SCALE * g


def two_statements(g, _y, _x):
    h = g
    return h


def a_keyword(g, _y, _x):
    return mg.sum(g, keepdims=True)


def another_function(g, _y, _x):
    return a_name(g, _y, _x)


def a_comparison(g, _y, x):
    return g * (x > 0)


RULES = a_name, two_statements, a_keyword, another_function, a_comparison


@pytest.mark.parametrize("rule", RULES, ids=lambda f: f.__name__)
def test_what_is_no_formula_is_none(rule):
    scaled.vjp(rule)
    assert gradient(scaled) == ""


def test_a_power_and_a_function_of_a_module_are_mathematics():
    @mg.custom_vjp
    def cube(x):
        """x^3."""
        return x**3

    assert gradient(cube) == ""  # no rule yet

    @cube.vjp
    def _(g, _y, x):
        return 3 * g * mg.exp(x) ** 2

    assert gradient(cube) == "3 * g * exp(x)^2"
    assert definition(cube) == ["x^3."]


def test_without_source_there_is_what_the_docstring_says():
    space = {}
    exec("def rule(g, _y, _x):\n    return g\n", space)
    scaled.vjp(space["rule"])
    assert gradient(scaled) == ""
    space["rule"].__doc__ = "g"
    assert gradient(scaled) == "g"


def test_a_function_without_its_docstring():
    assert without_docstring(["def f(x):\n", '    """What\n', "    it is.\n", '    """\n', "    return x\n"]) == [
        "def f(x):\n", "    return x\n",
    ]  # fmt: skip
    assert without_docstring(["f = lambda x: x\n"]) == ["f = lambda x: x\n"]

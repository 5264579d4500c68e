"""Calls of a primitive whose rule is broken, as a user's program makes them, and whether an error names their line."""

import minigraph as mg


def marked(text, file):
    """The number of the line that ends in `# text`."""
    with open(file) as f:
        return next(i for i, line in enumerate(f, 1) if line.rstrip().endswith(f"# {text}"))


def names(error, call, mark, file=__file__):
    """Whether the message holds the call and the marked line of a file, its number and its text."""
    number = marked(mark, file)
    message = str(error.value)
    assert call in message, message
    assert f'File "{file}", line {number}, in ' in message, message
    assert f"# {mark}" in message
    return True


@mg.custom_vjp
def broken(x, how="raise"):
    return x * 1.0


@broken.vjp
def _(g, _y, x, how="raise"):
    if how == "raise":
        raise KeyError("in the rule")
    return g[:1] if how == "shape" else g * float(how)


def by_function(x, how):
    return broken(x, how)  # a function


def in_a_lambda(x, how):
    return (lambda x: broken(  # in a lambda
        x,
        how,
    ))(x)  # fmt: skip


def in_a_comprehension(x, how):
    return sum([broken(v, how) for v in [x]])  # in a comprehension

"""An n-gram model of a text, the yardstick of a language model: a table of what followed the last n - 1 characters.

Contexts are interpolated as in Witten & Bell 1991: where a context of n - 1 characters was followed by c(h) characters,
d(h) of them different, the next character w has

    p_n(w | h) = (c(h w) + d(h) p_(n-1)(w | h')) / (c(h) + d(h)),

with h' the context without its first character, and p_0 the same for all characters of the alphabet. No character has
probability 0, and a rare context leans on the shorter ones.
"""

from __future__ import annotations

import numpy as np


def loss(train: np.ndarray, test: np.ndarray, n: int, characters: int) -> float:
    """The mean of -log p over the characters of `test`, in nats, of an n-gram model of `train`.

    The first characters of `test` have the last ones of `train` before them. A model of order 2 is called bigram.

    Args:
        train, test: codes `(N,)` and `(M,)`, integers in [0, characters), at least one each.
        n: the order, from 1 on.
        characters: the size of the alphabet.

    Raises ValueError for codes of another kind, or another order.
    """
    for name, codes in (("train", train), ("test", test)):
        if np.ndim(codes) != 1 or not len(codes) or np.min(codes) < 0 or np.max(codes) >= characters:
            raise ValueError(f"ngram.loss: expected {name} to be codes (N,) in [0, {characters}), at least one")
    if n < 1:
        raise ValueError(f"ngram.loss: n is {n}, expected an order from 1 on")
    codes = np.concatenate([train, test]).astype(np.int64)
    first = len(train)
    p = np.full(len(codes), 1 / characters)
    context = np.zeros(len(codes), np.int64)  # at each place, the number of the context before it; of no characters: 0
    for order in range(1, n + 1):
        pairs, gram = np.unique(context * characters + codes, return_inverse=True)  # the context and its next character
        seen = np.bincount(gram[order - 1 : first], minlength=len(pairs))
        of = pairs // characters  # the context of each gram
        count = np.bincount(of, seen)
        different = np.bincount(of, seen > 0)
        with np.errstate(invalid="ignore"):  # 0 / 0 where a context was never seen
            mixed = (seen[gram] + different[context] * p) / (count + different)[context]
        p = np.where(count[context] > 0, mixed, p)
        context = np.roll(gram, 1)  # a gram is the context of the next place; the first places have none, and count not
    return float(-np.log(p[first:]).mean())

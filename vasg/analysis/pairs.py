"""Pairs of products that one user bought, R, and as many that nobody bought together, Q (paper, section 4.3).

Of a pair in R for training, one user bought both products in the split train. Of a pair in R for validation or test, a
user bought one product, the first, in that split and the other in train, and no user bought both in an earlier part: no
model has seen them together. No pair of Q was bought together by anyone in any split. A pair and its mirror are one, and
a pair is in one set of one part only.

Q is made in two ways. ``random``, the paper's: two products drawn anew, a cold one for a cold one. Popular products are
in many pairs of R and in few of these, so that popularity alone tells the sets apart. ``matched``: the second products of R
change places among the pairs until no pair is related; every product is then as often in Q as in R.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from vasg.randomness import permutation, uniform
from vasg.scoring.inputs import Purchases

PARTS = ("train", "validation", "test")
Kind = Literal["random", "matched"]
_ROUNDS = 50  # to replace pairs that are not to be in Q; the rare ones that remain leave both sets
_CHUNK = 1024  # pairs whose buyers are compared at a time

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Pairs:
    """The n pairs of R and the n of Q, products in rows [n, 2]; row k of Q stands in for row k of R."""

    related: Ints  # [n, 2]
    unrelated: Ints  # [n, 2]
    user: Ints  # [n] one who bought the related pair


def pair_sets(purchases: Purchases, usable: Bools, kind: Kind, seed: int, most: int) -> dict[str, Pairs]:
    """R and Q of each of PARTS among the ``usable`` [P] products, about ``most`` pairs each at the most.

    Where there are more, pairs of R are drawn by hash, each user's products in pairs; a pair that k users made is k
    times as likely, and in the set once.
    """
    anyone = BoughtTogether(purchases, np.ones(len(purchases.user), np.bool_))
    taken, result = np.zeros(0, np.int64), {}
    for number, part in enumerate(PARTS):
        related, user = _related(purchases, usable, part, seed, most)
        wrong = partial(_wrong, anyone, taken)
        if kind == "random":
            unrelated = _drawn(related, purchases.is_cold, usable, wrong, seed, number)
        else:
            unrelated = _rearranged(related, wrong, seed, number)
        good = ~wrong(unrelated)
        result[part] = Pairs(related[good], unrelated[good], user[good])
        taken = np.concatenate([taken, keys(unrelated[good], purchases.products)])
    return result


class BoughtTogether:
    """Whether one user bought both products of a pair, going by the ``chosen`` of the N purchases."""

    def __init__(self, purchases: Purchases, chosen: Bools) -> None:
        user, product = purchases.user[chosen], purchases.product[chosen]
        self.products = purchases.products
        self._buyers = csr_array((np.ones(len(user), np.int32), (product, user)), (self.products, purchases.users))

    def __call__(self, pairs: Ints) -> Bools:
        """[n] for pairs [n, 2]."""
        found = np.zeros(len(pairs), np.bool_)
        for begin in range(0, len(pairs), _CHUNK):
            first, second = (self._buyers[column] for column in pairs[begin : begin + _CHUNK].T)
            found[begin : begin + _CHUNK] = first.multiply(second).sum(axis=1) > 0
        return found


def keys(pairs: Ints, products: int) -> Ints:
    """[n] one number for a pair and its mirror."""
    key: Ints = pairs.min(axis=1) * products + pairs.max(axis=1)
    return key


def _wrong(anyone: BoughtTogether, taken: Ints, pairs: Ints) -> Bools:
    """[n] pairs [n, 2] that are not to be in Q: of one product, a second time, in another set, or bought together."""
    key = keys(pairs, anyone.products)
    repeated = np.ones(len(key), np.bool_)
    repeated[np.unique(key, return_index=True)[1]] = False
    same: Bools = pairs[:, 0] == pairs[:, 1]
    return same | repeated | np.isin(key, taken) | anyone(pairs)


def _related(purchases: Purchases, usable: Bools, part: str, seed: int, most: int) -> tuple[Ints, Ints]:
    """R of a part [n, 2], and a user of each pair [n]."""
    known = usable[purchases.product]
    train = purchases.of("train") & known
    first = train if part == "train" else purchases.of(f"{part}_warm", f"{part}_cold") & known
    first_starts, second_starts = purchases.row_starts(first), purchases.row_starts(train)
    partners = np.diff(second_starts)
    ends = np.cumsum(np.diff(first_starts) * partners)  # a user's combinations of a first and a second product
    total = int(ends[-1]) if len(ends) else 0
    number = np.arange(min(total, most))
    if total > most:
        number = (uniform(seed, "relations", PARTS.index(part), number) * total).astype(np.int64)
    user = np.searchsorted(ends, number, side="right")
    within = number - (ends - np.diff(first_starts) * partners)[user]
    at_first = first_starts[user] + within // np.maximum(partners[user], 1)
    at_second = second_starts[user] + within % np.maximum(partners[user], 1)
    pairs = np.column_stack([purchases.product[first][at_first], purchases.product[train][at_second]])
    fresh = pairs[:, 0] != pairs[:, 1]
    if part != "train":
        earlier = ["train"] if part == "validation" else ["train", "validation_warm", "validation_cold"]
        fresh &= ~BoughtTogether(purchases, purchases.of(*earlier))(pairs)
    pairs, user = pairs[fresh], user[fresh]
    once = np.sort(np.unique(keys(pairs, purchases.products), return_index=True)[1])
    return pairs[once], user[once]


def _drawn(related: Ints, is_cold: Bools, usable: Bools, wrong: Callable[[Ints], Bools], seed: int, part: int) -> Ints:
    """Q ``random``: [n, 2] products drawn evenly, again where they are ``wrong``."""
    pairs, again = related.copy(), np.arange(len(related))
    for attempt in range(_ROUNDS):
        for end in range(2):
            for cold in (False, True):
                pool = np.flatnonzero(usable & (is_cold == cold))
                rows = again[is_cold[related[again, end]] == cold]
                drawn = uniform(seed, "relations", _counter(part, attempt, end), rows) * len(pool)
                pairs[rows, end] = pool[drawn.astype(np.int64)]
        again = np.flatnonzero(wrong(pairs))
        if not len(again):
            break
    return pairs


def _rearranged(related: Ints, wrong: Callable[[Ints], Bools], seed: int, part: int) -> Ints:
    """Q ``matched``: [n, 2] the products of R, the second ones in another order."""
    pairs, moving = related.copy(), np.arange(len(related))
    for attempt in range(_ROUNDS):
        order = permutation(seed, "relations", _counter(part, attempt, 2), len(moving))
        pairs[moving, 1] = pairs[moving[order], 1]
        bad = wrong(pairs)
        if not bad.any():
            break
        good = np.flatnonzero(~bad)
        helpers = good[permutation(seed, "relations", _counter(part, attempt, 3), len(good))[: bad.sum()]]
        moving = np.concatenate([np.flatnonzero(bad), helpers])  # bad ones alone may have nothing to give each other
    return pairs


def _counter(part: int, attempt: int, use: int) -> int:
    """A number for each draw, other than those of ``_related``."""
    return len(PARTS) + (part * _ROUNDS + attempt) * 4 + use

"""Places in the plane where they are known, and which products are shown."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from analysis_shop import inputs_of, purchases_of, tastes
from hypothesis import given, settings
from hypothesis import strategies as st
from scoring_shop import shop

from vasg.analysis.projection import neighbour_share, principal_plane, section, users_plane
from vasg.config_file import from_dict
from vasg.rows import unit


def test_directions_in_a_plane_keep_their_distances() -> None:
    inputs = tastes()
    rng = np.random.default_rng(0)
    plane = np.linalg.qr(rng.normal(size=(inputs.products.shape[1], 2)))[0]
    inputs.products[:] = rng.normal(size=(len(inputs.products), 2)) @ plane.T
    found = principal_plane(inputs, seed=1)
    assert len(np.unique(found.product)) == len(found.product) == 200
    rows = unit(inputs.products[found.product])
    between = [np.linalg.norm(x[:, None] - x[None], axis=2) for x in (rows, found.place)]
    assert between[0] == pytest.approx(between[1], abs=1e-5)


def test_what_four_users_bought_lies_in_four_places() -> None:
    inputs = tastes()
    found = users_plane(inputs, seed=0)
    assert found is not None
    assert len(np.unique(found.users)) == 4
    share, chance = neighbour_share(found.place, inputs.products[found.product].argmax(axis=1), found.owner >= 0)
    assert share == 1 > chance + 0.4


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000))
def test_users_products_are_all_there_once(seed: int) -> None:
    inputs = inputs_of(shop(seed, users=12, warm=60, cold=6, dim=5, most=30))
    purchases, found = inputs.purchases, users_plane(inputs, seed=seed)
    assert found is not None
    count = Counter(purchases.user[inputs.has_product[purchases.product]].tolist())
    assert len(np.unique(found.product)) == len(found.product)
    shown: set[int] = set()
    for place, user in enumerate(found.users.tolist()):
        bought = set(purchases.product[purchases.user == user].tolist())
        mine = set(found.product[found.owner == place].tolist())
        assert mine == {p for p in bought if inputs.has_product[p]} - shown
        shown |= mine
        trained = set(purchases.product[(purchases.user == user) & purchases.of("train")].tolist())
        assert set(found.product[(found.owner == place) & found.held_out].tolist()) == mine - trained
    off = {user: max(20 - count[user], count[user] - 60, 0) for user in range(purchases.users)}
    worst = max(off[user] for user in found.users.tolist())
    assert all(off[user] >= worst for user in range(purchases.users) if user not in found.users)


def test_users_who_bought_one_and_the_same_product_have_no_plane() -> None:
    bought = [(user, 0, "train") for user in range(297)] + [(297 + k, 1 + k, "train") for k in range(3)]
    inputs = replace(tastes(), purchases=purchases_of(bought, users=300, products=3600))
    assert users_plane(inputs, seed=0) is None
    found = section(inputs, from_dict({}))
    assert len(found.figures) == 1
    assert "Second picture: not drawn" in found.text


def test_vectors_of_popularity_alone_have_no_plane_of_users() -> None:
    inputs = tastes()
    inputs.products[:] = np.eye(inputs.products.shape[1])[-1] * np.arange(1, len(inputs.products) + 1)[:, None]
    assert users_plane(inputs, seed=0) is None
    assert "the vectors of these are all the same" in section(inputs, from_dict({})).text


@given(seed=st.integers(0, 1000), n=st.integers(2, 15))
def test_neighbour_share_row_by_row(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, owner = rng.normal(size=(n, 3)), rng.integers(0, 3, n)
    of = rng.random(n) < 0.5
    of[0] = True
    rows, same, chance = unit(vectors), [], []
    for i in np.flatnonzero(of):
        others = [j for j in range(n) if j != i]
        same.append(owner[max(others, key=lambda j: rows[i] @ rows[j])] == owner[i])
        chance.append(np.mean([owner[j] == owner[i] for j in others]))
    assert neighbour_share(vectors, owner, of) == pytest.approx((np.mean(same), np.mean(chance)))

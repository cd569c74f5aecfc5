"""The demo shop: its files parse, its oracle is the best score, and its bytes depend on the seed alone."""

import ast
import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vasg.config_file import load
from vasg.demo import planted
from vasg.demo.__main__ import main
from vasg.demo.amazon_files import REVIEWS, asins, reviewer_ids, write
from vasg.demo.oracle import oracle_vectors
from vasg.errors import DataError, InputMissing
from vasg.randomness import hash64

SIZE = (300, 400, 4_000, 96)  # users, products, ratings, I


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, planted.Planted]:
    directory = tmp_path_factory.mktemp("demo")
    return directory, write(directory, 0, *SIZE)


def lines(path: Path) -> list[str]:
    return gzip.decompress(path.read_bytes()).decode().splitlines()


def auc(users: Any, products: Any, shop: planted.Planted, test: Any) -> float:
    """Mean share of products a user never bought that the test purchase outranks, ties one half."""
    values = []
    for user, product in zip(shop.users[test], shop.products[test], strict=True):
        scores = products @ users[user]
        rivals = np.delete(scores, shop.products[shop.users == user])
        values.append(np.mean((rivals < scores[product]) + 0.5 * (rivals == scores[product])))
    return float(np.mean(values))


def first_of_user(shop: planted.Planted, draw: Any) -> Any:
    """Positions of each user's purchase with the smallest draw: a fresh leave-one-out."""
    order = np.lexsort((draw, shop.users))
    return order[np.flatnonzero(np.diff(shop.users[order], prepend=-1))]


def test_files_parse_back(shop: tuple[Path, planted.Planted]) -> None:
    directory, made = shop
    reviews = [json.loads(line) for line in lines(directory / REVIEWS)]
    products = {line["asin"]: line for line in map(ast.literal_eval, lines(directory / "meta_Demo.json.gz"))}
    women = {a for a, line in products.items() if any("Women" in path for path in line["categories"])}
    assert len(women) == 400
    assert len(products) == 412
    assert all("Men" in line["categories"][0] for a, line in products.items() if a not in women)
    assert all(len(a) == 10 and a.startswith("B00") for a in products)
    assert len({"price" in line for line in products.values()}) == 2  # some with, some without
    assert all(1 <= r["overall"] <= 5 and 1_262_304_000 <= r["unixReviewTime"] < 1_406_073_600 for r in reviews)
    pairs = Counter((r["reviewerID"], r["asin"]) for r in reviews if r["asin"] in women)
    repeated = {pair for pair, count in pairs.items() if count > 1}
    assert len(pairs) == len(made.users) == 4_000
    assert set(pairs.values()) == {1, 2}
    assert 10 <= len(repeated) <= 90
    assert len({(r["reviewerID"], r["asin"], r["unixReviewTime"]) for r in reviews if r["asin"] in women}) == sum(
        pairs.values()
    )
    assert 20 <= len(reviews) - sum(pairs.values()) <= 60  # of the other category
    assert min(Counter(user for user, _ in pairs).values()) >= 5


def test_feature_file_has_one_record_a_product(shop: tuple[Path, planted.Planted]) -> None:
    record = np.dtype([("asin", "S10"), ("feature", "<f4", (96,))])
    raw = (shop[0] / "image_features_Demo.b").read_bytes()
    assert len(raw) == 412 * (10 + 4 * 96)
    records = np.frombuffer(raw, record)
    assert records["asin"].astype("U10").tolist() == asins(412).tolist()
    assert np.isfinite(records["feature"]).all()
    assert records["feature"].min() == 0
    assert 0.5 < np.mean(records["feature"] == 0) < 0.9
    assert (records["feature"].std(axis=1) > 0).all()


def test_configuration_loads(shop: tuple[Path, planted.Planted]) -> None:
    config = load(shop[0] / "config.toml")
    assert all(Path(p).exists() for p in (config.reviews.path, config.reviews.metadata, config.features.path))
    assert (config.features.dim, config.reviews.category, config.seed) == (96, "Women", 0)
    assert config.split.holdout_cold_fraction > 0


def test_oracle_is_far_above_popularity_and_below_one(shop: tuple[Path, planted.Planted]) -> None:
    directory, made = shop
    test = first_of_user(made, hash64(5, "split", made.users, made.products))
    users, products = oracle_vectors(directory / "oracle.npz", reviewer_ids(300).tolist(), asins(400).tolist())
    np.testing.assert_array_equal(users @ products.T, np.matmul(made.oracle()[0], made.oracle()[1].T))
    counts = np.bincount(np.delete(made.products, test), minlength=400)
    oracle, popular = auc(users, products, made, test), auc(np.ones((300, 1)), counts[:, None], made, test)
    assert 0.55 < popular < 0.78
    assert popular + 0.1 < oracle < 0.95
    shuffled = auc(users[::-1], products, made, test)
    assert shuffled < oracle - 0.15  # it is each user's own taste that counts


@pytest.mark.parametrize(("blur", "least", "most"), [(planted.Nature.blur, 0.7, 0.99), (10, -0.2, 0.1)])
def test_pictures_tell_of_the_style_as_much_as_asked(blur: float, least: float, most: float) -> None:
    made = planted.plant(3, 50, 1_500, 500)
    features = np.vstack(list(planted.features(3, made.styles, 96, blur)))
    known, unknown = (
        np.hstack([features, np.ones((1_500, 1))])[:1_000],
        np.hstack([features, np.ones((1_500, 1))])[1_000:],
    )
    decoded = unknown @ np.linalg.lstsq(known, made.styles[:1_000], rcond=None)[0]
    explained = 1 - np.var(made.styles[1_000:] - decoded) / np.var(made.styles[1_000:])
    assert least < explained < most


def test_nature_decides_what_is_bought() -> None:
    indifferent = planted.plant(3, 300, 400, 3_000, planted.Nature(taste=0, popularity=0))
    fashion = planted.plant(3, 300, 400, 3_000, planted.Nature(taste=0, popularity=2))
    counts = [np.bincount(shop.products, minlength=400) for shop in (indifferent, fashion)]
    shares = [np.sort(count)[-40:].sum() / 3_000 for count in counts]
    assert shares[0] < 0.2 < 0.6 < shares[1]  # of the tenth of products that sells best
    assert not indifferent.tastes.any()


def test_oracle_follows_the_ids_it_is_asked_for(shop: tuple[Path, planted.Planted]) -> None:
    path = shop[0] / "oracle.npz"
    users, products = oracle_vectors(path, reviewer_ids(300)[[7, 2]].tolist(), asins(400)[[9]].tolist())
    np.testing.assert_array_equal(users, shop[1].oracle()[0][[7, 2]])
    np.testing.assert_array_equal(products, shop[1].oracle()[1][[9]])
    with pytest.raises(DataError, match="has no product B000000000"):
        oracle_vectors(path, [], ["B000000000"])
    with pytest.raises(InputMissing, match="does not exist"):
        oracle_vectors(path.with_name("none.npz"), [], [])


def test_draws_without_replacement_follow_the_propensities() -> None:
    """One product of three, then another: the shares of first and second draws are those of sequential drawing."""
    users, weights = 20_000, np.array([0.6, 0.3, 0.1])
    zeros = np.zeros((users, 1), np.float32), np.zeros((3, 1), np.float32)
    buyer, bought, _ = planted._purchases(0, *zeros, np.log(weights).astype(np.float32), np.full(users, 2))
    assert buyer.tolist() == np.repeat(np.arange(users), 2).tolist()
    first, second = bought.reshape(-1, 2).T
    np.testing.assert_allclose(np.bincount(first) / users, weights, atol=0.015)
    after_the_first = np.bincount(second[first == 0], minlength=3) / np.sum(first == 0)
    np.testing.assert_allclose(after_the_first, [0, 0.75, 0.25], atol=0.015)


def test_same_seed_same_bytes_other_seed_other_bytes(shop: tuple[Path, planted.Planted], tmp_path: Path) -> None:
    options = [f"--{name}={value}" for name, value in zip(("users", "products", "ratings", "dim"), SIZE, strict=True)]
    assert main(["--out", str(tmp_path / "same"), *options]) == 0
    assert main(["--out", str(tmp_path / "other"), *options, "--seed=1"]) == 0
    names = sorted(path.name for path in shop[0].iterdir())
    assert names == sorted(path.name for path in (tmp_path / "same").iterdir())
    for name in names:
        original = (shop[0] / name).read_bytes()
        assert original == (tmp_path / "same" / name).read_bytes(), name
        assert original != (tmp_path / "other" / name).read_bytes(), name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--users=0"], "--users and --dim must be 1 or more"),
        (["--products=9"], "--products must be 10 or more"),
        (["--blur=nan"], "--taste, --popularity and --blur must be numbers from 0"),
        (["--users=100", "--ratings=499"], "--ratings 499 must lie between 5 a user (500)"),
        (["--size=huge"], "invalid choice: 'huge'"),
    ],
)
def test_impossible_shops_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main(["--out", str(tmp_path / "shop"), *options]) == 64
    assert message in capsys.readouterr().err
    assert not (tmp_path / "shop").exists()

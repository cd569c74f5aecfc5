"""Writes a planted shop the way Amazon's review data of 2014 is laid out: three raw files, an oracle, a configuration.

The files also hold what a reader must cope with: repeat purchases, products of another category (some of them reviewed),
metadata lines without price or picture address, quotes and letters beyond ASCII, several category paths for one product.
"""

import gzip
import io
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from vasg.demo.planted import DEFAULT, Floats, Nature, Planted, counter, features, plant
from vasg.demo.template import TEMPLATE
from vasg.randomness import integers, normal

REVIEWS, METADATA, FEATURES, ORACLE, CONFIG = (
    "reviews_Demo.json.gz", "meta_Demo.json.gz", "image_features_Demo.b", "oracle.npz", "config.toml",
)  # fmt: skip
REPEATS = 0.01  # share of purchases that are made a second time
OTHER_PRODUCTS = 0.03  # products of the other category, as a share of the shop's
OTHER_REVIEWS = 0.01  # reviews of them, as a share of the shop's

_DAY = 86_400
_FIRST_DAY, _DAYS = 14_610, 1_664  # 2010-01-01 to 2014-07-22, in days since 1970
_DIGITS = np.frombuffer(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", "S1")
_KINDS = ("Dresses", "Shoes", "Tops & Tees", "Jeans", "Women's Jewelry", "Handbags")
_WORDS = (
    "great",
    "fits",
    "soft",
    "colour",
    "café",
    "lovely",
    '"vintage"',
    "didn't",
    "size",
    "perfect",
    "cheap",
    "warm",
)
# First counters of the draws of this module; planted.py has the ones below 16.
_WHEN, _TEXT, _AGAIN, _OTHER, _DETAILS, _OTHER_STYLE = range(16, 22)


def write(
    directory: Path, seed: int, users: int, products: int, ratings: int, dim: int, nature: Nature = DEFAULT
) -> Planted:
    """Generate a shop and write all its files into ``directory``; returns it. The same arguments give the same bytes."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / CONFIG).unlink(missing_ok=True)  # written last: where it is, the rest is complete
    shop = plant(seed, users, products, ratings, nature)
    others = max(1, round(OTHER_PRODUCTS * products))
    user_ids, product_ids = reviewer_ids(users), asins(products + others)
    other_styles = normal(
        seed, "demo", counter(_OTHER_STYLE, np.arange(others))[:, None], np.arange(shop.styles.shape[1])
    )
    _write_lines(directory / REVIEWS, _reviews(seed, shop, user_ids, product_ids))
    _write_lines(directory / METADATA, (repr(_metadata(seed, i, products, str(a))) for i, a in enumerate(product_ids)))
    with (directory / FEATURES).open("wb") as file:
        _write_features(
            file, seed, product_ids, np.vstack([shop.styles, other_styles.astype(np.float32)]), dim, nature.blur
        )
    taste, style = shop.oracle()
    np.savez(directory / ORACLE, user_ids=user_ids, product_ids=product_ids[:products], users=taste, products=style)
    (directory / CONFIG).write_text(TEMPLATE.format(seed=seed, dim=dim), encoding="utf-8")
    return shop


def asins(count: int) -> NDArray[np.str_]:
    """Distinct product ids of 10 characters, in no order that means anything."""
    return _codes("B00", count, 7)


def reviewer_ids(count: int) -> NDArray[np.str_]:
    """Distinct user ids of 14 characters, in no order that means anything."""
    return _codes("A", count, 13)


def _codes(prefix: str, count: int, digits: int) -> NDArray[np.str_]:
    """``prefix`` and the base-36 digits of i times a fixed number without a common factor with 36: a bijection."""
    number = np.arange(1, count + 1, dtype=np.int64) * 2_654_435_761 % 36**7
    powers = np.array([36**k for k in reversed(range(7))], np.int64)
    text = _DIGITS[number[:, None] // powers % 36].view("S7")[:, 0].astype("U7")
    return np.char.add(prefix, np.char.rjust(text, digits, "X"))


def _reviews(seed: int, shop: Planted, user_ids: NDArray[np.str_], product_ids: NDArray[np.str_]) -> Iterable[str]:
    """The lines of the review file: purchases, then repeats of some, then reviews of the other category."""
    total, other = len(shop.users), product_ids[len(shop.styles) :]
    lines = np.arange(total)
    when = integers(seed, "demo", counter(_WHEN), lines, _DAYS - 1)
    yield from _lines(seed, 0, user_ids[shop.users], product_ids[shop.products], shop.ratings, when)
    again = np.flatnonzero(integers(seed, "demo", counter(_AGAIN), lines, round(1 / REPEATS)) == 0)
    later = when[again] + 1 + integers(seed, "demo", counter(_AGAIN, 1), again, _DAYS - 1 - when[again])
    stars = integers(seed, "demo", counter(_AGAIN, 2), again, 5) + 1
    yield from _lines(seed, 1, user_ids[shop.users[again]], product_ids[shop.products[again]], stars, later)
    count = np.arange(max(1, round(OTHER_REVIEWS * total)))
    draw = [
        integers(seed, "demo", counter(_OTHER, k), count, n)
        for k, n in enumerate((len(user_ids), len(other), 5, _DAYS))
    ]
    yield from _lines(seed, 2, user_ids[draw[0]], other[draw[1]], draw[2] + 1, draw[3])


def _lines(
    seed: int, group: int, users: Iterable[str], products: Iterable[str], stars: Iterable[int], days: NDArray[np.int64]
) -> Iterable[str]:
    words = integers(seed, "demo", counter(_TEXT, group), np.arange(6 * len(days)), len(_WORDS)).reshape(-1, 6)
    for user, product, rating, day, text in zip(users, products, stars, days.tolist(), words.tolist(), strict=True):
        time = (_FIRST_DAY + day) * _DAY
        date = datetime.fromtimestamp(time, UTC)
        yield json.dumps({
            "reviewerID": str(user), "asin": str(product), "reviewerName": f"{_WORDS[text[0]].title()} Reader",
            "helpful": [text[1] % 3, text[1] % 3 + text[2] % 2], "reviewText": " ".join(_WORDS[word] for word in text),
            "overall": float(rating), "summary": " ".join(_WORDS[word] for word in text[:2]), "unixReviewTime": time,
            "reviewTime": f"{date:%m} {date.day}, {date.year}",
        })  # fmt: skip


def _metadata(seed: int, index: int, products: int, asin: str) -> dict[str, Any]:
    """The metadata of a product: of the category Women up to ``products``, of Men from there."""
    kind, price, word = integers(
        seed, "demo", counter(_DETAILS, index), np.arange(3), np.array([6, 8_000, 12])
    ).tolist()
    who = "Women" if index < products else "Men"
    paths = [["Clothing, Shoes & Jewelry", who, _KINDS[kind]]]
    if kind == 0:
        paths.append(["Clothing, Shoes & Jewelry", "Novelty", who, "Clothing"])
    line: dict[str, Any] = {
        "asin": asin,
        "title": f"{_WORDS[word].title()} {_KINDS[kind]}, {who}'s",
        "categories": paths,
    }
    if price % 10:
        line |= {"price": round(5 + price / 100, 2), "imUrl": f"http://images.example.com/{asin}.jpg"}
    return line | {"salesRank": {"Clothing": index + 1}}


def _write_features(
    file: BinaryIO, seed: int, product_ids: NDArray[np.str_], styles: Floats, dim: int, blur: float
) -> None:
    """Records of a 10-byte product id and ``dim`` little-endian float32, without anything between them."""
    record = np.dtype([("asin", "S10"), ("feature", "<f4", (dim,))])
    begin = 0
    for block in features(seed, styles, dim, blur):
        records = np.empty(len(block), record)
        records["asin"] = product_ids[begin : begin + len(block)].astype("S10")
        records["feature"] = block
        file.write(records.tobytes())
        begin += len(block)


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    """A gzip file without name and time in its header, so that the same lines give the same bytes."""
    with (
        path.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=5, mtime=0) as packed,
        io.TextIOWrapper(packed, encoding="utf-8", newline="\n") as text,
    ):
        text.writelines(line + "\n" for line in lines)

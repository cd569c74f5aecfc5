"""Path patterns: from product id to path and back, for any id a file name can hold."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vasg.errors import ConfigurationError
from vasg.features.pattern import PathPattern

IDS = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda text: text not in (".", "..")
)
PATTERNS = [
    "/images/{product_id}.jpg",
    "/images/{product_id:.3}/{product_id}.jpg",
    "/images/{product_id:.2}/{product_id:.4}/{product_id}/main.jpg",
    "/images/{product_id:.3}-{product_id}.jpg",
    "/images/{product_id}-{product_id:.3}.jpg",
    "/images/{product_id:.3}{product_id:.1}{product_id}",
    "/images/{product_id}x{product_id}",
    "s3a://bucket/a/{product_id:.3}/{product_id}.png",
]


@given(st.sampled_from(PATTERNS), IDS)
@example("/images/{product_id:.3}-{product_id}.jpg", "a-b-a-b")
@example("/images/{product_id:.3}-{product_id}.jpg", "a-")
@example("/images/{product_id}x{product_id}", "xxx")
@example("/images/{product_id:.3}/{product_id}.jpg", ".jpg")
@example("/images/{product_id:.3}/{product_id}.jpg", "a\nb")
def test_the_id_comes_back_from_its_path(text: str, product_id: str) -> None:
    pattern = PathPattern(text)
    path = text.format(product_id=product_id)
    assert pattern.fits_glob(path)
    assert pattern.product_id(path) == product_id


@given(st.sampled_from(PATTERNS), st.lists(IDS, min_size=3, max_size=3))
def test_a_path_of_several_ids_belongs_to_none(text: str, ids: list[str]) -> None:
    """Whatever is read from a path gives the same path again; so a path that mixes ids is refused, or is another id's."""
    pattern = PathPattern(text)
    pieces = iter(ids * 3)
    path = "".join(piece if isinstance(piece, str) else next(pieces) for piece in pattern._pieces(text))
    found = pattern.product_id(path)
    assert found is None or text.format(product_id=found) == path


@pytest.mark.parametrize("seen", ["file:/images/049/0493995001.jpg", "hdfs://host:8020/images/049/0493995001.jpg"])
def test_scheme_and_host_that_a_file_system_adds_do_not_matter(seen: str) -> None:
    assert PathPattern("/images/{product_id:.3}/{product_id}.jpg").product_id(seen) == "0493995001"
    assert PathPattern("file:///images//{product_id:.3}/{product_id}.jpg").product_id(seen) == "0493995001"


@pytest.mark.parametrize("path", ["/images/048/0493995001.jpg", "/images/049/0493995001.png", "/images/0493995001.jpg"])
def test_paths_of_no_product(path: str) -> None:
    assert PathPattern("/images/{product_id:.3}/{product_id}.jpg").product_id(path) is None


def test_wildcards_and_what_spark_is_asked_for() -> None:
    pattern = PathPattern("/shop/*/{product_id:.2}/{product_id}_*.jpg")
    assert pattern.glob == "/shop/*/*/*_*.jpg"
    assert (pattern.folder, pattern.file_name) == ("/shop/", "*_*.jpg")
    assert pattern.product_id("/shop/women/ab/abc_front.jpg") == "abc"
    assert pattern.product_id("/shop/women/zz/abc_front.jpg") is None
    assert pattern.fits_glob("/shop/women/zz/abc_front.jpg")
    assert not pattern.fits_glob("/shop/women/new/zz/abc_front.jpg"), "* stays within one name"
    bucket = PathPattern("s3a://bucket/{product_id}.jpg")
    assert (bucket.folder, bucket.glob) == ("s3a://bucket/", "s3a://bucket/*.jpg")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "features.path is not set"),
        ("/images/all.jpg", "{product_id} is missing"),
        ("/images/{product_id:.3}.jpg", "{product_id} is missing"),
        ("/images/{id}.jpg", "only {product_id} and {product_id:.N}"),
        ("/images/{product_id!r}.jpg", "only {product_id} and {product_id:.N}"),
        ("/images/{product_id:0>10}.jpg", "only {product_id} and {product_id:.N}"),
        ("/images/{product_id:.0}/{product_id}.jpg", "only {product_id} and {product_id:.N}"),
        ("/images/{product_id", "expected '}'"),
        ("/images[1]/{product_id}.jpg", "only * may be used"),
        ("/images/{{a,b}}/{product_id}.jpg", "only * may be used"),
    ],
)
def test_patterns_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        PathPattern(text)
    assert message in str(caught.value)

"""All analyses of one warehouse, with pictures on disk, and the pictures themselves."""

import io
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox
from PIL import Image
from scoring_shop import publish, shop, tables

from vasg.analysis.inputs import read_inputs
from vasg.analysis.sections import sections
from vasg.analysis.thumbnails import thumbnails
from vasg.config import Config
from vasg.config_file import from_dict

TITLES = [
    "Product relations",
    "Products in two dimensions",
    "From one user to another: p1 - u1 + u2",
    "How far apart products are",
]


def settings(path: str, source: str = "pictures") -> Config:
    return from_dict({"seed": 3, "features": {"source": source, "path": path}, "score": {"bootstrap": 20}})


def picture(path: Path, size: tuple[int, int] = (30, 45), colour: str = "red") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, "JPEG" if path.suffix == ".jpg" else "PNG")


def png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=40)
    return file.getvalue()


def thumbnails_in(figure: Figure) -> int:
    return sum(isinstance(artist, AnnotationBbox) for axes in figure.axes for artist in axes.artists)


def test_every_analysis_of_a_run(tmp_path: Path) -> None:
    warehouse = publish(tmp_path / "root", tables(shop(2, users=60, warm=120, cold=30, dim=6, most=14, low=-9, high=9)))
    for product in range(0, 150, 2):
        picture(tmp_path / f"p{product:03d}.png")
    found = sections(warehouse, settings(str(tmp_path / "{product_id}.png")))
    assert [section.title for section in found] == TITLES
    assert [len(section.figures) for section in found] == [1, 2, 2, 1]
    assert not any("Not " in section.text.split(".")[0] for section in found)
    places = found[1].figures[0]
    shown = read_inputs(warehouse).has_product  # fewer than 200: all of them
    assert thumbnails_in(places) == shown[::2].sum()
    assert len(places.axes[0].collections) == shown[1::2].sum()
    again = sections(warehouse, settings(str(tmp_path / "{product_id}.png")))
    for one, other in zip(found, again, strict=True):
        assert (one.text, one.table) == (other.text, other.table)
        assert [png(figure) for figure in one.figures] == [png(figure) for figure in other.figures]


def test_without_pictures_there_are_dots_and_no_examples(tmp_path: Path) -> None:
    warehouse = publish(tmp_path, tables(shop(2, users=60, warm=120, cold=30, dim=6, most=14)))
    found = sections(warehouse, settings("", "none"))
    assert [len(section.figures) for section in found] == [1, 2, 1, 1]
    assert not any(thumbnails_in(figure) for section in found for figure in section.figures)
    assert all(png(figure) for section in found for figure in section.figures)


def test_a_shop_with_next_to_nothing_says_so(tmp_path: Path) -> None:
    some = shop(0, users=1, warm=1, cold=0, most=1)
    some.has_vector[:] = some.has_feature[:] = True
    for section in sections(publish(tmp_path, tables(some)), settings("", "none")):
        assert section.text.startswith("Not ")
        assert not section.figures


def test_a_bias_takes_no_part(tmp_path: Path) -> None:
    some = shop(2, users=8, warm=20, cold=3, dim=4)
    biased = np.column_stack([some.vectors, np.r_[np.ones(8), np.arange(23)]]) * some.has_vector[:, None]
    some.vectors = biased.astype(np.float32)
    found = read_inputs(publish(tmp_path, tables(some)))
    assert np.array_equal(found.users, some.vectors[:8, :4])
    assert np.array_equal(found.products, some.vectors[8:, :4])


def test_thumbnails_are_small_and_bad_files_have_none(tmp_path: Path) -> None:
    picture(tmp_path / "ab" / "ab1.jpg", (300, 450))
    picture(tmp_path / "ab" / "ab2.jpg", (20, 10))
    (tmp_path / "ab" / "ab3.jpg").write_bytes(b"not a picture")
    (tmp_path / "ab" / "ab4.jpg").write_bytes(b"")
    (tmp_path / "ab" / "ab5.jpg").mkdir()
    for name, size in (("ab6", 31), ("ab7", 33)):  # what follows a picture is not looked at, but counts
        picture(tmp_path / "ab" / f"{name}.jpg", (8, 8))
        with (tmp_path / "ab" / f"{name}.jpg").open("ab") as file:
            file.truncate(size << 20)
    names = [f"ab{i}" for i in range(9)]
    for prefix in ("", "file://"):
        found = thumbnails(settings(prefix + str(tmp_path / "{product_id:.2}" / "{product_id}.jpg")), names, 60)
        assert {name: values.shape for name, values in found.items()} == {
            "ab1": (60, 40, 3), "ab2": (10, 20, 3), "ab6": (8, 8, 3),
        }  # fmt: skip
    assert found["ab1"].dtype == np.uint8
    assert found["ab1"][30, 20] == pytest.approx([254, 0, 0], abs=3)
    assert thumbnails(settings("s3a://bucket/{product_id}.jpg"), names, 60) == {}
    assert thumbnails(settings(str(tmp_path / "{product_id}.b"), "feature_file"), names, 60) == {}


@pytest.mark.parametrize("name", ["../secret", "a/../../secret", "..", "", "a/b", "/etc/passwd", "*", "a\0b"])
@pytest.mark.parametrize(
    "pattern",
    [
        "{product_id}.png",
        "{product_id:.2}/{product_id}.png",
        "{product_id}_*.png",
        "{product_id:.2}/{product_id}_*.png",
    ],
)
def test_no_id_leads_out_of_the_folder(tmp_path: Path, name: str, pattern: str) -> None:
    for place in (
        "secret.png",
        "pictures/a/b.png",
        "pictures/x/secret.png",
        ".png",
        "pictures/.png",
        "...png",
        "secret_1.png",
    ):
        picture(tmp_path / place)
    assert thumbnails(settings(str(tmp_path / "pictures" / pattern)), [name], 64) == {}


def test_of_several_pictures_the_first_is_the_products(tmp_path: Path) -> None:
    for name, colour in (("7_b.png", "blue"), ("7_a.png", "red"), ("77_a.png", "lime")):
        picture(tmp_path / name, colour=colour)
    (tmp_path / "7_0.png").write_bytes(b"no picture")  # the next one counts, as it does for the feature
    found = thumbnails(settings(str(tmp_path / "{product_id}_*.png")), ["7", "77", "8"], 64)
    assert {name: values[0, 0].tolist() for name, values in found.items()} == {"7": [255, 0, 0], "77": [0, 255, 0]}


@pytest.mark.parametrize("pattern", ["{product_id}.png", "{product_id}_*.png", "{product_id:.3}/{product_id}_*.png"])
def test_an_id_with_the_characters_of_a_pattern_has_its_own_picture(tmp_path: Path, pattern: str) -> None:
    names = ["a[1]", "b*c", "[!d]?"]
    for name in names:
        picture(tmp_path / pattern.format(product_id=name))
    found = thumbnails(settings(str(tmp_path / pattern)), [*names, "a1", "bxc", "xy"], 64)
    assert list(found) == names


def test_real_pictures(data: Path) -> None:
    pattern = str(data / "hm" / "images" / "{product_id:.3}" / "{product_id}.jpg")
    names = [path.stem for path in sorted((data / "hm" / "images").glob("*/*.jpg"))[:50]]
    found = thumbnails(settings(pattern), names, 64)
    assert list(found) == names
    assert all(max(values.shape) == 64 for values in found.values())

"""The job extract_features: every picture becomes a feature or a reject, whatever the partitions; too many bad ones stop it."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image
from pyspark.sql import SparkSession
from test_features_encoders import JPEG, huge_png, noise, saved

from vasg import schemas
from vasg.errors import ConfigurationError
from vasg.features import encode, extract, listing
from vasg.features.encode import REJECTS, EncodePictures
from vasg.features.encoders import facts, load_encoder
from vasg.features.listing import find_pictures, later_pictures
from vasg.features.pattern import PathPattern
from vasg.features.pictures import EMPTY, NOT_A_PICTURE, TOO_MANY_PIXELS, UNREADABLE, decode
from vasg.features.unchanged import FEATURES
from vasg.warehouse.parts import Target, write_tables
from vasg.warehouse.tables import Warehouse

RunJob = Callable[..., int]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Pictures are expected in tmp_path/images."""
    file = tmp_path / "config.toml"
    file.write_text('[features]\nsource = "pictures"\npath = "images/{product_id:.3}/{product_id}.jpg"\n')
    return file


def put(root: Path, product_id: str, content: bytes) -> Path:
    """A file in the place of the product's picture."""
    path = root / "images" / product_id[:3] / f"{product_id}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def features(warehouse: Warehouse) -> dict[str, NDArray[np.float32]]:
    """The published table, by product."""
    table = warehouse.read_arrow(FEATURES).to_pydict()
    assert len(table["product_id"]) == len(set(table["product_id"]))
    return {p: np.array(f, np.float32) for p, f in zip(table["product_id"], table["feature"], strict=True)}


def test_real_pictures_become_features(data: Path, run_job: RunJob, config: Path, tmp_path: Path) -> None:
    folders = sorted((data / "hm" / "images").iterdir())[27:29]
    for folder in folders:
        shutil.copytree(folder, tmp_path / "images" / folder.name)
    pictures = {path.stem: path for folder in folders for path in folder.iterdir()}
    assert run_job("extract_features", config, tmp_path / "root") == 0
    warehouse = Warehouse(tmp_path / "root")
    found = features(warehouse)
    assert set(found) == set(pictures)
    assert warehouse.manifest(REJECTS)["rows"] == 0
    encoder = load_encoder("descriptor")
    assert warehouse.manifest(FEATURES)["facts"] == facts(encoder)
    for product, path in list(pictures.items())[:10]:
        expected = encoder.encode([decode(path.read_bytes(), 10**6)])[0]
        np.testing.assert_array_equal(found[product], expected)


@pytest.mark.fault
def test_what_is_not_a_picture_is_rejected_with_its_reason(
    run_job: RunJob, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(listing, "MAX_BYTES", 100_000)
    good = {
        "0001": JPEG,
        "0002": saved(noise(30, 40).convert("L"), "JPEG"),
        "0003": saved(noise(30, 40).quantize(16), "PNG"),
        "0004": saved(Image.new("RGB", (1, 1), "white"), "PNG"),
        "a b%20c+#&": JPEG,
    }
    bad = {
        "0101": (JPEG[:-400], UNREADABLE),
        "0102": (b"this is a text file\n", NOT_A_PICTURE),
        "0103": (b"", EMPTY),
        "0104": (huge_png(20_000, 20_000), TOO_MANY_PIXELS),
        "0105": (saved(Image.effect_noise((400, 400), 99), "PNG"), encode.TOO_LARGE),
    }
    for product, content in good.items():
        put(tmp_path, product, content)
    expected = {(str(put(tmp_path, product, content)), reason) for product, (content, reason) in bad.items()}
    stray = tmp_path / "images" / "999" / "0001.jpg"  # fits the glob, but no product's path
    stray.parent.mkdir()
    stray.write_bytes(JPEG)
    (tmp_path / "images" / "0001.jpg").write_bytes(JPEG)  # fits the file name, but not the glob
    (tmp_path / "images" / "000" / "0001.txt").write_bytes(JPEG)
    expected.add((str(stray), encode.WRONG_PATH))
    assert run_job("extract_features", config, tmp_path / "root", "features.max_bad_fraction=0.6") == 0
    warehouse = Warehouse(tmp_path / "root")
    assert set(features(warehouse)) == set(good)
    rejects = warehouse.read_arrow(REJECTS).to_pydict()
    assert set(zip(rejects["source"], rejects["reason"], strict=True)) == expected
    assert len(rejects["source"]) == len(expected)
    assert set(rejects["line"]) == {-1}
    assert "pictures 11; unchanged 0; rejected 6" in capsys.readouterr().out

    capsys.readouterr()
    assert run_job("extract_features", config, tmp_path / "other", "features.max_bad_fraction=0.5") == 65
    error = capsys.readouterr().err
    assert error.startswith("vasg extract_features: pictures: 6 of 11 records are bad")
    assert str(tmp_path / "images") in error
    assert not Warehouse(tmp_path / "other").has(FEATURES)
    assert [path for path in (tmp_path / "other").rglob("*") if path.is_file()] == []


@pytest.mark.fault
@pytest.mark.parametrize("partitions", [1, 4])
def test_the_features_do_not_depend_on_the_partitions(spark: SparkSession, tmp_path: Path, partitions: int) -> None:
    for number in range(30):
        put(tmp_path, f"{number:04d}", saved(noise(60, 80, number), "JPEG") if number % 10 else b"broken")
    pattern = PathPattern(f"{tmp_path}/images/{{product_id:.3}}/{{product_id}}.jpg")
    pictures = find_pictures(spark, pattern)
    frame, others = pictures.read(set(pictures.paths))
    assert not others
    encoder = load_encoder("descriptor")
    task = EncodePictures(pattern, "descriptor", "", facts(encoder), 10**6, frozenset())
    targets = {name: Target(tmp_path / name, schemas.TABLES[name].arrow()) for name in (FEATURES, REJECTS)}
    parts = write_tables(frame.repartition(partitions), task, targets)
    assert len(pictures.paths) == 30
    assert len(parts[FEATURES]) == partitions
    rows = [row for part in parts[FEATURES] for row in pq.read_table(tmp_path / FEATURES / part.path).to_pylist()]
    found = {row["product_id"]: np.array(row["feature"], np.float32) for row in rows}
    assert len(rows) == len(found) == 27
    assert sum(part.rows for part in parts[REJECTS]) == 3
    for path in pictures.paths:
        if (product := pattern.product_id(path)) in found:
            expected = encoder.encode([decode(Path(path).read_bytes(), 10**6)])[0]
            np.testing.assert_array_equal(found[product], expected)


def test_the_first_good_one_of_several_pictures_of_a_product_counts(
    run_job: RunJob, config: Path, tmp_path: Path
) -> None:
    (tmp_path / "images").mkdir()
    kept = noise(30, 40, 1)
    for name, picture in {
        "p1_b": noise(30, 40, 2),
        "p1_a": kept,
        "p2_a": noise(30, 40, 3),
        "p1_c": noise(9, 9),
    }.items():
        (tmp_path / "images" / f"{name}.png").write_bytes(saved(picture, "PNG"))
    (tmp_path / "images" / "p2_b.png").touch()
    for name in ("p0_[a].png", "p3_a.png", "p3_b.png"):  # without content, and no picture
        (tmp_path / "images" / name).write_bytes(b"" if "a" in name else b"PNG")
    (tmp_path / "images" / "p0_[b].png").write_bytes(saved(noise(30, 40, 4), "PNG"))
    overrides = (f"features.path={tmp_path}/images/{{product_id}}_*.png", "features.max_bad_fraction=0.5")
    assert run_job("extract_features", config, tmp_path / "root", *overrides) == 0
    warehouse = Warehouse(tmp_path / "root")
    found = features(warehouse)
    assert set(found) == {"p0", "p1", "p2"}
    np.testing.assert_array_equal(found["p1"], load_encoder("descriptor").encode([kept])[0])
    rejects = warehouse.read_arrow(REJECTS).to_pydict()
    assert {Path(s).stem: r for s, r in zip(rejects["source"], rejects["reason"], strict=True)} == {
        "p1_b": extract.SURPLUS, "p1_c": extract.SURPLUS, "p2_b": extract.SURPLUS,
        "p0_[a]": EMPTY, "p3_a": EMPTY, "p3_b": NOT_A_PICTURE,
    }  # fmt: skip
    # three of the six that were needed
    assert run_job("extract_features", config, tmp_path / "other", overrides[0], "features.max_bad_fraction=0.4") == 65


def test_surplus_needs_a_product() -> None:
    pattern = PathPattern("/i/{product_id:.1}/{product_id}_*.jpg")
    paths = ["/i/a/a1_1.jpg", "/i/a/a1_2.jpg", "/i/x/a1_1.jpg", "/i/x/a1_2.jpg"]
    assert later_pictures(pattern, paths) == {"a1": ["/i/a/a1_2.jpg"]}


class Odd:
    """An encoder whose features are sometimes unusable."""

    name, version, weights_sha256, transform, dim = "odd", "1", "", "none", 3

    def encode(self, pictures: list[Image.Image]) -> NDArray[np.float32]:
        """By the width of the picture."""
        values = {1: [0, 0, 0], 2: [1, np.nan, 0], 3: [np.inf, 0, 0]}
        return np.array([values.get(picture.width, [1, 2, picture.width]) for picture in pictures], np.float32)


@pytest.mark.fault
def test_features_that_are_not_finite_or_all_zero_are_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "_encoder", lambda name, weights: Odd())
    paths = [f"file:{tmp_path}/{number}.png" for number in range(1, 6)]
    contents = [saved(noise(number, 2), "PNG") for number in range(1, 6)]
    whole = pa.RecordBatch.from_pydict({"path": paths, "content": contents})
    batches: Iterator[pa.RecordBatch] = iter([whole.slice(0, 3), whole.slice(3)])  # no good one in the first
    task = EncodePictures(PathPattern(f"{tmp_path}/{{product_id}}.png"), "odd", "", facts(Odd()), 100, frozenset())
    found = dict(task(batches))
    assert found[FEATURES].to_pydict() == {"product_id": ["4", "5"], "feature": [[1, 2, 4], [1, 2, 5]]}
    rejects = found[REJECTS].to_pydict()
    assert dict(zip((Path(s).stem for s in rejects["source"]), rejects["reason"], strict=True)) == {
        "1": encode.ALL_ZERO, "2": encode.NOT_FINITE, "3": encode.NOT_FINITE,
    }  # fmt: skip


def test_an_encoder_that_differs_between_hosts_is_refused() -> None:
    task = EncodePictures(PathPattern("/{product_id}"), "descriptor", "", facts(Odd()), 100, frozenset())
    with pytest.raises(ConfigurationError, match="differs between hosts"):
        list(task(iter([])))


@pytest.mark.parametrize(
    ("override", "code", "message"),
    [
        ("features.path=nowhere/{product_id}.jpg", 66, "nowhere/ is not there"),
        ("features.path=images/{product_id}.gif", 66, "no file matches"),
        ("features.path=images/_{product_id}.jpg", 66, "begin with _ or . are skipped"),
        ("features.path=images/all.jpg", 78, "{product_id} is missing"),
        ("features.encoder=resnet", 78, "there is no encoder resnet"),
        ("features.encoder=transformers:google/vit", 78, "features.weights: it is not set"),
    ],
)
def test_configuration_that_cannot_work(
    override: str, code: int, message: str, run_job: RunJob, config: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    put(tmp_path, "0001", JPEG)
    assert run_job("extract_features", config, tmp_path / "root", override) == code
    assert message in capsys.readouterr().err.splitlines()[0]
    assert [path for path in (tmp_path / "root").rglob("*") if path.is_file()] == []

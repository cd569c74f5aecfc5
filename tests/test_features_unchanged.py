"""Night after night: the features of unchanged pictures are taken over, and every table is as if all had been encoded."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyspark.sql import SparkSession
from test_features_encoders import noise, saved

from vasg.errors import TryLater
from vasg.features import listing
from vasg.features import unchanged as unchanged_features
from vasg.features.encode import REJECTS
from vasg.features.listing import find_pictures
from vasg.features.pattern import PathPattern
from vasg.features.unchanged import FEATURES, SOURCES
from vasg.warehouse.tables import Warehouse

RunJob = Callable[..., int]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Several pictures a product, most of which may be bad."""
    file = tmp_path / "config.toml"
    file.write_text(
        f'[features]\nsource = "pictures"\npath = "{tmp_path}/images/{{product_id}}_*.png"\nmax_bad_fraction = 0.9\n'
    )
    (tmp_path / "images").mkdir()
    return file


def tables(root: Path) -> dict[str, list[dict[str, object]]]:
    """All rows of what the stage publishes, in the order of their text."""
    warehouse = Warehouse(root)
    return {name: sorted(warehouse.read_arrow(name).to_pylist(), key=str) for name in (FEATURES, SOURCES, REJECTS)}


def unchanged(root: Path) -> int:
    """How many features the last run took over."""
    return int(Warehouse(root).catalog()["stages"]["extract_features"]["counts"]["unchanged"])


def put(tmp_path: Path, name: str, seed: int) -> Path:
    """A picture of its own for each seed."""
    path = tmp_path / "images" / f"{name}.png"
    path.write_bytes(saved(noise(20, 30, seed), "PNG"))
    return path


def test_every_night_is_as_if_all_pictures_had_been_encoded(
    run_job: RunJob, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unchanged_features, "_ROW_GROUP", 2)
    monkeypatch.setattr(unchanged_features, "_PER_FILE", 2)
    draw = np.random.default_rng(0)
    for product in range(12):
        for letter in "abc"[: 1 + product % 3]:
            put(tmp_path, f"p{product}_{letter}", int(draw.integers(10**6)))
    for night in range(4):
        files = sorted((tmp_path / "images").iterdir())
        for number, path in enumerate(draw.permutation(files)[:6] if night else []):
            match number:
                case 0 | 1:
                    path.unlink()
                case 2:
                    put(tmp_path, path.stem, int(draw.integers(10**6)))
                case 3:
                    path.write_bytes(b"no picture")
                case 4:
                    path.write_bytes(b"")
                case _:
                    put(tmp_path, f"new{night}_a", int(draw.integers(10**6)))
        assert run_job("extract_features", config, tmp_path / "root") == 0
        assert run_job("extract_features", config, tmp_path / f"anew{night}") == 0
        assert tables(tmp_path / "root") == tables(tmp_path / f"anew{night}")
        assert unchanged(tmp_path / f"anew{night}") == 0
        assert 5 <= unchanged(tmp_path / "root") < 12 if night else unchanged(tmp_path / "root") == 0


def test_an_unchanged_picture_is_not_read_again_unless_asked_for(run_job: RunJob, config: Path, tmp_path: Path) -> None:
    paths = [put(tmp_path, f"p{product}_a", product) for product in range(3)]
    assert run_job("extract_features", config, tmp_path / "root") == 0
    before, then = tables(tmp_path / "root"), paths[0].stat()
    paths[0].write_bytes(b"x" * then.st_size)
    os.utime(paths[0], ns=(then.st_atime_ns, then.st_mtime_ns))
    assert run_job("extract_features", config, tmp_path / "root", "features.max_bad_fraction=0.8") == 0
    assert tables(tmp_path / "root") == before
    assert unchanged(tmp_path / "root") == 3
    assert run_job("extract_features", config, tmp_path / "root", "--force") == 0
    assert [row["product_id"] for row in tables(tmp_path / "root")[FEATURES]] == ["p1", "p2"]
    assert unchanged(tmp_path / "root") == 0


@pytest.mark.fault
def test_what_was_made_otherwise_or_is_damaged_is_not_taken_over(
    run_job: RunJob, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for product in range(3):
        put(tmp_path, f"p{product}_a", product)
    root = tmp_path / "root"
    assert run_job("extract_features", config, root) == 0
    good = tables(root)
    assert run_job("extract_features", config, root, "features.max_pixels=700") == 0
    assert unchanged(root) == 0
    assert "all pictures are encoded, as the last features had another max_pixels\n" in capsys.readouterr().out
    put(tmp_path, "p3_a", 3)
    assert run_job("extract_features", config, root, "features.max_pixels=700") == 0
    assert unchanged(root) == 3
    damaged = Warehouse(root).files(FEATURES)[0]
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    (tmp_path / "images" / "p3_a.png").unlink()
    capsys.readouterr()
    assert run_job("extract_features", config, root, "features.max_pixels=700") == 0
    assert (
        f"all pictures are encoded, as the last features cannot be used: table {FEATURES}: {damaged}"
        in capsys.readouterr().out
    )
    assert unchanged(root) == 0
    assert tables(root) == good


def test_features_of_a_file_that_came_between_are_not_taken_over(run_job: RunJob, config: Path, tmp_path: Path) -> None:
    put(tmp_path, "p0_a", 0)
    root = tmp_path / "root"
    assert run_job("extract_features", config, root) == 0
    good = tables(root)
    warehouse = Warehouse(root)
    with warehouse.lock("other") as current, current.publication("preprocess_reviews", "other", "") as publication:
        publication.write_arrow(FEATURES, current.read_arrow(FEATURES).slice(0, 0))
        publication.commit("other", {})
    assert run_job("extract_features", config, root) == 0
    assert unchanged(root) == 0
    assert tables(root) == good


def test_a_few_pictures_are_read_without_the_others(spark: SparkSession, tmp_path: Path) -> None:
    folder = tmp_path / "run[1] a%20b"
    folder.mkdir()
    for number in range(3 * listing._FEW):
        Image.new("RGB", (2, 2)).save(folder / f"{number}.png")
    found = find_pictures(spark, PathPattern(f"{tmp_path}/*/{{product_id}}.png"))
    assert set(found.stamps) == set(found.paths) == {str(path) for path in folder.iterdir()}
    path = folder / "7.png"
    assert found.stamps[str(path)] == (path.stat().st_size, path.stat().st_mtime_ns // 10**6)
    for few in (2, 3):
        wanted = set(found.paths[:few])
        frame, others = found.read(wanted)
        seen = {row.path.removeprefix("file:") for row in frame.select("path").collect()}
        assert seen - others == wanted
        assert bool(others) == (few == 3)
    path.unlink()
    with pytest.raises(TryLater, match="removed while they were read; run again"):
        found.read({str(path)})

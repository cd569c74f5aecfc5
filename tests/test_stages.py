"""Stages: they fit together, and one is done again exactly when something that decides its output has changed."""

import hashlib
import importlib.resources
import os
import shutil
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

import vasg
from vasg import installation, schemas
from vasg.config import Config
from vasg.config_file import from_dict
from vasg.errors import DataError, InputMissing, UsageError
from vasg.pipeline import stages
from vasg.pipeline.stages import Stage, fingerprint, is_up_to_date, run_date, stage
from vasg.spark.paths import plain
from vasg.warehouse.tables import Warehouse


@pytest.mark.parametrize("source", ["feature_file", "pictures"])
def test_every_table_is_written_by_one_earlier_stage_and_all_are_documented(source: str) -> None:
    written: list[str] = []
    for this in stages.stages(from_dict({"features": {"source": source}})):
        assert set(this.reads) <= set(written), f"{this.name} reads what nobody wrote before it"
        written += this.writes
        assert all(this.name in schemas.TABLES[table].writer for table in this.writes)
        assert set(this.sections) <= set(Config.__dataclass_fields__)
        for name in this.outside:
            section, key = name.split(".")
            assert key in type(getattr(Config(), section)).__dataclass_fields__
    assert len(written) == len(set(written)), "a table has two writers"
    assert set(written) == set(schemas.TABLES) - (
        {"feature_sources", "rejected_pictures"} if source == "feature_file" else set()
    )


def test_without_pictures_there_is_nothing_to_train_on() -> None:
    assert [s.name for s in stages.stages(Config())] == ["preprocess_reviews"]
    with pytest.raises(
        UsageError, match=r"stage train is not part of this configuration.*features\.source is none; set it"
    ):
        stage(Config(), "train")


def test_pictures_have_a_stage_of_their_own() -> None:
    def names(source: str) -> list[str]:
        return [s.name for s in stages.stages(from_dict({"features": {"source": source}}))]

    assert names("pictures") == [
        "preprocess_reviews", "extract_features", "filter_users", "generate_walks", "train", "score",
    ]  # fmt: skip
    assert names("feature_file") == [name for name in names("pictures") if name != "extract_features"]
    with pytest.raises(
        UsageError, match="stage extract_features is not part of this configuration; its stages are prep"
    ):
        stage(from_dict({"features": {"source": "feature_file"}}), "extract_features")


# ---- up to date or not ----


def rows(table: str, n: int) -> pa.Table:
    schema = schemas.TABLES[table].arrow()
    return pa.table({field.name: pa.nulls(n, field.type) for field in schema}, schema=schema)


def publish(this: Stage, config: Config, warehouse: Warehouse, n: int = 1) -> None:
    mark = fingerprint(this, config, warehouse)
    with warehouse.publication(this.name, "run", "") as publication:
        for table in this.writes:
            publication.write_arrow(table, rows(table, n))
        publication.commit(mark, {})


@pytest.fixture
def done(tmp_path: Path) -> tuple[dict[str, Any], Warehouse]:
    """A configuration as a tree, and a warehouse in which preprocess_reviews and filter_users have run with it."""
    (tmp_path / "raw.csv").write_text("a,b\n")
    (tmp_path / "features.b").write_bytes(b"123")
    tree = {
        "reviews": {"path": str(tmp_path / "raw.csv")},
        "features": {"source": "feature_file", "path": str(tmp_path / "features.b")},
    }
    warehouse, config = Warehouse(tmp_path / "root"), from_dict(tree)
    publish(stage(config, "preprocess_reviews"), config, warehouse)
    publish(stage(config, "filter_users"), config, warehouse)
    return tree, warehouse


def state(tree: dict[str, Any], warehouse: Warehouse) -> dict[str, bool]:
    config = from_dict(tree)
    return {
        name: is_up_to_date(stage(config, name), config, warehouse) for name in ("preprocess_reviews", "filter_users")
    }


BOTH, SECOND, NEITHER = (
    {"preprocess_reviews": first, "filter_users": second}
    for first, second in ((True, True), (True, False), (False, False))
)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, BOTH),
        ({"train": {"dim": 7}}, BOTH),
        ({"run_date": "2020-01-01"}, BOTH),
        ({"split": {"min_user_products": 2}}, SECOND),
        ({"seed": 1}, SECOND),  # reading raw data draws nothing
    ],
)
def test_what_a_change_of_the_configuration_undoes(
    done: tuple[dict[str, Any], Warehouse], change: dict[str, Any], expected: dict[str, bool]
) -> None:
    tree, warehouse = done
    assert state(tree | change, warehouse) == expected


def test_changed_outside_files_undo_the_stage_that_reads_them(done: tuple[dict[str, Any], Warehouse]) -> None:
    tree, warehouse = done
    raw = Path(tree["reviews"]["path"])
    raw.write_text("a,b\n1,2\n")
    assert state(tree, warehouse)["preprocess_reviews"] is False
    publish(stage(from_dict(tree), "preprocess_reviews"), from_dict(tree), warehouse)
    assert state(tree, warehouse)["preprocess_reviews"] is True
    os.utime(raw, ns=(1, 1))
    assert state(tree, warehouse)["preprocess_reviews"] is False


def test_a_stage_whose_table_another_one_has_replaced_is_not_up_to_date(done: tuple[dict[str, Any], Warehouse]) -> None:
    tree, warehouse = done
    pictures = from_dict(tree | {"features": {"source": "pictures", "path": tree["features"]["path"]}})
    extract = stage(pictures, "extract_features")
    publish(extract, pictures, warehouse)
    assert is_up_to_date(extract, pictures, warehouse)
    again = from_dict(tree)  # features come from the file again
    publish(stage(again, "preprocess_reviews"), again, warehouse)
    assert not is_up_to_date(extract, pictures, warehouse)


def test_another_content_of_an_input_table_undoes_a_stage_the_same_content_does_not(
    done: tuple[dict[str, Any], Warehouse],
) -> None:
    tree, warehouse = done
    config = from_dict(tree)
    publish(stage(config, "preprocess_reviews"), config, warehouse)
    assert state(tree, warehouse) == BOTH
    publish(stage(config, "preprocess_reviews"), config, warehouse, n=2)
    assert state(tree, warehouse) == SECOND


def test_another_version_of_the_code_undoes_everything(
    done: tuple[dict[str, Any], Warehouse], monkeypatch: pytest.MonkeyPatch
) -> None:
    tree, warehouse = done
    monkeypatch.setattr(stages, "code_version", lambda: "other")
    assert state(tree, warehouse) == NEITHER


def test_a_stage_without_its_inputs_is_not_up_to_date_and_has_no_fingerprint(tmp_path: Path) -> None:
    config, warehouse = from_dict({"features": {"source": "pictures"}}), Warehouse(tmp_path)
    assert not is_up_to_date(stage(config, "train"), config, warehouse)
    with pytest.raises(InputMissing, match="run filter_users first"):
        fingerprint(stage(config, "train"), config, warehouse)


@pytest.mark.parametrize(
    ("change", "undone"),
    [
        ({"reviews": {"category": "A"}}, ["preprocess_reviews"]),
        ({"split": {"holdout_cold_fraction": 0.2}}, ["filter_users", "score"]),  # which tells apart what was held out
        ({"walks": {"strategy": "partitioned"}}, ["generate_walks"]),  # the same walks: the table tells the rest
        ({"train": {"dim": 7}}, ["train"]),
        ({"score": {"top_k": 7}}, ["score"]),
    ],
)
def test_a_setting_undoes_the_stages_that_read_it(tmp_path: Path, change: dict[str, Any], undone: list[str]) -> None:
    tree, warehouse = {"features": {"source": "feature_file"}, "run_date": "2025-01-01"}, Warehouse(tmp_path)
    before, after = from_dict(tree), from_dict(tree | change)
    for this in stages.stages(before):
        publish(this, before, warehouse)
    assert [this.name for this in stages.stages(after) if not is_up_to_date(this, after, warehouse)] == undone


def test_only_scoring_depends_on_the_day(done: tuple[dict[str, Any], Warehouse]) -> None:
    _, warehouse = done
    for name in ("nodes", "interactions", "image_features", "walks", "embeddings", "baseline_embeddings"):
        with warehouse.publication("x", "run", "") as publication:
            publication.write_arrow(name, rows(name, 1))
            publication.commit("", {})
    days = [from_dict({"features": {"source": "pictures"}, "run_date": f"2025-01-0{day}"}) for day in (1, 2)]
    assert len({fingerprint(stage(config, "score"), config, warehouse) for config in days}) == 2
    assert run_date(Config()) == datetime.now(UTC).strftime("%Y-%m-%d")
    assert run_date(from_dict({"run_date": "2025-01-01"})) == "2025-01-01"


def test_pictures_count_as_outside_files(tmp_path: Path) -> None:
    pattern = str(tmp_path / "{product_id:.2}" / "{product_id}.jpg")
    (tmp_path / "01").mkdir()
    before = stages._outside(pattern)
    (tmp_path / "01" / "0123.jpg").write_bytes(b"x")
    assert before != stages._outside(pattern)
    assert [Path(name).name for name, _, _ in stages._outside(pattern)] == ["0123.jpg"]


@pytest.mark.parametrize("pattern", ["{}/raw", "{}/r*", "{}/r[a]w/in?er", "file://{}/raw", "file://{}/raw/*"])
def test_a_new_file_in_any_folder_that_matches_undoes_the_stage(tmp_path: Path, pattern: str) -> None:
    for folder in ("raw/inner", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "raw" / "inner" / "a.csv").touch()
    (tmp_path / "raw" / "inner" / "link").symlink_to(tmp_path / "elsewhere")
    pattern = pattern.format(tmp_path)
    before = stages._outside(pattern)
    assert before == stages._outside(pattern)
    (tmp_path / "elsewhere" / "b.csv").touch()
    assert before != stages._outside(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "[^t]*.csv",
        "[!t]*.csv",
        "{in/ner,other}/x.csv",
        "{in/ner,{no/ne,other}}/{x,y}.csv",
        "{in/a\\,b,other}/x.csv",
        "*/x.csv",
    ],
)
def test_whatever_spark_reads_is_watched(spark: SparkSession, tmp_path: Path, pattern: str) -> None:
    for folder in (".", "in/ner", "in/a,b", "no/ne", "other", ".hidden"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        for name in "txy":
            (tmp_path / folder / f"{name}.csv").touch()
    read = {plain(uri) for uri in spark.read.text(f"file://{tmp_path}/{pattern}").inputFiles()}
    assert read
    assert read <= {name for name, _, _ in stages._outside(f"{tmp_path}/{pattern}")}


def test_a_link_back_to_a_folder_above_is_not_followed_for_ever(tmp_path: Path) -> None:
    for folder in ("raw/one", "raw/two", "shared"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "shared" / "a.csv").touch()
    for link, target in {"one/link": "shared", "two/link": "shared", "one/up": "raw"}.items():
        (tmp_path / "raw" / link).symlink_to(tmp_path / target)
    found = stages._files(tmp_path / "raw")
    assert sorted(found[1:]) == [tmp_path / "raw" / folder / "link" / "a.csv" for folder in ("one", "two")]


@pytest.mark.fault
def test_a_name_that_java_cannot_open_is_refused(tmp_path: Path) -> None:
    for name in (b"caf\xe9.csv", b"._caf\xe9.csv"):  # the second is not read, whatever its name
        (tmp_path / os.fsdecode(name)).touch()
    with pytest.raises(DataError, match=r"/caf\udce9\.csv: the name is not UTF-8, so Spark does not see the file"):
        stages._outside(str(tmp_path))
    (tmp_path / os.fsdecode(b"caf\xe9.csv")).rename(tmp_path / "café\n.csv")
    assert any(name.endswith("café\n.csv") for name, _, _ in stages._outside(str(tmp_path)))


def test_a_name_that_looks_like_a_pattern_is_a_name_too(tmp_path: Path) -> None:
    (tmp_path / "f[1].b").touch()
    assert [Path(name).name for name, _, _ in stages._outside(f"{tmp_path}/f[1].b")] == ["f[1].b"]


def test_what_cannot_be_seen_is_never_up_to_date(done: tuple[dict[str, Any], Warehouse]) -> None:
    tree, warehouse = done
    tree["reviews"]["path"] = "s3://bucket/reviews"
    publish(stage(from_dict(tree), "preprocess_reviews"), from_dict(tree), warehouse)
    assert state(tree, warehouse) == {"preprocess_reviews": False, "filter_users": True}


def test_an_edit_of_what_decides_a_table_and_of_nothing_else_is_another_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "vasg"
    shutil.copytree(Path(vasg.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(importlib.resources, "files", lambda _: package)
    versions = [stages.code_version()]
    assert versions[0] != hashlib.sha256().hexdigest()
    readers = ("report/page.py", "analysis/ibr.py", "sweep/plan.py", "demo/planted.py")
    for name in (*readers, "cli.py", "choices.py", "doctor.py", "warehouse/upkeep.py"):
        (package / name).write_text("# edited")
        assert stages.code_version() == versions[0], name
    for name in ("pipeline/job.py", "command_line.py", "scoring/gates.py", "training/stage.py"):
        (package / name).write_text("# edited")
        assert stages.code_version() not in versions, name
        versions.append(stages.code_version())


def test_no_stage_imports_what_its_code_version_leaves_out() -> None:
    """Otherwise an edit there would change results and pass for the same code."""
    package = Path(vasg.__file__).parent
    program = "import sys, runpy; runpy.run_path(sys.argv[1], run_name='loaded'); print(*sys.modules)"
    for job in sorted((package.parent / "jobs").glob("*.py")):
        loaded = subprocess.run(
            [sys.executable, "-c", program, str(job)], capture_output=True, text=True, check=True
        ).stdout
        found = [
            name
            for name in loaded.split()
            if name.startswith(
                tuple(f"vasg.{reader.removesuffix('.py').replace('/', '.')}" for reader in installation._READERS)
            )
        ]
        assert not found, job.name


def test_the_code_in_a_zip_is_the_same_code(tmp_path: Path) -> None:
    package = Path(str(importlib.resources.files("vasg")))
    with zipfile.ZipFile(tmp_path / "vasg.zip", "w") as archive:
        for path in package.rglob("*.py"):
            archive.write(path, path.relative_to(package.parent))
    code = "import vasg, vasg.pipeline.stages; print(vasg.__file__); print(vasg.pipeline.stages.code_version())"
    found = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(tmp_path / "vasg.zip")}, cwd=tmp_path,
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert "vasg.zip" in found[0]
    assert found[1] == stages.code_version()

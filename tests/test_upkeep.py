"""history, rollback and gc: nothing that was published is changed, and only what nobody needs any more is removed."""

import os
from pathlib import Path

import pyarrow as pa
import pytest
from test_lock import kill_while_holding

from vasg import schemas
from vasg.cli import main
from vasg.errors import DataError, InputMissing, TryLater
from vasg.warehouse.publication import MANIFEST, STAGED
from vasg.warehouse.tables import Warehouse
from vasg.warehouse.upkeep import gc, history, rollback

WRITES = {"preprocess_reviews": ("reviews", "rejects"), "score": ("uncovered", "metrics")}


def publish(root: Path, stage: str, value: str) -> None:
    """Let a stage publish its two tables, with ``value`` in the first column."""
    with (
        Warehouse(root).lock(f"run-{value}") as warehouse,
        warehouse.publication(stage, f"run-{value}", "") as publication,
    ):
        for table in WRITES[stage]:
            schema = schemas.TABLES[table].arrow()
            columns = {field.name: pa.nulls(1, field.type) for field in schema} | {schema.names[0]: [value]}
            publication.write_arrow(table, pa.table(columns, schema=schema))
        publication.commit(f"mark-{value}", {})


def current(root: Path) -> dict[str, str]:
    """The value in each published table."""
    warehouse = Warehouse(root)
    return {table: warehouse.read_arrow(table)[0][0].as_py() for table in warehouse.catalog()["tables"]}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Reviews a, lists b, reviews c, lists d: catalogs 1 to 4."""
    for stage, value in zip(("preprocess_reviews", "score") * 2, "abcd", strict=True):
        publish(tmp_path, stage, value)
    return tmp_path


AT = [
    {},
    {"reviews": "a", "rejects": "a"},
    {"reviews": "a", "rejects": "a", "uncovered": "b", "metrics": "b"},
    {"reviews": "c", "rejects": "c", "uncovered": "b", "metrics": "b"},
    {"reviews": "c", "rejects": "c", "uncovered": "d", "metrics": "d"},
]


def test_rollback_goes_back_one_publication_each_time_and_changes_no_catalog(root: Path) -> None:
    before = {path.name: path.read_bytes() for path in (root / "catalog").iterdir()}
    for step in (3, 2, 1):
        rollback(root, "operator")
        assert current(root) == AT[step]
    with pytest.raises(InputMissing, match="there is no earlier version of these tables"):
        rollback(root, "operator")
    assert {name: (root / "catalog" / name).read_bytes() for name in before} == before
    assert Warehouse(root).catalog()["sequence"] == 7


def test_rollback_of_a_table_takes_what_its_stage_wrote_with_it_and_nothing_else(root: Path) -> None:
    assert rollback(root, "operator", ["rejects"]) == ["rejects", "reviews"]
    assert current(root) == AT[4] | AT[1]
    stages = Warehouse(root).catalog()["stages"]
    assert {name: stage["fingerprint"] for name, stage in stages.items()} == {
        "preprocess_reviews": "mark-a", "score": "mark-d",
    }  # fmt: skip
    with pytest.raises(InputMissing, match="no earlier version of rejects, reviews"):
        rollback(root, "operator", ["reviews"])
    assert rollback(root, "operator", ["metrics", "uncovered"]) == ["metrics", "uncovered"]
    assert current(root) == AT[2]


def test_rollback_to_a_catalog_can_itself_be_taken_back(root: Path) -> None:
    rollback(root, "operator", to=1)
    assert current(root) == AT[1]
    rollback(root, "operator", to=4)
    assert current(root) == AT[4]
    with pytest.raises(InputMissing, match="there is no catalog 9; those from 1 to 6 are kept"):
        rollback(root, "operator", to=9)


def test_what_is_damaged_does_not_come_back(root: Path) -> None:
    old = Warehouse(root, Warehouse(root).catalogs.all()[0]).files("reviews")[0]
    old.write_bytes(old.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"table reviews: .* bytes instead of"):
        rollback(root, "operator", ["reviews"])
    assert current(root) == AT[4]


@pytest.mark.parametrize("damaged", ["metrics", "reviews"])
def test_a_damaged_manifest_keeps_nobody_from_going_back(root: Path, damaged: str) -> None:
    (Warehouse(root).path(damaged) / MANIFEST).write_text("{")
    assert rollback(root, "operator", ["metrics"]) == ["metrics", "uncovered"]
    assert Warehouse(root).catalog()["tables"] == Warehouse(root).catalogs.all()[2]["tables"]
    with pytest.raises(InputMissing, match="table walks is not in"):
        rollback(root, "operator", ["walks"])


def test_gc_keeps_what_the_kept_catalogs_name_and_what_is_not_of_our_making(
    root: Path, tmp_path_factory: object
) -> None:
    rollback(root, "operator", ["reviews"])  # catalog 5 names the versions a and d
    (root / "tables" / "reviews" / "by_hand").mkdir()
    (root / "tables" / "reviews" / "by_hand" / "notes.txt").write_text("mine")
    half = root / "tables" / "walks" / "half"
    half.mkdir(parents=True)
    (half / STAGED).touch()
    elsewhere = root / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / MANIFEST).write_text("{}")
    (root / "tables" / "reviews" / "link").symlink_to(elsewhere)
    (root / "catalog" / ".00000006.json.0123abcd").write_text("half")
    for old in ("runs/r1", "runs/with_notes", "checkpoints/0123456789abcdef", "checkpoints/mine"):
        (root / old).mkdir(parents=True)
    for name in ("run.json", "config.toml", ".score.json.0123abcd"):  # the last left by a killed process
        (root / "runs" / "r1" / name).write_text("{}")
    (root / "runs" / "with_notes" / "notes.txt").write_text("mine")
    for path in root.glob("*/*"):
        os.utime(path, (1, 1)) if path.parent.name in ("runs", "checkpoints") else None
    for path in (root / "runs").glob("*/*"):
        os.utime(path, (1, 1))

    removed = gc(root, "operator", keep=1)
    assert (removed.catalogs, removed.versions, removed.runs, removed.checkpoints) == (4, 4, 1, 1)
    assert current(root) == AT[4] | AT[1]
    assert sorted(path.name for path in (root / "tables" / "reviews").iterdir() if "run" not in path.name) == [
        "by_hand", "link",
    ]  # fmt: skip
    assert (elsewhere / MANIFEST).exists()
    assert sorted(path.name for path in root.glob("*/*") if path.parent.name in ("runs", "checkpoints", "catalog")) == [
        "00000005.json", "00000006.json", "mine", "with_notes",
    ]  # fmt: skip
    assert not half.exists()
    with pytest.raises(InputMissing, match="no earlier version"):
        rollback(root, "operator")


def test_gc_that_keeps_everything_removes_nothing(root: Path) -> None:
    before = sorted(root.rglob("*"))
    removed = gc(root, "operator", keep=4)
    assert (removed.catalogs, removed.versions, removed.bytes) == (0, 0, 0)
    assert sorted(root.rglob("*")) == before
    gc(root, "operator", keep=2)
    rollback(root, "operator")
    assert current(root) == AT[3]


def test_gc_leaves_a_killed_run_its_checkpoint_and_what_to_go_back_to(root: Path) -> None:
    checkpoint = root / "checkpoints" / "0123456789abcdef"
    (checkpoint / "step-0000000001").mkdir(parents=True)
    for file in (root / "catalog").iterdir():
        os.utime(file, (1, 1))
    for path in (checkpoint, *checkpoint.iterdir()):
        os.utime(path, (2, 2))
    for keep, left in ((2, [3, 4, 5]), (1, [4, 5, 6])):
        kill_while_holding(root)  # the next one to take the lock publishes the same tables once more
        assert gc(root, "operator", keep).checkpoints == 0
        assert checkpoint.exists()
        assert [catalog["sequence"] for catalog in Warehouse(root).catalogs.all()] == left


@pytest.mark.parametrize("call", [lambda root: gc(root, "operator", 1), lambda root: rollback(root, "operator")])
def test_nothing_is_done_while_a_run_holds_the_lock(root: Path, call: object) -> None:
    assert callable(call)
    before = sorted(root.rglob("*"))
    with Warehouse(root).lock("night"), pytest.raises(TryLater, match="is held by run night"):
        call(root)
    assert sorted(root.rglob("*")) == before


def test_the_commands(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--root", str(root)]
    assert main(["rollback", *where, "reviews"]) == 0
    assert "rolled back: rejects, reviews" in capsys.readouterr().out
    assert main(["history", *where]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == history(root)
    assert [line.split()[0] for line in lines] == ["1", "2", "3", "4", "5"]
    assert "score  [run-d]: metrics, uncovered" in lines[3]
    assert "rollback of reviews  [rollback-" in lines[4]
    assert main(["gc", *where, "--keep", "2"]) == 0
    assert "removed 2 table versions" in capsys.readouterr().out
    assert main(["gc", *where, "--keep", "0"]) == 64
    assert main(["rollback", *where, "--to", "1", "reviews"]) == 64
    assert main(["gc", "--root", str(root / "nowhere")]) == 66
    assert not (root / "nowhere").exists()

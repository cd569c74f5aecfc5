"""What is around a job: its summary is whole or not there, and takes nothing back where it cannot be written."""

import json
from pathlib import Path

import pytest
from fault_server import rows

from vasg.failpoints import VARIABLE
from vasg.pipeline import job
from vasg.warehouse.tables import Warehouse


@pytest.mark.fault
def test_a_stage_that_is_published_has_not_failed_where_its_summary_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def body(this: job.Job) -> None:
        for table in this.stage.writes:
            this.publication.write_arrow(table, rows(table, "published"))

    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "runs").touch()  # in which there can be no folder
    (tmp_path / "raw.csv").touch()
    (tmp_path / "config.toml").write_text("[reviews]\npath = 'raw.csv'\n")
    arguments = ["--config", str(tmp_path / "config.toml"), "--root", str(tmp_path / "root")]
    for status in ("done", "up to date"):
        assert job.main("preprocess_reviews", body, arguments) == 0
        said = capsys.readouterr()
        assert "preprocess_reviews.json cannot be written: Not a directory" in said.out
        assert f"preprocess_reviews: {status} in " in said.out
        assert said.err == ""
    assert Warehouse(tmp_path / "root").has("reviews")


def test_nobody_sees_half_a_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "stage.json"
    job.keep(path, {"night": 1})
    monkeypatch.setenv(VARIABLE, "temporary-written:error")
    with pytest.raises(RuntimeError, match="failpoint temporary-written"):
        job.keep(path, {"night": 2})
    assert json.loads(path.read_text()) == {"night": 1}
    assert list(tmp_path.iterdir()) == [path]

"""What is around a job: a summary that cannot be written takes nothing back."""

from pathlib import Path

import pytest
from fault_server import rows

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

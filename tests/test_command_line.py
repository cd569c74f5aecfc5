"""What commands and jobs have in common on their command lines."""

import subprocess
import sys
from pathlib import Path

import pytest

from vasg import __version__
from vasg.cli import main
from vasg.command_line import this_run_id
from vasg.errors import UsageError
from vasg.warehouse.tables import Warehouse


def test_a_command_that_needs_neither_starts_without_pyspark_and_pyarrow() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "vasg.cli", "--version"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == __version__
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in answer.stderr.splitlines()}
    assert {"vasg", "argparse"} <= imported
    assert not {"pyspark", "pyarrow", "numpy"} & imported


def test_a_run_id_is_a_name_of_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    for given in ("20261001T000000Z", "2026-10-01T00:00:00+02:00", "night_7.b"):
        monkeypatch.setenv("VASG_RUN_ID", given)
        assert this_run_id() == given
    for given in ("01/10/2026", "night#1", "night?", "..", "_night", "the night", "night\n", "n" * 201):
        monkeypatch.setenv("VASG_RUN_ID", given)
        with pytest.raises(UsageError, match=r"VASG_RUN_ID '.*': folders are named after it"):
            this_run_id()


def test_a_bug_in_a_command_without_verbose_shows_its_trace(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(Warehouse, "path", lambda *_: 1 // 0)
    assert main(["path", "--root", str(tmp_path), "nodes"]) == 70
    said = capsys.readouterr().err
    assert "internal error: ZeroDivisionError" in said
    assert "Traceback" in said
    assert "--verbose" not in said


@pytest.mark.parametrize("number", ["x", "0", "-1", "1.5"])
def test_what_is_no_positive_number_is_said(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gc", "--root", "w", f"--keep={number}"]) == 64
    assert f"argument --keep: must be a whole number from 1 (found {number})" in capsys.readouterr().err

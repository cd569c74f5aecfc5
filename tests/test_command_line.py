"""What commands and jobs have in common on their command lines."""

import subprocess
import sys

import pytest

from vasg import __version__
from vasg.command_line import new_run_id
from vasg.errors import UsageError


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
        assert new_run_id() == given
    for given in ("01/10/2026", "night#1", "night?", "..", "_night", "the night", "night\n", "n" * 201):
        monkeypatch.setenv("VASG_RUN_ID", given)
        with pytest.raises(UsageError, match=r"VASG_RUN_ID '.*': folders are named after it"):
            new_run_id()

"""What commands and jobs have in common on their command lines."""

import subprocess
import sys

from vasg import __version__


def test_a_command_that_needs_neither_starts_without_pyspark_and_pyarrow() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "vasg.cli", "--version"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == __version__
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in answer.stderr.splitlines()}
    assert {"vasg", "argparse"} <= imported
    assert not {"pyspark", "pyarrow", "numpy"} & imported

"""What Python, Arrow and Java say when a file may not be opened becomes one line that names it, and its exit code."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from vasg.errors import DataError, InputMissing, OutputError, TryLater
from vasg.failures import expected

JAVA = "java.io.FileNotFoundException: {} (Permission denied)"
SAID: list[Callable[[str], Exception]] = [
    lambda path: PermissionError(13, "Permission denied", path),
    lambda path: PermissionError(
        f"[Errno 13] Failed to open local file '{path}'. Detail: [errno 13] Permission denied"
    ),
    lambda path: RuntimeError(f"Job aborted.\nPermissionError: [Errno 13] Permission denied: '{path}'\n at org.apache"),
    lambda path: RuntimeError(f"at /10.0.0.1 driver): {JAVA.format(path)}"),
    lambda path: RuntimeError(f"Encountered error while reading file file:///r.csv.\nCaused by: {JAVA.format(path)}"),
]


@pytest.mark.fault
@pytest.mark.parametrize("said", SAID)
@pytest.mark.parametrize("readable", [False, True])
def test_permission_denied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Callable[[str], Exception], readable: bool
) -> None:
    path = tmp_path / "reviews.csv"
    path.touch()
    monkeypatch.setattr(os, "access", lambda *_: readable)  # root may read everything
    found = expected(said(str(path)))
    assert type(found) is (OutputError if readable else InputMissing)
    assert str(found) == f"{path}: permission denied"


@pytest.mark.fault
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(1, "Operation not permitted", "/out/x"), "/out/x: permission denied"),
        (PermissionError(13, "Permission denied", "/it's/x"), "/it's/x: permission denied"),
        (PermissionError(13, "Permission denied", b"/x"), "/x: permission denied"),
        (PermissionError(13, "Permission denied"), "[Errno 13] Permission denied"),
    ],
)
def test_whatever_may_not_be_done_is_no_bug(error: Exception, said: str) -> None:
    found = expected(error)
    assert type(found) is OutputError
    assert str(found) == said


def test_a_disk_that_became_read_only_is_no_bug() -> None:
    found = expected(OSError(errno.EROFS, "Read-only file system", "/out/.lock"))
    assert type(found) is OutputError
    assert str(found) == "/out/.lock: the file system is read-only; mount it for writing again"
    for said in (
        "OSError: [Errno 30] Read-only file system: '/out/x'",
        "java.io.FileNotFoundException: /t (Read-only file system)",
    ):
        found = expected(RuntimeError(said))
        assert type(found) is OutputError
        assert str(found).startswith("output, spark.local.dir or TMPDIR: the file system is read-only;")


def test_a_file_that_was_removed_meanwhile_is_no_bad_data() -> None:
    found = expected(
        RuntimeError("[FAILED_READ_FILE.FILE_NOT_EXIST] Encountered error while reading file file:///a.jpg. File")
    )
    assert type(found) is TryLater
    assert str(found) == "/a.jpg was removed while it was to be read; run again"


@pytest.mark.parametrize("address", ["file:///data/t%2010%25.csv.", "file:/data/t%2010%25.csv."])
def test_files_are_called_by_their_names(address: str) -> None:
    found = expected(RuntimeError(f"Encountered error while reading file {address} SQLSTATE\nCaused by: a.b: no"))
    assert type(found) is DataError
    assert str(found).startswith("/data/t 10%.csv cannot be read: a.b: no;")

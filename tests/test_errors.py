"""What Python, Arrow and Java say when a file may not be opened becomes one line that names it, and its exit code."""

import os
from pathlib import Path

import pytest

from vasg.errors import InputMissing, OutputError, expected

SAID = [
    PermissionError(13, "Permission denied", "{}"),
    PermissionError("[Errno 13] Failed to open local file '{}'. Detail: [errno 13] Permission denied"),
    RuntimeError("Job aborted.\nPermissionError: [Errno 13] Permission denied: '{}'\n at org.apache.spark"),
    RuntimeError("at /10.0.0.1 driver): java.io.FileNotFoundException: {} (Permission denied)"),
    RuntimeError(
        "Encountered error while reading file file:///r.csv.\nCaused by: java.io.FileNotFoundException: {} (Permission denied)"
    ),
]


@pytest.mark.fault
@pytest.mark.parametrize("error", SAID)
@pytest.mark.parametrize("readable", [False, True])
def test_permission_denied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, readable: bool) -> None:
    path = tmp_path / "reviews.csv"
    path.touch()
    monkeypatch.setattr(os, "access", lambda *_: readable)  # root may read everything
    text = [part.format(path) if isinstance(part, str) else part for part in error.args]
    named = PermissionError(13, "Permission denied", str(path)) if len(text) > 1 else type(error)(*text)
    found = expected(named)
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

"""Files that survive a crash: after these functions return, the file is on disk; before, nobody sees half of it."""

import hashlib
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from vasg.errors import OutputError
from vasg.failpoints import failpoint


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_directory(directory: Path) -> Path:
    """Create a directory and those above it. Raises OutputError when that is not possible."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{directory} cannot be created: {error.strerror}") from None
    return directory


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file, then put it in place of ``path`` in one step."""
    temporary = _temporary(path)
    try:
        write(temporary)
        sync(temporary)
        failpoint("temporary-written")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


def create_exclusively(path: Path, text: str) -> bool:
    """Create a file with all its content at once, or return False if it exists."""
    temporary = _temporary(path)
    try:
        temporary.write_text(text, encoding="utf-8")
        sync(temporary)
        failpoint("temporary-written")
        os.link(temporary, path)  # unlike rename, fails where the name is taken
        failpoint("name-taken")
    except FileExistsError:
        if temporary.stat().st_nlink == 1:  # 2: NFS made the link, lost its answer, and was asked again
            return False
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)
    return True


def sync(path: Path) -> None:
    """Make sure that a file, or the list of files in a directory, is on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")


def now() -> str:
    """The time, UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

"""Where Numba keeps what it has compiled: in a folder for the kernels as they are now.

It compares a kernel with its own file alone, so that one would outlive a change of what it calls. And it gives up where
neither the package nor a home can be written, as for the user of a container.
"""

import atexit
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

_VARIABLE, _PREFIX = "NUMBA_CACHE_DIR", "vasg-kernels-"
_PACKAGE = Path(__file__).parent


def use() -> None:
    """Set the folder for this process and those it starts, before it imports Numba; one that somebody chose stays."""
    given = os.environ.get(_VARIABLE, "")
    if (given and not Path(given).name.startswith(_PREFIX)) or not _PACKAGE.is_dir():
        return  # inside a zip (--py-files) Numba takes the home
    os.environ[_VARIABLE] = str(_folder(_PREFIX + _version()))


def _version() -> str:
    """Hash of all modules with kernels."""
    digest = hashlib.sha256()
    for source in sorted(_PACKAGE.rglob("*.py")):
        text = source.read_bytes()
        if b"numba" in text:
            digest.update(text)
    return digest.hexdigest()[:12]


def _folder(name: str) -> Path:
    """One that is kept beside the package or in the user's cache, otherwise one for this process alone."""
    for parent in (_PACKAGE / "__pycache__", Path("~/.cache/vasg").expanduser()):
        folder = parent / name
        try:
            new = not folder.exists()
            folder.mkdir(0o700, parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            others = parent.glob(f"{_PREFIX}*") if new and parent.parent == _PACKAGE else ()
            for other in set(others) - {folder}:  # of earlier versions; the user's cache may serve several
                shutil.rmtree(other, ignore_errors=True)
            return folder
    # not a fixed name that others could take: Numba runs what it finds there
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder

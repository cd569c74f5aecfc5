"""Where Numba keeps what it has compiled: in a folder for the kernels as they are now.

It compares a kernel with its own file alone, so that one would outlive a change of what it calls. And it gives up where
neither the package nor a home can be written, as for the user of a container.
"""

import hashlib
import os
import stat
import tempfile
from pathlib import Path

_VARIABLE, _PREFIX = "NUMBA_CACHE_DIR", "vasg-kernels-"
_PACKAGE = Path(__file__).parents[1]


def use() -> None:
    """Set the folder for this process and those it starts, before it imports Numba; one that somebody chose stays."""
    given = os.environ.get(_VARIABLE, "")
    if (given and not Path(given).name.startswith(_PREFIX)) or not _PACKAGE.is_dir():
        return  # inside a zip (--py-files) Numba takes the home
    os.environ[_VARIABLE] = str(_folder(_PREFIX + _version()))


def _version() -> str:
    """Hash of all modules with kernels."""
    digest = hashlib.sha256()
    for folder, _, names in sorted(os.walk(_PACKAGE)):
        for name in sorted(names):
            source = Path(folder, name).read_bytes() if name.endswith(".py") else b""
            if b"numba" in source or b"machine.compiled" in source:
                digest.update(source)
    return digest.hexdigest()[:12]


def _folder(name: str) -> Path:
    """Beside the package, in the user's cache, or among temporary files; shared by all processes of the user."""
    home = Path(os.path.expanduser("~/.cache/vasg"))  # pathlib raises where nobody knows of a home
    for parent in (_PACKAGE / "__pycache__", home):
        folder = parent / name
        if parent.is_absolute() and _made(folder) and os.access(folder, os.W_OK):
            return folder
    folder = Path(tempfile.gettempdir(), f"{name}-{os.getuid()}")
    facts = os.lstat(folder) if _made(folder) else None
    if facts and stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid() and not facts.st_mode & 0o077:
        return folder
    return Path(tempfile.mkdtemp(prefix=_PREFIX))  # Numba runs what it finds: not in a folder that others have made


def _made(folder: Path) -> bool:
    try:
        folder.mkdir(0o700, parents=True, exist_ok=True)
    except OSError:
        return False
    return True

"""What a result was made with: the code, and the versions and the machine that are kept beside every stage's summary."""

import hashlib
import importlib.metadata
import importlib.resources
import platform
from collections.abc import Iterator
from importlib.resources.abc import Traversable
from pathlib import Path

from vasg import __version__
from vasg.machine.cores import cores

_PACKAGES = ("pyspark", "torch", "horovod", "petastorm", "pyarrow", "numpy")
# What no stage uses: it reads finished tables, puts earlier ones back, or makes what is read.
_READERS = ("report", "analysis", "sweep", "demo", "cli.py", "choices.py", "doctor.py", "warehouse/upkeep.py")


def machine() -> str:
    """Processor and cores."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{name}, {cores()} cores"


def made_with() -> dict[str, str]:
    """Versions by package, and the machine of the calling process; imports none of the packages."""
    versions = {package: _version(package) for package in _PACKAGES}
    return {"vasg": __version__, "python": platform.python_version(), **versions, "machine": machine()}


def code_version() -> str:
    """Hash of the package's sources: another version of the code never passes its results off as this one's.

    What only reads finished tables decides none of them.
    """
    digest = hashlib.sha256()
    for source in _sources(importlib.resources.files("vasg"), leave_out=_READERS):
        digest.update(source)
    return digest.hexdigest()


def _sources(folder: Traversable, leave_out: tuple[str, ...], prefix: str = "") -> Iterator[bytes]:
    """All Python files below a folder of the package, which may be inside a zip (``--py-files``)."""
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        name = prefix + entry.name
        if name in leave_out:
            continue
        if entry.is_dir():
            yield from _sources(entry, leave_out, f"{name}/")
        elif entry.name.endswith(".py"):
            yield entry.read_bytes()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # not every job needs every package
        return "not installed"

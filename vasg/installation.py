"""What a result was made with: the versions and the machine that are kept beside every stage's summary."""

import importlib.metadata
import os
import platform
from pathlib import Path

from vasg import __version__

_PACKAGES = ("pyspark", "torch", "horovod", "petastorm", "pyarrow", "numpy")


def machine() -> str:
    """Processor and cores."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{name}, {os.cpu_count()} cores"


def made_with() -> dict[str, str]:
    """Versions by package, and the machine of the calling process; imports none of the packages."""
    versions = {package: _version(package) for package in _PACKAGES}
    return {"vasg": __version__, "python": platform.python_version(), **versions, "machine": machine()}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # not every job needs every package
        return "not installed"

"""``vasg doctor``: is everything here that the pipeline needs?"""

import contextlib
import importlib
import importlib.metadata
import io
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from vasg.errors import ConfigurationError
from vasg.machine.cores import cores

JAVA_VERSIONS = (17, 21)
_SETUP = "run make setup"
_GIB = 2**30


def doctor() -> int:
    """Print one line a check and how to mend what is missing; 0 when all is well, 78 otherwise."""
    failures = 0
    for name, check in CHECKS.items():
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # libraries greet when they are imported
                found = check()
            print(f"ok       {name:<10} {found}")
        except ConfigurationError as problem:
            failures += 1
            print(f"missing  {name:<10} {problem}")
    if failures:
        print(
            f"vasg doctor: {failures} of {len(CHECKS)} checks failed; each line above says how to mend it",
            file=sys.stderr,
        )
    return ConfigurationError.exit_code if failures else 0


def check_python() -> str:
    """Python 3.11: what the pinned PyArrow and Horovod are built for, and the same on every executor."""
    if sys.version_info[:2] != (3, 11):
        raise ConfigurationError(
            f"Python {platform.python_version()} at {sys.executable}; {_SETUP} with Python 3.11 installed"
        )
    return f"{platform.python_version()} at {sys.executable}"


def check_java() -> str:
    """The Java that Spark's scripts will start: JAVA_HOME if set, otherwise the one on PATH."""
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home, "bin", "java")) if home else shutil.which("java")
    mend = "install Java 17 (as root: apt-get install -y openjdk-17-jre-headless) or set JAVA_HOME to a Java 17 or 21"
    if not java or not os.access(java, os.X_OK):
        raise ConfigurationError(f"no Java at {java}; {mend}" if java else f"no java on PATH and no JAVA_HOME; {mend}")
    try:
        answer = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    except OSError as error:  # a folder, or of another processor
        raise ConfigurationError(f"{java} cannot be run: {error.strerror}; {mend}") from None
    version = re.search(r'version "((\d+)[^"]*)"', answer.stderr)
    if version is None:
        raise ConfigurationError(f"{java} does not tell its version; {mend}")
    if int(version.group(2)) not in JAVA_VERSIONS:
        raise ConfigurationError(f"{java} is Java {version.group(1)}, Spark needs 17 or 21; {mend}")
    return f"{version.group(1)} at {java}"


def check_spark() -> str:
    """PySpark, and that a SPARK_HOME in the environment does not make its scripts run another Spark."""
    version = _version_of("pyspark")
    home = os.environ.get("SPARK_HOME")
    if home:
        jars = sorted(Path(home, "jars").glob("spark-core_*.jar"))
        found = jars[0].stem.rpartition("-")[2] if jars else "nothing"
        if found != version:
            raise ConfigurationError(
                f"SPARK_HOME={home} holds Spark {found}, but pyspark here is {version}; unset SPARK_HOME"
            )
    return version + (f", SPARK_HOME={home}" if home else "")


def check_torch() -> str:
    """PyTorch, and the GPU if there is one; training also runs without."""
    version = _version_of("torch")
    import torch

    return f"{version}, {torch.cuda.get_device_name() if torch.cuda.is_available() else 'no GPU: training runs on CPU'}"


def check_horovod() -> str:
    """Horovod, built for this very torch and with Gloo, which needs no MPI installation."""
    version = _version_of("horovod", "horovod.torch")
    import horovod.torch as hvd

    if not hvd.gloo_built():
        raise ConfigurationError(f"Horovod {version} was built without Gloo; pip uninstall horovod, then {_SETUP}")
    return f"{version} with Gloo{' and NCCL' if hvd.nccl_built() else ''}"


def check_petastorm() -> str:
    """Petastorm and PyArrow, whose newer versions lack the file system API that Petastorm reads through."""
    arrow = _version_of("pyarrow")
    if arrow.partition(".")[0] != "14":
        raise ConfigurationError(f"PyArrow {arrow}, Petastorm needs 14; {_SETUP}")
    return f"{_version_of('petastorm', 'petastorm.reader')} on PyArrow {arrow}"


def check_numba() -> str:
    """Numba, which compiles the inner loops, and can keep them."""
    _version_of("numba")  # by itself: our module may have been imported while numba was there
    return _version_of("numba", "vasg.randomness")


def check_disk() -> str:
    """Space for tables and shuffles in the working directory."""
    free = shutil.disk_usage(Path.cwd()).free / _GIB
    if free < 2:
        raise ConfigurationError(f"{free:.1f} GiB free in {Path.cwd()}, the demo needs 2; free some or work elsewhere")
    return f"{free:,.0f} GiB free in {Path.cwd()}"


def check_memory() -> str:
    """Memory of the machine: Spark's driver and the Python workers share it in local mode."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / _GIB
    if total < 4:
        raise ConfigurationError(f"{total:.1f} GiB of memory, the demo needs 4; use a larger machine")
    return f"{total:,.0f} GiB, {cores()} cores"


def _version_of(package: str, module: str | None = None) -> str:
    """Version of a package after importing it (or the ``module`` of it that we use)."""
    try:
        importlib.import_module(module or package)
    except Exception as error:  # a broken native library fails in any way it likes; each is the answer to the check
        raise ConfigurationError(f"{package} cannot be imported ({type(error).__name__}: {error}); {_SETUP}") from error
    return importlib.metadata.version(package)


CHECKS: dict[str, Callable[[], str]] = {
    "Python": check_python,
    "Java": check_java,
    "Spark": check_spark,
    "PyTorch": check_torch,
    "Horovod": check_horovod,
    "Petastorm": check_petastorm,
    "Numba": check_numba,
    "disk": check_disk,
    "memory": check_memory,
}

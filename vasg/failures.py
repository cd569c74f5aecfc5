"""What the errors of others mean: of Spark, Java, Arrow, numpy and torch, by what they say."""

import errno
import os
import re
from urllib.parse import unquote

from vasg.errors import (
    ConfigurationError,
    DataError,
    InputMissing,
    OutputError,
    TryLater,
    VasgError,
    error_named,
    first_line,
)
from vasg.spark.paths import without_scheme

# How Java, Arrow, numpy and torch say so.
_DENIED = (
    r"(?i)permission denied[^\n]*?: '([^'\n]+)'"
    r"|local file '([^'\n]+)'[^\n]*permission denied"
    r"|: (/[^\n]+) \(permission denied\)"
)
_NO_OPENER = r"No FileSystem for scheme|Class org\.apache\.hadoop\.fs\.\S+ not found"
_NO_SPACE = r"No space left on device|\d+ requested and \d+ written|PytorchStreamWriter failed writing|unexpected pos \d+ vs \d+"

MEND = (
    "install this package with the same dependencies at the same path on every host (executors take the driver's "
    "Python), or add --py-files dist/vasg.zip where only the package is missing"
)

# What Spark says of executors that cannot do the work, and what we make of it.
_FAULTS = {
    r"PYTHON_VERSION_MISMATCH\] Python in worker has different version:? ([\d.]+)": "the executors run Python {}",
    r'Cannot run program "([^"]*python[^"]*)"': "the executors have no Python at {}",
    r"ModuleNotFoundError: No module named '([^']+)'": "the executors' Python has no module {}",
}


def expected(error: BaseException) -> VasgError | None:
    """The expected failure behind an exception, also when it happened in a Spark task; None for our own bugs."""
    if isinstance(error, VasgError):
        return error
    text = str(error)
    raised = re.search(r"vasg\.errors\.(\w+): (.*)", text)
    if raised:
        return error_named(raised.group(1), raised.group(2).strip())
    named = re.search(_DENIED, text)
    if named:
        return _denied(str(named[named.lastindex or 0]))
    if isinstance(error, PermissionError):
        return _denied(os.fsdecode(error.filename)) if error.filename else OutputError(first_line(error))
    unreadable = re.search(r"Encountered error while reading file\s+(\S+)", text)
    if unreadable:
        path = without_scheme(unquote(unreadable.group(1).rstrip(".")))
        if "FILE_NOT_EXIST" in text:
            return TryLater(f"{path} was removed while it was to be read; run again")
        return DataError(f"{path} cannot be read: {_first_cause(text)}; replace the file and run again")
    colon = re.search(r"Relative path in absolute URI: (\S+)", text)
    if colon:  # Hadoop's, of each name that it tries to match
        return DataError(
            f"a pattern cannot match a name with a colon, {colon.group(1)}: name its folder, or rename it (an address has ://)"
        )
    if re.search(_NO_OPENER, text):
        return ConfigurationError(
            f"Spark cannot open such an address ({java_cause(error)}); name a file, or give Spark the jar that opens it"
        )
    if "Read-only file system" in text:
        place = getattr(error, "filename", None) or "output, spark.local.dir or TMPDIR"
        return OutputError(f"{place}: the file system is read-only; mount it for writing again")
    if re.search(_NO_SPACE, text) or (
        isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    ):
        return OutputError("no space left on the device (output, spark.local.dir or TMPDIR); free some and run again")
    return executor_fault(text)


def _denied(path: str) -> VasgError:
    unreadable_input = os.path.exists(path) and not os.access(path, os.R_OK)
    return (InputMissing if unreadable_input else OutputError)(f"{path}: permission denied")


def executor_fault(text: str) -> ConfigurationError | None:
    """The refusal behind an error of a Spark task, when it is that executors are not set up as the driver is."""
    for pattern, meaning in _FAULTS.items():
        if found := re.search(pattern, text):
            return ConfigurationError(f"{meaning.format(found.group(1))}; {MEND}")
    return None


def java_cause(error: object) -> str:
    """What Java said, not our call of it, in one line."""
    return first_line(re.sub(r"^An error occurred while calling \S+\n: ", "", str(error).strip()))


def _first_cause(text: str) -> str:
    causes = re.findall(r"Caused by: (\S+: [^\n]*)", text)
    return causes[-1] if causes else first_line(text)

"""Every way the product can refuse to go on, each with the exit code that schedulers act on.

The message is one readable line: what is wrong, where, and what to do next.
"""

import errno
import os
import re
from urllib.parse import unquote

# How Java, Arrow, numpy and torch say so.
_DENIED = (
    r"(?i)permission denied[^\n]*?: '([^'\n]+)'"
    r"|local file '([^'\n]+)'[^\n]*permission denied"
    r"|: (/[^\n]+) \(permission denied\)"
)
_NO_OPENER = r"No FileSystem for scheme|Class org\.apache\.hadoop\.fs\.\S+ not found"
_NO_SPACE = r"No space left on device|\d+ requested and \d+ written|PytorchStreamWriter failed writing|unexpected pos \d+ vs \d+"


class VasgError(Exception):
    """Base of all expected failures. ``exit_code`` follows sysexits.h where it has a meaning for us."""

    exit_code = 70


class UsageError(VasgError):
    """The command line is wrong."""

    exit_code = 64


class DataError(VasgError):
    """Data breaks a contract, or a quality gate refuses it."""

    exit_code = 65


class InputMissing(VasgError):
    """A file or a table that a stage reads is not there."""

    exit_code = 66


class OutputError(VasgError):
    """Output cannot be written: no space, no permission."""

    exit_code = 73


class TryLater(VasgError):
    """Nothing is wrong with the request, but it cannot be served now."""

    exit_code = 75


class ConfigurationError(VasgError):
    """The configuration, or the machine it asks for, is not valid."""

    exit_code = 78


_KINDS = {
    kind.__name__: kind for kind in (UsageError, DataError, InputMissing, OutputError, TryLater, ConfigurationError)
}
EXIT_CODES = frozenset(kind.exit_code for kind in (VasgError, *_KINDS.values()))


def error_named(name: str, message: str) -> VasgError:
    """The error of that class name; used to carry an error over a process boundary (Spark tasks, workers)."""
    return _KINDS.get(name, VasgError)(message)


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
    unreadable = re.search(r"Encountered error while reading file\s+(?:file:(?://)?)?(\S+)", text)
    if unreadable:
        return DataError(
            f"{unquote(unreadable.group(1).rstrip('.'))} cannot be read: {_first_cause(text)}; replace the file and run again"
        )
    colon = re.search(r"Relative path in absolute URI: (\S+)", text)
    if colon:  # Hadoop's, of each name that it tries to match
        return DataError(
            f"a pattern cannot match a name with a colon, {colon.group(1)}: name its folder, or rename it (an address has ://)"
        )
    if re.search(_NO_OPENER, text):
        return ConfigurationError(
            f"Spark cannot open such an address ({java_cause(error)}); name a file, or give Spark the jar that opens it"
        )
    if re.search(_NO_SPACE, text) or (
        isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    ):
        return OutputError("no space left on the device (output, spark.local.dir or TMPDIR); free some and run again")
    return None


def _denied(path: str) -> VasgError:
    unreadable_input = os.path.exists(path) and not os.access(path, os.R_OK)
    return (InputMissing if unreadable_input else OutputError)(f"{path}: permission denied")


def java_cause(error: object) -> str:
    """What Java said, not our call of it, in one line."""
    return first_line(re.sub(r"^An error occurred while calling \S+\n: ", "", str(error).strip()))


def _first_cause(text: str) -> str:
    causes = re.findall(r"Caused by: (\S+: [^\n]*)", text)
    return causes[-1] if causes else first_line(text)


def first_line(error: object) -> str:
    """What an error says, in one line; of one that says nothing, what it is."""
    name = type(error).__name__ if isinstance(error, BaseException) else ""
    return next(iter(str(error).strip().splitlines()), name)

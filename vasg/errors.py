"""Every way the product can refuse to go on, each with the exit code that schedulers act on.

The message is one readable line: what is wrong, where, and what to do next.
"""


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


def first_line(error: object) -> str:
    """What an error says, in one line; of one that says nothing, what it is."""
    name = type(error).__name__ if isinstance(error, BaseException) else ""
    return next(iter(str(error).strip().splitlines()), name)

"""What all commands and jobs have in common: the options they share, run ids, and how they say what went wrong."""

import argparse
import os
import re
import sys
import traceback
import uuid
from datetime import UTC, datetime
from typing import NoReturn

from vasg.errors import UsageError
from vasg.failures import expected, java_cause

_RUN_ID = r"[A-Za-z0-9][A-Za-z0-9._+:-]{0,199}"


class Parser(argparse.ArgumentParser):
    """argparse whose complaints are a UsageError (64) in one line."""

    def error(self, message: str) -> NoReturn:
        """Called by argparse for a wrong command line."""
        raise UsageError(f"{message}; {' '.join(self.format_usage().split())}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that ``vasg run`` and the jobs share."""
    parser.add_argument("--config", required=True, metavar="FILE.toml")
    parser.add_argument("--root", required=True, metavar="DIR", help="the warehouse directory")
    parser.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="override the configuration"
    )
    parser.add_argument("--verbose", action="store_true", help="show the trace of an error")


def this_run_id() -> str:
    """The id of this run: given by ``vasg run`` to the jobs it starts, otherwise new.

    Raises UsageError for one that cannot be part of the name of a folder, as versions of tables have it.
    """
    given = os.environ.get("VASG_RUN_ID") or new_run_id()
    if not re.fullmatch(_RUN_ID, given):
        raise UsageError(
            f"VASG_RUN_ID {given!r}: folders are named after it; take up to 200 letters (a to z), digits and . _ - + :, "
            "beginning with a letter or a digit"
        )
    return given


def new_run_id(command: str = "") -> str:
    """A run id that no other process has, and so shares no lock with."""
    return f"{command}{'-' if command else ''}{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}"


def complain(who: str, error: Exception, verbose: bool | None = None) -> int:
    """Say on stderr, in one line, what went wrong, and the trace if ``verbose``; returns the exit code.

    Commands without --verbose leave it out: a bug of ours shows its trace then.
    """
    known = expected(error)
    if verbose is None:
        verbose = known is None
    if known is None:
        hint = "" if verbose else " (--verbose shows the trace)"
        message = f"internal error: {type(error).__name__}: {java_cause(error)}{hint}"
    else:
        message = str(known)
    # File names and ids in it are other people's text: nothing in them ends the line or steers the terminal.
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in message)
    print(f"{who}: {shown}", file=sys.stderr)
    if verbose:
        traceback.print_exception(error, file=sys.stderr)
    return 70 if known is None else known.exit_code

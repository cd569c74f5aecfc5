"""Before a job begins: do the executors have the Python, the packages and the code that the driver has?"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from vasg.errors import ConfigurationError
from vasg.failures import MEND
from vasg.installation import code_version, made_with

if TYPE_CHECKING:
    from pyspark import SparkContext


def preflight(context: SparkContext) -> None:
    """Let one task for each core that is there now look what it runs on.

    Raises ConfigurationError where that is another version of a package, or of this code, than the driver's. Executors
    that come later are not asked; what they lack shows in the errors of tasks (``vasg.failures``), here as later.
    """
    expected = _facts()
    cores = context.defaultParallelism
    seen = context.parallelize(range(cores), cores).mapPartitions(_look).collect()
    for host, found in sorted(set(seen)):
        differing = [
            f"{name} {there or 'none'} instead of {here or 'none'}"
            for (name, here), (_, there) in zip(expected, found, strict=True)
            if here != there
        ]
        if differing:
            raise ConfigurationError(f"an executor on {host} has {', '.join(differing)}; {MEND}")


def _look(_: Iterable[int]) -> Iterator[tuple[str, tuple[tuple[str, str], ...]]]:
    yield socket.gethostname(), _facts()


def _facts() -> tuple[tuple[str, str], ...]:
    """Names and versions; a build's own label (torch 2.13.0+cu128) makes none."""
    versions = {name: version.partition("+")[0] for name, version in made_with().items() if name != "machine"}
    return (*versions.items(), ("vasg's code", code_version()[:12]))

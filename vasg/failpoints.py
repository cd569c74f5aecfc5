"""Places where a test can make this process fail: ``VASG_FAILPOINT=NAME:ACTION`` or ``NAME:ACTION@PASSAGE``.

ACTION is ``kill`` (SIGKILL), ``term`` (SIGTERM), ``stop`` (SIGSTOP, until somebody continues it) or ``error``
(RuntimeError); PASSAGE counts from 1, the default. Unset, as always outside tests, a failpoint is one look at the environment.
"""

import os
import signal
from collections import Counter

VARIABLE = "VASG_FAILPOINT"

# Every point and the state it leaves behind; docs/reliability.md shows the same list.
POINTS = {
    "lock-taken": "the lock file exists, nothing was done yet",
    "lock-released": "the lock file is gone, everything was done",
    "temporary-written": "a file's whole content is on disk under its temporary name, not yet under its own",
    "name-taken": "a lock or a catalog is there for all to see, and still has its temporary name as well",
    "version-created": "a version directory with its marker exists and is empty",
    "table-written": "the files of a table are there, its manifest is not",
    "manifest-written": "one table is complete, and nobody knows it",
    "before-commit": "all tables of the stage are complete, the catalog is the old one",
    "committed": "the catalog is the new one, the markers are still there",
    "marker-removed": "the marker of one of the published tables is gone",
    "version-emptied": "a version that is being removed holds nothing but its marker",
    "catalogs-removed": "gc has removed old catalogs, not yet the versions that only they named",
    "checkpoint-share-written": "a worker's share of a checkpoint is on disk",
    "checkpoint-common-written": "what is common to the workers is on disk; the checkpoint does not count yet",
    "checkpoint-complete": "the checkpoint counts; older ones are still there",
}

_passages: Counter[str] = Counter()


def failpoint(name: str) -> None:
    """Fail here if the environment says so."""
    wanted = os.environ.get(VARIABLE)
    if not wanted:
        return
    assert name in POINTS, f"failpoint {name} is not in POINTS"
    point, _, action = wanted.partition(":")
    action, _, passage = action.partition("@")
    if point != name:
        return
    _passages[name] += 1
    if _passages[name] != int(passage or 1):
        return
    if action == "error":
        raise RuntimeError(f"failpoint {name}")
    os.kill(os.getpid(), {"kill": signal.SIGKILL, "term": signal.SIGTERM, "stop": signal.SIGSTOP}[action])

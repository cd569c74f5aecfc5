"""How many cores this process may use: in a container often a few of the many that its host has."""

import os
from functools import cache
from pathlib import Path

# of a container: microseconds of all cores in a period, or "max", and the period
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


@cache
def cores() -> int:
    """Those that the scheduler gives it, and no more than the container's quota pays for; at least one."""
    given = len(os.sched_getaffinity(0))
    try:
        quota, period = _QUOTA.read_text(encoding="ascii").split()
    except FileNotFoundError:  # no container, or one of the older cgroups
        return given
    return given if quota == "max" else min(given, max(1, -(-int(quota) // int(period))))

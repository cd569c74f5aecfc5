"""PySpark from its installed package, not from the copy in a zip that spark-submit puts in front of it.

A zip has no room for compiled bytecode, so that each process that imports PySpark from it takes .4 s longer; and before
every task PySpark calls ``importlib.invalidate_caches``, which reads the directory of the zip again, .1 s each time.
"""

import sys
from pathlib import Path


def prefer(paths: list[str]) -> list[str]:
    """``sys.path`` without zips that lie inside a PySpark package on the same path: the package is what they hold."""

    def is_copy(path: str) -> bool:
        zipped = Path(path)
        if zipped.suffix != ".zip" or zipped.parent.parts[-3:] != ("pyspark", "python", "lib"):
            return False
        site = zipped.parents[3]
        name = zipped.name.partition("-")[0].removesuffix(".zip")  # pyspark.zip, py4j-0.10.9.9-src.zip
        return str(site) in paths and (site / name / "__init__.py").exists()

    return [path for path in paths if not is_copy(path)]


def use() -> None:
    """Make it so in this process, before it imports PySpark."""
    sys.path[:] = prefer(sys.path)

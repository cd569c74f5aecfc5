"""The process that Spark forks its Python workers from: what all of them need is imported here, once.

``spark_conf/local.conf`` names it as ``spark.python.daemon.module``. It speaks Spark's own protocol on stdout, so nothing
here may print.
"""

import gc

import numba  # noqa: F401
import pyarrow.parquet  # noqa: F401
from pyspark import daemon

if __name__ == "__main__":
    gc.freeze()  # workers collect garbage after each task: what was imported is none
    daemon.manager()  # type: ignore[no-untyped-call]

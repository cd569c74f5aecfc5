"""The Spark session of a job: started in the background, checked, and ended without waiting for what nobody needs."""

import os
import re
import sys
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Thread
from typing import Any

from pyspark.sql import SparkSession

from vasg.errors import ConfigurationError, TryLater
from vasg.failures import expected, java_cause
from vasg.spark.preflight import preflight

# Results depend on these, so they are set here and not left to a properties file.
SESSION = {
    "spark.sql.ansi.enabled": "true",  # Spark 3 and 4 differ in the default; errors beat silent nulls
    "spark.sql.session.timeZone": "UTC",
    "spark.hadoop.parquet.page.verify-checksum.enabled": "true",
    "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
    "spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
    "spark.executorEnv.LC_ALL": "C.UTF-8",  # as for the driver, see _check_file_names
    # Files without Hadoop's .crc beside them: it cannot make that name of one with a colon, and believes a stale one. Of
    # SQL alone: as spark.hadoop.… it would reach YARN's client, which takes no other class than the default. Not from
    # the cache: spark-submit may have put that default there.
    "fs.file.impl": "org.apache.hadoop.fs.RawLocalFileSystem",
    "fs.file.impl.disable.cache": "true",
}

# No later run takes it. A cluster that gave up while Spark starts fails a requirement of its own, of the same class.
_WRONG_SETTING = (
    r"Could not parse Master URL|IllegalArgumentException: (?!requirement failed)|requirement failed: A secret key"
    r"|NumberFormatException"
)

_ending: list[Thread] = []  # PySpark's part of sessions that Java has stopped


class Session:
    """At most one session; ``settings`` may change until it starts."""

    def __init__(self, name: str) -> None:
        self._name, self.settings = name, dict(SESSION)
        self._started: Future[SparkSession] | None = None
        self._own: SparkSession | None = None

    def start(self) -> Future[SparkSession]:
        """Start it in the background: seconds in which a job can do what needs no Spark. A start that failed is repeated."""
        if self._started is None or (self._started.done() and self._started.exception()):
            wait_for_ended()
            own = self._own is not None or SparkSession.getActiveSession() is None  # a caller's is not ours to stop
            pool = ThreadPoolExecutor(1)
            self._started = pool.submit(self._start, own)
            pool.shutdown(wait=False)
        return self._started

    def _start(self, own: bool) -> SparkSession:
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # executors would take their hosts' python3
        builder = SparkSession.builder.appName(self._name)
        for key, value in self.settings.items():
            builder = builder.config(key, value)
        session = None
        try:
            session = builder.getOrCreate()
            if own:
                self._own = session
            _check_file_names(session)
            if own:
                preflight(session.sparkContext)
        except Exception as error:
            known = expected(error)
            if known:
                raise known from error
            if session and not session.sparkContext._jsc.sc().isStopped():
                raise
            if re.search(_WRONG_SETTING, str(error)):
                raise ConfigurationError(f"Spark does not accept its settings: {java_cause(error)}") from error
            # Spark gives up on a cluster by ending the session, from a thread of its own, while we make it or use it
            raise TryLater(
                f"Spark could not start, can spark.master be reached, and has it the same secret? ({java_cause(error)})"
            ) from error
        return session

    def stop(self) -> None:
        """Stop it if it was started here; after this no task runs any more.

        PySpark then waits up to a second for a thread of its own that sleeps: in the background, because a job is over.
        """
        if self._started:
            wait([self._started])
        if self._own:
            self._own.sparkContext._jsc.stop()
            thread = Thread(target=self._own.stop, daemon=True)
            thread.start()
            _ending.append(thread)
            self._own = None


def _check_file_names(session: SparkSession) -> None:
    """Raise ConfigurationError where Java's file names are not UTF-8: it would pass over those that it cannot read."""
    jvm: Any = session.sparkContext._jvm
    encoding = jvm.System.getProperty("sun.jnu.encoding")
    if encoding != "UTF-8":
        raise ConfigurationError(
            f"Java takes file names for {encoding} and would not see all files; set LC_ALL=C.UTF-8 before spark-submit"
        )


def wait_for_ended() -> None:
    """Wait until PySpark has let go of sessions that were ended: before that, the next one asked for would be one of them."""
    while _ending:
        _ending.pop().join()

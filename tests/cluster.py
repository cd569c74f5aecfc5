"""A real standalone cluster on this machine, from pip's pyspark: one master, two workers of one core, authenticated."""

import re
import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from processes import descendants

from vasg.pipeline.runner import HOME, environment

WAIT_SECONDS = 120


@dataclass(frozen=True)
class Cluster:
    """The private copy of spark_conf/standalone.conf that leads to the cluster, its workers by folder, how long it took."""

    properties: Path
    workers: dict[Path, subprocess.Popen[bytes]]
    seconds: float

    def environment(self) -> dict[str, str]:
        """Environment of a spark-submit that stays on this machine's loopback interface; nobody chose the executors' Python."""
        own = environment() | {"SPARK_LOCAL_IP": "127.0.0.1"}
        del own["PYSPARK_PYTHON"]
        return own

    def executors(self) -> dict[int, Path]:
        """Process ids of the executors that run now, with the folder of their worker."""
        return {
            pid: folder
            for folder, worker in self.workers.items()
            for pid, command in descendants(worker.pid).items()
            if "CoarseGrainedExecutorBackend" in command
        }


@contextmanager
def standalone_cluster(folder: Path, workers: int = 2) -> Iterator[Cluster]:
    """Start the cluster; stop its processes, by their ids, however the body ends."""
    secret, begin = secrets.token_hex(16), time.monotonic()
    daemons = _private(folder / "daemons.conf", secret, "spark.authenticate true", "spark.network.crypto.enabled true",
                       "spark.master.rest.enabled false")  # fmt: skip
    with ExitStack() as processes:
        _, master = processes.enter_context(
            _daemon("master.Master", folder / "master.log", "--host", "127.0.0.1", "--port", "0", "--webui-port", "0",
                    "--properties-file", str(daemons), ready=r"Starting Spark master at (\S+)")
        )  # fmt: skip
        running = {}
        for directory in (folder / f"worker{i}" for i in range(workers)):
            running[directory], _ = processes.enter_context(
                _daemon("worker.Worker", directory.with_suffix(".log"), "--host", "127.0.0.1", "--webui-port", "0",
                        "--cores", "1", "--memory", "1g", "--work-dir", str(directory), "--properties-file", str(daemons),
                        master, ready=r"Successfully registered with master (\S+)", scratch=directory)
            )  # fmt: skip
        shipped = (HOME / "spark_conf" / "standalone.conf").read_text()
        properties = _private(
            folder / "my.conf", secret, shipped, f"spark.master {master}",
            "spark.driver.host 127.0.0.1", f"spark.local.dir {folder}", "spark.sql.shuffle.partitions 4",
        )  # fmt: skip
        yield Cluster(properties, running, time.monotonic() - begin)


def _private(path: Path, secret: str, *lines: str) -> Path:
    """A properties file with the secret that only we can read."""
    path.touch(mode=0o600)
    path.write_text("\n".join([*lines, f"spark.authenticate.secret {secret}", ""]))
    return path


@contextmanager
def _daemon(
    name: str, log: Path, *arguments: str, ready: str, scratch: Path | None = None
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Run a daemon of Spark; yields its process and what its log says when it is ready (group 1 of the pattern).

    Executors write to ``scratch`` what they exchange.
    """
    spark_class = Path(environment()["SPARK_HOME"], "bin", "spark-class")
    own = environment() | {"SPARK_LOCAL_IP": "127.0.0.1", "SPARK_DAEMON_MEMORY": "256m", "LC_ALL": "C"}
    if scratch:
        own["SPARK_LOCAL_DIRS"] = str(scratch)
    with (
        log.open("w") as output,
        subprocess.Popen(
            [str(spark_class), f"org.apache.spark.deploy.{name}", *arguments], env=own, stdout=output, stderr=output
        ) as process,
    ):
        try:
            yield process, _wait_for(ready, log, process)
        finally:
            process.terminate()  # a worker stops its executors
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_for(pattern: str, log: Path, process: subprocess.Popen[bytes]) -> str:
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end and process.poll() is None:
        found = re.search(pattern, log.read_text())
        if found:
            return found.group(1)
        time.sleep(0.2)
    raise AssertionError(f"the daemon did not start:\n{log.read_text()[-2000:]}")

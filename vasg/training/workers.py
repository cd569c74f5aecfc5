"""The only module that runs Horovod: starting workers, and what they say to each other."""

import contextlib
import json
import os
import pickle
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vasg.errors import TryLater, VasgError, error_named, first_line
from vasg.failures import expected, java_cause
from vasg.training.host import Host, take
from vasg.warehouse.files import write_atomically

# Of Horovod's looks for work, in milliseconds, where it has next to none; its own 1 keeps a quarter of a core busy
_SELDOM = "25"
# Spark starts the workers as tasks. One that it tried again would wait, ten minutes, for the others to start with it.
SPARK_SETTINGS = {"spark.task.maxFailures": "1"}


class Workers:
    """This process among ``size`` workers that run the same steps. With one worker every exchange is the identity."""

    def __init__(self, size: int, progress: str = "") -> None:
        self._progress = progress
        self.size, self.index, self.local_size, self.local_index = size, 0, 1, 0
        self._host: Host | None = None  # where all workers are on one
        if size > 1:
            import horovod.torch as hvd

            if os.environ.get("HOROVOD_LOCAL_SIZE") == str(size) and not torch.cuda.is_available():
                os.environ.setdefault("HOROVOD_CYCLE_TIME", _SELDOM)
            hvd.init()
            assert hvd.size() == size, f"{size} workers were asked for, {hvd.size()} are here"
            self.index, self.local_size, self.local_index = hvd.rank(), hvd.local_size(), hvd.local_rank()
            if self.local_size == size:
                self._host = Host(self.index, size, partial(self.allreduce, name="host"))

    def allreduce(self, values: Tensor, name: str) -> Tensor:
        """Elementwise sum over all workers. A ``name`` that stays spares Horovod negotiating the same sum anew."""
        if self.size == 1:
            return values
        if self._host and values.device.type == "cpu":
            return self._host.allreduce(values).view_as(values)
        import horovod.torch as hvd

        summed: Tensor = hvd.allreduce(values, op=hvd.Sum, name=name)
        return summed

    def broadcast(self, values: list[float], name: str) -> list[float]:
        """The values of worker 0, for all: where a decision may not hang on how a processor rounds."""
        mine = torch.tensor(values if self.index == 0 else [0.0] * len(values), dtype=torch.float64)
        found: list[float] = self.allreduce(mine, name).tolist()
        return found

    def allreduce_gradients(self, layers: nn.Module, beside: Tensor, name: str) -> Tensor:
        """Sum up the gradients of ``layers`` over all workers, in place of this one's; returns the sum of ``beside``.

        All of it is one exchange.
        """
        if self.size == 1:
            return beside
        parameters = list(layers.parameters())
        values = [beside, *(parameter.grad for parameter in parameters if parameter.grad is not None)]
        if self._host and beside.device.type == "cpu":
            flat = self._host.allreduce(*values)
        else:
            flat = self.allreduce(torch.cat([part.flatten() for part in values]), name)
        sums: tuple[Tensor, ...] = flat.split([part.numel() for part in values])
        for parameter, gradient in zip(parameters, sums[1:], strict=True):
            parameter.grad = gradient.view_as(parameter)
        return sums[0].view_as(beside)

    def alltoall(self, values: Tensor, counts: list[int], name: str) -> tuple[list[Tensor], list[int]]:
        """Send the first ``counts[0]`` rows of ``values`` to worker 0, the next to worker 1, ...

        Returns the rows received, which one after another are in the order of the senders, and how many came from each.
        They may be memory that is used again: read them before the next exchange, loan or sum.
        """
        if self._host and values.device.type == "cpu":
            return self._host.alltoall(values, counts)
        if self.size == 1:
            return [values], counts
        import horovod.torch as hvd

        received, splits = hvd.alltoall(values.contiguous(), splits=torch.tensor(counts, dtype=torch.int32), name=name)
        return [received], splits.tolist()

    def lend(self, table: Tensor, rows: Tensor, counts: list[int], wanted: list[int], name: str) -> Tensor:
        """Send ``table[rows]``, the first ``counts[0]`` of them to worker 0, the next to worker 1, ...

        Returns the rows received, of which ``wanted[0]`` come from worker 0, the next from worker 1, ...
        """
        if self._host and table.device.type == "cpu":
            return self._host.lend(table, rows, counts, wanted)
        if table.device.type == "cpu":
            take(table, rows, lent := table.new_empty(len(rows), *table.shape[1:]))
        else:
            lent = table.index_select(0, rows)
        received, _ = self.alltoall(lent, counts, name)
        return received[0]

    def say(self, text: str) -> None:
        """Tell people something, once for all workers."""
        if self.index == 0:
            self.report(text)

    def report(self, text: str) -> None:
        """Tell people something that this worker alone did. Horovod holds back what workers print, so it goes by a file."""
        if self._progress:
            with open(self._progress, "a", encoding="utf-8") as file:
                file.write(text + "\n")
        else:
            print(text, flush=True)

    def barrier(self) -> None:
        """Return once every worker has called this."""
        self.allreduce(torch.zeros(1), "wait")


def launch(
    work: Callable[..., Any], argument: Any, size: int, launcher: str, session: Callable[[], Any], progress: Path
) -> Any:
    """Run ``work(Workers, argument)`` on ``size`` workers and return what worker 0 returned.

    One worker is this process. More are started by Horovod: in the executors of the Spark session (``session()`` gives
    it) or, with the launcher ``horovodrun``, on this host. What workers say is shown here as it is appended to the
    file ``progress``, which all must see. Raises what any worker refuses, or that it met a bug, and TryLater when the
    workers cannot be had or are lost.
    """
    if size == 1:
        return work(Workers(1), argument)
    progress.touch()
    refusals = [_refusal(str(progress), k) for k in range(size)]
    for file in refusals:
        file.unlink(missing_ok=True)
    lost, result = None, None
    with _shown(progress):
        start = _horovodrun if launcher == "horovodrun" else _horovod_on_spark
        try:
            result = start((work, argument, size, str(progress)), size, session)
        except TryLater as error:
            lost = error
    for file in refusals:  # first: who refuses leaves the others without a worker
        if file.exists():
            raise error_named(*json.loads(file.read_text()))
    if lost:
        raise lost
    if isinstance(result, VasgError):
        raise result
    return result


def _horovod_on_spark(task: tuple[Any, ...], size: int, session: Callable[[], Any]) -> Any:
    import horovod.spark

    local = os.environ.get("SPARK_LOCAL_IP", "") == "127.0.0.1"
    try:
        session()
        with _signals_are_ours():
            results = horovod.spark.run(_run, args=task, num_proc=size, verbose=0, nics={"lo"} if local else None)
    except VasgError:
        raise
    except Exception as error:
        raise _lost(size, error) from error
    return results[0]


@contextlib.contextmanager
def _signals_are_ours() -> Iterator[None]:
    """Horovod would take over SIGTERM and SIGINT for good, and take either for the loss of a worker."""
    from horovod.runner import gloo_run

    before, gloo_run.register_shutdown_event = gloo_run.register_shutdown_event, threading.Event
    try:
        yield
    finally:
        gloo_run.register_shutdown_event = before


def _horovodrun(task: tuple[Any, ...], size: int, _: Callable[[], Any]) -> Any:
    with tempfile.TemporaryDirectory(prefix="vasg-workers-") as directory:
        given, result = Path(directory, "task.pickle"), Path(directory, "result.pickle")
        given.write_bytes(pickle.dumps(task))
        program = f"from vasg.training.workers import main; main({str(given)!r}, {str(result)!r})"
        command = [
            str(Path(sys.executable).with_name("horovodrun")),
            "-np",
            str(size),
            sys.executable,
            "-P",
            "-c",
            program,
        ]
        if subprocess.run(command, check=False).returncode or not result.exists():
            raise _lost(size, "horovodrun failed; its output above says why")
        # written by our own workers a moment ago, in a folder that only we can enter
        return pickle.loads(result.read_bytes())  # noqa: S301


def main(given: str, result: str) -> None:
    """What each process started by horovodrun does."""
    outcome = _run(*pickle.loads(Path(given).read_bytes()))  # noqa: S301, see _horovodrun
    if int(os.environ["HOROVOD_RANK"]) == 0:
        Path(result).write_bytes(pickle.dumps(outcome))


def _run(work: Callable[..., Any], argument: Any, size: int, progress: str) -> Any:
    """On a worker: expected errors are values, since Horovod keeps nothing of an exception but its exit code.

    They go by a file, too, as bugs do: it returns no values when a worker has left. A disk that is full may not take it.
    """
    from horovod.common.exceptions import HorovodInternalError

    try:
        return work(Workers(size, progress), argument)
    except (HorovodInternalError, ConnectionError, TimeoutError):  # another worker is gone, who may have said why
        raise
    except Exception as error:
        refusal = expected(error)
        said = refusal or VasgError(
            f"a training worker met an internal error: {type(error).__name__}: {first_line(error)}"
        )
        text = json.dumps([type(said).__name__, str(said)])
        file = _refusal(progress, int(os.environ["HOROVOD_RANK"]))
        with contextlib.suppress(OSError):
            write_atomically(file, lambda path: path.write_text(text))
        if refusal is None:
            raise
        return refusal


def _refusal(progress: str, worker: int) -> Path:
    return Path(f"{progress}.refusal-{worker}")


def _lost(size: int, why: object) -> TryLater:
    return TryLater(f"{size} training workers could not be started or one was lost ({java_cause(why)})")


@contextlib.contextmanager
def _shown(path: Path) -> Iterator[None]:
    """Print what is appended to a file meanwhile."""
    done = threading.Event()

    def follow() -> None:
        with path.open(encoding="utf-8") as file:
            file.seek(0, os.SEEK_END)
            while True:
                last = done.wait(0.5)
                print(file.read(), end="", flush=True)
                if last:
                    return

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()

"""A training worker that is killed: all start again from the last checkpoint, and end with the model of an unbroken run."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_shop import config, embeddings, plan

from vasg.errors import TryLater
from vasg.failpoints import VARIABLE
from vasg.pipeline.runner import HOME, environment
from vasg.training.stage import resumed
from vasg.training.walk_reader import steps_per_epoch
from vasg.training.worker import train
from vasg.training.workers import Workers, launch

pytestmark = [pytest.mark.fault, pytest.mark.slow]


def settings(restarts: int) -> Any:
    return config(workers=2, launcher="horovodrun", restarts=restarts, baselines=[], checkpoint_seconds=0)


def no_session() -> None:
    raise AssertionError("horovodrun needs no Spark")


@pytest.mark.parametrize("point", ["checkpoint-share-written", "checkpoint-complete"])
def test_workers_that_are_killed_again_and_again_end_with_the_model_of_an_unbroken_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    point: str,
) -> None:  # fmt: skip
    for name in ("unbroken", "broken"):
        (tmp_path / name).mkdir()
    unbroken, broken = (plan(tmp_path / name, settings(3)) for name in ("unbroken", "broken"))
    expected = launch(train, unbroken, 2, "horovodrun", no_session, tmp_path / "unbroken" / "progress.log")
    monkeypatch.setenv(VARIABLE, f"{point}:kill@2")
    log = resumed(broken, no_session)
    output = capsys.readouterr().out
    assert 1 <= output.count("starting again now") <= 3
    assert output.count("resumed from the checkpoint after step") >= 1
    assert np.array_equal(embeddings(broken), embeddings(unbroken))
    assert log == expected


TOLD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_fault_training import alone
from vasg.signals import ends_in_order
from vasg.training.worker import train
from vasg.training.workers import Workers
with ends_in_order():
    train(Workers(1), alone(Path(sys.argv[2])))
"""


def alone(directory: Path) -> Any:
    return plan(directory, config(baselines=[], checkpoint_seconds=3600))


def test_sigterm_leaves_a_checkpoint_of_the_step_it_came_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("unbroken", "broken"):
        (tmp_path / name).mkdir()
    unbroken = alone(tmp_path / "unbroken")
    expected = train(Workers(1), unbroken)
    told = subprocess.run(
        [sys.executable, "-c", TOLD, str(Path(__file__).parent), str(tmp_path / "broken")],
        env=os.environ | {VARIABLE: "checkpoint-complete:term"}, check=False,
    )  # fmt: skip
    assert told.returncode == 128 + signal.SIGTERM
    broken = alone(tmp_path / "broken")
    capsys.readouterr()
    assert train(Workers(1), broken) == expected
    after = steps_per_epoch(broken.groups) + 1  # told at the end of the first epoch, it has seen so after one more step
    assert f"resumed from the checkpoint after step {after} of" in capsys.readouterr().out
    assert np.array_equal(embeddings(broken), embeddings(unbroken))


TOLD_ON_SPARK = """
import os, signal, sys, threading
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from training_shop import config, plan
from vasg.spark.session import Session
from vasg.signals import ends_in_order
from vasg.training import workers
from vasg.training.worker import train
progress, session = Path(sys.argv[2], "progress.log"), Session("told")
def tell():
    while not progress.exists() or "epoch 1/" not in progress.read_text():
        pass
    os.kill(os.getpid(), signal.SIGTERM)
threading.Thread(target=tell, daemon=True).start()
with ends_in_order():
    try:
        workers.launch(
            train, plan(progress.parent, config(workers=2, epochs=500)), 2, "spark", lambda: session.start().result(), progress
        )
    finally:
        print(signal.getsignal(signal.SIGTERM).__module__)
        session.stop()
"""


def test_sigterm_ends_a_training_on_spark_instead_of_starting_it_again(tmp_path: Path) -> None:
    own = environment() | {"PYTHONPATH": str(HOME), "SPARK_LOCAL_IP": "127.0.0.1"}
    command = [sys.executable, "-c", TOLD_ON_SPARK, str(Path(__file__).parent), str(tmp_path)]
    told = subprocess.run(command, env=own, check=False, capture_output=True, text=True)
    assert told.returncode == 128 + signal.SIGTERM, told.stderr
    assert told.stdout.splitlines()[-1] == "vasg.signals"  # further ones are still ours


# a session whose first look at the executors fails, as when one of them is lost meanwhile
LOOKS_TWICE = """
import vasg.spark.session
looks = []
def preflight(context):
    looks.append(context)
    context.parallelize([len(looks)], 1).foreach(lambda look: 1 // (look - 1))
vasg.spark.session.preflight = preflight
from vasg.training import workers
session = vasg.spark.session.Session("again")
try:
    workers.launch(print, None, 2, "spark", lambda: session.start().result(), workers.Path("progress"))
except workers.TryLater as error:
    print(error)
print(session.start().result().range(3).count(), len(looks))
session.stop()
print(looks[0]._jsc.sc().isStopped())
"""


def test_a_session_that_could_not_start_is_started_again(tmp_path: Path) -> None:
    own = environment() | {"PYTHONPATH": str(HOME), "SPARK_LOCAL_IP": "127.0.0.1"}
    command = [sys.executable, "-c", LOOKS_TWICE]
    said = subprocess.run(command, cwd=tmp_path, env=own, check=True, capture_output=True, text=True).stdout
    first, *rest = said.splitlines()
    assert first.startswith("2 training workers could not be started or one was lost (org.apache.spark.SparkException:")
    assert rest == ["3 2", "True"], said  # it works, was looked at again, and is still ours to stop


def test_after_the_last_restart_it_is_for_the_scheduler_to_try_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(VARIABLE, "checkpoint-share-written:kill")
    with pytest.raises(TryLater, match="2 training workers could not be started or one was lost"):
        resumed(plan(tmp_path, settings(1)), no_session)
    assert capsys.readouterr().out.count("starting again now, 0 more times at most") == 1
    assert os.listdir(tmp_path / "output") == []

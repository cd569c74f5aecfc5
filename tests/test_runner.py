"""``vasg run`` and the other commands as users and schedulers call them: real processes, real Spark, exit codes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vasg.config import Config
from vasg.config_file import load
from vasg.pipeline import runner
from vasg.pipeline.runner import HOME, _no_start, environment
from vasg.warehouse.tables import Warehouse

VASG = str(Path(sys.executable).parent / "vasg")  # the console script of this environment
CONFIG = "[reviews]\npath = 'raw.csv'\nuser_column = 'u'\nproduct_column = 'p'\n"

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with a few purchases and a configuration that reads them."""
    (tmp_path / "raw.csv").write_text("u,p\n" + "".join(f"u{i % 3},p{i % 5}\n" for i in range(15)))
    (tmp_path / "config.toml").write_text(CONFIG)
    return tmp_path


@pytest.fixture
def vasg(shop: Path) -> Command:
    """``vasg("run", ...)`` in the folder of the shop."""

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([VASG, *arguments], cwd=shop, capture_output=True, text=True, check=False)

    return call


@pytest.mark.fault
def test_a_run_does_what_is_needed_and_no_more(vasg: Command, shop: Path) -> None:
    run = ("run", "--config", "config.toml", "--root", "root", "--to", "preprocess_reviews")
    run += ("--set", "reviews.implicit_rating=2.5")
    first = vasg(*run)
    assert first.returncode == 0, first.stderr
    assert "preprocess_reviews: done in " in first.stdout
    assert "reviews 15" in first.stdout
    warehouse = Warehouse(shop / "root")
    assert warehouse.catalog()["sequence"] == 1
    record = json.loads(next((shop / "root" / "runs").glob("*/run.json")).read_text())
    assert record["exit_code"] == 0
    assert record["stages"][0]["rows_out"]["reviews"] == 15
    assert (shop / "root" / "runs" / record["run_id"] / "preprocess_reviews.log").exists()

    second = vasg(*run)
    assert (second.returncode, second.stderr) == (0, "")
    assert "preprocess_reviews: up to date" in second.stdout
    assert warehouse.catalog()["sequence"] == 1

    where = vasg("path", "--root", "root", "reviews")
    assert where.stdout.strip() == str(warehouse.path("reviews"))
    assert "implicit_rating = 2.5" in (warehouse.path("reviews") / "_config.toml").read_text()
    assert set(warehouse.read_arrow("reviews")["rating"].to_pylist()) == {2.5}

    forced = vasg(*run, "--from", "preprocess_reviews")
    assert "preprocess_reviews: done in " in forced.stdout
    assert warehouse.catalog()["sequence"] == 2
    assert not (shop / "root" / "lock").exists()


def test_a_stage_that_fails_ends_the_run_with_its_code_and_line_and_publishes_nothing(
    vasg: Command, shop: Path
) -> None:
    failed = vasg("run", "--config", "config.toml", "--root", "root", "--set", "reviews.user_column=customer")
    assert failed.returncode == 65, failed.stderr
    assert len(failed.stderr.splitlines()) == 1
    assert failed.stderr.startswith("vasg preprocess_reviews: ")
    assert "customer" in failed.stderr
    assert "stopped with code 65" in failed.stdout
    assert failed.stderr not in failed.stdout
    assert not (shop / "root" / "catalog").exists()
    assert not list((shop / "root").glob("tables/*/*"))
    record = json.loads(next((shop / "root" / "runs").glob("*/run.json")).read_text())
    assert (record["exit_code"], len(record["stages"])) == (65, 1)
    log = (shop / "root" / "runs" / record["run_id"] / "preprocess_reviews.log").read_text()
    assert log.startswith("$ ")
    assert failed.stderr in log
    assert "Running Spark version" in log


@pytest.mark.fault
def test_all_stages_get_the_configuration_that_the_run_began_with(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def submit(command: list[str], *_: object) -> int:
        (shop / "config.toml").write_text("no TOML any more")
        given.append(load(command[command.index("--config") + 1]))
        return 0

    given: list[Config] = []
    monkeypatch.setattr(runner, "_submit", submit)
    set_by_hand = ["features.source=feature_file", "features.path=f.b", "train.objective=paper"]
    expected = load(shop / "config.toml", set_by_hand)
    assert runner.run(str(shop / "config.toml"), str(shop / "root"), overrides=set_by_hand, last="filter_users") == 0
    assert given == [expected] * 2


def test_a_run_whose_reader_is_gone_goes_on(capfd: pytest.CaptureFixture[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as screen:
        for _ in range(2):
            runner._say("a line\n", screen)
    runner._say("another\n")
    assert capfd.readouterr().out == "another\n"


@pytest.mark.fault
def test_a_stage_that_could_not_say_what_it_did_is_done_all_the_same(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VASG_RUN_ID", "full")
    monkeypatch.setattr(runner, "_submit", lambda *_: 0)
    assert runner.run(str(shop / "config.toml"), str(shop / "root")) == 0
    record = json.loads((shop / "root" / "runs" / "full" / "run.json").read_text())
    assert record["stages"] == [{"stage": "preprocess_reviews", "status": "done"}]


WHEN = {
    "while it looks whether a stage is up to date": "runner.is_up_to_date = lambda *_: told()",
    "while it starts spark-submit": """
class Popen(subprocess.Popen):
    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        print("group", self.pid, flush=True)
        told()
subprocess.Popen = Popen
""",
}


@pytest.mark.fault
@pytest.mark.parametrize("when", WHEN.values(), ids=WHEN.keys())
def test_sigterm_where_no_stage_runs_yet_ends_a_run_in_order(shop: Path, when: str) -> None:
    code = f"""
import os, signal, subprocess, sys
from vasg import cli
from vasg.pipeline import runner
def told():
    os.kill(os.getpid(), signal.SIGTERM)
{when}
sys.exit(cli.main(["run", "--config", "config.toml", "--root", "root"]))
"""
    answer = subprocess.run([sys.executable, "-c", code], cwd=shop, capture_output=True, text=True, check=False)
    assert answer.returncode == 128 + signal.SIGTERM, answer.stderr
    assert "stopped with code 143" in answer.stdout
    assert not (shop / "root" / "lock").exists()
    assert json.loads(next((shop / "root" / "runs").glob("*/run.json")).read_text())["exit_code"] == 143
    for line in answer.stdout.splitlines():
        if line.startswith("group "):
            with pytest.raises(ProcessLookupError):
                os.killpg(int(line.split()[1]), 0)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run", "--config", "config.toml"], 64, "the following arguments are required: --root"),
        (["go"], 64, "invalid choice: 'go'"),
        ([], 64, "the following arguments are required: command"),
        (["run", "--config", "config.toml", "--root", "r", "--to", "cook"], 64,
         "stage cook is not part of this configuration; its stages are preprocess_reviews; features.source is none; set it"),
        (["run", "--config", "config.toml", "--root", "r", "--from", "extract_features"], 64,
         "stage extract_features is not part of this configuration"),
        (["run", "--config", "config.toml", "--root", "r", "--from", "train", "--to", "filter_users",
          "--set", "features.source=pictures"], 64,
         "--from train comes after --to filter_users"),
        (["run", "--config", "none.toml", "--root", "r"], 66, "none.toml does not exist"),
        (["run", "--config", "config.toml", "--root", "r", "--set", "sede=1"], 78, "did you mean seed?"),
        (["run", "--config", "config.toml", "--root", "r", "--properties-file", "no.conf"], 78,
         "--properties-file no.conf does not exist\n"),
        (["run", "--config", "config.toml", "--root", "r", "--set", "features.source=pictures", "--set",
          "features.path=images/all.jpg"], 78, "images/all.jpg: {product_id} is missing"),
        (["run", "--config", "config.toml", "--root", "r#1"], 64, "reads no path with # or ?"),
        (["path", "--root", "r", "walks"], 66, "run generate_walks first"),
        (["path", "--root", "r", "wlaks"], 66, "there is no table wlaks"),
        (["run", "--config", "config.toml", "--root", "raw.csv"], 73, "cannot be created"),
        (["run", "--config", "config.toml", "--root", "r", "--set", "reviews.path=s3://b/t.csv"], 78, 'for scheme "s3"'),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_line_and_a_code(
    vasg: Command, shop: Path, arguments: list[str], code: int, message: str
) -> None:
    answer = vasg(*arguments)
    assert answer.returncode == code, answer.stderr
    assert message in answer.stderr
    assert len(answer.stderr.splitlines()) == 1
    assert not (shop / "r" / "tables").exists()


@pytest.mark.fault
def test_no_file_is_overlooked_for_its_name_whatever_the_locale(shop: Path) -> None:
    (shop / "läden").mkdir()
    (shop / "raw.csv").rename(shop / "läden" / "raw.csv")
    arguments = ["--config", "config.toml", "--root", "rööt", "--set", "reviews.path=läden"]
    run = [VASG, "run", *arguments]
    answer = subprocess.run(
        run, cwd=shop, env=os.environ | {"LC_ALL": "C"}, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert Warehouse(shop / "rööt").manifest("reviews")["rows"] == 15

    arguments[3] = "other"  # a job that a scheduler starts itself
    own = environment() | {"LC_ALL": "C"}
    submit = [str(Path(own["SPARK_HOME"], "bin", "spark-submit")), "--properties-file", f"{HOME}/spark_conf/local.conf"]
    submit += [f"{HOME}/jobs/preprocess_reviews.py", *arguments]
    answer = subprocess.run(submit, cwd=shop, env=own, capture_output=True, text=True, check=False)
    assert answer.returncode == 78, answer.stderr
    assert "vasg preprocess_reviews: Java takes file names for ANSI_X3.4-1968" in answer.stdout + answer.stderr


@pytest.mark.fault
@pytest.mark.slow
def test_java_that_does_not_start_is_a_fault_of_the_machine(vasg: Command, shop: Path) -> None:
    (shop / "my.conf").write_text((HOME / "spark_conf" / "local.conf").read_text() + "spark.driver.memory 9999999g\n")
    answer = vasg("run", "--config", "config.toml", "--root", "r", "--properties-file", "my.conf")
    assert answer.returncode == 78
    assert answer.stderr.startswith("vasg preprocess_reviews: spark-submit ended with 1, as no job does: ")
    assert "heap" in answer.stderr
    assert "run vasg doctor, and see " in answer.stderr


@pytest.mark.fault
def test_the_reason_is_found_in_the_log_of_spark_submit(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    for reason, after in (
        (
            "spark-class: line 71: /none/bin/java: No such file or directory",
            "spark-class: line 97: CMD: bad array subscript",
        ),
        (
            "Exception in thread main: HADOOP_CONF_DIR must be set",
            "\tat org.apache.spark.deploy.SparkSubmit.main(S.scala)",
        ),
    ):
        log.write_text(f"$ spark-submit x\n{reason}\n{after}\n26/01/02 03:04:05 INFO ShutdownHookManager: Deleting\n\n")
        assert f"as no job does: {reason}; run vasg doctor" in _no_start(1, log)


@pytest.mark.fault
@pytest.mark.slow
def test_a_cluster_that_cannot_be_reached_means_try_later(vasg: Command, shop: Path) -> None:
    settings = "spark.master spark://127.0.0.1:1\nspark.driver.host 127.0.0.1\nspark.ui.enabled false\n"
    (shop / "my.conf").write_text(settings)
    answer = vasg("run", "--config", "config.toml", "--root", "r", "--properties-file", "my.conf")
    assert answer.returncode == 75, answer.stderr
    assert answer.stderr.startswith("vasg preprocess_reviews: Spark could not start, can spark.master be reached, ")


@pytest.mark.fault
@pytest.mark.slow
@pytest.mark.parametrize(
    "setting",
    [
        "spark.master local[few]", "spark.executor.memory 1m", "spark.task.cpus many",
        "spark.authenticate true\nspark.master spark://127.0.0.1:1",  # and no secret
    ],
)  # fmt: skip
def test_a_setting_that_spark_does_not_accept_is_configuration(vasg: Command, shop: Path, setting: str) -> None:
    (shop / "my.conf").write_text(f"spark.master local[1]\n{setting}\nspark.ui.enabled false\n")
    answer = vasg("run", "--config", "config.toml", "--root", "r", "--properties-file", "my.conf")
    assert answer.returncode == 78, answer.stderr
    assert answer.stderr.startswith("vasg preprocess_reviews: Spark does not accept its settings: ")


def test_a_root_that_is_held_is_told_to_try_later(vasg: Command, shop: Path) -> None:
    with Warehouse(shop / "root").lock("night"):
        answer = vasg("run", "--config", "config.toml", "--root", "root")
    assert answer.returncode == 75
    assert "is held by run night since" in answer.stderr


def test_verbose_shows_the_trace(vasg: Command) -> None:
    answer = vasg("run", "--config", "none.toml", "--root", "r", "--verbose")
    assert answer.stderr.startswith("vasg: configuration file none.toml does not exist\nTraceback")


def test_help_names_every_command(vasg: Command) -> None:
    answer = vasg("--help")
    assert answer.returncode == 0
    assert all(command in answer.stdout for command in ("run", "path", "doctor"))


def test_spark_is_the_one_of_this_environment_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARK_HOME", "/opt/other-spark")
    monkeypatch.setenv("PYSPARK_PYTHON", "/usr/bin/python2")
    found = environment()
    assert Path(found["SPARK_HOME"], "bin", "spark-submit").exists()
    assert found["PYSPARK_PYTHON"] == found["PYSPARK_DRIVER_PYTHON"] == sys.executable
    assert (HOME / "jobs").is_dir()

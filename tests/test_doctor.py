"""``vasg doctor``: one line a check, and for what is missing how to mend it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vasg import doctor
from vasg.errors import ConfigurationError

VASG = str(Path(sys.executable).parent / "vasg")


def run(**environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if key not in ("JAVA_HOME", "SPARK_HOME")}
    return subprocess.run([VASG, "doctor"], env=clean | environment, capture_output=True, text=True, check=False)


def fake_java(folder: Path, version: str) -> Path:
    """A JAVA_HOME whose java claims to be of that version."""
    (folder / "bin").mkdir(parents=True)
    java = folder / "bin" / "java"
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2024-01-01' >&2\n")
    java.chmod(0o755)
    return folder


def test_this_machine_is_well() -> None:
    answer = run()
    assert answer.returncode == 0, answer.stdout
    lines = answer.stdout.splitlines()
    assert [line.split()[1] for line in lines] == list(doctor.CHECKS)
    assert all(line.startswith("ok ") for line in lines)
    assert answer.stderr == ""


def test_without_java_and_with_a_foreign_spark_each_line_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "spark" / "jars").mkdir(parents=True)
    (tmp_path / "spark" / "jars" / "spark-core_2.12-3.1.2.jar").touch()
    (tmp_path / "path").mkdir()
    answer = run(PATH=str(tmp_path / "path"), SPARK_HOME=str(tmp_path / "spark"))
    assert answer.returncode == 78
    missing = [line for line in answer.stdout.splitlines() if line.startswith("missing")]
    assert [line.split()[1] for line in missing] == ["Java", "Spark"]
    assert "no java on PATH" in missing[0]
    assert "apt-get install -y openjdk-17-jre-headless" in missing[0]
    assert f"SPARK_HOME={tmp_path}/spark holds Spark 3.1.2" in missing[1]
    assert "unset SPARK_HOME" in missing[1]
    assert answer.stderr.startswith("vasg doctor: 2 of 9 checks failed")


@pytest.mark.parametrize("version", ["17.0.15", "21", "21.0.2-ea"])
def test_java_17_and_21_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setenv("JAVA_HOME", str(fake_java(tmp_path, version)))
    assert doctor.check_java() == f"{version} at {tmp_path}/bin/java"


@pytest.mark.parametrize("version", ["1.8.0_392", "11.0.2", "25"])
def test_other_versions_of_java_will_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setenv("JAVA_HOME", str(fake_java(tmp_path, version)))
    with pytest.raises(ConfigurationError, match=f"is Java {version}, Spark needs 17 or 21"):
        doctor.check_java()


def test_a_java_home_that_is_not_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(ConfigurationError, match=f"no Java at {tmp_path}/bin/java"):
        doctor.check_java()
    java = fake_java(tmp_path, "17") / "bin" / "java"
    java.write_text("#!/bin/sh\necho hello\n")
    with pytest.raises(ConfigurationError, match="does not tell its version"):
        doctor.check_java()
    java.write_bytes(b"\x7fELF, of another processor")
    with pytest.raises(ConfigurationError, match=f"{java} cannot be run: Exec format error; install Java 17"):
        doctor.check_java()


def test_the_spark_of_this_environment_may_be_spark_home(monkeypatch: pytest.MonkeyPatch) -> None:
    import pyspark

    home = str(Path(pyspark.__file__).parent)
    monkeypatch.setenv("SPARK_HOME", home)
    assert doctor.check_spark() == f"{pyspark.__version__}, SPARK_HOME={home}"


def test_a_package_that_cannot_be_imported_is_a_finding_not_a_crash(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.setattr(doctor, "CHECKS", {"Numba": doctor.check_numba})
    assert doctor.doctor() == 78
    captured = capsys.readouterr()
    assert captured.out.startswith("missing  Numba")
    assert "numba cannot be imported" in captured.out
    assert "run make setup" in captured.out


def test_too_little_space_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2**30))
    with pytest.raises(ConfigurationError, match=r"1\.0 GiB free in .*, the demo needs 2"):
        doctor.check_disk()

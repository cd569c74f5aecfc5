"""``vasg choices``: what an evaluation chose, as a configuration for the night."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from vasg import schemas
from vasg.cli import main
from vasg.config import Pairwise
from vasg.config_file import load
from vasg.warehouse.tables import Warehouse

CHOSEN = [
    ("skipgram", 1, "loss", 0.3), ("blend", 1, "skipgram", 0.35), ("blend", 1, "vbpr", 2.0), ("blend", 1, "kept", 0.99),
    ("blend", 1, "validation_auc", 0.8), ("blend", 1, "validation_pairs", 2000.0), ("vbpr", 1, "epochs", 14.0),
    ("vbpr", 1, "regularisation", 0.1), ("vbpr", 1, "validation_auc", 0.7),
]  # fmt: skip


def publish(root: Path, rows: list[Any]) -> None:
    kind = schemas.TABLES["training_log"].arrow()
    table = pa.Table.from_pylist([dict(zip(kind.names, row, strict=True)) for row in rows], kind)
    with Warehouse(root).publication("train", "run", "") as publication:
        publication.write_arrow("training_log", table)
        publication.commit("", {})


def test_choices_are_a_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish(tmp_path, CHOSEN)
    assert main(["choices", "--root", str(tmp_path)]) == 0
    file = tmp_path / "nightly.toml"
    file.write_text(capsys.readouterr().out)
    assert file.read_text().startswith("# chosen by run run on 2,000 validation pairs\n")
    train = load(file).train
    assert (train.blend.skipgram, train.blend.vbpr, train.blend.popularity) == (0.35, 2.0, 1.0)
    assert (train.vbpr, train.bpr) == (Pairwise(14, 0.1), Pairwise())


def test_choices_by_a_handful_of_pairs_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish(tmp_path, [(*row[:3], 4.0) if row[2] == "validation_pairs" else row for row in CHOSEN])
    assert main(["choices", "--root", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("# chosen by run run on 4 validation pairs, which is too few to go by\n")


@pytest.mark.fault
def test_choices_are_those_of_the_lists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not of a training after them whose lists a gate has refused."""
    publish(tmp_path, CHOSEN)
    warehouse, kind = Warehouse(tmp_path), schemas.TABLES["uncovered"].arrow()
    with warehouse.publication("score", "run", "") as publication:
        publication.write_arrow("uncovered", kind.empty_table())
        publication.add("recommendations")
        publication.commit("", {"inputs": {"training_log": warehouse.digest("training_log")}})
    publish(tmp_path, [(*row[:3], 4.0) if row[2] == "validation_pairs" else row for row in CHOSEN])
    assert main(["choices", "--root", str(tmp_path)]) == 0
    assert "on 2,000 validation pairs" in capsys.readouterr().out


def test_a_training_that_chose_nothing_has_no_choices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish(tmp_path, [row for row in CHOSEN if row[2] != "validation_auc"])
    assert main(["choices", "--root", str(tmp_path)]) == 65
    assert "chose nothing: that takes validation pairs" in capsys.readouterr().err
    assert main(["choices", "--root", str(tmp_path / "nowhere")]) == 66

"""Much data, much of it in one place, some of it bad: the stages finish, count exactly, and stay within bounds of memory."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pytest
from processes import peak_memory
from test_ingest_reviews import CASES, review

from vasg.pipeline.runner import HOME, environment
from vasg.warehouse.tables import Warehouse

pytestmark = [pytest.mark.fault, pytest.mark.slow]
LINES = 1_000_000


def run(folder: Path, last: str, heap: str) -> dict[str, float]:
    """``vasg run --to`` in local mode, where tasks run inside the driver: the most memory, in MiB, of each process."""
    properties = folder / "my.conf"
    shipped = (HOME / "spark_conf" / "local.conf").read_text()
    properties.write_text(f"{shipped}\nspark.driver.memory {heap}\n")
    command = ["run", "--config", "config.toml", "--root", "root", "--to", last, "--properties-file", str(properties)]
    with (
        subprocess.Popen(
            [sys.executable, "-m", "vasg.cli", *command], cwd=folder, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, env=environment() | {"PYTHONPATH": str(HOME)},
        ) as process,
        peak_memory(process.pid) as peaks,
    ):  # fmt: skip
        output, _ = process.communicate()
    assert process.returncode == 0, output
    return peaks


def lines() -> Iterator[tuple[bytes, str | None]]:
    """Reviews, one of a hundred bad, of every kind there is in turn, with the reason why they are."""
    bad = [(line.encode(), reason) for line, reason in CASES if reason]
    bad.append((review(asin="XX").encode().replace(b"XX", b"\xff\xfe"), "asin is not UTF-8"))
    for i in range(LINES):
        if i % 100 == 99:
            yield bad[i // 100 % len(bad)]
        else:
            good = f'{{"reviewerID": "A{i % 99_991}", "asin": "B{i % 20_011}", "overall": 4.0, "unixReviewTime": 1297468800}}'
            yield good.encode(), None


def test_a_million_lines_with_ten_thousand_bad_ones(tmp_path: Path) -> None:
    expected: Counter[tuple[int, str]] = Counter()
    with (tmp_path / "raw.json").open("wb") as file:
        for number, (line, reason) in enumerate(lines(), 1):
            file.write(line + b"\n")
            if reason:
                expected[number, reason] += 1
    (tmp_path / "config.toml").write_text("[reviews]\npath = 'raw.json'\nformat = 'amazon_2014'\n")
    peaks = run(tmp_path, "preprocess_reviews", "512m")

    warehouse = Warehouse(tmp_path / "root")
    rejects = warehouse.read_arrow("rejects", ["line", "reason"])
    assert Counter(zip(rejects["line"].to_pylist(), rejects["reason"].to_pylist(), strict=True)) == expected
    assert warehouse.manifest("reviews")["rows"] == LINES - 10_000
    counts = warehouse.catalog()["stages"]["preprocess_reviews"]["counts"]
    by_reason = Counter(reason for _, reason in expected.elements())
    assert counts == {"reviews read": LINES} | {f"reviews bad, {reason}": n for reason, n in by_reason.items()}
    python, java = sorted(peak for command, peak in peaks.items() if "jobs/preprocess_reviews.py" in command)[-2:]
    assert java + python < 1024


def test_one_user_with_a_million_reviews_and_one_product_in_nine_of_ten_baskets(tmp_path: Path) -> None:
    number = np.arange(LINES)
    users = np.concatenate([np.zeros(LINES, np.int64), 1 + number[: LINES // 5]])
    others = np.where(number[: LINES // 5] % 10, 0, 1 + number[: LINES // 5] % 5_000)  # of 200,000 users, one each
    products = np.concatenate([number % (LINES // 2), others])  # the one user has reviewed each of these twice
    ids = np.char.mod("P%09d", np.arange(LINES // 2))
    pa.csv.write_csv(pa.table({"user_id": users, "product_id": ids[products]}), tmp_path / "raw.csv")
    records = np.zeros(len(ids), [("id", "S10"), ("feature", "<f4", (4,))])
    records["id"], records["feature"] = ids, 1.0
    records.tofile(tmp_path / "raw.b")
    (tmp_path / "config.toml").write_text(
        "[reviews]\npath = 'raw.csv'\n[features]\nsource = 'feature_file'\npath = 'raw.b'\ndim = 4\n"
        "[split]\nmin_user_products = 1\n[walks]\nwalk_length = 10\nwalks_per_node = 1\n"
    )
    peaks = run(tmp_path, "generate_walks", "1g")

    warehouse = Warehouse(tmp_path / "root")
    pairs = np.unique(np.column_stack([users, products]), axis=0)
    assert warehouse.manifest("interactions")["rows"] == len(pairs)
    assert warehouse.manifest("nodes")["rows"] == len(ids) + LINES // 5 + 1
    train = warehouse.read_arrow("interactions").filter(pa.compute.field("split") == "train")
    starts = sum(len(np.unique(train[side])) for side in ("user", "product"))
    assert warehouse.manifest("walks")["rows"] == starts
    assert max(peaks.values()) < 2048

"""Writing: the new versions of a stage's tables, invisible until one catalog names them all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from vasg import schemas
from vasg.errors import ConfigurationError, DataError
from vasg.failpoints import failpoint
from vasg.machine.cores import cores
from vasg.spark.paths import address
from vasg.warehouse.files import make_directory, now, sha256, sync, write_atomically

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from vasg.warehouse.tables import Warehouse

MANIFEST, CONFIG, STAGED = "_manifest.json", "_config.toml", "_staged"


@dataclass(frozen=True)
class Part:
    """One file of a table, ``path`` relative to the version directory."""

    path: str
    bytes: int
    rows: int
    sha256: str


class Publication:
    """New versions of the tables of one stage, invisible until ``commit``."""

    def __init__(self, warehouse: Warehouse, stage: str, run_id: str, config_toml: str) -> None:
        self._warehouse, self._stage, self._run_id, self._config_toml = warehouse, stage, run_id, config_toml
        self._directories: dict[str, Path] = {}
        self._entries: dict[str, dict[str, Any]] = {}

    @property
    def rows(self) -> dict[str, int]:
        """Rows of each table added so far."""
        return {name: int(entry["rows"]) for name, entry in self._entries.items()}

    def directory(self, table: str) -> Path:
        """A new, empty version directory of the table; the same one however often it is asked for."""
        if table not in self._directories:
            version = f"{self._run_id}-{uuid.uuid4().hex[:8]}"
            directory = make_directory(self._warehouse.root / "tables" / table / version)
            (directory / STAGED).touch()
            self._directories[table] = directory
            failpoint("version-created")
        return self._directories[table]

    def write(self, table: str, frame: DataFrame, facts: dict[str, Any] | None = None) -> None:
        """Write a DataFrame as the new version of the table; ``facts`` is kept in its manifest.

        Raises ConfigurationError when the executors wrote it where this process does not see it.
        """
        directory = self.directory(table)
        frame.write.mode("append").parquet(address(directory))  # it exists: it holds the marker, and nothing else
        if not any(directory.glob("*.parquet")):
            raise ConfigurationError(
                f"the executors have written table {table} into another {directory}: --root must be the same folder on all hosts"
            )
        self.add(table, facts=facts)

    def write_arrow(self, table: str, content: pa.Table, facts: dict[str, Any] | None = None) -> None:
        """Write a small table that is already in this process."""
        pq.write_table(content, self.directory(table) / "part-00000.parquet")
        self.add(table, facts=facts)

    def add(self, table: str, parts: Iterable[Part] | None = None, facts: dict[str, Any] | None = None) -> None:
        """Take what was written into ``directory(table)`` as the new version: check the schema, write the manifest.

        ``parts`` names the files that count (others, of failed attempts, are removed); by default all do. ``facts`` is
        kept in the manifest for the readers.
        """
        directory = self.directory(table)
        if parts is None:
            found = sorted(p for p in directory.rglob("*.parquet") if not p.name.startswith(("_", ".")))
            with ThreadPoolExecutor(max_workers=cores()) as pool:
                parts = list(pool.map(lambda path: describe(path, directory), found))
        parts = sorted(parts, key=lambda part: part.path)
        if not parts:  # readers need a file with the schema even where there is no row
            empty = directory / "part-00000.parquet"
            pq.write_table(schemas.TABLES[table].arrow().empty_table(), empty)
            parts = [describe(empty, directory)]
        keep = {part.path for part in parts}
        for path in directory.rglob("*"):
            if path.is_file() and str(path.relative_to(directory)) not in keep | {STAGED}:
                path.unlink()
        for part in parts:
            schemas.check(table, pq.read_schema(directory / part.path))
        failpoint("table-written")
        digest = hashlib.sha256("".join(sorted(part.sha256 for part in parts)).encode()).hexdigest()
        rows = sum(part.rows for part in parts)
        manifest = {
            "table": table, "stage": self._stage, "run_id": self._run_id, "created": now(), "rows": rows,
            "digest": digest, "facts": facts or {}, "parts": [asdict(part) for part in parts],
        }  # fmt: skip
        write_atomically(directory / CONFIG, lambda path: path.write_text(self._config_toml, encoding="utf-8"))
        write_atomically(directory / MANIFEST, lambda path: path.write_text(json.dumps(manifest, indent=1)))
        failpoint("manifest-written")
        self._entries[table] = {"version": directory.name, "digest": digest, "rows": rows, "stage": self._stage}

    def commit(self, fingerprint: str, summary: dict[str, Any]) -> None:
        """Make all added tables current, in one step. Raises TryLater when another run has published meanwhile."""
        base, outcome = self._warehouse.catalog(), {"fingerprint": fingerprint, "run_id": self._run_id, **summary}
        failpoint("before-commit")
        self._warehouse.catalogs.publish(
            base["sequence"],
            base["tables"] | self._entries,
            base["stages"] | {self._stage: outcome},
            self._stage,
            self._run_id,
        )
        failpoint("committed")
        for directory in self._directories.values():
            (directory / STAGED).unlink(missing_ok=True)
            failpoint("marker-removed")

    def discard_uncommitted(self) -> None:
        """Remove everything again unless it was committed: unless a catalog names it, which no interruption can undo."""
        with contextlib.suppress(OSError, DataError):  # catalogs that cannot be read may name all of it
            for directory in set(self._directories.values()) - self._warehouse.published():
                with contextlib.suppress(OSError):  # the error on its way says more, and the next run sweeps the rest
                    remove_version(directory)


def describe(path: Path, directory: Path) -> Part:
    """The manifest entry of a Parquet file, after making sure that it is on disk."""
    sync(path)
    return Part(str(path.relative_to(directory)), path.stat().st_size, pq.read_metadata(path).num_rows, sha256(path))


def remove_version(directory: Path) -> None:
    """Remove a version directory, its marker last: killed half way, it still shows that it is one to remove."""
    (directory / STAGED).touch()
    for entry in os.scandir(directory):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        elif entry.name != STAGED:
            os.unlink(entry.path)
    failpoint("version-emptied")
    (directory / STAGED).unlink()
    directory.rmdir()

"""The warehouse under ``--root``: versioned tables that appear whole or not at all.

Layout::

    catalog/00000007.json      one file a publication: which version of each table is current; the highest number counts
    tables/NAME/VERSION/       Parquet files, _manifest.json (file, bytes, rows, sha256), _config.toml
    runs/RUN_ID/               logs, stage summaries, run.json
    checkpoints/               training in progress
    lock                       who writes now

A stage writes its tables into new version directories, which nobody sees. One new catalog file, created with a hard
link that fails if the number is taken, then publishes all of them together. No published file is ever changed.
"""

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession

from vasg import schemas
from vasg.errors import DataError, InputMissing, TryLater
from vasg.files import create_exclusively, make_directory, sha256, sync, write_atomically
from vasg.lock import lock

MANIFEST, CONFIG, STAGED = "_manifest.json", "_config.toml", "_staged"


@dataclass(frozen=True)
class Part:
    """One file of a table, ``path`` relative to the version directory."""

    path: str
    bytes: int
    rows: int
    sha256: str


class Warehouse:
    """Reads and writes the tables under one root directory."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).resolve()

    # ---- reading ----

    def catalog(self) -> dict[str, Any]:
        """What is published now: ``{"sequence", "tables": {name: {"version", "digest", "rows"}}, "stages": {...}}``."""
        files = sorted((self.root / "catalog").glob("[0-9]*.json"))
        if not files:
            return {"sequence": 0, "tables": {}, "stages": {}}
        catalog: dict[str, Any] = json.loads(files[-1].read_text())
        return catalog

    def has(self, table: str) -> bool:
        """Whether a version of the table is published."""
        return table in self.catalog()["tables"]

    def path(self, table: str) -> Path:
        """Directory of the current version. Raises InputMissing when the table was never published."""
        return self._entry(table)[0]

    def digest(self, table: str) -> str:
        """Hash of the table's content: the same files give the same digest."""
        return str(self._entry(table)[1]["digest"])

    def manifest(self, table: str) -> dict[str, Any]:
        """The manifest of the current version: schema, facts, parts."""
        path = self.path(table) / MANIFEST
        try:
            manifest: dict[str, Any] = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise DataError(f"table {table}: manifest {path} cannot be read ({error}); run the stage again") from None
        return manifest

    def parts(self, table: str) -> list[Part]:
        """The files of the current version, in a fixed order."""
        return [Part(**part) for part in self.manifest(table)["parts"]]

    def files(self, table: str) -> list[Path]:
        """Absolute paths of the files of the current version, in a fixed order."""
        directory = self.path(table)
        return [directory / part.path for part in self.parts(table)]

    def verify(self, table: str) -> None:
        """Compare every file of a table with its manifest. Raises DataError naming the first file that differs."""
        directory, writer = self.path(table), schemas.TABLES[table].writer

        def problem(part: Part) -> str:
            path = directory / part.path
            if not path.exists():
                return f"{path} is missing"
            if path.stat().st_size != part.bytes:
                return f"{path} has {path.stat().st_size} bytes instead of {part.bytes}"
            return (
                "" if sha256(path) == part.sha256 else f"{path} has other content than was published (sha256 differs)"
            )

        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            for found in pool.map(problem, self.parts(table)):
                if found:
                    raise DataError(f"table {table}: {found}; restore the file or run {writer} again with --from")

    def read(self, spark: SparkSession, table: str) -> DataFrame:
        """The table as a DataFrame, schema checked. Partition columns are strings or dates, never guessed from values."""
        files = [str(path) for path in self.files(table)]
        schemas.check(table, pq.read_schema(files[0]))
        reader = spark.read.option("basePath", str(self.path(table)))
        return reader.parquet(*files)

    def read_arrow(self, table: str, columns: list[str] | None = None) -> pa.Table:
        """The table (or some of its columns) as one Arrow table in the calling process, in the order of the files."""
        files = self.files(table)
        schemas.check(table, pq.read_schema(files[0]))
        return pa.concat_tables([pq.read_table(path, columns=columns, partitioning=None) for path in files])

    def batches(self, table: str, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Some columns of the table, a bounded number of rows at a time, in the order of the files."""
        for path in self.files(table):
            with pq.ParquetFile(path) as file:
                schemas.check(table, file.schema_arrow)
                yield from file.iter_batches(columns=columns)

    def _entry(self, table: str) -> tuple[Path, dict[str, Any]]:
        if table not in schemas.TABLES:
            raise InputMissing(f"there is no table {table}; tables are {', '.join(schemas.TABLES)}")
        entry = self.catalog()["tables"].get(table)
        if entry is None:
            raise InputMissing(f"table {table} is not in {self.root}; run {schemas.TABLES[table].writer} first")
        return self.root / "tables" / table / entry["version"], entry

    # ---- writing ----

    def lock(self, run_id: str) -> AbstractContextManager[None]:
        """Hold the right to publish; see ``vasg.lock``."""
        return lock(make_directory(self.root) / "lock", run_id)

    @contextmanager
    def publication(self, stage: str, run_id: str, config_toml: str) -> Iterator["Publication"]:
        """Collects the new versions of a stage's tables; removes them again unless they are committed."""
        publication = Publication(self, stage, run_id, config_toml)
        try:
            yield publication
        finally:
            publication.discard_uncommitted()

    def sweep(self) -> None:
        """Remove version directories that a killed run left behind. Call only while holding the lock."""
        catalogs = [json.loads(path.read_text()) for path in (self.root / "catalog").glob("[0-9]*.json")]
        known = {(name, entry["version"]) for catalog in catalogs for name, entry in catalog["tables"].items()}
        for marker in (self.root / "tables").glob(f"*/*/{STAGED}"):
            directory = marker.parent
            if (directory.parent.name, directory.name) not in known:
                shutil.rmtree(directory)

    def commit_catalog(self, catalog: dict[str, Any]) -> None:
        """Publish a catalog under the next number. Raises TryLater when another run took that number."""
        directory = make_directory(self.root / "catalog")
        path = directory / f"{catalog['sequence']:08d}.json"
        if not create_exclusively(path, json.dumps(catalog, indent=1)):
            raise TryLater(f"another run published into {self.root} meanwhile; run again")


class Publication:
    """New versions of the tables of one stage, invisible until ``commit``."""

    def __init__(self, warehouse: Warehouse, stage: str, run_id: str, config_toml: str) -> None:
        self._warehouse, self._stage, self._run_id, self._config_toml = warehouse, stage, run_id, config_toml
        self._directories: dict[str, Path] = {}
        self._entries: dict[str, dict[str, Any]] = {}
        self._committed = False

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
        return self._directories[table]

    def write(self, table: str, frame: DataFrame, facts: dict[str, Any] | None = None) -> None:
        """Write a DataFrame as the new version of the table; ``facts`` is kept in its manifest."""
        names = [c.name for c in schemas.TABLES[table].partitions]
        writer = frame.write.mode("append")  # the directory exists: it holds the marker, and nothing else
        (writer.partitionBy(*names) if names else writer).parquet(str(self.directory(table)))
        self.add(table, facts=facts)

    def write_arrow(self, table: str, content: pa.Table) -> None:
        """Write a small table that is already in this process."""
        pq.write_table(content, self.directory(table) / "part-00000.parquet")
        self.add(table)

    def add(self, table: str, parts: Iterable[Part] | None = None, facts: dict[str, Any] | None = None) -> None:
        """Take what was written into ``directory(table)`` as the new version: check the schema, write the manifest.

        ``parts`` names the files that count (others, of failed attempts, are removed); by default all do. ``facts`` is
        kept in the manifest for the readers.
        """
        directory = self.directory(table)
        if parts is None:
            found = sorted(p for p in directory.rglob("*.parquet") if not p.name.startswith(("_", ".")))
            with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
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
        digest = hashlib.sha256("".join(sorted(part.sha256 for part in parts)).encode()).hexdigest()
        rows = sum(part.rows for part in parts)
        manifest = {
            "table": table, "stage": self._stage, "run_id": self._run_id, "created": _now(), "rows": rows,
            "digest": digest, "facts": facts or {}, "parts": [asdict(part) for part in parts],
        }  # fmt: skip
        write_atomically(directory / CONFIG, lambda path: path.write_text(self._config_toml, encoding="utf-8"))
        write_atomically(directory / MANIFEST, lambda path: path.write_text(json.dumps(manifest, indent=1)))
        self._entries[table] = {"version": directory.name, "digest": digest, "rows": rows}

    def commit(self, fingerprint: str, summary: dict[str, Any]) -> None:
        """Make all added tables current, in one step."""
        catalog = self._warehouse.catalog()
        catalog["sequence"] += 1
        catalog["tables"] |= self._entries
        catalog["stages"][self._stage] = {"fingerprint": fingerprint, "run_id": self._run_id, **summary}
        self._warehouse.commit_catalog(catalog)
        self._committed = True
        for directory in self._directories.values():
            (directory / STAGED).unlink(missing_ok=True)

    def discard_uncommitted(self) -> None:
        """Remove everything again unless it was committed."""
        if not self._committed:
            for directory in self._directories.values():
                shutil.rmtree(directory, ignore_errors=True)


def describe(path: Path, directory: Path) -> Part:
    """The manifest entry of a Parquet file, after making sure that it is on disk."""
    sync(path)
    return Part(str(path.relative_to(directory)), path.stat().st_size, pq.read_metadata(path).num_rows, sha256(path))


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

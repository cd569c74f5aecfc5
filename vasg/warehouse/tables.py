"""The warehouse under ``--root``: versioned tables; those of a stage appear together or not at all.

Layout::

    catalog/00000007.json      one file a publication: which version of each table is current; the highest number counts
    tables/NAME/VERSION/       Parquet files, _manifest.json (file, bytes, rows, sha256), _config.toml
    runs/RUN_ID/               logs, stage summaries, run.json
    reports/RUN_ID.html        pages of vasg report
    checkpoints/               training in progress
    lock                       who writes now; its time of change is a heartbeat

A stage writes its tables into new version directories, which nobody sees. One new catalog file, created with a hard
link that fails if the number is taken, then publishes all of them together. No published file is ever changed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from vasg import schemas
from vasg.errors import DataError, InputMissing, UsageError
from vasg.machine.cores import cores
from vasg.spark.paths import address, literal
from vasg.warehouse.catalog import Catalogs
from vasg.warehouse.files import make_directory, sha256
from vasg.warehouse.lock import lock
from vasg.warehouse.publication import CONFIG, MANIFEST, STAGED, Part, Publication, remove_version

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


class Warehouse:
    """Reads and writes the tables under one root directory.

    With a ``catalog`` it stays at that one: all reads are of the same moment, and what it publishes counts only if
    nobody else has published since.
    """

    def __init__(self, root: str | Path, catalog: dict[str, Any] | None = None) -> None:
        self.root = Path(root).resolve()
        if not str(root):  # a variable of a shell that is not set; it would be the folder one happens to be in
            raise UsageError("--root is empty; name the folder of the warehouse")
        if {"#", "?"} & set(str(self.root)):
            raise UsageError(f"--root {self.root}: Petastorm reads no path with # or ?; choose another folder")
        self.catalogs = Catalogs(self.root / "catalog")
        self._pinned = catalog

    # ---- reading ----

    def catalog(self) -> dict[str, Any]:
        """What is published now: ``{"sequence", "tables": {name: {"version", "digest", "rows", "stage"}}, ...}``."""
        return self.catalogs.latest() if self._pinned is None else self._pinned

    def has(self, table: str) -> bool:
        """Whether a version of the table is published."""
        return table in self.catalog()["tables"]

    def path(self, table: str) -> Path:
        """Directory of the current version. Raises InputMissing when the table was never published."""
        return self._entry(table)[0]

    def configuration(self, table: str) -> Path:
        """The configuration file that the current version was made with."""
        return self.path(table) / CONFIG

    def digest(self, table: str) -> str:
        """Hash of the table's content: the same files give the same digest."""
        return str(self._entry(table)[1]["digest"])

    def manifest(self, table: str) -> dict[str, Any]:
        """The manifest of the current version: who wrote it and when, rows, digest, facts, parts."""
        path = self.path(table) / MANIFEST
        try:
            manifest: dict[str, Any] = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise DataError(f"table {table}: manifest {path} cannot be read ({error}); run the stage again") from None
        return manifest

    def changed_since(self, stage: str) -> list[str]:
        """Tables that ``stage`` read when it made what is published of it, and that are others by now."""
        inputs = self.catalog()["stages"].get(stage, {}).get("inputs", {})
        return [table for table, digest in inputs.items() if self.has(table) and self.digest(table) != digest]

    def as_published(self, table: str) -> Warehouse:
        """The tables as they were when the current version of ``table`` was published: all it was made from is there.

        Raises InputMissing when it was never published, or ``vasg gc`` has removed all catalogs of that time.
        """
        version = self.path(table).name
        for catalog in self.catalogs.all():
            entry = catalog["tables"].get(table)
            if entry and entry["version"] == version:
                then = Warehouse(self.root, catalog)
                if not then.changed_since(entry["stage"]):
                    return then
        raise InputMissing(
            f"what table {table} was made from is not published any more, nor in a catalog that is kept; run again"
        )

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

        with ThreadPoolExecutor(max_workers=cores()) as pool:
            for found in pool.map(problem, self.parts(table)):
                if found:
                    raise DataError(f"table {table}: {found}; restore the file or run {writer} again with --from")

    def read(self, spark: SparkSession, table: str) -> DataFrame:
        """The table as a DataFrame, schema checked. Partition columns are strings, never guessed from values."""
        files = self.files(table)
        schemas.check(table, pq.read_schema(files[0]))
        reader = spark.read.option("basePath", address(self.path(table)))
        return reader.parquet(*map(literal, files))

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

    @contextmanager
    def lock(self, run_id: str) -> Iterator[Warehouse]:
        """Hold the right to publish; yields this warehouse as it is now. Raises TryLater while another live run has it.

        A holder that is taken for dead and goes on cannot publish: whoever takes its place first takes the next catalog
        number, which it would need (``remove_abandoned``). So it ends with TryLater, too.
        """
        with lock(make_directory(self.root) / "lock", run_id) as hold:
            if not hold.shared:
                self.remove_abandoned(run_id, hold.broke)
            current = Warehouse(self.root, self.catalogs.latest())
            hold.check()  # taken over before this: refused here; after it: the next number is taken
            yield current

    @contextmanager
    def publication(self, stage: str, run_id: str, config_toml: str) -> Iterator[Publication]:
        """Collects the new versions of a stage's tables; removes them again unless they are committed."""
        publication = Publication(self, stage, run_id, config_toml)
        try:
            yield publication
        finally:
            publication.discard_uncommitted()

    def remove_abandoned(self, run_id: str, fence: bool = False) -> None:
        """Remove versions that a killed run left behind. Call only while holding the lock.

        Before anything is removed (or with ``fence``), their writers, dead or not, are kept from ever publishing them.
        """
        if fence or any(is_abandoned(version) for version in self.versions() - self.published()):
            self.catalogs.fence(run_id)
        published = self.published()
        for version in self.versions():
            if version in published:
                (version / STAGED).unlink(missing_ok=True)  # killed after the commit, before the marker went
            elif is_abandoned(version):
                remove_version(version)

    def published(self) -> set[Path]:
        """The directories of all versions that a catalog names, current or earlier."""
        return {
            self.root / "tables" / name / entry["version"]
            for catalog in self.catalogs.all()
            for name, entry in catalog["tables"].items()
        }

    def versions(self) -> set[Path]:
        """All directories of versions, published or not. What a symbolic link leads to is not ours to remove."""
        return {version for table in folders(self.root / "tables") for version in folders(table)}


def folders(directory: Path) -> list[Path]:
    """The directories in a directory, without symbolic links; none if it is one itself or does not exist."""
    if directory.is_symlink() or not directory.is_dir():
        return []
    return sorted(Path(entry.path) for entry in os.scandir(directory) if entry.is_dir(follow_symlinks=False))


def is_abandoned(version: Path) -> bool:
    """Whether a version that no catalog names is of our making and was not finished: marked, or still empty."""
    return (version / STAGED).is_file() or not any(version.iterdir())

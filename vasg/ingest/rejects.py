"""Records that did not become rows: each is kept with its place and reason, and too many of them stop the run."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from vasg.errors import DataError, InputMissing
from vasg.ingest.sources import reading
from vasg.spark.paths import plain
from vasg.spark.persisted import persisted

RAW_CHARACTERS = 1000  # of a bad record are kept in the table
REPEATED_HEADER = "repeated header line"
_EXAMPLES = 3


@dataclass(frozen=True)
class Records:
    """What became of the records of one input: ``rows``, ``rejects`` (the table's columns), counts (``bad`` by reason)."""

    rows: DataFrame
    rejects: DataFrame
    total: int
    bad: dict[str, int]


def check_limit(kind: str, total: int, bad: Mapping[str, int], limit: float, examples: Sequence[str]) -> None:
    """Raise DataError when more than ``limit`` of ``total`` records are bad.

    ``kind`` names the records and their limit ("reviews"), ``bad`` counts them by reason, ``examples`` say where the
    first ones are ("file:line (reason)"): a run that is refused publishes no rejects, so the message has to show them.
    """
    count = sum(bad.values())
    if count <= limit * total:
        return
    reasons = ", ".join(f"{reason} {n:,}" for reason, n in sorted(bad.items(), key=lambda item: (-item[1], item[0])))
    raise DataError(
        f"{kind}: {count:,} of {total:,} records are bad ({count / total:.2%}; max_bad_fraction is {limit:g}): {reasons}; "
        f"first: {', '.join(examples)}; mend the input or raise the limit"
    )


@contextmanager
def separated(
    parsed: DataFrame, files: Sequence[str], kind: str, limit: float, columns: Sequence[str], header: bool = False,
    empty_files: bool = False,
) -> Iterator[Records]:  # fmt: skip
    """Part good records from bad ones, in one pass over the input, kept for as long as the context lasts.

    ``parsed`` has ``columns`` and, of every record, ``source`` (one of ``files``), ``block`` (where the part of the file
    that one task read begins), ``position`` (grows by one from record to record of a block), ``reason`` (null for a good
    record) and ``raw``. Line numbers follow from counts by block, so good records pay nothing for them. With ``header``
    the first line of each file must be the one marked REPEATED_HEADER. With ``empty_files``
    some may have no records: a task of Spark that has no rows writes such Parquet, too.

    Raises InputMissing for an empty file, or for nothing but such, and DataError for a damaged one, a missing header,
    or too many bad records.
    """
    with persisted(parsed) as parsed:
        with reading(files):
            groups = parsed.groupBy("source", "block", "reason").agg(
                F.count("*").alias("n"), F.min("position").alias("first")
            )
            counted = groups.collect()  # blocks x reasons
        empty = sorted(set(map(plain, files)) - {plain(row.source) for row in counted})
        if empty and not (empty_files and counted):
            raise InputMissing(f"{kind}: {empty[0]} is empty; fetch it again or take it away")
        bad: dict[str, int] = {}
        for row in counted:
            if row.reason is not None:
                bad[row.reason] = bad.get(row.reason, 0) + row.n
        total = sum(row.n for row in counted)
        rejects = _numbered(parsed, counted)
        if header:
            _check_headers(counted, kind)
            rejects = rejects.where((F.col("line") > 1) | (F.col("reason") != REPEATED_HEADER))
            total, bad[REPEATED_HEADER] = total - len(files), bad[REPEATED_HEADER] - len(files)
        bad = {reason: n for reason, n in bad.items() if n}
        check_limit(kind, total, bad, limit, _examples(rejects) if sum(bad.values()) > limit * total else [])
        yield Records(parsed.where(F.col("reason").isNull()).select(*columns), rejects, total, bad)


def _numbered(parsed: DataFrame, counted: Sequence[Row]) -> DataFrame:
    """The bad records as the table ``rejects``; ``line`` counts from 1 in each file."""
    sizes: dict[tuple[str, int], int] = {}
    firsts: dict[tuple[str, int], int] = {}
    for row in counted:
        key = (row.source, row.block)
        sizes[key] = sizes.get(key, 0) + row.n
        firsts[key] = min(firsts.get(key, row.first), row.first)
    blocks, before, previous = [], 0, ""
    for source, block in sorted(sizes):
        before = before if source == previous else 0
        blocks.append((source, block, plain(source), before + 1 - firsts[source, block]))
        before, previous = before + sizes[source, block], source
    offsets = parsed.sparkSession.createDataFrame(blocks, "source string, block long, file string, offset long")
    bad = parsed.where(F.col("reason").isNotNull())
    # Bytes that are not UTF-8 would make the table unreadable for others: encode() replaces them.
    raw = F.substring(F.decode(F.encode("raw", "UTF-8"), "UTF-8"), 1, RAW_CHARACTERS)
    return bad.join(F.broadcast(offsets), ["source", "block"], "inner").select(
        F.col("file").alias("source"), (F.col("position") + F.col("offset")).alias("line"), "reason", raw.alias("raw")
    )


def _check_headers(counted: Sequence[Row], kind: str) -> None:
    """Raise DataError for a file that does not begin with the header line."""
    first: dict[str, tuple[int, int, bool]] = {}
    for row in counted:
        candidate = (row.block, row.first, row.reason == REPEATED_HEADER)
        first[row.source] = min(first.get(row.source, candidate), candidate)
    for source, (_, _, is_header) in sorted(first.items()):
        if not is_header:
            files = plain(min(first))
            raise DataError(
                f"{kind}: the first line of {plain(source)} is not the header line of {files}; give all files the same"
            )


def _examples(rejects: DataFrame) -> list[str]:
    first = rejects.orderBy("source", "line").limit(_EXAMPLES).collect()
    return [f"{row.source}:{row.line} ({row.reason})" for row in first]

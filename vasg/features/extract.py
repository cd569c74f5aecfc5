"""All pictures of a pattern to image features, on Spark: decoded and encoded in the Python workers, written by them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from vasg import schemas
from vasg.config import Features
from vasg.features.encode import REJECTS, EncodePictures, reject_table
from vasg.features.encoders import Facts
from vasg.features.listing import Listing, find_pictures, later_pictures
from vasg.features.pattern import PathPattern
from vasg.features.pictures import EMPTY
from vasg.features.unchanged import FEATURES, Made
from vasg.ingest.rejects import check_limit
from vasg.warehouse.parts import Target, write_here, write_tables
from vasg.warehouse.publication import Part

SURPLUS = "another picture of the product"

_EXAMPLES = 3


@dataclass(frozen=True)
class Extracted:
    """The files of both tables, and what became of ``total`` pictures."""

    features: list[Part]
    rejects: list[Part]
    made: dict[str, Made]  # by path, of all products that have a feature
    unchanged: set[str]  # products among them whose feature is the last one, and not in ``features``
    total: int
    rejected: dict[str, int]  # by reason


def extract_features(
    spark: SparkSession, settings: Features, encoder: Facts, last: Mapping[str, Made], features: Path, rejects: Path
) -> Extracted:
    """Write the features of all pictures, and the pictures that have none, as Parquet into the two directories.

    A picture that is as ``last`` says is not encoded again. Memory on the driver: some 1.5 KB a picture; in a task: 16
    files, one picture being decoded, 512 features. Raises ConfigurationError for a wrong pattern or where a host's encoder
    has other facts than ``encoder``, InputMissing when there is no picture, and DataError when more than
    ``settings.max_bad_fraction`` of them are bad. Of several pictures of a product the first that is good counts, and
    those behind it are neither good nor bad.
    """
    pattern = PathPattern(settings.path)
    task = EncodePictures(pattern, settings.encoder, settings.weights, encoder, settings.max_pixels, frozenset())
    targets = {
        FEATURES: Target(features, schemas.TABLES[FEATURES].arrow()),
        REJECTS: Target(rejects, schemas.TABLES[REJECTS].arrow()),
    }
    listing = find_pictures(spark, pattern)
    now = {path: (pattern.product_id(path) or "", stamp) for path, stamp in listing.stamps.items()}
    same = {path for path, made in last.items() if now.get(path) == made}
    tried = _try_pictures(listing, task, targets, same)
    seen = tried.parts[REJECTS]
    reasons = dict(zip(*(_column(name, rejects, seen) for name in ("source", "reason")), strict=True))
    # Spark passes over files without content: no task has seen them.
    unseen = dict.fromkeys(tried.failed - reasons.keys(), EMPTY) | dict.fromkeys(tried.surplus, SURPLUS)
    rows = [reject_table([(path, unseen[path], "") for path in sorted(unseen)])] if unseen else []
    reasons |= unseen
    _check_limit(settings, tried.used, reasons)
    made = {path: now[path] for path in tried.used if path in now}
    unchanged = {now[path][0] for path in tried.used & same}
    rejected, total = dict(Counter(reasons.values())), len(listing.paths)
    return Extracted(tried.parts[FEATURES], seen + write_here(rows, targets[REJECTS]), made, unchanged, total, rejected)


@dataclass
class _Tried:
    """The files that tasks wrote by table, and the paths that a feature is from, that gave none, and that nobody needs."""

    parts: dict[str, list[Part]]
    used: set[str]
    failed: set[str]
    surplus: set[str]


def _try_pictures(listing: Listing, task: EncodePictures, targets: Mapping[str, Target], same: set[str]) -> _Tried:
    """Encode the first picture of each product, and where that is bad the next, until one is good; none of the ``same``."""
    later = later_pictures(task.pattern, listing.paths)
    result = _Tried(
        {table: [] for table in targets}, set(), set(), {path for others in later.values() for path in others}
    )
    waiting = set(listing.paths) - result.surplus
    while waiting:
        good, fresh = set[str](), waiting - same
        if fresh:
            frame, others = listing.read(fresh)
            found = write_tables(frame, replace(task, skipped=others), targets)
            result.parts = {table: result.parts[table] + found[table] for table in targets}
            good = set(_column("product_id", targets[FEATURES].directory, found[FEATURES]))
        bad = {path for path in fresh if task.pattern.product_id(path) not in good}
        result.used |= waiting - bad
        result.failed |= bad
        waiting = _next_pictures(task.pattern, bad, later)
        result.surplus -= waiting
    return result


def _check_limit(settings: Features, used: set[str], reasons: dict[str, str]) -> None:
    bad = {path: reason for path, reason in reasons.items() if reason != SURPLUS}  # which nobody needs
    examples = [f"{path} ({bad[path]})" for path in sorted(bad)[:_EXAMPLES]]
    check_limit("pictures", len(used) + len(bad), Counter(bad.values()), settings.max_bad_fraction, examples)


def _next_pictures(pattern: PathPattern, failed: set[str], later: dict[str, list[str]]) -> set[str]:
    """One more picture, taken out of ``later``, of each product that has another one than those that ``failed``."""
    waiting = (later.get(pattern.product_id(path) or "") for path in failed)
    return {others.pop(0) for others in waiting if others}


def _column(name: str, directory: Path, parts: list[Part]) -> list[str]:
    return [value for part in parts for value in pq.read_table(directory / part.path, columns=[name])[name].to_pylist()]

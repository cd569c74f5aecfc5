"""The stages in order: what each reads, writes and depends on, and when it is up to date."""

import glob
import hashlib
import json
import os
import re
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vasg.config import Config, to_dict
from vasg.errors import DataError, UsageError
from vasg.installation import code_version
from vasg.spark.paths import without_scheme
from vasg.warehouse.tables import Warehouse

NO_PICTURES = "features.source is none; set it to have the stages after this one, recommendations included"


@dataclass(frozen=True)
class Stage:
    """One job: tables it reads and writes, configuration sections and fields with paths of outside data it depends on."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    sections: tuple[str, ...]
    outside: tuple[str, ...] = ()
    draws: bool = True  # random numbers, so that the seed decides, too


def stages(config: Config) -> list[Stage]:
    """The stages this configuration needs, in the order they run."""
    from_file = config.features.source == "feature_file"
    preprocess = Stage(
        "preprocess_reviews", (), ("reviews", "rejects") + (("image_features",) if from_file else ()),
        ("reviews",) + (("features",) if from_file else ()),
        ("reviews.path", "reviews.metadata") + (("features.path",) if from_file else ()), draws=False,
    )  # fmt: skip
    extract = Stage(
        "extract_features",
        (),
        ("image_features", "feature_sources", "rejected_pictures"),
        ("features",),
        ("features.path", "features.weights"),
        draws=False,
    )
    if config.features.source == "none":
        return [preprocess]  # every stage after it needs pictures
    return [
        preprocess,
        *([extract] if config.features.source == "pictures" else []),
        Stage("filter_users", ("reviews", "image_features"), ("nodes", "interactions"), ("split",)),
        Stage("generate_walks", ("nodes", "interactions"), ("walks",), ("walks",)),
        Stage(
            "train", ("nodes", "interactions", "image_features", "walks"), ("embeddings", "baseline_embeddings", "training_log"),
            ("train",),
        ),
        Stage(
            "score", ("nodes", "interactions", "image_features", "walks", "embeddings", "baseline_embeddings"),
            ("pair_ranks", "metrics", "recommendations", "uncovered"), ("split", "score"),
        ),
    ]  # fmt: skip


def stage(config: Config, name: str) -> Stage:
    """The stage of that name. Raises UsageError when this configuration has no such stage."""
    for candidate in stages(config):
        if candidate.name == name:
            return candidate
    names = ", ".join(s.name for s in stages(config))
    hint = f"; {NO_PICTURES}" if config.features.source == "none" else ""
    raise UsageError(f"stage {name} is not part of this configuration; its stages are {names}{hint}")


def run_date(config: Config) -> str:
    """The day the recommendations are for: as configured, or today (UTC)."""
    return config.run_date or datetime.now(UTC).strftime("%Y-%m-%d")


def fingerprint(stage: Stage, config: Config, warehouse: Warehouse) -> str:
    """Hash of all that decides a stage's output: code, configuration, input tables and outside files.

    Raises InputMissing when a table it reads is not there.
    """
    values = to_dict(config)
    decisive = {
        "code": code_version(),
        "seed": config.seed if stage.draws else None,
        "sections": {name: values[name] for name in stage.sections},
        "tables": {table: warehouse.digest(table) for table in stage.reads},
        "outside": {name: _outside(_lookup(values, name)) for name in stage.outside},
        "run_date": run_date(config) if "recommendations" in stage.writes else "",
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def is_up_to_date(stage: Stage, config: Config, warehouse: Warehouse) -> bool:
    """Whether the published tables of the stage are what running it again would give."""
    catalog = warehouse.catalog()
    done, tables = catalog["stages"].get(stage.name), catalog["tables"]
    if done is None or any(table not in tables for table in stage.reads + stage.writes):
        return False
    if any(tables[table]["stage"] != stage.name for table in stage.writes):  # another source of features came between
        return False
    return bool(done["fingerprint"] == fingerprint(stage, config, warehouse))


def _lookup(values: dict[str, Any], name: str) -> str:
    section, key = name.split(".")
    return str(values[section][key])


def _outside(pattern: str) -> Any:
    """Identity of outside files: path, size and time of change of each, in all folders that match.

    Where none can be seen, as behind the URL of an object store, it is another one each time: any may have changed.
    """
    local = without_scheme(pattern)
    if not local:
        return ""
    found = (glob.glob(each, include_hidden=True) for each in _globs(re.sub(r"\\.", "?", local)))
    matches = {local}.union(*found)  # a name may look like a pattern
    files = sorted({path for match in matches for path in _files(Path(match))})
    for path in files:
        _check_name(path)
    return [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in files if p.is_file()] or uuid.uuid4().hex


def _check_name(path: Path) -> None:
    """Raise DataError for a name that is not UTF-8, unless it is skipped anyway: Spark passes over what Java cannot open."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        if not path.name.startswith((".", "_")):
            raise DataError(f"{path}: the name is not UTF-8, so Spark does not see the file; rename it") from None


def _globs(pattern: str) -> list[str]:
    """Patterns of Python's that match what one of Hadoop's does, if not more."""
    braces = re.search(r"\{([^{}]*)\}", pattern)
    if braces is None:
        return [pattern.replace("[^", "[!")]
    choices = braces[1].split(",") if "/" in braces[1] else ["*"]
    return [each for choice in choices for each in _globs(pattern[: braces.start()] + choice + pattern[braces.end() :])]


def _files(path: Path) -> list[Path]:
    """The file, or those in the folder and below it, also behind symbolic links, as Spark reads them.

    A link back to a folder on the way to it leads to nothing new.
    """
    found, way = [path], {str(path): frozenset[tuple[int, int]]()}  # folders above each folder that is still to come
    for folder, folders, names in os.walk(path, followlinks=True):
        above, here = way.pop(folder), os.stat(folder)
        if (here.st_dev, here.st_ino) in above:
            folders.clear()
            continue
        way |= {os.path.join(folder, name): above | {(here.st_dev, here.st_ino)} for name in folders}
        found += [Path(folder, name) for name in names]
    return found

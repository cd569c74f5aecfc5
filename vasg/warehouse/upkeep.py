"""Looking after a warehouse: what was published when, going back, and removing what no kept catalog needs."""

import re
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vasg.errors import InputMissing
from vasg.failpoints import failpoint
from vasg.warehouse.files import sync
from vasg.warehouse.publication import MANIFEST, remove_version
from vasg.warehouse.tables import Warehouse, folders, is_abandoned

_TEMPORARY = re.compile(r"\.(lock|\d{8}\.json)\.[0-9a-f]{8}")  # of vasg.warehouse.files, left by a killed process
_OF_A_RUN = re.compile(r"\w+\.(json|log|toml)|\.\w+\.(json|toml)\.[0-9a-f]{8}")  # the last left by a killed process
_CHECKPOINT = re.compile(r"[0-9a-f]{16}")

Catalog = dict[str, Any]


def history(root: str | Path) -> list[str]:
    """One line a catalog, oldest first: number, time, what published it, run, and the tables that changed with it."""
    lines: list[str] = []
    before: dict[str, str] = {}
    for catalog in _existing(root).catalogs.all():
        published = catalog["published"]
        tables = _versions(catalog)
        changed = [name for name in sorted(tables.keys() | before.keys()) if tables.get(name) != before.get(name)]
        lines.append(
            f"{catalog['sequence']:>8}  {published['at']:20}  {published['by']}  [{published['run_id']}]"
            + (f": {', '.join(changed)}" if changed else "")
        )
        before = tables
    return lines


def rollback(root: str | Path, run_id: str, tables: Sequence[str] = (), to: int | None = None) -> list[str]:
    """Publish earlier versions again, as a new catalog; returns the names of the tables that changed.

    ``to`` is the number of the catalog to go back to. With ``tables``, each goes back to its version before the current
    one, together with all that its stage wrote with it. With neither, the last publication is taken back. Called again,
    it goes one further. Raises InputMissing where there is nothing earlier, DataError when what would come back is
    damaged.
    """
    with _existing(root).lock(run_id) as warehouse:
        now, catalogs = warehouse.catalog(), warehouse.catalogs.all()
        if to is not None:
            after, why = _numbered(catalogs, to), f"rollback to {to}"
        elif tables:
            after, why = now, f"rollback of {', '.join(tables)}"
            for stage in {_stage(table, warehouse) for table in tables}:
                after = _without_last(stage, warehouse, catalogs, after)
        else:
            after, why = _before(catalogs, now), "rollback"
        changed = [
            name for name in sorted(now["tables"].keys() | after["tables"].keys())
            if _versions(now).get(name) != _versions(after).get(name)
        ]  # fmt: skip
        earlier = Warehouse(warehouse.root, after)
        for table in changed:
            if earlier.has(table):
                earlier.verify(table)
        failpoint("before-commit")
        warehouse.catalogs.publish(now["sequence"], after["tables"], after["stages"], why, run_id)
        failpoint("committed")
    return changed


def _without_last(stage: str, warehouse: Warehouse, catalogs: list[Catalog], now: Catalog) -> Catalog:
    """Catalog ``now`` with what ``stage`` had published before its current versions."""
    names = {name for name in now["tables"] if _stage(name, warehouse) == stage}
    then = _before(catalogs, now, names)
    if not names & then["tables"].keys():
        raise InputMissing(f"there is no earlier version of {', '.join(sorted(names))}")

    def merged(part: str, keys: set[str]) -> Catalog:
        kept = {key: value for key, value in now[part].items() if key not in keys}
        return kept | {key: then[part][key] for key in keys & then[part].keys()}

    return now | {"tables": merged("tables", names), "stages": merged("stages", {stage})}


def _stage(table: str, warehouse: Warehouse) -> str:
    """The stage that wrote the current version, by the catalog: a manifest may be what is damaged."""
    warehouse.path(table)  # raises InputMissing
    return str(warehouse.catalog()["tables"][table]["stage"])


def _before(catalogs: list[Catalog], now: Catalog, names: set[str] | None = None) -> Catalog:
    """The catalog before the first one in which these tables (default: all) had the versions of ``now``."""
    chosen = {name for catalog in catalogs for name in catalog["tables"]} if names is None else names
    versions = [{name: _versions(catalog).get(name) for name in chosen} for catalog in [*catalogs, now]]
    first = versions.index(versions[-1])
    if first == 0:
        raise InputMissing(f"there is no earlier version of {', '.join(sorted(names)) if names else 'these tables'}")
    return catalogs[first - 1]


def _numbered(catalogs: list[Catalog], number: int) -> Catalog:
    for catalog in catalogs:
        if catalog["sequence"] == number:
            return catalog
    first, last = catalogs[0]["sequence"], catalogs[-1]["sequence"]
    raise InputMissing(f"there is no catalog {number}; those from {first} to {last} are kept (vasg history)")


def _versions(catalog: Catalog) -> dict[str, str]:
    return {name: entry["version"] for name, entry in catalog["tables"].items()}


@dataclass
class Removed:
    """What gc has removed: how many of each, and the bytes of the table versions."""

    catalogs: int = 0
    versions: int = 0
    bytes: int = 0
    checkpoints: int = 0
    runs: int = 0


def gc(root: str | Path, run_id: str, keep: int) -> Removed:
    """Keep the last ``keep`` catalogs and remove the others, and every version, run and checkpoint older than them.

    A catalog with the tables of the one before it does not count: it would take the place of one to go back to, and
    make the checkpoint of a killed run look old.

    Only what is of our making goes: versions with our manifest or marker, runs that hold nothing but our files. Nothing
    behind a symbolic link is touched. Raises TryLater while a run holds the lock.
    """
    with _existing(root).lock(run_id) as warehouse:
        removed, files = Removed(), warehouse.catalogs.files()
        tables = [_versions(catalog) for catalog in warehouse.catalogs.all()]
        changes = [i for i in range(len(tables)) if i == 0 or tables[i] != tables[i - 1]]
        oldest = changes[-keep:][0]
        kept_since = files[oldest].stat().st_mtime
        for path in files[:oldest]:  # first, so that no catalog ever names a version that is gone
            path.unlink()
            removed.catalogs += 1
        sync(warehouse.catalogs.folder)
        failpoint("catalogs-removed")
        for version in sorted(warehouse.versions() - warehouse.published()):
            if (version / MANIFEST).is_file() or is_abandoned(version):
                removed.bytes += sum(_size(path) for path in version.rglob("*"))
                remove_version(version)
                removed.versions += 1
        for directory in folders(warehouse.root / "checkpoints"):
            if _CHECKPOINT.fullmatch(directory.name) and _changed(directory) < kept_since:
                shutil.rmtree(directory)
                removed.checkpoints += 1
        for directory in folders(warehouse.root / "runs"):
            if _is_run(directory) and _changed(directory) < kept_since:
                shutil.rmtree(directory)
                removed.runs += 1
        for path in [*warehouse.root.iterdir(), *warehouse.catalogs.folder.iterdir()]:
            if _TEMPORARY.fullmatch(path.name):
                path.unlink(missing_ok=True)  # it was in use after all
    return removed


def _existing(root: str | Path) -> Warehouse:
    warehouse = Warehouse(root)
    if not warehouse.catalogs.files():
        raise InputMissing(f"nothing was published in {warehouse.root}")
    return warehouse


def _size(path: Path) -> int:
    status = path.lstat()
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def _changed(directory: Path) -> float:
    """When something was last added to, or removed from, a directory or one right below it."""
    return max(path.lstat().st_mtime for path in (directory, *directory.iterdir()))


def _is_run(directory: Path) -> bool:
    """Whether a folder holds nothing but logs, summaries and the configuration."""
    return all(_OF_A_RUN.fullmatch(path.name) and path.is_file() for path in directory.iterdir())

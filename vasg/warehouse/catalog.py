"""Catalogs: small numbered files that name the current version of every table. Publishing is creating the next one."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from vasg.errors import DataError, TryLater
from vasg.warehouse.files import create_exclusively, make_directory, now

NOTHING: dict[str, Any] = {"sequence": 0, "tables": {}, "stages": {}}


class Catalogs:
    """The folder ``catalog/`` of a warehouse. No file in it ever changes; the one with the highest number counts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def files(self) -> list[Path]:
        """All catalogs, oldest first."""
        return sorted(self.folder.glob("[0-9]*.json"))

    def all(self) -> list[dict[str, Any]]:
        """The content of all catalogs, oldest first."""
        found = []
        for path in self.files():
            with suppress(FileNotFoundError):  # removed as too old since it was listed
                found.append(_read(path))
        return found

    def latest(self) -> dict[str, Any]:
        """What counts now: ``{"sequence", "tables": {name: {"version", "digest", "rows", "stage"}}, ...}``."""
        while files := self.files():
            try:
                return _read(files[-1])
            except FileNotFoundError:  # removed as too old since it was listed; there is a newer one
                continue
        return NOTHING

    def publish(self, base: int, tables: dict[str, Any], stages: dict[str, Any], by: str, run_id: str) -> None:
        """Create the catalog after number ``base``; ``by`` says for people what published it.

        Raises TryLater when that number is taken: what was made from catalog ``base`` no longer counts.
        """
        content = {
            "sequence": base + 1, "published": {"by": by, "run_id": run_id, "at": now()}, "tables": tables, "stages": stages,
        }  # fmt: skip
        if not create_exclusively(make_directory(self.folder) / f"{base + 1:08d}.json", json.dumps(content, indent=1)):
            raise TryLater(f"another run published into {self.folder.parent} meanwhile; run again")

    def fence(self, run_id: str) -> None:
        """Publish the current catalog once more, so that nobody who started from it or an earlier one can publish."""
        current = self.latest()
        why = "nothing new, but a dead run may no longer publish"
        self.publish(current["sequence"], current["tables"], current["stages"], why, run_id)


def _read(path: Path) -> dict[str, Any]:
    try:
        catalog: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise DataError(
            f"catalog {path} cannot be read ({error}); restore it or remove it to go back to the one before"
        ) from None
    return catalog

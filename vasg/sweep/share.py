"""What two warehouses have in common is computed once: the other has it as hard links, which take no space."""

import os
import shutil

from vasg.config import Config
from vasg.pipeline.stages import Stage, fingerprint, is_up_to_date, stages
from vasg.warehouse.files import make_directory, sync
from vasg.warehouse.publication import STAGED
from vasg.warehouse.tables import Warehouse


def adopt(source: Warehouse, target: Warehouse, config: Config, run_id: str) -> None:
    """Publish in ``target`` the tables of the stages that ``source`` has finished and ``config`` would compute alike.

    Stage by stage, as long as the fingerprint (code, configuration, seed, input tables, outside files) is that of the
    stage in ``source``. Published files never change, so both may hold the same ones. Call while holding the lock of
    ``target``; what a killed call leaves is marked as staged, as by any publication.
    """
    for stage in stages(config):
        if is_up_to_date(stage, config, target):
            continue
        done = source.catalog()["stages"].get(stage.name)
        if done is None or done["fingerprint"] != fingerprint(stage, config, target):
            return
        _publish_links(source, target, stage, run_id)


def _publish_links(source: Warehouse, target: Warehouse, stage: Stage, run_id: str) -> None:
    given, base = source.catalog(), target.catalog()
    copies = []
    for table in stage.writes:
        published = source.path(table)
        copy = target.root / published.relative_to(source.root)
        if not copy.exists():
            make_directory(copy)
            (copy / STAGED).touch()
            shutil.copytree(
                published, copy, ignore=shutil.ignore_patterns(STAGED), copy_function=os.link, dirs_exist_ok=True
            )
            sync(copy)
            copies.append(copy)
    target.catalogs.publish(
        base["sequence"],
        base["tables"] | {table: given["tables"][table] for table in stage.writes},
        base["stages"] | {stage.name: given["stages"][stage.name]},
        stage.name,
        run_id,
    )
    for copy in copies:
        (copy / STAGED).unlink()

"""What the report is about: the tables that are published now, and how they came to be."""

from dataclasses import dataclass
from typing import Any

from vasg.config import Config
from vasg.config_file import load
from vasg.pipeline.stages import Stage, stages
from vasg.warehouse.publication import CONFIG
from vasg.warehouse.tables import Warehouse


@dataclass(frozen=True)
class Run:
    """The published tables, the configuration the lists were made with, and what each stage reported when it published."""

    warehouse: Warehouse
    config: Config
    run_id: str  # of the stage score, which made the lists
    summaries: dict[str, dict[str, Any]]  # by stage, in the order they run; only stages that published something

    def counts(self, stage: str) -> dict[str, Any]:
        """What the stage counted; empty when it has not published anything."""
        counts: dict[str, Any] = self.summaries.get(stage, {}).get("counts", {})
        return counts


def published_run(root: str) -> Run:
    """The run behind the recommendations under ``root``. Raises InputMissing when there are none."""
    warehouse = Warehouse(root, Warehouse(root).catalog())  # the page is about one moment
    config = load(warehouse.path("recommendations") / CONFIG)
    run_id = str(warehouse.manifest("recommendations")["run_id"])
    catalog = warehouse.catalog()
    summaries = {s.name: catalog["stages"][s.name] for s in stages(config) if s.name in catalog["stages"]}
    return Run(warehouse, config, run_id, summaries)


def outdated(run: Run) -> list[str]:
    """Stages whose tables were made from others than those published now: the report would mix two runs."""
    return [stage.name for stage in stages(run.config) if _is_outdated(run, stage)]


def _is_outdated(run: Run, stage: Stage) -> bool:
    inputs, warehouse = run.summaries.get(stage.name, {}).get("inputs", {}), run.warehouse
    return any(warehouse.has(table) and warehouse.digest(table) != digest for table, digest in inputs.items())

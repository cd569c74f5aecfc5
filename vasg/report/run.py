"""What the report is about: the published recommendations, the tables they were made from, and how all came to be."""

from dataclasses import dataclass
from typing import Any

from vasg.config import Config
from vasg.config_file import load
from vasg.pipeline.stages import stages
from vasg.warehouse.tables import Warehouse


@dataclass(frozen=True)
class Run:
    """The tables, the configuration the lists were made with, and what each stage reported when it published."""

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
    warehouse = Warehouse(root).as_published("recommendations")  # stages may have published since, or a gate refused
    config = load(warehouse.configuration("recommendations"))
    run_id = str(warehouse.manifest("recommendations")["run_id"])
    catalog = warehouse.catalog()
    summaries = {s.name: catalog["stages"][s.name] for s in stages(config) if s.name in catalog["stages"]}
    return Run(warehouse, config, run_id, summaries)

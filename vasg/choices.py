"""What an evaluation chose by its validation pairs, for a training that has none: that of the night."""

import dataclasses

import tomli_w

from vasg.config import Blend, Pairwise
from vasg.errors import DataError
from vasg.scoring.bootstrap import FEWEST_PAIRS
from vasg.warehouse.tables import Warehouse

_SECTIONS = {"blend": Blend, "vbpr": Pairwise, "bpr": Pairwise}


def choices(root: str) -> str:
    """Sections of a configuration file, from the table training_log under ``root``: that of the published lists, if any.

    Raises InputMissing without that table, and DataError when its training had nothing to choose by.
    """
    warehouse = Warehouse(root)
    if warehouse.has("recommendations"):  # a training whose lists a gate refused may have been published since
        warehouse = warehouse.as_published("recommendations")
    log, run_id = warehouse.read_arrow("training_log").to_pylist(), warehouse.manifest("training_log")["run_id"]
    value = {(row["phase"], row["quantity"]): row["value"] for row in log}
    if ("blend", "validation_auc") not in value:
        raise DataError(
            f"the training published under {root} chose nothing: that takes validation pairs of warm products, as of an "
            'evaluation with split.method = "leave_one_out" and train.objective = "sampled"'
        )
    train = {}
    for section, kind in _SECTIONS.items():
        keys = [field for field in dataclasses.fields(kind) if (section, field.name) in value]
        train[section] = {key.name: (int if key.name == "epochs" else float)(value[section, key.name]) for key in keys}
    pairs = int(value["blend", "validation_pairs"])
    few = ", which is too few to go by" if pairs < FEWEST_PAIRS else ""
    return f"# chosen by run {run_id} on {pairs:,} validation pairs{few}\n" + tomli_w.dumps({"train": train})

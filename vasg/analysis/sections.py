"""All analyses of a finished run, in the order of the paper."""

from vasg.analysis import cosine_density, linear_section, projection, relations
from vasg.analysis.inputs import read_inputs
from vasg.analysis.section import Section
from vasg.config import Config
from vasg.warehouse.tables import Warehouse


def sections(warehouse: Warehouse, config: Config) -> list[Section]:
    """Read the tables once and run every analysis. Raises as the readers of the tables do."""
    inputs = read_inputs(warehouse)
    resamples = config.score.bootstrap
    return [
        relations.section(inputs, config.seed, resamples),
        projection.section(inputs, config),
        linear_section.section(inputs, config),
        cosine_density.section(inputs, config.seed, resamples),
    ]

"""The whole training under the paper's own objective, its decoder in every step, against the half hour that the paper took."""

from benchmarks import measure
from benchmarks.data import Shop
from benchmarks.training import device, trained

_PAPER_SECONDS = 1800.0


def run(shop: Shop, rounds: int) -> list[measure.Result]:
    """Trainings an hour on one worker with all cores, or a GPU; one round, however many are asked for: it is long."""
    seconds, log = trained(shop, {"objective": "paper", "baselines": [], "epochs": 1})
    auc = next(value for _, _, name, value in log if name == "vectors_auc")
    return [
        measure.compare(
            "paper's objective", shop.name, f"the paper's half hour; here: {device()}", "trainings/h", 3600, [seconds],
            [_PAPER_SECONDS], f"one pass; AUC on validation pairs {auc:.3f}",
        )
    ]  # fmt: skip

"""Metrics from the pair ranks: AUC, recall, NDCG and hit rate, with ties taken as a random order among the tied."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vasg import schemas
from vasg.scoring.bootstrap import intervals
from vasg.scoring.models import PUBLISHED

CASES = {  # (setting, candidates) that every comparison shows, and what people call them
    ("warm", "setting"): "warm among warm", ("warm", "all"): "warm among all",
    ("cold", "setting"): "cold among cold", ("cold", "all"): "cold among all",
}  # fmt: skip


def metrics(
    pair_ranks: pa.Table,
    kinds: dict[str, NDArray[np.int64]],
    ks: tuple[int, ...],
    resamples: int,
    seed: int,
    run_id: str,
) -> pa.Table:
    """The table metrics. All models have the same pairs; pairs without a candidate count in no mean.

    ``kinds`` are settings reported beside all of the warm and of the cold pairs: the nodes of their test products. A
    kind's name begins with the setting whose candidates it is ranked against: cold_held_out, warm_few_shot. A baseline's
    auc_lead is how far the published model's AUC is above its own. Intervals come from resampling users, for cold
    products users and products: few products stand behind many pairs.
    """
    rows: list[tuple[Any, ...]] = []
    for setting in ("warm", "cold", *kinds):
        part = pair_ranks.filter((pc.field("setting") == setting.split("_")[0]) & (pc.field("candidate_count") > 0))
        if setting in kinds:
            part = part.filter(pc.is_in(part["product"], pa.array(kinds[setting], pa.int64())))
        for candidates in ("all", "setting"):
            chosen = part.filter(pc.field("candidates") == candidates)
            if chosen.num_rows:
                rows += [(run_id, *row) for row in _group(chosen, setting, candidates, ks, resamples, seed)]
    schema = schemas.TABLES["metrics"].arrow()
    columns = zip(*rows, strict=True) if rows else [[] for _ in schema]
    return pa.table([pa.array(column, kind) for column, kind in zip(columns, schema.types, strict=True)], schema=schema)


def _group(
    chosen: pa.Table, setting: str, candidates: str, ks: tuple[int, ...], resamples: int, seed: int
) -> list[tuple[Any, ...]]:
    """Rows of one setting and candidate set; all models are resampled together."""
    models = sorted(pc.unique(chosen["model"]).to_pylist())
    user = product = np.zeros(0, np.int64)
    pair_columns: dict[tuple[str, str], NDArray[np.float64]] = {}
    user_columns: dict[tuple[str, str], NDArray[np.float64]] = {}
    for model in models:
        ranks = chosen.filter(pc.field("model") == model).sort_by([("user", "ascending"), ("product", "ascending")])
        keys = ranks["user"].to_numpy(), ranks["product"].to_numpy()
        assert not len(user) or (np.array_equal(user, keys[0]) and np.array_equal(product, keys[1]))
        user, product = keys
        above, tied, count = (ranks[name].to_numpy() for name in ("above", "tied", "candidate_count"))
        pair_columns[model, "auc"], pair_columns[model, "auc_strict"] = auc(above, tied, count)
        for k in ks:
            hit = recall(above, tied, k)
            pair_columns[model, f"recall@{k}"], pair_columns[model, f"ndcg@{k}"] = hit, ndcg(above, tied, k)
            user_columns[model, f"hit_rate@{k}"] = hit_rate(user, hit)
    for baseline in (model for model in models if model != PUBLISHED and PUBLISHED in models):
        lead = pair_columns[PUBLISHED, "auc"] - pair_columns[baseline, "auc"]
        pair_columns[baseline, "auc_lead"] = lead  # paired: what makes a pair hard is hard for both
    values, user_values = (np.stack([*columns.values()], axis=1) for columns in (pair_columns, user_columns))
    low, high = intervals(values, user_values, user, product, setting.startswith("cold"), resamples, seed)
    mean = np.concatenate((values.mean(axis=0), user_values.mean(axis=0)))
    return [
        (model, setting, candidates, metric, float(mean[i]), float(low[i]), float(high[i]), len(user))
        for i, (model, metric) in enumerate([*pair_columns, *user_columns])
    ]


def auc(above: NDArray[np.int64], tied: NDArray[np.int64], count: NDArray[np.int64]) -> tuple[Any, Any]:
    """Share of its candidates that each pair's product outranks (paper, equation 4); ties count one half, or nothing."""
    return (count - above - 0.5 * tied) / count, (count - above - tied) / count


def recall(above: NDArray[np.int64], tied: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """Probability that each pair's product is among the best k: its rank is one of above + 1 ... above + tied + 1."""
    return np.asarray(np.clip(k - above, 0, tied + 1) / (tied + 1.0))


def ndcg(above: NDArray[np.int64], tied: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """Expected 1 / log2(1 + rank), 0 beyond rank k: NDCG with the one relevant product of a pair."""
    gain = np.concatenate(([0.0], np.cumsum(1.0 / np.log2(2.0 + np.arange(k)))))  # gain of the ranks up to each
    return np.asarray((gain[np.minimum(k, above + tied + 1)] - gain[np.minimum(k, above)]) / (tied + 1.0))


def hit_rate(user: NDArray[np.int64], hit: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each distinct user (``user`` ascending) 1 - product over the pairs of (1 - probability of a hit).

    The expectation takes the pairs of a user as independent. A user's chance grows with the number of test pairs.
    """
    starts = np.unique(user, return_index=True)[1]
    return np.asarray(1.0 - np.multiply.reduceat(1.0 - hit, starts))

"""The steps of the stage score, in order."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyspark.sql import functions as F

from vasg import schemas
from vasg.config import Config
from vasg.config_file import load
from vasg.features.matrix import feature_matrix
from vasg.pipeline.job import Job
from vasg.scoring import gates, leakage, models, pictures, recommendations, tasks
from vasg.scoring.blocks import Settings
from vasg.scoring.inputs import Purchases, read_baseline, read_embeddings, read_purchases
from vasg.scoring.metrics import metrics
from vasg.spark.replicated import replicate
from vasg.split import held_out

_FEW = 5  # train purchases of a product, at most, that make it few-shot
_FROM_PICTURES = ("wboi", "visual_popular", "image_knn")


def body(job: Job) -> None:
    """Check the inputs, score every model, and add the tables pair_ranks, metrics, recommendations and uncovered.

    Raises DataError when an input breaks its contract, test data can have leaked into the model, or a gate refuses.
    """
    config, publication, seed = job.config.score, job.publication, job.config.seed
    purchases = read_purchases(job.warehouse)
    embeddings = read_embeddings(job.warehouse, purchases.users + purchases.products)
    leakage.check(job.warehouse, purchases, embeddings)
    features, has_feature = feature_matrix(job.warehouse, purchases.product_ids)

    cold = recommendations.cold_places(config.top_k, config.max_cold_share)
    lists_to, ranks_to = publication.directory("recommendations"), publication.directory("pair_ranks")
    covered = embeddings.origin[: purchases.users] >= 0
    lists = tasks.Lists(config.top_k, seed, job.run_id, job.config.run_date, lists_to, covered)
    places = min(config.top_k, purchases.warm), min(cold, purchases.products - purchases.warm)
    with replicate(job.spark, tasks.purchase_arrays(purchases)) as shared:
        published = models.vasg(purchases, embeddings, seed)
        settings = Settings(purchases.warm, published.catalogue.warm_tiles, places)
        parts = tasks.run(job.spark, published, shared, settings, ranks_to, lists)
        for model in _baselines(job, purchases, features, has_feature):
            settings = Settings(purchases.warm, model.catalogue.warm_tiles, by_neighbours=model.by_neighbours)
            tasks.run(job.spark, model, shared, settings, ranks_to)

    lengths = recommendations.list_lengths(purchases, embeddings, config.top_k, cold)
    recommendations.check_complete(lists_to, parts, purchases, lengths)
    publication.add("pair_ranks")
    left_out = recommendations.uncovered(purchases, embeddings, has_feature, lengths, cold)
    publication.write_arrow("uncovered", left_out)
    pair_ranks = _read_pair_ranks(ranks_to)
    drawn = _as_drawn(job)
    table = metrics(pair_ranks, _kinds(job, purchases, drawn), config.metric_k, config.bootstrap, seed, job.run_id)
    publication.write_arrow("metrics", table)
    figures = gates.check(job.warehouse, drawn, lists_to, parts, table)
    publication.add("recommendations", parts, {gates.FACT: figures})
    _report(job, purchases, pair_ranks, table, left_out)


def _baselines(
    job: Job, purchases: Purchases, features: NDArray[Any], has_feature: NDArray[np.bool_]
) -> Iterator[models.Model]:
    """The configured baselines, for the users with test pairs; one at a time, because pictures are large."""
    names, seed = job.config.score.baselines, job.config.seed
    users = np.unique(purchases.user[purchases.of("test_warm", "test_cold")])
    if not len(users):
        return
    if "random" in names:
        yield models.random(purchases, users, seed)
    if "most_popular" in names:
        yield models.most_popular(purchases, users, seed)
    if "item_knn" in names:
        yield models.item_knn(purchases, users, seed)
    for name in job.config.train.baselines:
        vectors = read_baseline(job.warehouse, name, purchases.users + purchases.products)
        if vectors is not None:
            yield models.learned(name, purchases, vectors, users, seed)
    wanted = [name for name in _FROM_PICTURES if name in names]
    if wanted and not has_feature.any():
        job.count(baselines_without_pictures=f"{' and '.join(wanted)} left out")
    elif wanted:
        looks = pictures.pictures(purchases, features, has_feature)
        columns = pictures.picture_catalogue(looks, purchases, seed)
        if "wboi" in wanted:
            yield pictures.wboi(looks, purchases, users, columns)
        if "visual_popular" in wanted:
            weight = pictures.choose_popularity_weight(looks, purchases, seed)
            job.count(visual_popular_weight=weight)
            yield pictures.visual_popular(looks, purchases, users, columns, weight)
        if "image_knn" in wanted:
            yield pictures.image_knn(looks, purchases, users, seed)


def _as_drawn(job: Job) -> Config:
    """The configuration of this run, with the seed and the split that the published pairs were drawn with."""
    drawn = load(job.warehouse.configuration("nodes"))
    return replace(job.config, seed=drawn.seed, split=drawn.split)


def _kinds(job: Job, purchases: Purchases, drawn: Config) -> dict[str, NDArray[np.int64]]:
    """Nodes of the products behind the settings that metrics have beside warm and cold.

    Cold products are natural where all that bought them happen to be held out, or held out on purpose; few-shot are
    warm products of at most five train purchases.
    """
    fraction, nodes = drawn.split.holdout_cold_fraction, purchases.users + np.arange(purchases.products)
    removed = np.zeros(purchases.products, np.bool_)
    if fraction:
        cold = job.warehouse.read(job.spark, "nodes").where("is_cold").select(F.col("id").alias("product_id"))
        ids = held_out(cold, drawn.seed, fraction).toPandas()["product_id"]
        removed = pc.is_in(purchases.product_ids, pa.array(ids, pa.large_string())).to_numpy(zero_copy_only=False)
    few = purchases.per_product("train") <= _FEW
    return {
        "cold_natural": nodes[purchases.is_cold & ~removed],
        "cold_held_out": nodes[purchases.is_cold & removed],
        "warm_few_shot": nodes[~purchases.is_cold & few],
    }


def _read_pair_ranks(directory: Path) -> pa.Table:
    empty = schemas.TABLES["pair_ranks"].arrow().empty_table()
    return pa.concat_tables([empty, *(pq.read_table(path) for path in sorted(directory.glob("*.parquet")))])


def _report(job: Job, purchases: Purchases, pair_ranks: pa.Table, table: pa.Table, left_out: pa.Table) -> None:
    without = (pc.field("candidate_count") == 0) & (pc.field("model") == models.PUBLISHED)
    kinds = left_out["node_type"].to_pylist()
    job.count(
        test_pairs=int(purchases.of("test_warm", "test_cold").sum()),
        ranks_without_candidates=pair_ranks.filter(without).num_rows,
        uncovered_users=kinds.count("user"),
        uncovered_products=kinds.count("product"),
    )
    for setting in ("warm", "cold"):
        chosen = (pc.field("model") == models.PUBLISHED) & (pc.field("metric") == "auc")
        chosen &= (pc.field("setting") == setting) & (pc.field("candidates") == "setting")
        for value in table.filter(chosen)["value"].to_pylist():
            job.count(**{f"{setting}_auc": round(value, 4)})

"""The steps of the stage preprocess_reviews, in order."""

from contextlib import ExitStack
from functools import reduce

from pyspark.sql import DataFrame

from vasg.errors import DataError
from vasg.ingest.feature_file import feature_file, read_ids, write_features
from vasg.ingest.metadata import read_metadata
from vasg.ingest.rejects import Records
from vasg.ingest.reviews import read_reviews
from vasg.pipeline.job import Job


def body(job: Job) -> None:
    """Read and check every input before anything is written; keep the products of the category, if one is configured."""
    settings, features = job.config.reviews, job.config.features
    file = feature_file(features) if features.source == "feature_file" else None
    with ExitStack() as inputs:
        records = {"reviews": inputs.enter_context(read_reviews(job.spark, settings))}
        if settings.category:
            records["metadata"] = inputs.enter_context(read_metadata(job.spark, settings))
        if file:
            records["features"] = inputs.enter_context(read_ids(job.spark, file, features.max_bad_fraction))
        for kind, found in records.items():
            job.count(
                **{f"{kind} read": found.total} | {f"{kind} bad, {why}": n for why, n in sorted(found.bad.items())}
            )
        rows = {kind: _of_category(found.rows, records.get("metadata")) for kind, found in records.items()}

        job.publication.write("reviews", rows["reviews"])
        if not job.publication.rows["reviews"]:
            where = f" of category {settings.category!r} (metadata {settings.metadata})" if settings.category else ""
            raise DataError(f"{settings.path} has no usable review{where}; names are matched letter for letter")
        job.publication.write("rejects", reduce(DataFrame.unionByName, [found.rejects for found in records.values()]))
        if file:
            parts = write_features(file, rows["features"], job.publication.directory("image_features"))
            job.publication.add("image_features", parts, facts={"encoder": "feature_file", "dim": file.dim})
        if settings.category:
            for kind, table in (("reviews", "reviews"), ("features", "image_features")):
                if kind in records:
                    good = records[kind].total - sum(records[kind].bad.values())
                    job.count(**{f"{kind} of other categories": good - job.publication.rows[table]})


def _of_category(rows: DataFrame, metadata: Records | None) -> DataFrame:
    if metadata is None:
        return rows
    return rows.join(metadata.rows.where("in_category").select("product_id"), "product_id", "left_semi")

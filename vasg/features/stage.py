"""The stage extract_features."""

from vasg.features.extract import FEATURES, REJECTS, extract_features
from vasg.pipeline.job import Job


def body(job: Job) -> None:
    """Encode all pictures; the tasks write both tables."""
    publication = job.publication
    result = extract_features(
        job.spark, job.config.features, publication.directory(FEATURES), publication.directory(REJECTS)
    )
    publication.add(FEATURES, result.features, result.facts)
    publication.add(REJECTS, result.rejects)
    rejected = result.rejected
    job.count(pictures=result.total, rejected=sum(rejected.values()), encoder=job.config.features.encoder, **rejected)

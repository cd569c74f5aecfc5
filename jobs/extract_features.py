"""pictures -> image_features, rejected_pictures: every picture of the pattern, also of products that nobody bought yet."""

import sys

from vasg.features.extract import FEATURES, REJECTS, extract_features
from vasg.job import Job, main


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


if __name__ == "__main__":
    sys.exit(main("extract_features", body))

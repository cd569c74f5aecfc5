"""The stage extract_features."""

from vasg.features.encode import REJECTS
from vasg.features.encoders import facts, load_encoder
from vasg.features.extract import extract_features
from vasg.features.unchanged import FEATURES, SOURCES, last_features, made_by, sources, take_over
from vasg.pipeline.job import Job


def body(job: Job) -> None:
    """Encode new and changed pictures, or with --force all; the tasks write their tables."""
    publication, settings = job.publication, job.config.features
    encoder = facts(load_encoder(settings.encoder, settings.weights))
    maker = made_by(encoder, settings.max_pixels)
    last = {} if job.forced else last_features(job.warehouse, maker)
    directory = publication.directory(FEATURES)
    result = extract_features(job.spark, settings, encoder, last, directory, publication.directory(REJECTS))
    kept = take_over(job.warehouse, result.unchanged, directory)
    publication.add(FEATURES, result.features + kept, encoder)
    publication.add(REJECTS, result.rejects)
    publication.write_arrow(SOURCES, sources(result.made), maker)
    rejected = result.rejected
    job.count(
        pictures=result.total, unchanged=len(result.unchanged), rejected=sum(rejected.values()), encoder=settings.encoder,
        **rejected,
    )  # fmt: skip

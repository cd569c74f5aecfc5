"""reviews + image_features -> nodes, interactions: who takes part, and what is held out."""

import sys

from vasg.job import Job, main
from vasg.split import filter_users


def body(job: Job) -> None:
    """Filter and split; both tables are written while the intermediate results are kept."""
    reviews, image_features = job.read("reviews"), job.read("image_features")
    with filter_users(reviews, image_features, job.config.split, job.config.seed) as result:
        job.publication.write("nodes", result.nodes, result.nodes_facts)
        job.publication.write("interactions", result.interactions, result.interactions_facts)
        job.count(**result.counts)


if __name__ == "__main__":
    sys.exit(main("filter_users", body))

"""Raw reviews or transactions, metadata and image feature file -> reviews, rejects, image_features."""

import sys

from vasg.ingest.stage import body
from vasg.pipeline.job import main

if __name__ == "__main__":
    sys.exit(main("preprocess_reviews", body))

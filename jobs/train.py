"""train: walks and image features -> embeddings, baseline_embeddings, training_log."""

import sys

from vasg.pipeline.job import main
from vasg.training.stage import body

if __name__ == "__main__":
    sys.exit(main("train", body))

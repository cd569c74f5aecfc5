"""generate_walks: train pairs -> random walks over the network of users and products, laid out for training."""

import sys

from vasg.pipeline.job import main
from vasg.walks.stage import body

if __name__ == "__main__":
    sys.exit(main("generate_walks", body))

"""reviews + image_features -> nodes, interactions: who takes part, and what is held out."""

import sys

from vasg.pipeline.job import main
from vasg.split import body

if __name__ == "__main__":
    sys.exit(main("filter_users", body))

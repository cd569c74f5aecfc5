"""Score every model on the test pairs and write the recommendations of every user."""

import sys

from vasg.pipeline.job import main
from vasg.scoring.stage import body

if __name__ == "__main__":
    sys.exit(main("score", body))

"""Score every model on the test pairs and write the recommendations of every user."""

import sys

from vasg.job import Job, main
from vasg.scoring.stage import score


def body(job: Job) -> None:
    """The stage."""
    score(job)


if __name__ == "__main__":
    sys.exit(main("score", body))

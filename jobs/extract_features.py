"""pictures -> image_features, rejected_pictures: every picture of the pattern, also of products that nobody bought yet."""

import sys

from vasg.features.stage import body
from vasg.pipeline.job import main

if __name__ == "__main__":
    sys.exit(main("extract_features", body))

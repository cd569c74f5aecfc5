"""pictures -> image_features, feature_sources, rejected_pictures.

Every picture of the pattern counts, also those of products that nobody bought yet.
"""

import sys

from vasg.features.stage import body
from vasg.pipeline.job import main

if __name__ == "__main__":
    sys.exit(main("extract_features", body))

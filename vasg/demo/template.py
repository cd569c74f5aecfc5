"""The configuration that is written beside the demo data."""

TEMPLATE = """\
# The generated demo shop: vasg run --config config.toml --root DIR
seed = {seed}

[reviews]
path = "reviews_Demo.json.gz"
format = "amazon_2014"
metadata = "meta_Demo.json.gz"
category = "Women"

[features]
source = "feature_file"
path = "image_features_Demo.b"
dim = {dim}

[split]
holdout_cold_fraction = 0.1  # so that there are cold test pairs

[train]
dim = 32  # a small shop: fewer purchases than 100 dimensions could use
epochs = 3
batch_walks = 128  # few walks: smaller steps, and more of them
"""

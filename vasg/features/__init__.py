"""Pictures of products to image features, on Spark."""

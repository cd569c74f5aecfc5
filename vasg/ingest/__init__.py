"""Raw reviews, transactions, metadata and image features become the tables ``reviews``, ``image_features``, ``rejects``."""

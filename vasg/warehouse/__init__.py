"""Published tables: versions that appear whole or not at all, one writer at a time, and their upkeep."""

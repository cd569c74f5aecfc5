"""Published tables: versions that appear whole or not at all, the parts that tasks write, one writer at a time, upkeep."""

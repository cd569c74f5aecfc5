"""Generated shops with planted tastes: raw data for the demo, the tests and the benchmarks, and the best reachable AUC."""

"""Scoring: ranks of the test pairs, metrics with confidence intervals, and recommendations for every user."""

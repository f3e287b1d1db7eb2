"""Estimates of log p(x) in tables and summaries, the same for scoring and for evaluation."""

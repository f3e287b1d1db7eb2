"""Training on Ray Train: splits, ingest, the loop of a worker, and the launch."""
